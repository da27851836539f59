"""Where the files of a collection lie, and how a generation is published: aside, then one pointer is replaced."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import uuid
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from retrieval.bitmap import Bitmap
from retrieval.durable import disk_full_said_plainly, exclusive, replace_json, sync_file, sync_tree
from retrieval.errors import IndexUnreadable
from retrieval.log import FOLDER, remove_read
from retrieval.manifest import Manifest, SegmentEntry, read_manifest, write_manifest
from retrieval.segment import Segment

POINTER = "CURRENT"
_STATE = ".state"
_WAIT_S = 30.0
Seen = tuple[int, int]


@contextlib.contextmanager
def log_lock(locks: Path, name: str) -> Iterator[None]:
    """Be the only one who writes to the log of a collection, or publishes. Raises Conflict after half a minute."""
    busy = f"the collection {name} is being changed by another process; try again"
    with (
        disk_full_said_plainly(f"the collection {name}", locks.parent),
        exclusive(locks / f"{name}.log.lock", busy, wait_s=_WAIT_S),
    ):
        yield


class Layout:
    """Paths below a collection's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pointer = folder / POINTER
        self.generations = folder / "generations"
        self.segments = folder / "segments"
        self.log = folder / FOLDER
        self.staging = folder / "staging"
        self.locks = folder.parent / _STATE
        """Locks, and the last number of each name: it outlives the collection, since caches go by it."""

    @property
    def maintaining(self) -> Path:
        """Locked by who seals and merges."""
        return self.locks / f"{self.folder.name}.maintain.lock"

    def manifest(self, number: int) -> Path:
        return self.generations / f"{number:06}.json"

    def deleted(self, number: int, segment: str) -> Path:
        return self.generations / f"{number:06}.{segment}.del"

    def segment(self, segment: str) -> Path:
        return self.segments / segment

    def pointer_seen(self) -> Seen | None:
        """Changes whenever the pointer is replaced: one stat. None when there is none."""
        try:
            stat = self.pointer.stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return stat.st_mtime_ns, stat.st_ino

    def seen_of(self, number: int) -> Seen | None:
        """What ``pointer_seen`` says while the pointer names this generation; None when it names another."""
        seen = self.pointer_seen()
        try:
            return seen if self.number() == number and self.pointer_seen() == seen else None
        except (FileNotFoundError, IndexUnreadable):
            return None

    def number(self) -> int:
        """The number in the pointer. Raises FileNotFoundError without one, IndexUnreadable."""
        try:
            return int(json.loads(self.pointer.read_text(encoding="utf-8"))["generation"])
        except (ValueError, TypeError, KeyError) as error:
            raise IndexUnreadable(
                f"{self.pointer} is damaged ({error}): build the collection {self.folder.name} again"
            ) from error

    def current(self) -> Manifest:
        """The manifest that the pointer names. Raises FileNotFoundError, IndexUnreadable."""
        return read_manifest(self.manifest(self.number()))

    def numbers(self) -> list[int]:
        """Numbers of the generations that are there, ascending."""
        return sorted(int(path.stem) for path in self.generations.glob("*.json") if path.stem.isdigit())


@dataclass(frozen=True, slots=True)
class Placed:
    """A segment of the generation to come: where it lies now, and which of its documents are deleted."""

    segment: Segment
    deleted: Bitmap
    staged: bool = False
    """Whether it lies in ``staging`` and is to be moved in."""


def new_segment_id() -> str:
    return uuid.uuid4().hex[:12]


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def read_deleted(layout: Layout, number: int, entry: SegmentEntry) -> Bitmap:
    """The deleted documents of a segment in a generation. Raises IndexUnreadable."""
    if not entry.deleted:
        return Bitmap.empty(entry.documents)
    path = layout.deleted(number, entry.id)
    data = path.read_bytes()
    bitmap = Bitmap.empty(entry.documents)
    if len(data) != 4 + len(bitmap.bits) or zlib.crc32(data[4:]).to_bytes(4, "little") != data[:4]:
        raise IndexUnreadable(f"{path} is damaged: restore a snapshot, or build the collection again")
    return Bitmap(np.frombuffer(data[4:], np.uint8), entry.documents)


def _write_deleted(path: Path, deleted: Bitmap) -> None:
    data = deleted.bits.tobytes()
    with path.open("wb") as file:
        file.write(zlib.crc32(data).to_bytes(4, "little") + data)
        file.flush()
        os.fsync(file.fileno())


def next_number(layout: Layout) -> int:
    """A number that no generation of this collection ever had."""
    last = layout.locks / f"{layout.folder.name}.last"
    last.parent.mkdir(exist_ok=True)
    known = json.loads(last.read_text()) if last.exists() else 0
    number = max([*layout.numbers(), known]) + 1
    replace_json(last, number)
    return int(number)


def publish(layout: Layout, draft: Manifest, placed: Sequence[Placed], *, content: bool) -> Manifest:
    """Make a generation of these segments the current one. The caller is ``appending`` to the collection.

    ``draft`` says encoder, settings, analysis, log_seq and tombstones; number, time and segments are filled in.
    ``content`` when something else can be found than before: then a new epoch begins. Killed anywhere,
    either the generation before is current or the new one.
    """
    layout.generations.mkdir(exist_ok=True)
    layout.segments.mkdir(exist_ok=True)
    number = next_number(layout)
    entries = []
    for each in placed:
        segment = each.segment
        if each.staged:
            sync_tree(segment.folder)
            segment.folder.rename(layout.segment(segment.id))
        if each.deleted.count():
            _write_deleted(layout.deleted(number, segment.id), each.deleted)
        entries.append(
            SegmentEntry(
                segment.id,
                segment.documents,
                segment.passages,
                segment.manifest.bytes,
                each.deleted.count(),
                segment.passages_of(each.deleted).count() if each.deleted.count() else 0,
            )
        )
    sync_file(layout.segments)
    manifest = replace(draft, number=number, segments=tuple(entries))
    if content:
        manifest = replace(manifest, epoch=number, created=now())
    write_manifest(layout.manifest(number), manifest)
    sync_file(layout.folder)
    replace_json(layout.pointer, {"generation": number})
    tidy(layout, manifest)
    return manifest


def tidy(layout: Layout, current: Manifest) -> None:
    """Remove what no generation that is kept needs: the current one, and the last one of the epoch before it."""
    remove_read(layout.log, current.log_seq)
    manifests: dict[int, Manifest] = {}
    for number in layout.numbers():
        if number < current.number:
            with contextlib.suppress(IndexUnreadable):  # of no use to a rollback, so it goes
                manifests[number] = read_manifest(layout.manifest(number))
    before = [number for number, manifest in manifests.items() if manifest.epoch < current.epoch]
    keep = {current.number, *before[-1:]}
    named = {entry.id for entry in current.segments}
    named |= {entry.id for number in before[-1:] for entry in manifests[number].segments}
    for path in layout.generations.iterdir():
        written = path.name.split(".")[0]
        if written.isdigit() and int(written) not in keep:
            path.unlink(missing_ok=True)
    for path in layout.segments.iterdir():
        if path.name not in named:
            shutil.rmtree(path, ignore_errors=True)
