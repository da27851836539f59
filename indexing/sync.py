"""Brings a collection level with its source: what changed is made again, and what is gone stops answering."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from indexing.chunking import ChunkSettings
from indexing.connectors.base import Connector, Fetched, Listed
from indexing.formats.ocr import Recognise, tesseract
from indexing.items import Item
from indexing.ledger import Ledger
from indexing.partitions import Entry, Maker, item_digest, partitions
from indexing.progress import Meter, Progress
from indexing.publishing import check_encoder, publish, working
from indexing.settings import BuildSettings
from indexing.sources import Rejected
from indexing.steps import Steps
from indexing.sync_state import Counts, SyncState
from retrieval.errors import InvalidRequest, SourceUnreadable, Unavailable
from retrieval.late_encoder import LateEncoder
from retrieval.manifest import CollectionSettings
from retrieval.store import CollectionStore
from retrieval.types import Encoder

__all__ = ["SyncSummary", "sync"]

MAX_FAILED = 1000


@dataclass(frozen=True, slots=True)
class SyncSummary:
    """What a sync did, in documents of its source. ``generation`` is the collection's afterwards."""

    added: int
    changed: int
    deleted: int
    unchanged: int
    seconds: float
    generation: str
    rejected: list[Rejected] = field(repr=False)
    """The first ten thousand things that changed into what cannot be read; ``rejected_count`` counts all."""
    rejected_count: int
    failed: list[Rejected] = field(repr=False)
    """The first thousand things that could not be had now, whose documents stay as they were; ``failed_count`` all."""
    failed_count: int


def sync(
    connector: Connector,
    collection: str,
    *,
    store: CollectionStore,
    encoder: Encoder,
    work: Path,
    chunk: ChunkSettings | None = None,
    settings: BuildSettings | None = None,
    index: CollectionSettings | None = None,
    allow_empty: bool = False,
    progress: Callable[[Progress], None] = lambda progress: None,
    cancel: threading.Event | None = None,
    recognise: Recognise | None = None,
    late: LateEncoder | None = None,
) -> SyncSummary:
    """Make ``collection`` hold what the source of ``connector`` holds, in one new generation if anything changed.

    Documents of other origin stay. What is known of the source lies under ``work``, changed only after the
    generation was published; a sync killed anywhere is carried out by the next one, which takes up the steps
    that were finished. Near-duplicates stay, since the one that is kept may go later. With ``late``
    passages get token vectors for late interaction.

    Raises InvalidRequest for a source that lists nothing where it listed something before, unless ``allow_empty``;
    Conflict while a build or a sync of this collection runs, or when it was built with another encoder; Cancelled,
    DiskFull, and what connector and encoder raise. The collection then stays as it was.
    """
    began, settings = time.monotonic(), settings or BuildSettings()
    there = check_encoder(store, collection, encoder, replace=False)
    with working(work, collection), closing(SyncState(state_path(work, collection, connector.name))) as state:
        ledger = Ledger(work / collection)
        meter = Meter(progress, cancel or threading.Event())
        maker = Maker(encoder, chunk or ChunkSettings(), settings.batch_tokens, recognise or tesseract(), late=late)
        state.made_as(maker.how())
        meter.stage("listing", None)
        count = state.list_all(_watched(connector.listed(), meter))
        _look_after(state, store if there else None, collection, count, allow_empty)
        steps = Steps(maker, ledger, meter)
        reader = _Reader(connector, state, meter)
        meter.stage("reading", None)
        while True:
            for group in partitions(reader.entries(), settings):
                _note(state, ledger, steps.prepare(group))
            if not state.force_other_holders():
                break
        counts, gone = state.counts(), state.to_delete()
        settled = steps.settle()
        if settled.documents or (gone and there):
            steps.embed(settled)
            publish(store, collection, steps, settled, encoder.spec, meter, settings, index=index, delete=gone)
        elif not there:
            raise InvalidRequest(f"nothing to sync: {connector.name} holds nothing that can be read")
        state.apply()
        ledger.clear()
    seconds = round(time.monotonic() - began, 3)
    return _summary(counts, seconds, store.info(collection).generation, steps, reader)


def _summary(counts: Counts, seconds: float, generation: str, steps: Steps, reader: _Reader) -> SyncSummary:
    return SyncSummary(
        added=counts.added,
        changed=counts.changed,
        deleted=counts.deleted,
        unchanged=counts.unchanged,
        seconds=seconds,
        generation=generation,
        rejected=steps.rejected.named,
        rejected_count=steps.rejected.count,
        failed=reader.failed,
        failed_count=reader.failed_count,
    )


def state_path(work: Path, collection: str, source: str) -> Path:
    """Where what is known of a source lies."""
    return work / "sync" / collection / f"{hashlib.sha256(source.encode()).hexdigest()[:16]}.sqlite"


class _Reader:
    """Fetches what may have changed, and passes on what has; what failed stays as it is known."""

    def __init__(self, connector: Connector, state: SyncState, meter: Meter) -> None:
        self._connector, self._state, self._meter = connector, state, meter
        self.failed: list[Rejected] = []
        self.failed_count = 0

    def entries(self) -> Iterator[Entry]:
        """The items that differ from those known."""
        for listed, answer in self._fetched():
            self._meter.check()
            try:
                fetched = answer()
            except SourceUnreadable as error:
                fetched = Fetched([Rejected(listed.item, error.detail)])
            except Unavailable as error:
                self.failed_count += 1
                if len(self.failed) < MAX_FAILED:
                    self.failed.append(Rejected(listed.item, error.detail))
                continue
            if fetched is None:
                continue
            for entry in fetched.entries:
                if isinstance(entry, Rejected) or not self._known(listed.item, entry):
                    yield entry
            self._state.done(listed, fetched.mark)

    def _known(self, item: str, entry: Item) -> bool:
        """Whether the document of this entry is there, made from the same; a row without an id goes by its place."""
        digest = item_digest(entry)
        known = self._state.known(item, digest)
        place = entry.fallback_id
        if place not in known:
            known = [each for each in known if not each.startswith(f"{item}:")]
        if not known:
            return False
        self._state.found(item, place if place in known else known[0], digest, made=False)
        return True

    def _fetched(self) -> Iterator[tuple[Listed, Callable[[], Fetched | None]]]:
        """Things with what gives what was fetched of them, in order, some fetched ahead."""
        fetch, todo = self._connector.fetch, self._state.todo()
        if self._connector.parallel <= 1:
            yield from ((listed, lambda listed=listed, mark=mark: fetch(listed, mark)) for listed, mark in todo)
            return
        with ThreadPoolExecutor(self._connector.parallel, "fetch") as pool:
            ahead: deque[tuple[Listed, Future[Fetched | None]]] = deque()
            for listed, mark in todo:
                ahead.append((listed, pool.submit(fetch, listed, mark)))
                if len(ahead) > 2 * self._connector.parallel:
                    first, future = ahead.popleft()
                    yield first, future.result
            for first, future in ahead:
                yield first, future.result


def _watched(listed: Iterator[Listed], meter: Meter) -> Iterator[Listed]:
    for number, each in enumerate(listed, 1):
        meter.seen(number)
        yield each


def _look_after(state: SyncState, store: CollectionStore | None, collection: str, count: int, empty: bool) -> None:
    """See that what is known is still so in the collection, and that the source has not just gone away."""
    known = False
    snapshot = None if store is None else store.snapshot(collection)
    for ids in state.documents():
        known = True
        places = [None] * len(ids) if snapshot is None else snapshot.find(ids)
        state.missing([one for one, place in zip(ids, places, strict=True) if place is None])
    if known and not count and not empty:
        raise InvalidRequest(
            "the source lists nothing at all, and all its documents would be deleted; if that is so, say --allow-empty"
        )


def _note(state: SyncState, ledger: Ledger, key: str) -> None:
    """Note the documents of a partition, which has just been prepared."""
    with state.noting():
        for item, document, digest in ledger.described(key):
            state.found(item, document, digest, made=True)
