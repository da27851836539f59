"""What processes and files take: memory by kind and at its peak, disk by part, and what lies in the page cache."""

from __future__ import annotations

import contextlib
import os
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes resident: ``anonymous`` is the process's own, shared memory included; ``mapped`` pages belong to files
    and can be dropped when something else needs the room."""

    anonymous: int
    mapped: int

    def __add__(self, other: Memory) -> Memory:
        return Memory(self.anonymous + other.anonymous, self.mapped + other.mapped)

    def as_json(self) -> dict[str, float]:
        return {"anonymous_mb": round(self.anonymous / 1e6, 1), "mapped_mb": round(self.mapped / 1e6, 1)}


def memory(process: int) -> Memory:
    """Of one process; nothing when it has ended."""
    found = {"RssAnon": 0, "RssShmem": 0, "RssFile": 0}
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for line in (PROC / str(process) / "status").read_text(encoding="ascii", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name in found:
                found[name] = int(value.split()[0]) * 1024
    return Memory(found["RssAnon"] + found["RssShmem"], found["RssFile"])


def descendants(process: int) -> list[int]:
    """A process and all that it started in turn."""
    found = [process]
    for parent in found:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for task in (PROC / str(parent) / "task").iterdir():
                found += map(int, (task / "children").read_text(encoding="ascii").split())
    return found


def memory_of_tree(process: int) -> Memory:
    """Of a process and its descendants; pages of files that several map are counted for each."""
    total = Memory(0, 0)
    for each in descendants(process):
        total = total + memory(each)
    return total


class Peak:
    """The most that this process and its descendants had at once, looked at every ``interval_s``."""

    def __init__(self, interval_s: float = 0.5) -> None:
        self.highest = Memory(0, 0)
        self._interval_s = interval_s
        self._done = threading.Event()

    @contextlib.contextmanager
    def watching(self) -> Iterator[Peak]:
        thread = threading.Thread(target=self._watch, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._done.set()
            thread.join()

    def _watch(self) -> None:
        while True:
            now = memory_of_tree(os.getpid())
            if now.anonymous > self.highest.anonymous:
                self.highest = now
            if self._done.wait(self._interval_s):
                return


def disk_by_part(collection: Path) -> Mapping[str, int]:
    """Bytes by what they are for: the first name below a segment's folder, such as ``vectors``, or the collection's."""
    sizes = Counter[str]()
    for path in collection.rglob("*"):
        if path.is_file():
            names = path.relative_to(collection).parts
            part = names[2] if names[0] == "segments" and len(names) > 2 else names[0]
            sizes[part] += path.stat().st_size
    return dict(sizes.most_common())


def drop_from_page_cache(folder: Path) -> None:
    """Make the next reads come from disk, as after a start of the machine."""
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fdatasync(descriptor)
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)
