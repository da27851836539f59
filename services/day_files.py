"""Lines kept in files by day: appended by several processes, bounded in size, removed when their days are over."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from retrieval.durable import exclusive, sync_file

Now = Callable[[], datetime]

PARTS = 16
"""A file is at most this share of all that is kept, so that what goes for want of room goes in small pieces."""

_NAME = re.compile(r"(\d{4}-\d{2}-\d{2})-(\d{4,})\.jsonl")
_LOCK_WAIT_S = 5.0


def utc_now() -> datetime:
    return datetime.now(UTC)


class DayFiles:
    """``DATE-NUMBER.jsonl`` in one folder that nobody else on the machine may read. Thread-safe.

    ``days`` 0 keeps files however old they are, ``max_bytes`` 0 however many. The file that is written
    to is never removed for want of room.
    """

    def __init__(self, folder: Path, *, days: int, max_bytes: int, now: Now = utc_now) -> None:
        self.folder = folder
        self._days = days
        self._max_bytes = max_bytes
        self._now = now

    def append(self, lines: Sequence[bytes], *, sync: bool = False) -> None:
        """Add whole lines, without their line ends. ``sync``: they outlast a power cut once this returns.

        Raises OSError, or Conflict when other processes hold the folder for too long.
        """
        block = b"".join(line + b"\n" for line in lines)
        with self._held():
            path = self._current(len(block))
            fresh = not path.exists()
            _append(path, block, sync)
            if fresh:
                self._tidy()
                if sync:
                    sync_file(self.folder)

    def tidy(self) -> None:
        """Remove files whose days are over, then the oldest until the rest fit. Raises as ``append`` does."""
        if self.folder.is_dir():
            with self._held():
                self._tidy()

    def holding(self, needle: bytes) -> Iterator[bytes]:
        """Lines that contain ``needle``, the newest first."""
        for path in reversed(self._paths()):
            try:
                with path.open("rb") as file:
                    found = [line for line in file if needle in line]
            except FileNotFoundError:
                continue  # removed meanwhile, for its days were over
            yield from reversed(found)

    def _held(self) -> AbstractContextManager[None]:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return exclusive(self.folder / ".lock", f"others are writing to {self.folder}", wait_s=_LOCK_WAIT_S)

    def _paths(self) -> list[Path]:
        """Oldest first."""
        return sorted(path for path in self.folder.glob("*.jsonl") if _NAME.fullmatch(path.name))

    def _current(self, room: int) -> Path:
        """Today's file that has room for so many bytes."""
        today = self._now().astimezone(UTC).date().isoformat()
        ours = [path for path in self._paths() if path.name.startswith(today)]
        if not ours:
            return self.folder / f"{today}-0001.jsonl"
        last = ours[-1]
        if self._max_bytes and last.stat().st_size + room > self._max_bytes // PARTS:
            return self.folder / f"{today}-{_number(last) + 1:04}.jsonl"
        return last

    def _tidy(self) -> None:
        paths = self._paths()
        first = self._now().astimezone(UTC).date() - timedelta(days=self._days)
        if self._days:
            for path in [path for path in paths if _day(path) < first]:
                path.unlink(missing_ok=True)
                paths.remove(path)
        total = sum(path.stat().st_size for path in paths)
        for path in paths[:-1]:
            if not self._max_bytes or total <= self._max_bytes:
                break
            total -= path.stat().st_size
            path.unlink(missing_ok=True)


def _day(path: Path) -> date:
    return date.fromisoformat(path.name[:10])


def _number(path: Path) -> int:
    return int(path.stem.rpartition("-")[2])


def _append(path: Path, block: bytes, sync: bool) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            block = b"\n" + block  # a line that a crash cut short stays by itself
        rest = memoryview(block)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        if sync:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
