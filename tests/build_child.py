"""Builds and syncs in a process of their own, for tests that kill them: at leave given on stdin, or at a point told."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from indexing.build import BuildSettings, Progress, build
from indexing.connectors.files import folder_connector
from indexing.ledger import open_file
from indexing.sources import Source
from indexing.sync import sync
from retrieval.store import CollectionStore
from retrieval.types import Role, Vectors
from tests.fake_models import FakeEncoder

PARTITION = 10
SETTINGS = BuildSettings(partition_documents=PARTITION)


class Waiting(FakeEncoder):
    """Waits for leave before each batch."""

    def encode(self, texts: Sequence[str], role: Role) -> Vectors:
        sys.stdin.readline()
        return super().encode(texts, role)


class Counted(FakeEncoder):
    """Notes in a file how many texts it has encoded."""

    def __init__(self, noted: Path, point: Point) -> None:
        super().__init__()
        self._noted, self._point = noted, point

    def encode(self, texts: Sequence[str], role: Role) -> Vectors:
        with self._noted.open("a") as file:
            file.write(f"{len(texts)}\n")
        self._point()
        return super().encode(texts, role)


class Point:
    """Called at every step that can be seen from outside; the one with that number ends the process, a moment later."""

    def __init__(self, number: int, delay_s: float) -> None:
        self._left, self._delay_s = number, delay_s

    def __call__(self, progress: Progress | None = None) -> None:
        self._left -= 1
        if self._left == 0:
            kill = threading.Timer(self._delay_s, os.kill, (os.getpid(), signal.SIGKILL))
            kill.daemon = True
            kill.start()

    def open(self, path: Path, mode: str) -> IO[bytes]:
        self()
        return open_file(path, mode)


def waiting(home: Path, source: Path) -> None:
    store = CollectionStore(home / "collections")
    build([source], "docs", store=store, encoder=Waiting(), work=home / "builds", settings=SETTINGS)


def killed(home: Path, source: Path, what: str, number: int, delay_s: float) -> None:
    """A build or a sync that is killed after step ``number``; one with fewer steps, or with 0, goes to its end."""
    point = Point(number, delay_s)
    store, encoder = CollectionStore(home / "collections"), Counted(home / "encoded", point)
    work = home / "builds"
    if what == "build":
        build(
            [source], "docs", store=store, encoder=encoder, work=work, settings=SETTINGS, progress=point,
            opener=point.open,
        )  # fmt: skip
    else:
        connector = folder_connector(Source(source))
        sync(connector, "docs", store=store, encoder=encoder, work=work, settings=SETTINGS, progress=point)


def main(home: str, source: str, *more: str) -> None:
    if more:
        what, number, delay_s = more
        killed(Path(home), Path(source), what, int(number), float(delay_s))
    else:
        waiting(Path(home), Path(source))


if __name__ == "__main__":
    main(*sys.argv[1:])
