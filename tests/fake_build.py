"""A build that goes one step and waits to be told how to end, for tests of the jobs around builds."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from retrieval.errors import Conflict
from services.jobs.builds import Progress
from services.jobs.store import RejectedFile


@dataclass(frozen=True)
class Step:
    stage: str = "embedding"
    done: int = 1
    total: int | None = 2
    failed: int = 0
    rate_per_s: float | None = 10.0
    eta_s: float | None = 0.1
    checkpoint: str | None = "part-1"


@dataclass(frozen=True)
class Built:
    documents: int = 1
    passages: int = 2
    rejected: tuple[RejectedFile, ...] = (RejectedFile("scan.pdf", "no text"),)
    seconds: float = 0.5
    generation: str = "docs@1"


@dataclass
class FakeBuild:
    """Goes one step, then waits until ``go`` is set or it is cancelled; then raises ``error`` or is done.

    ``seen`` keeps collection and files, by their path below the folder given, of each call.
    """

    go: threading.Event = field(default_factory=threading.Event)
    reached: threading.Event = field(default_factory=threading.Event)
    error: BaseException | None = None
    seen: list[tuple[str, list[str]]] = field(default_factory=list)

    def __call__(
        self, paths: list[Path], collection: str, progress: Callable[[Progress], None], cancel: threading.Event
    ) -> Built:
        names = sorted(
            file.relative_to(path).as_posix() if path.is_dir() else file.name
            for path in paths
            for file in (path.rglob("*") if path.is_dir() else [path])
            if file.is_file()
        )
        self.seen.append((collection, names))
        progress(Step())
        self.reached.set()
        while not self.go.wait(0.005):
            if cancel.is_set():
                raise Conflict("cancelled")
        if self.error is not None:
            raise self.error
        return Built()
