"""Recall and ranking in this process: readers of the store, and models that load beside the requests."""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import replace

from ranking.pipeline import RankPipeline
from retrieval.collection import CollectionStore
from retrieval.errors import RiddleError, Unavailable
from retrieval.recall import recall
from retrieval.types import (
    Candidate,
    Clock,
    CollectionInfo,
    Document,
    Encoder,
    EncoderSpec,
    Ranked,
    Recalled,
    Role,
    Vectors,
)
from services.loading import Deferred
from services.pool import Pool
from services.ports import RecallRequest

log = logging.getLogger("riddle.embedded")


class EncoderShelf:
    """Encoders by name, each loaded once. Thread-safe.

    A collection is searched with the encoder that it was built with, whatever the settings name now.
    """

    def __init__(self, default: str, load: Callable[[str], Encoder]) -> None:
        self._default = default
        self._load = load
        self._lock = threading.Lock()
        self._held: dict[str, Deferred[Encoder]] = {}

    def start(self) -> None:
        """Begin to load the default encoder, where there is one."""
        if self._default:
            self._entry(self._default).start()

    def get(self, name: str) -> Encoder:
        """Raises ModelMissing, or Unavailable while it loads."""
        return self._entry(name).get()

    def wait(self, name: str) -> Encoder:
        return self._entry(name).wait()

    @property
    def state(self) -> str:
        return self._entry(self._default).state if self._default else "ok"

    def _entry(self, name: str) -> Deferred[Encoder]:
        with self._lock:
            if name not in self._held:
                self._held[name] = Deferred("encoder", lambda: self._load(name))
            return self._held[name]


class InTime:
    """An encoder that gives up when the query's budget is spent, so that recall goes on without it."""

    def __init__(self, inner: Encoder, ends: float, threads: ThreadPoolExecutor) -> None:
        self._inner = inner
        self._ends = ends
        self._threads = threads

    @property
    def spec(self) -> EncoderSpec:
        return self._inner.spec

    def encode(self, texts: Sequence[str], role: Role) -> Vectors:
        left = self._ends - time.monotonic()
        if left <= 0:
            raise Unavailable("the time for this search ended before its query was encoded", stage="embed")
        try:
            return self._threads.submit(self._inner.encode, texts, role).result(timeout=left)
        except FutureTimeout as error:
            raise Unavailable("the encoder took longer than this search had", stage="embed") from error


class EmbeddedRecall:
    """RecallPort over a store on this machine's disk."""

    def __init__(self, store: CollectionStore, encoders: EncoderShelf, default_collection: str, pool: Pool) -> None:
        self._store = store
        self._encoders = encoders
        self._default = default_collection
        self._pool = pool
        self._encoding = ThreadPoolExecutor(2, thread_name_prefix="riddle-embed")
        self._index = Deferred("index", self._warm)

    def start(self) -> None:
        """Begin to load the encoder and to open the collections."""
        self._encoders.start()
        self._index.start()

    async def collections(self) -> list[CollectionInfo]:
        return await asyncio.to_thread(lambda: [self._store.info(name) for name in self._store.names()])

    async def describe(self, collection: str) -> CollectionInfo:
        # One `stat` while nothing changes: less than handing it to a thread and back.
        return self._store.info(collection)

    async def recall(self, request: RecallRequest) -> Recalled:
        ends = None if request.deadline_ms is None else time.monotonic() + request.deadline_ms / 1000
        return await self._pool.run(lambda: self._recall(request, ends))

    async def document(self, collection: str, document_id: str) -> Document:
        return await self._pool.run(lambda: self._store.open(collection).document(document_id))

    async def drop(self, collection: str) -> None:
        await asyncio.to_thread(self._store.drop, collection)

    async def ready(self) -> Mapping[str, str]:
        return {"encoder": self._encoders.state, "index": self._index.state}

    async def aclose(self) -> None:
        await self._pool.aclose()
        self._encoding.shutdown(wait=False, cancel_futures=True)

    def _recall(self, request: RecallRequest, ends: float | None) -> Recalled:
        generation = self._store.open(request.collection)
        encoder: Encoder | None = None
        missing: tuple[str, ...] = ()
        if generation.info.encoder and request.weights.get("dense", 1.0) > 0:
            try:
                encoder = self._encoders.get(generation.info.encoder)
            except RiddleError as error:
                log.info("searching without vectors: %s", error.detail)
                missing = ("dense",)
        if encoder is not None and ends is not None:
            encoder = InTime(encoder, ends, self._encoding)
        found = recall(
            generation,
            encoder,
            request.query,
            depth=request.depth,
            rrf_k=request.rrf_k,
            weights=request.weights,
            clock=Clock(),
        )
        return replace(found, degraded=tuple(dict.fromkeys((*found.degraded, *missing)))) if missing else found

    def _warm(self) -> bool:
        """Open every collection and ask the default one a question, so that no user pays for the first.

        Raises IndexUnreadable for the default collection alone: one damaged collection among others
        does not take the service away from the rest.
        """
        for name in self._store.names():
            try:
                info = self._store.open(name).info
                if info.encoder:
                    self._encoders.wait(info.encoder)
                self._recall(RecallRequest(name, "warm up"), None)
            except RiddleError as error:
                log.warning("the collection %s: %s", name, error.detail)
                if name == self._default and error.code == "index_unreadable":
                    raise
        return True


class EmbeddedRank:
    """RankPort with the reranker in this process; ``load`` makes the pipeline, warmed."""

    def __init__(self, load: Callable[[], RankPipeline], pool: Pool) -> None:
        self._pipeline = Deferred("reranker", load)
        self._pool = pool

    def start(self) -> None:
        self._pipeline.start()

    def wait(self) -> None:
        """Block until the pipeline is there. Raises what loading it raised."""
        self._pipeline.wait()

    @property
    def version(self) -> str:
        """Empty while the pipeline is not there: then nothing may be cached."""
        try:
            return self._pipeline.get().version
        except RiddleError:
            return ""

    async def rank(
        self, query: str, candidates: Sequence[Candidate], *, depth: int, deadline_ms: float | None
    ) -> Ranked:
        pipeline = self._pipeline.get()
        ends = None if deadline_ms is None else time.monotonic() + deadline_ms / 1000

        def ranked() -> Ranked:
            # Time in the queue counts: the deadline is the caller's, not the thread's.
            left = None if ends is None else max(0.0, (ends - time.monotonic()) * 1000)
            return pipeline.rank(query, candidates, depth=depth, deadline_ms=left)

        found = await self._pool.run(ranked)
        if not all(math.isfinite(candidate.score) for candidate in found.candidates):
            raise Unavailable("the reranker gave a score that is no number", stage="rerank")
        return found

    async def ready(self) -> Mapping[str, str]:
        return {"reranker": self._pipeline.state}

    async def aclose(self) -> None:
        await self._pool.aclose()
