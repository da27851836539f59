"""Builds sources into a collection, partition by partition, so that a build killed anywhere continues."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from indexing.chunking import ChunkSettings
from indexing.formats.ocr import Recognise, tesseract
from indexing.items import count_items, read_items
from indexing.ledger import Finished, Ledger, OpenFile, open_file
from indexing.partitions import Maker, id_hashes, partitions, superseded
from indexing.progress import Meter, Progress
from indexing.settings import BuildSettings
from indexing.sources import Plan, Rejected, Source, plan
from retrieval.collection import CollectionStore, Generation, IndexSettings, Part, write_generation
from retrieval.durable import disk_full_said_plainly, exclusive
from retrieval.errors import CollectionNotFound, Conflict, IndexUnreadable, InvalidRequest
from retrieval.types import Encoder

__all__ = ["BuildSettings", "BuildSummary", "Progress", "Rejected", "Source", "build"]


@dataclass(frozen=True, slots=True)
class BuildSummary:
    """What a build published. ``documents`` and ``passages`` count what this build read, not what was there before."""

    documents: int
    passages: int
    rejected: list[Rejected] = field(repr=False)
    seconds: float
    generation: str
    reused: int = 0
    """Documents taken over from a build that was killed or cancelled."""


def build(
    sources: Sequence[Source | Path],
    collection: str,
    *,
    store: CollectionStore,
    encoder: Encoder,
    work: Path,
    chunk: ChunkSettings | None = None,
    settings: BuildSettings | None = None,
    index: IndexSettings | None = None,
    replace: bool = False,
    progress: Callable[[Progress], None] = lambda progress: None,
    cancel: threading.Event | None = None,
    recognise: Recognise | None = None,
    opener: OpenFile = open_file,
) -> BuildSummary:
    """Build ``sources`` into ``collection`` and make the result its current generation.

    What the collection holds already stays, a document of an id that is built again excepted;
    ``replace`` starts afresh. Finished partitions lie under ``work`` until the result is published:
    the same call after a kill, a cancel or a full disk takes them up. ``recognise`` reads scans; by
    default tesseract does, where it is installed.

    Raises InvalidRequest for sources that are not there or hold nothing readable, Conflict while another
    build of this collection runs or when it was built with another encoder, Cancelled, DiskFull, and what
    the encoder raises; the collection then stays as it was.
    """
    began, settings = time.monotonic(), settings or BuildSettings()
    _existing(store, collection, encoder, replace)
    planned = plan(sources)
    lock = work / f"{collection}.lock"
    with (
        disk_full_said_plainly(f"the collection {collection}", work),
        exclusive(lock, f"another build of the collection {collection} is running; wait for it, or stop it first"),
    ):
        ledger = Ledger(work / collection, opener)
        maker = Maker(encoder, chunk or ChunkSettings(), settings.batch_tokens, recognise or tesseract())
        meter = Meter(progress, cancel or threading.Event())
        done = _make_all(planned, maker, ledger, meter, settings)
        if not done.documents:
            ledger.clear()
            raise InvalidRequest(_nothing(done.rejected))
        meter.stage("indexing", done.passages)
        info = write_generation(
            store,
            collection,
            _parts(_existing(store, collection, encoder, replace), done, ledger),
            encoder=encoder.spec,
            settings=index,
            progress=meter.index,
        )
        ledger.clear()
    return BuildSummary(
        documents=done.documents,
        passages=done.passages,
        rejected=done.rejected,
        seconds=round(time.monotonic() - began, 3),
        generation=info.generation,
        reused=done.reused,
    )


@dataclass(slots=True)
class _Done:
    """The partitions of a build, all finished; ``dropped`` by place: the ids that a later one holds again."""

    partitions: list[_Counted]
    rejected: list[Rejected]
    dropped: dict[int, frozenset[str]]
    documents: int
    passages: int
    reused: int


@dataclass(frozen=True, slots=True)
class _Counted:
    """What is kept in memory of a finished partition."""

    key: str
    passages: int
    hashes: np.ndarray[tuple[int], np.dtype[np.uint64]]


def _make_all(planned: Plan, maker: Maker, ledger: Ledger, meter: Meter, settings: BuildSettings) -> _Done:
    """Make the partitions that are not finished yet, one after another."""
    meter.stage("reading", None)
    meter.stage("embedding", sum(meter.checked(count_items(file)) for file in planned.files))
    rejected = list(planned.rejected)
    meter.failed(len(rejected))
    counted: list[_Counted] = []
    made: set[str] = set()
    reused = 0
    entries = (entry for file in planned.files for entry in read_items(file))
    for group in partitions(entries, settings):
        key = maker.key(group)
        finished = ledger.find(key)
        if finished is None:
            finished, part = maker.make(key, group, meter.check, partial(meter.partly, len(group)))
            ledger.write(finished, part)
            made.add(key)
            meter.advance(finished.items, len(finished.rejected), f"part-{len(counted) + 1}")
        else:
            reused += 0 if key in made else len(finished.document_ids)
            meter.skip(finished.items, len(finished.rejected), f"part-{len(counted) + 1}")
        rejected.extend(finished.rejected)
        counted.append(_Counted(key, finished.passages, id_hashes(finished.document_ids)))
    dropped, dropped_passages = _superseded(counted, ledger, rejected)
    return _Done(
        partitions=counted,
        rejected=rejected,
        dropped=dropped,
        documents=sum(len(each.hashes) for each in counted) - sum(map(len, dropped.values())),
        passages=sum(each.passages for each in counted) - dropped_passages,
        reused=reused,
    )


def _superseded(
    counted: list[_Counted], ledger: Ledger, rejected: list[Rejected]
) -> tuple[dict[int, frozenset[str]], int]:
    """Ids, by place of the partition, that come again in a later one, noted in ``rejected``; and their passages."""
    hashes = np.concatenate([each.hashes for each in counted]) if counted else np.empty(0, np.uint64)
    unique, counts = np.unique(hashes, return_counts=True)
    twice = unique[counts > 1]
    later: set[str] = set()
    dropped: dict[int, frozenset[str]] = {}
    passages = 0
    for place, each in reversed(list(enumerate(counted))):
        if not len(twice) or not np.isin(each.hashes, twice).any():
            continue
        part = ledger.read(each.key)
        ids = {document.document_id for document in part.documents}
        gone = ids & later
        later |= {one for one, known in zip(ids, np.isin(id_hashes(ids), twice), strict=True) if known}
        if gone:
            dropped[place] = frozenset(gone)
            rejected.extend(superseded(f"document {one}", one) for one in sorted(gone))
            found = zip(part.documents, part.chunks, strict=True)
            passages += sum(len(chunks) for document, chunks in found if document.document_id in gone)
    return dropped, passages


def _parts(existing: Generation | None, done: _Done, ledger: Ledger) -> Iterator[Part]:
    """The parts of the next generation: what stays of the one before, then what this build made."""
    if existing is not None:
        ids = frozenset(one for each in done.partitions for one in _found(ledger.find(each.key)).document_ids)
        yield from existing.export_parts(exclude=ids)
    for place, each in enumerate(done.partitions):
        part = ledger.read(each.key)
        gone = done.dropped.get(place)
        yield _without(part, gone) if gone else part


def _found(finished: Finished | None) -> Finished:
    if finished is None:
        raise Conflict("a finished part of this build has been removed from its work folder; start the build again")
    return finished


def _without(part: Part, gone: frozenset[str]) -> Part:
    kept = [document.document_id not in gone for document in part.documents]
    rows = np.repeat(np.array(kept, bool), [len(chunks) for chunks in part.chunks])
    return Part(
        [document for document, keep in zip(part.documents, kept, strict=True) if keep],
        [chunks for chunks, keep in zip(part.chunks, kept, strict=True) if keep],
        np.ascontiguousarray(part.vectors[rows]),
    )


def _existing(store: CollectionStore, collection: str, encoder: Encoder, replace: bool) -> Generation | None:
    """The generation to add to, None for a new start. Raises InvalidRequest for a bad name, Conflict."""
    try:
        info = store.info(collection)
        if replace:
            return None
        generation = store.open(collection)
    except CollectionNotFound:
        return None
    except IndexUnreadable:
        if replace:
            return None
        raise
    if generation.encoder.fingerprint != encoder.spec.fingerprint or info.dimension != encoder.spec.dimension:
        raise Conflict(
            f"the collection {collection} was built with the encoder {info.encoder}, not with {encoder.spec.name} as "
            "it is now; add to it with that one, or build all of it again with --replace"
        )
    return generation


def _nothing(rejected: Sequence[Rejected]) -> str:
    """Why a build has no document at all."""
    if not rejected:
        return "nothing to build: the sources hold no files"
    reasons = Counter(each.reason for each in rejected).most_common(3)
    told = "; ".join(f"{reason}" + (f" ({count} times)" if count > 1 else "") for reason, count in reasons)
    example = f", such as {rejected[0].source}" if len(rejected) > 1 else f" ({rejected[0].source})"
    return f"nothing to build: all {len(rejected)} files or rows were set aside{example}: {told}"
