"""What a job asks of a build, so that jobs need not know how collections are made."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol


class Progress(Protocol):
    """What a build says of itself while it runs: ``indexing.build.Progress``."""

    @property
    def stage(self) -> str: ...
    @property
    def done(self) -> int: ...
    @property
    def total(self) -> int | None: ...
    @property
    def failed(self) -> int: ...
    @property
    def rate_per_s(self) -> float | None: ...
    @property
    def eta_s(self) -> float | None: ...
    @property
    def checkpoint(self) -> str | None: ...


class Rejected(Protocol):
    """One file or row that a build set aside."""

    @property
    def source(self) -> str: ...
    @property
    def reason(self) -> str: ...


class BuildSummary(Protocol):
    """What a build gives back: ``indexing.build.BuildSummary``."""

    @property
    def documents(self) -> int: ...
    @property
    def passages(self) -> int: ...
    @property
    def rejected(self) -> Sequence[Rejected]: ...
    @property
    def seconds(self) -> float: ...
    @property
    def generation(self) -> str: ...


class Build(Protocol):
    """Builds ``paths`` into ``collection``; bound to store, encoder and settings where things are wired.

    Calls ``progress`` as often as it likes. Ends with any RiddleError soon after ``cancel`` is set,
    leaving what it has done to be continued by the next call with the same arguments.
    """

    def __call__(
        self,
        paths: list[Path],
        collection: str,
        progress: Callable[[Progress], None],
        cancel: threading.Event,
    ) -> BuildSummary: ...
