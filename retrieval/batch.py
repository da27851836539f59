"""Batch writing: many documents become a segment beside what is there, and one generation shows all of them at once."""

from __future__ import annotations

import contextlib
import json
import shutil
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from retrieval.analysis import Analysis, AnalysisSettings
from retrieval.bitmap import Bitmap
from retrieval.collection import Collection
from retrieval.durable import replace_json, sync_file
from retrieval.errors import CollectionNotFound, GateFailed, IndexUnreadable
from retrieval.generations import Layout, Placed, new_segment_id, publish
from retrieval.manifest import CollectionSettings, Manifest, check_encoder, check_files, read_segment_manifest
from retrieval.sealing import sealed
from retrieval.segment import Part, Segment, SegmentWriter, finish_segment
from retrieval.snapshot import Snapshot
from retrieval.store import CollectionStore, check_name
from retrieval.types import CollectionInfo, EncoderSpec
from retrieval.vector_effort import measured_recall
from retrieval.vector_spec import resolve

Progress = Callable[[str, int], None]
"""Called with a stage (``write``, ``graph``, ``flush``) and how many passages it has done; may raise to cancel."""

_WRITTEN = "WRITTEN"
_GATE_SAMPLE = 200


@dataclass(frozen=True, slots=True)
class Gate:
    """What a segment must show before it is published."""

    recall: float = 0.9
    """Least recall@10 of its vector index against exact search, on ``sample`` of its own vectors."""
    sample: int = _GATE_SAMPLE


def write_generation(
    store: CollectionStore,
    name: str,
    parts: Iterable[Part],
    *,
    encoder: EncoderSpec,
    settings: CollectionSettings | None = None,
    replace: bool = False,
    delete: Iterable[str] = (),
    progress: Progress | None = None,
    key: str | None = None,
    gate: Gate | None = None,
    threads: int = 1,
    workers: int = 1,
    recipe: str = "",
) -> CollectionInfo:
    """Write the documents of ``parts`` beside what ``name`` holds, and make the whole its current generation.

    Documents of equal id are replaced, those in ``delete`` removed; ``replace`` leaves nothing of what was there.
    Nothing shows before the end: killed anywhere, or when ``parts`` or ``progress`` raises, the generation before
    stays current. With ``key``, a hash of all inputs, a call after a kill goes on where it was: documents that were
    all written are not asked of ``parts`` again, and finished steps of the vector index are kept.
    Parts are taken one at a time, so memory holds one of them. ``settings`` of None keeps the collection's own.

    Raises Conflict while another writer is at this collection, DiskFull, GateFailed, InvalidRequest for a bad
    name, a document id that comes twice, chunks outside their document, and vectors of another shape or
    not finite; IndexUnreadable for another encoder than the collection's without ``replace``.
    """
    report = progress or (lambda stage, done: None)
    check_name(name)
    name = store.layout(name).folder.name
    with store.exclusive(name):
        collection = _existing(store, name, encoder, fresh=replace)
        chosen = settings or (CollectionSettings() if collection is None else collection.settings)
        resolve(chosen.vectors, 0, encoder.dimension, memory_bytes=chosen.memory_bytes, recall=chosen.recall)
        staging = store.staging(name) / (key or uuid.uuid4().hex)
        _clear(staging.parent, keep=staging if key else None)
        with store.appending(name):
            published = _was_published(store.layout(name), staging)
        if published:
            shutil.rmtree(staging)
            return store.open(name).taken_up().info
        try:
            segment = _staged(
                staging, parts, None if replace else collection, encoder, chosen, report, threads, workers
            )
            _check_gate(segment, gate)
            report("flush", segment.passages)
            drafted = Drafted(segment, chosen, encoder, frozenset(delete), replace, recipe)
            with store.appending(name):
                _publish(store.layout(name), collection, drafted)
        except BaseException:
            if key is None:
                shutil.rmtree(staging, ignore_errors=True)
            raise
        shutil.rmtree(staging, ignore_errors=True)
        return store.open(name).taken_up().info


@dataclass(frozen=True, slots=True)
class Drafted:
    """What a build adds."""

    segment: Segment
    settings: CollectionSettings
    encoder: EncoderSpec
    delete: frozenset[str]
    alone: bool
    recipe: str


def _existing(store: CollectionStore, name: str, encoder: EncoderSpec, *, fresh: bool) -> Collection | None:
    """The collection to add to; None when there is none, or none that can be read and ``fresh`` is wanted."""
    try:
        collection = store.open(name)
    except CollectionNotFound:
        return None
    except IndexUnreadable:
        if fresh:
            return None
        raise
    if not fresh:
        check_encoder(name, collection.encoder, encoder)
    return collection


def _clear(staging: Path, *, keep: Path | None) -> None:
    """Remove what writers that were killed left behind, and will not come back for."""
    staging.mkdir(parents=True, exist_ok=True)
    for path in staging.iterdir():
        if path != keep:
            shutil.rmtree(path, ignore_errors=True)


def _was_published(layout: Layout, staging: Path) -> bool:
    """Whether the build that left ``staging`` was killed after it had published. What one that was killed just before
    had moved in already is moved back, when it is whole. The caller holds the log's lock: nothing is tidied meanwhile.
    """
    written = staging / _WRITTEN
    if not written.exists():
        return False
    segment = str(json.loads(written.read_text())["segment"])
    if (staging / segment).exists():
        return False
    with contextlib.suppress(FileNotFoundError):
        if any(entry.id == segment for entry in layout.current().segments):
            return True
    moved = layout.segment(segment)
    try:
        check_files(moved, read_segment_manifest(moved), full=True)
        moved.rename(staging / segment)
    except (FileNotFoundError, IndexUnreadable):  # a later generation has removed it
        written.unlink()
    return False


def _staged(
    folder: Path,
    parts: Iterable[Part],
    collection: Collection | None,
    encoder: EncoderSpec,
    settings: CollectionSettings,
    report: Progress,
    threads: int,
    workers: int,
) -> Segment:
    """The segment of ``parts`` in a folder below ``staging``, whatever of it was there already taken over."""
    analysis = Analysis(AnalysisSettings(settings.synonyms, settings.words))
    written = folder / _WRITTEN
    if not written.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        inner = folder / new_segment_id()
        with SegmentWriter(inner, encoder.dimension, settings, analysis, workers=workers) as writer:
            before = None if collection is None else collection.snapshot()
            buried = {} if collection is None else collection.tombstones()
            for part in parts:
                writer.add(_numbered(part, before, buried))
                report("write", writer.passages)
        replace_json(written, {"segment": inner.name, "documents": writer.documents, "passages": writer.passages})
    told = json.loads(written.read_text())
    inner = folder / told["segment"]
    if not (inner / "segment.json").exists():
        finish_segment(
            inner,
            told["documents"],
            told["passages"],
            encoder.dimension,
            settings,
            analysis,
            threads=threads,
            progress=lambda done: report("graph", done),
        )
    return Segment(inner, analysis, settings.fields)


def _numbered(part: Part, before: Snapshot | None, buried: Mapping[str, int]) -> Part:
    """The part with the next version for each document that brings none of its own.

    ``buried`` are the versions of documents deleted lately.
    """
    if all(document.version for document in part.documents):
        return part
    places = [None] * len(part.documents) if before is None else before.find([d.document_id for d in part.documents])
    documents = []
    for document, place in zip(part.documents, places, strict=True):
        if not document.version:
            last = buried.get(document.document_id, 0)
            if place is not None and before is not None:
                last = before.views[place[0]].version(place[1])
            document = replace(document, version=last + 1)
        documents.append(document)
    return replace(part, documents=documents)


def _check_gate(segment: Segment, gate: Gate | None) -> None:
    if gate is None or not segment.passages or segment.manifest.spec == "Flat":
        return
    reached = measured_recall(segment.dense, sample=gate.sample, k=10, seed=1)
    if reached < gate.recall:
        raise GateFailed(
            f"the vector index {segment.manifest.spec} finds {reached:.3f} of the nearest ten and {gate.recall:.3f} "
            "is asked for, so nothing was published: choose a finer index, or lower the gate"
        )


def _publish(layout: Layout, collection: Collection | None, drafted: Drafted) -> None:
    """Make the segment current, with what stays of the collection. The caller holds the log's lock."""
    version = Analysis(AnalysisSettings(drafted.settings.synonyms, drafted.settings.words)).version
    encoder = replace(drafted.encoder, languages=tuple(drafted.encoder.languages))
    fresh = Manifest(layout.folder.name, 0, 0, "", encoder, drafted.settings, version, recipe=drafted.recipe)
    placed = [Placed(drafted.segment, Bitmap.empty(drafted.segment.documents), staged=True)]
    if not drafted.segment.documents:
        placed = []
    if collection is None:
        layout.folder.mkdir(exist_ok=True)
        shutil.rmtree(layout.log, ignore_errors=True)
        publish(layout, fresh, placed, content=True)
        sync_file(layout.folder.parent)
        return
    snapshot = sealed(collection)
    if not drafted.alone:
        kept = [Placed(view.segment, _without(view.segment, view.deleted, drafted)) for view in snapshot.segments]
        placed = [*kept, *placed]
    recipe = drafted.recipe or ("" if drafted.alone else snapshot.manifest.recipe)
    draft = replace(fresh, log_seq=snapshot.seq, tombstones=collection.tombstones(), recipe=recipe)
    publish(layout, draft, placed, content=True)


def _without(segment: Segment, deleted: Bitmap, drafted: Drafted) -> Bitmap:
    """The deleted documents of a segment, with those that the build replaces or removes."""
    rows = [*segment.columns.rows_shared_with(drafted.segment.columns)]
    rows += [row for row in segment.rows_of(sorted(drafted.delete)) if row >= 0]
    return deleted.with_rows(np.array(rows, np.int64)) if rows else deleted
