"""Recall in this process: collections on its disk, and models that load beside the requests."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from retrieval.analysis import analyse
from retrieval.changes import Outcome
from retrieval.collection import Collection
from retrieval.errors import CollectionNotFound, Conflict, InvalidRequest, RiddleError
from retrieval.filters import Scope, parse_filter
from retrieval.late_encoder import LateEncoder
from retrieval.manifest import CollectionSettings
from retrieval.pauses import keep_pauses_short
from retrieval.recall import Beside, recall
from retrieval.snapshot import Snapshot
from retrieval.store import CollectionStore
from retrieval.types import (
    Clock,
    CollectionInfo,
    Document,
    Encoder,
    Recalled,
)
from services.aliases import lead
from services.late import LateShelf
from services.loading import Deferred
from services.pool import Pool
from services.ports import CollectionView, NewCollection, Put, RecallRequest, Remove, Rights, Written
from services.preparing import Preparation, prepared
from services.shelf import EncoderShelf, InTime
from services.spelling import Spelling

log = logging.getLogger("riddle.embedded")

LATE_MS = 60.0
"""With less time than this late interaction is not begun: encoding the query takes 7 ms of a core that the rungs below
need, and twice that beside another caller."""


class EmbeddedRecall:
    """RecallPort over a store on this machine's disk.

    ``offered`` says whether callers may name an encoder for a new collection: a name may stand for a
    folder or for an address, which are not theirs to choose.
    """

    def __init__(
        self,
        store: CollectionStore,
        encoders: EncoderShelf,
        default_collection: str,
        pool: Pool,
        *,
        how: Preparation | None = None,
        offered: Callable[[str], bool] = lambda name: False,
        late: LateShelf | None = None,
        spelling: Spelling | None = None,
    ) -> None:
        self._store = store
        self._spelling = spelling or Spelling()
        self._late = late or LateShelf()
        self._encoders = encoders
        self._default = default_collection
        self._pool = pool
        self._writes = Pool("write", workers=2, queue=32)
        self._how = how or Preparation()
        self._offered = offered
        self._opened: set[str] = set()
        self._encoding = ThreadPoolExecutor(2, thread_name_prefix="riddle-embed")
        self._index = Deferred("index", self._warm)

    def start(self) -> None:
        """Begin to load the encoder and to open the collections."""
        self._encoders.start()
        self._index.start()

    def load_late(self, collection: str) -> None:
        """Wait for the model that the collection's token vectors come from, if it keeps any. Raises ModelMissing."""
        spec = self._store.open(collection).settings.late
        if spec is not None:
            self._late.wait(spec)

    async def collections(self, rights: Rights) -> list[CollectionView]:
        return await self._pool.run(
            lambda: [self._view(self._store.open(name), rights) for name in self._store.names()]
        )

    async def view(self, collection: str, rights: Rights) -> CollectionView:
        return await self._pool.run(lambda: self._view(self._store.open(collection), rights))

    async def describe(self, collection: str) -> CollectionInfo:
        if collection in self._opened:
            # Two `stat`s while nothing changes: less than handing it to a thread and back.
            return self._store.info(collection)
        info = await asyncio.to_thread(self._store.info, collection)
        self._opened.add(collection)
        return info

    async def recall(self, request: RecallRequest) -> Recalled:
        ends = None if request.deadline_ms is None else time.monotonic() + request.deadline_ms / 1000
        return await self._pool.run(lambda: self._recall(request, ends))

    async def document(self, collection: str, document_id: str, rights: Rights) -> Document:
        principals = frozenset(rights.principals)
        return await self._pool.run(lambda: self._store.open(collection).snapshot().document(document_id, principals))

    async def write(self, collection: str, changes: Sequence[Put | Remove]) -> Written:
        return await self._writes.run(lambda: self._write(collection, changes))

    async def create(self, collection: str, wanted: NewCollection) -> bool:
        return await self._writes.run(lambda: self._create(collection, wanted))

    async def drop(self, collection: str) -> None:
        await asyncio.to_thread(self._store.drop, collection)
        self._opened.discard(collection)

    async def set_alias(self, alias: str, collection: str) -> None:
        await asyncio.to_thread(lead, self._store, alias, collection)

    async def remove_alias(self, alias: str) -> None:
        await asyncio.to_thread(self._store.remove_alias, alias)

    async def ready(self) -> Mapping[str, str]:
        return {"encoder": self._encoders.state, "index": self._index.state}

    async def aclose(self) -> None:
        await self._pool.aclose()
        await self._writes.aclose()
        self._spelling.close()
        self._encoding.shutdown(wait=False, cancel_futures=True)

    def _view(self, collection: Collection, rights: Rights) -> CollectionView:
        snapshot = collection.snapshot()
        documents, passages = snapshot.count(_scope(rights))
        aliases = tuple(sorted(alias for alias, to in self._store.aliases().items() if to == collection.name))
        info = replace(snapshot.info, documents=documents, passages=passages)
        settings = snapshot.manifest.settings
        late = settings.late.model if settings.late else ""
        return CollectionView(info, settings.vectors, dict(settings.fields), aliases, late)

    def _recall(self, request: RecallRequest, ends: float | None) -> Recalled:
        snapshot = self._store.open(request.collection).snapshot()
        scope = _scope(request.rights)
        if request.filters is not None:
            scope = replace(scope, filter=parse_filter(request.filters, snapshot.manifest.settings.fields))
        encoder, missing = self._encoder_of(snapshot, request)
        late, lateless = self._late_of(snapshot, request)
        missing += lateless
        if encoder is not None and ends is not None:
            encoder = InTime(encoder, ends, self._encoding)
        clock = Clock()
        correction, unspelt = self._spelling(request, snapshot, scope, ends, clock)
        missing += unspelt
        meant = correction.query if correction and request.spelling == "on" else ""
        found = recall(
            snapshot,
            encoder,
            request.query,
            scope=scope,
            depth=request.depth,
            fusion=request.fusion,
            rrf_k=request.rrf_k,
            normalisation=request.normalisation,
            weights=request.weights,
            fetch=request.fetch,
            late=late,
            beside=Beside(meant, request.rewordings, request.passages),
            ends=ends,
            clock=clock,
        )
        if request.facets:
            with clock("facets"):
                counts = snapshot.facets(request.facets, scope)
            facets = {key: tuple(values) for key, values in counts.items()}
            found = replace(found, facets=facets, timings_ms=clock.ms)
        if correction is not None:
            found = replace(found, correction=correction)
        return replace(found, degraded=tuple(dict.fromkeys((*found.degraded, *missing)))) if missing else found

    def _encoder_of(self, snapshot: Snapshot, request: RecallRequest) -> tuple[Encoder | None, tuple[str, ...]]:
        """The encoder for this query, None when it needs none or has none; and what is left out for that."""
        if not snapshot.info.encoder or request.weights.get("dense", 1.0) <= 0:
            return None, ()
        try:
            return self._encoders.get(snapshot.info.encoder), ()
        except RiddleError as error:
            log.info("searching without vectors: %s", error.detail)
            return None, ("dense",)

    def _late_of(self, snapshot: Snapshot, request: RecallRequest) -> tuple[LateEncoder | None, tuple[str, ...]]:
        """The same of the model that the token vectors come from."""
        if not request.late or snapshot.late_spec is None:
            return None, ()
        if request.deadline_ms is not None and request.deadline_ms < LATE_MS:
            return None, ("late",)
        try:
            return self._late.get(snapshot.late_spec), ()
        except RiddleError as error:
            log.info("searching without late interaction: %s", error.detail)
            return None, ("late",)

    def _write(self, name: str, changes: Sequence[Put | Remove]) -> Written:
        collection = self._store.open(name)

        def encoder() -> Encoder:
            found = self._encoders.get(collection.encoder.name)
            collection.snapshot().check_encoder(found.spec)
            return found

        spec = collection.settings.late
        late = None if spec is None else lambda: self._late.wait(spec)
        ready = prepared(changes, collection.encoder.dimension, collection.settings.fields, encoder, self._how, late)
        accepted = [each for each in ready if not isinstance(each, Outcome)]
        written = iter(collection.write(accepted) if accepted else ())
        outcomes = tuple(each if isinstance(each, Outcome) else next(written) for each in ready)
        return Written(collection.info().generation, outcomes)

    def _create(self, name: str, wanted: NewCollection) -> bool:
        settings = CollectionSettings(wanted.vectors, wanted.fields, wanted.synonyms, wanted.words)
        try:
            return self._made_alike(self._store.open(name), name, wanted, settings)
        except CollectionNotFound:
            pass
        if wanted.encoder and wanted.encoder != self._encoders.default and not self._offered(wanted.encoder):
            raise InvalidRequest(
                f"encoder: {wanted.encoder!r} is none that this server offers; leave it out for its own"
            )
        encoder = self._encoders.get(wanted.encoder or self._encoders.default)
        spec = self._late.chosen(wanted.late)
        try:
            self._store.create(name, replace(settings, late=spec), encoder.spec)
        except Conflict:  # another was quicker; what it made may be what is wanted
            return self._made_alike(self._store.open(name), name, wanted, settings)
        return True

    def _made_alike(
        self, collection: Collection, name: str, wanted: NewCollection, settings: CollectionSettings
    ) -> bool:
        """False, for nothing was made. Raises Conflict when what is there is something else."""
        if collection.name != name:
            raise Conflict(f"{name} is an alias, of {collection.name}")
        held = collection.settings
        there = CollectionSettings(held.vectors, dict(held.fields), held.synonyms, held.words)
        late = held.late.model if held.late else ""
        alike = wanted.encoder in ("", collection.encoder.name) and wanted.late in (None, late)
        if there != settings or not alike:
            raise Conflict(
                f"{name} is there already and was made otherwise: settings are for life; make another, and let an "
                "alias stand for it"
            )
        return False

    def _warm(self) -> bool:
        """Open every collection and ask the default one a question, so that no user pays for the first.

        Raises IndexUnreadable for the default collection alone: one damaged collection among others
        does not take the service away from the rest.
        """
        for name in self._store.names():
            try:
                info = self._store.info(name)
                if info.encoder:
                    self._encoders.wait(info.encoder)
                with contextlib.suppress(RiddleError):  # loading has said it, and searches do without
                    self.load_late(name)
                self._recall(RecallRequest(name, "warm up"), None)
                if name == self._default and self._spelling.eager:
                    self._spelling.begin(self._store.snapshot(name))
            except RiddleError as error:
                log.warning("the collection %s: %s", name, error.detail)
                if name == self._default and error.code == "index_unreadable":
                    raise
        analyse("数据库")  # loads the dictionary of the segmenter
        keep_pauses_short()
        return True


def _scope(rights: Rights) -> Scope:
    return Scope(principals=frozenset(rights.principals))
