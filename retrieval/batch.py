"""Batch writing: many documents become a segment beside what is there, and one generation shows all of them at once."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from retrieval.analysis import Analysis, AnalysisSettings
from retrieval.bitmap import Bitmap
from retrieval.collection import Collection
from retrieval.durable import replace_json, sync_file
from retrieval.errors import CollectionNotFound, GateFailed, IndexUnreadable
from retrieval.filters import EVERYTHING
from retrieval.generations import Placed, new_segment_id, publish
from retrieval.manifest import CollectionSettings, check_encoder
from retrieval.segment import Part, Segment, SegmentWriter, finish_segment
from retrieval.snapshot import Snapshot
from retrieval.store import CollectionStore
from retrieval.types import CollectionInfo, EncoderSpec
from retrieval.vector_index import measured_recall

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
    with store.exclusive(name):
        collection = _existing(store, name, encoder, settings, fresh=replace)
        chosen = settings or collection.settings
        staging = collection.layout.staging / (key or uuid.uuid4().hex)
        _clear(collection.layout.staging, staging if key else None)
        try:
            segment = _staged(staging, parts, collection, encoder, chosen, report, threads, workers, anew=replace)
            _check_gate(segment, gate)
            report("flush", segment.passages)
            placed = Drafted(segment, chosen, encoder, frozenset(delete), replace, recipe)
            return _published(collection, placed)
        except BaseException:
            if key is None:
                shutil.rmtree(staging, ignore_errors=True)
            raise


@dataclass(frozen=True, slots=True)
class Drafted:
    """What a build adds."""

    segment: Segment
    settings: CollectionSettings
    encoder: EncoderSpec
    delete: frozenset[str]
    alone: bool
    recipe: str


def _existing(
    store: CollectionStore, name: str, encoder: EncoderSpec, settings: CollectionSettings | None, *, fresh: bool
) -> Collection:
    """The collection to write to, begun when there is none, or none that can be read and ``fresh`` is wanted."""
    try:
        collection = store.open(name)
        if not fresh:
            check_encoder(name, collection.encoder, encoder)
        return collection
    except CollectionNotFound:
        store.begin(name, settings or CollectionSettings(), encoder)
    except IndexUnreadable:
        if not fresh:
            raise
        store.begin(name, settings or CollectionSettings(), encoder)
    return store.open(name)


def _clear(staging: Path, keep: Path | None) -> None:
    """Remove what writers that were killed left behind, and will not come back for."""
    staging.mkdir(exist_ok=True)
    for path in staging.iterdir():
        if path != keep and not path.name.startswith("maintenance-"):
            shutil.rmtree(path, ignore_errors=True)


def _staged(
    folder: Path,
    parts: Iterable[Part],
    collection: Collection,
    encoder: EncoderSpec,
    settings: CollectionSettings,
    report: Progress,
    threads: int,
    workers: int,
    *,
    anew: bool,
) -> Segment:
    """The segment of ``parts`` in a folder below ``staging``, whatever of it was there already taken over."""
    analysis = Analysis(AnalysisSettings(settings.synonyms, settings.words))
    written = folder / _WRITTEN
    if not written.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        inner = folder / new_segment_id()
        with SegmentWriter(inner, encoder.dimension, settings, analysis, workers=workers) as writer:
            before, buried = None if anew else collection.snapshot(), collection.tombstones()
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
    return Part(documents, part.chunks, part.vectors)


def _check_gate(segment: Segment, gate: Gate | None) -> None:
    if gate is None or not segment.passages or segment.manifest.spec == "Flat":
        return
    reached = measured_recall(segment.dense, sample=gate.sample, k=10, seed=1)
    if reached < gate.recall:
        raise GateFailed(
            f"the vector index {segment.manifest.spec} finds {reached:.3f} of the nearest ten and {gate.recall:.3f} "
            "is asked for, so nothing was published: choose a finer index, or lower the gate"
        )


def _published(collection: Collection, drafted: Drafted) -> CollectionInfo:
    with collection.appending():
        snapshot = collection.snapshot()
        collection.freeze()
        placed = [Placed(drafted.segment, Bitmap.empty(drafted.segment.documents), staged=True)]
        if not drafted.segment.documents:
            placed = []
        if not drafted.alone:
            kept = [Placed(view.segment, _without(view.segment, view.deleted, drafted)) for view in snapshot.segments]
            live = _live_segment(collection, snapshot, drafted)
            placed = [*kept, *([Placed(live, Bitmap.empty(live.documents), staged=True)] if live else []), *placed]
        staging = drafted.segment.folder.parent
        draft = replace(
            snapshot.manifest,
            encoder=replace(drafted.encoder, languages=tuple(drafted.encoder.languages)),
            settings=drafted.settings,
            analysis=Analysis(AnalysisSettings(drafted.settings.synonyms, drafted.settings.words)).version,
            log_seq=snapshot.seq,
            tombstones=collection.tombstones(),
            recipe=drafted.recipe or snapshot.manifest.recipe,
        )
        publish(collection.layout, draft, placed, content=True)
        shutil.rmtree(staging, ignore_errors=True)
        return collection.taken_up().info


def _without(segment: Segment, deleted: Bitmap, drafted: Drafted) -> Bitmap:
    """The deleted documents of a segment, with those that the build replaces or removes."""
    rows = [*segment.columns.rows_shared_with(drafted.segment.columns)]
    rows += [row for row in segment.rows_of(sorted(drafted.delete)) if row >= 0]
    return deleted.with_rows(np.array(rows, np.int64)) if rows else deleted


def _live_segment(collection: Collection, snapshot: Snapshot, drafted: Drafted) -> Segment | None:
    """What is in memory alone and stays, as a segment: a build ends with an empty log."""
    parts: list[Part] = []
    for view in snapshot.blocks:
        rows = view.admitted_documents(EVERYTHING).rows().tolist()
        ids = [view.document(row).document_id for row in rows]
        replaced = drafted.segment.rows_of(ids)
        stays = [
            row for row, one, other in zip(rows, ids, replaced, strict=True) if other < 0 and one not in drafted.delete
        ]
        if stays:
            parts.append(view.part(stays))
    return write_segment(collection, parts, drafted.settings, snapshot) if parts else None


def write_segment(
    collection: Collection,
    parts: Sequence[Part] | Iterable[Part],
    settings: CollectionSettings,
    snapshot: Snapshot,
    *,
    prefix: str = "",
    threads: int = 1,
) -> Segment:
    """A segment of ``parts`` in a folder of its own below ``staging``."""
    folder = collection.layout.staging / f"{prefix}{uuid.uuid4().hex}" / new_segment_id()
    dimension = snapshot.info.dimension
    with SegmentWriter(folder, dimension, settings, snapshot.analysis) as writer:
        for part in parts:
            writer.add(part)
    finish_segment(folder, writer.documents, writer.passages, dimension, settings, snapshot.analysis, threads=threads)
    sync_file(folder.parent)
    return Segment(folder, snapshot.analysis, settings.fields)
