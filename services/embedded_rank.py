"""Ranking in this process, behind a queue of its own."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence

from ranking.pipeline import RankPipeline
from retrieval.errors import RiddleError, Unavailable
from retrieval.types import Candidate, Ranked
from services.loading import Deferred
from services.pool import Pool


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
        left = _countdown(deadline_ms)
        found = await self._pool.run(lambda: pipeline.rank(query, candidates, depth=depth, deadline_ms=left()))
        if not all(math.isfinite(candidate.score) for candidate in found.candidates):
            raise Unavailable("the reranker gave a score that is no number", stage="rerank")
        return found

    async def read(
        self, query: str, candidates: Sequence[Candidate], *, depth: int, whole: bool, deadline_ms: float | None
    ) -> Ranked:
        pipeline = self._pipeline.get()
        left = _countdown(deadline_ms)
        return await self._pool.run(
            lambda: pipeline.read(query, candidates, depth=depth, whole=whole, deadline_ms=left())
        )

    async def ready(self) -> Mapping[str, str]:
        return {"reranker": self._pipeline.state}

    async def aclose(self) -> None:
        await self._pool.aclose()


def _countdown(deadline_ms: float | None) -> Callable[[], float | None]:
    """What is left of it when it is asked. Time in a queue counts: the deadline is the caller's, not the thread's."""
    ends = None if deadline_ms is None else time.monotonic() + deadline_ms / 1000
    return lambda: None if ends is None else max(0.0, (ends - time.monotonic()) * 1000)
