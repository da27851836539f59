"""Looking after a collection: roll back, verify, statistics, snapshots to a folder and back, another encoder."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from retrieval.collection import Collection
from retrieval.durable import checksum, replace_json, sync_tree
from retrieval.errors import Conflict, IndexUnreadable, InvalidRequest
from retrieval.generations import POINTER, Layout, Placed, publish, read_deleted
from retrieval.manifest import check_files, read_manifest
from retrieval.sealing import sealed
from retrieval.segment import Segment
from retrieval.snapshot import Snapshot
from retrieval.store import CollectionStore, check_name
from retrieval.types import CollectionInfo

_SNAPSHOT = "snapshot.json"

Say = Callable[[str, int, int], None]
"""Called with what is done, how much of it and of how much."""


def quiet(what: str, done: int, total: int) -> None:
    """Nobody is told."""


def rollback(collection: Collection) -> CollectionInfo:
    """Make the state before the last build, rollback or restore current again, as a new generation.

    Changes since then are left behind. Raises Conflict when that state is not kept.
    """
    with collection.appending():
        snapshot = sealed(collection)
        layout, now = collection.layout, snapshot.manifest
        earlier = [number for number in layout.numbers() if number < now.number]
        manifests = [read_manifest(layout.manifest(number)) for number in earlier]
        before = [manifest for manifest in manifests if manifest.epoch < now.epoch]
        if not before:
            raise Conflict(f"{collection.name} has no earlier state that is kept: a build keeps the one before it")
        target = before[-1]
        placed = [
            Placed(
                Segment(layout.segment(entry.id), snapshot.analysis, target.settings.fields),
                read_deleted(layout, target.number, entry),
            )
            for entry in target.segments
        ]
        publish(layout, replace(target, log_seq=snapshot.seq), placed, content=True)
        return collection.taken_up().info


@dataclass(frozen=True, slots=True)
class Verified:
    """What ``verify`` read: counts, and what is wrong; nothing is when ``problems`` is empty."""

    segments: int
    documents: int
    passages: int
    bytes: int
    changes: int
    problems: tuple[str, ...]


def verify(collection: Collection, say: Say = quiet) -> Verified:
    """Read every byte against its checksum, the log record by record, and look for documents that are there twice."""
    snapshot = collection.snapshot()
    problems: list[str] = []
    total = len(snapshot.segments)
    for number, view in enumerate(snapshot.segments):
        say("segments", number, total)
        try:
            check_files(view.segment.folder, view.segment.manifest, full=True)
        except IndexUnreadable as error:
            problems.append(error.detail)
        if view.segment.dense.count != view.passages or view.segment.columns.passage_count != view.passages:
            problems.append(f"{view.segment.folder}: vectors and passages are not equally many")
    problems += _twice(snapshot)
    say("segments", total, total)
    info = snapshot.info
    return Verified(
        total, info.documents, info.passages, info.bytes, snapshot.seq - snapshot.manifest.log_seq, tuple(problems)
    )


def _twice(snapshot: Snapshot) -> Iterator[str]:
    """Documents that two views hold undeleted."""
    for number, view in enumerate(snapshot.segments):
        for other in snapshot.segments[number + 1 :]:
            shared = view.segment.columns.rows_shared_with(other.segment.columns)
            alive = [row for row in shared if row not in view.deleted]
            ids = view.segment.columns.document_ids(np.array(alive, np.int64))
            for one, row in zip(ids, other.segment.rows_of(ids), strict=True):
                if row not in other.deleted:
                    yield f"document {one!r} is in two segments: {view.segment.id} and {other.segment.id}"


def stats(collection: Collection) -> dict[str, object]:
    """Sizes of everything: segments with their index and why it was chosen, live blocks, log, memory by part."""
    snapshot = collection.snapshot()
    info, manifest = snapshot.info, snapshot.manifest
    files = [path for path in collection.layout.folder.rglob("*") if path.is_file()]
    return {
        "name": info.name,
        "generation": info.generation,
        "number": manifest.number,
        "documents": info.documents,
        "passages": info.passages,
        "deleted": sum(view.dead for view in snapshot.views),
        "disk_bytes": sum(path.stat().st_size for path in files if path.exists()),
        "log_bytes": sum(path.stat().st_size for path in collection.layout.log.glob("*.log")),
        "changes_in_log": snapshot.seq - manifest.log_seq,
        "segments": [
            {
                "id": view.segment.id,
                "documents": view.documents,
                "passages": view.passages,
                "deleted": view.dead,
                "bytes": view.segment.manifest.bytes,
                "vectors": view.segment.manifest.spec,
                "why": view.segment.manifest.why,
                "memory": dict(view.segment.dense.memory()),
            }
            for view in snapshot.segments
        ],
        "live": [{"documents": view.documents, "passages": view.passages} for view in snapshot.blocks],
    }


def snapshot_to(collection: Collection, folder: Path, say: Say = quiet) -> Path:
    """Write a copy of the collection as it is now into ``folder``, which must not exist; searches and writes go on.

    Segments are linked where the file system can, since they never change, and copied elsewhere.
    """
    if folder.exists():
        raise Conflict(f"{folder} exists already: name a folder that does not")
    aside = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}")
    aside.mkdir(parents=True)
    try:
        with collection.appending():
            collection.freeze()
            snapshot = collection.taken_up()
            layout, number = collection.layout, snapshot.manifest.number
            (aside / "generations").mkdir()
            for path in layout.generations.glob(f"{number:06}.*"):
                shutil.copy2(path, aside / "generations" / path.name)
            shutil.copytree(layout.log, aside / "log") if layout.log.exists() else (aside / "log").mkdir()
            linked = [view.segment.folder for view in snapshot.segments]
            for done, source in enumerate(linked):
                say("segments", done, len(linked))
                shutil.copytree(source, aside / "segments" / source.name, copy_function=_link_or_copy)
            shutil.copy2(layout.pointer, aside / POINTER)
        files = sorted(path for path in aside.rglob("*") if path.is_file())
        sums = {path.relative_to(aside).as_posix(): checksum(path) for path in files}
        replace_json(
            aside / _SNAPSHOT, {"collection": collection.name, "generation": snapshot.info.generation, "files": sums}
        )
        sync_tree(aside)
        aside.rename(folder)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    return folder


def _link_or_copy(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:
        return str(shutil.copy2(source, target))
    return target


def restore(store: CollectionStore, folder: Path, name: str, say: Say = quiet) -> CollectionInfo:
    """A collection ``name`` out of a snapshot. Raises Conflict when there is one, IndexUnreadable for a damaged one."""
    check_name(name)
    try:
        told = json.loads((folder / _SNAPSHOT).read_text(encoding="utf-8"))
        sums: Mapping[str, str] = told["files"]
    except FileNotFoundError:
        raise InvalidRequest(f"{folder} is no snapshot: it holds no {_SNAPSHOT}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise IndexUnreadable(f"{folder / _SNAPSHOT} is damaged ({error})") from error
    with store.exclusive(name):
        target = store.root / name
        if target.exists() or name in store.aliases():
            raise Conflict(f"there is a collection or an alias {name!r} already: restore under another name")
        aside = store.root / f".restore-{uuid.uuid4().hex[:8]}"
        try:
            for done, (path, wanted) in enumerate(sums.items()):
                say("files", done, len(sums))
                if not (folder / path).is_file() or checksum(folder / path) != wanted:
                    raise IndexUnreadable(f"{folder / path} is missing or damaged: take another snapshot")
                (aside / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(folder / path, aside / path)
            (aside / "log").mkdir(exist_ok=True)
            renamed(aside, name)
            sync_tree(aside)
            aside.rename(target)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
    return store.open(name).info()


def renamed(folder: Path, name: str) -> None:
    """The manifest says which collection it belongs to; one that is restored under another name says that."""
    layout = Layout(folder)
    path = layout.manifest(layout.number())
    values = json.loads(path.read_text(encoding="utf-8"))
    replace_json(path, values | {"collection": name})
