"""The write-ahead log: checksummed records in files, durable before a change is acknowledged, read on by everybody."""

from __future__ import annotations

import contextlib
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from retrieval.durable import sync_file
from retrieval.errors import IndexUnreadable, TooLarge

_MAGIC = b"RIDLOG01"
_HEAD = struct.Struct("<IIQ")
"""Bytes of payload, crc32 of sequence number and payload, sequence number."""

FOLDER = "log"
"""Where the files lie in a collection's folder."""
MAX_RECORD = 512 * 2**20
_SUFFIX = ".log"
_NEXT = b"next"
"""Payload of the record that ends a file: the log goes on in the file named after the next number."""


@dataclass(frozen=True, slots=True)
class Record:
    """One batch of changes. ``seq`` counts records from 1 and never repeats in the life of a collection."""

    seq: int
    payload: bytes


def log_path(folder: Path, first: int) -> Path:
    """The file whose first record has the number ``first``."""
    return folder / f"{first:012}{_SUFFIX}"


def log_files(folder: Path) -> list[tuple[int, Path]]:
    """First number and path of every file, in order."""
    return sorted((int(path.stem), path) for path in folder.glob(f"*{_SUFFIX}") if path.stem.isdigit())


class LogReader:
    """Follows the log from the record after ``after`` on. Not thread-safe.

    ``path`` and ``offset`` say where the next record will be; a file that has grown beyond
    ``offset`` has news, one stat tells.
    """

    def __init__(self, folder: Path, after: int) -> None:
        """Raises IndexUnreadable when the file that should hold the next record is missing."""
        self.folder = folder
        self.seq = after
        self.path, self.offset = self._begin(after)

    def _begin(self, after: int) -> tuple[Path, int]:
        """The file of the record after ``after``. A file that begins later means that records are missing."""
        earlier = [(first, path) for first, path in log_files(self.folder) if first <= after + 1]
        if not earlier:
            if log_files(self.folder):
                raise IndexUnreadable(f"{self.folder} lacks the changes from number {after + 1} on")
            return log_path(self.folder, after + 1), 0
        first, path = earlier[-1]
        if first == after + 1:
            return path, 0
        return path, _skip(path, first, after)

    @property
    def file_first(self) -> int:
        """The number that the current file is named after: that of its first record."""
        return int(self.path.stem)

    def news(self) -> bool:
        """Whether the current file has grown, or is gone: one stat."""
        try:
            return self.path.stat().st_size > max(self.offset, len(_MAGIC))
        except FileNotFoundError:
            return self.offset > 0

    def read(self) -> Iterator[Record]:
        """Every whole record that is not read yet. What a writer that died has left at the end is passed over.

        Raises IndexUnreadable when a record in the middle is damaged.
        """
        while True:
            try:
                file = self.path.open("rb")
            except FileNotFoundError:
                if self.offset == 0:
                    return
                # Sealed and removed before its last record, which says where the log goes on, was read here.
                self.path, self.offset = log_path(self.folder, self.seq + 1), 0
                continue
            with file:
                size = os.fstat(file.fileno()).st_size
                if self.offset == 0:
                    if size < len(_MAGIC):
                        return
                    if file.read(len(_MAGIC)) != _MAGIC:
                        raise IndexUnreadable(f"{self.path} is no log of this version of Riddle")
                    self.offset = len(_MAGIC)
                moved = False
                file.seek(self.offset)
                while (record := _read_one(file.read, self.path, self.offset, size)) is not None:
                    self.offset += _HEAD.size + len(record.payload)
                    if record.payload == _NEXT:
                        self.path, self.offset, moved = log_path(self.folder, record.seq), 0, True
                        break
                    if record.seq != self.seq + 1:
                        raise IndexUnreadable(
                            f"{self.path} holds change {record.seq} where {self.seq + 1} should be: "
                            "restore the collection from a snapshot, or build it again"
                        )
                    self.seq = record.seq
                    yield record
            if not moved:
                return


def _read_one(read: object, path: Path, at: int, size: int) -> Record | None:
    """The record at ``at``, None when it is not whole, which at the end of a file is what a killed writer leaves."""
    assert callable(read)
    head = read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    length, checksum, seq = _HEAD.unpack(head)
    end = at + _HEAD.size + length
    if end > size:
        return None
    payload: bytes = read(length)
    if zlib.crc32(payload, zlib.crc32(head[8:])) == checksum and length:
        return Record(seq, payload)
    if end >= size or not any(head):
        return None
    raise IndexUnreadable(
        f"{path} is damaged at byte {at} (a checksum differs): restore the collection from a snapshot, or build it anew"
    )


def _skip(path: Path, first: int, after: int) -> int:
    """The offset behind the record ``after`` in a file that begins at ``first``."""
    reader = LogReader.__new__(LogReader)
    reader.folder, reader.path, reader.offset, reader.seq = path.parent, path, 0, first - 1
    for record in reader.read():
        if record.seq == after:
            if reader.path == path:
                return reader.offset
            break
    raise IndexUnreadable(f"{path} ends before change {after}")


class LogWriter:
    """Appends behind what ``reader`` has read. The caller holds the collection's lock and has read everything."""

    def __init__(self, reader: LogReader) -> None:
        self._reader = reader

    def append(self, payload: bytes) -> Record:
        """Durable when it returns. Raises OSError (a full disk) with the log as it was, TooLarge."""
        if len(payload) > MAX_RECORD:
            raise TooLarge(f"a batch of {len(payload):,} bytes; at most {MAX_RECORD:,} are taken: send it in parts")
        return self._write(self._reader.seq + 1, payload)

    def rotate(self) -> None:
        """End the current file; the next record begins a new one."""
        if self._reader.offset > len(_MAGIC):
            self._write(self._reader.seq + 1, _NEXT)

    def _write(self, seq: int, payload: bytes) -> Record:
        reader = self._reader
        fresh = reader.offset == 0
        reader.folder.mkdir(exist_ok=True)
        number = struct.pack("<Q", seq)
        record = _HEAD.pack(len(payload), zlib.crc32(payload, zlib.crc32(number)), seq) + payload
        begin = 0 if fresh else reader.offset
        data = _MAGIC + record if fresh else record
        descriptor = os.open(reader.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            os.ftruncate(descriptor, begin)  # what a killed writer left
            try:
                _write_all(descriptor, data, begin)
                os.fdatasync(descriptor)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.ftruncate(descriptor, begin)
                raise
        finally:
            os.close(descriptor)
        if fresh:
            sync_file(reader.folder)
        if payload == _NEXT:
            reader.path, reader.offset = log_path(reader.folder, seq), 0
        else:
            reader.offset, reader.seq = begin + len(data), seq
        return Record(seq, payload)


def _write_all(descriptor: int, data: bytes, at: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, at)
        view, at = view[written:], at + written


def remove_read(folder: Path, upto: int) -> None:
    """Remove the files all of whose records have numbers up to ``upto``."""
    files = log_files(folder)
    for (_, path), (following, _) in pairwise(files):
        if following <= upto + 1:
            path.unlink(missing_ok=True)
