"""Models of this process that many callers share: loaded when first asked for, their texts in shared batches."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from ranking.pairs import PairScorer
from retrieval.encoders import OpenEncoder
from retrieval.errors import InvalidRequest, Unavailable
from retrieval.tokens import Encoded
from services.batcher import Batch, Batcher
from services.peers.limits import PeerSettings
from services.peers.ports import EmbedCall, Embedded, ScoreCall, Scored, ServedModel
from services.pool import Pool

M = TypeVar("M")
Out = TypeVar("Out")
T = TypeVar("T")

Observe = Callable[[str, Batch], None]
"""Told of each batch and of the stage that it is of."""


class Shared(Generic[M, Out]):
    """One model behind a batcher. ``load`` may take seconds and is called again when it failed before."""

    def __init__(
        self,
        stage: str,
        load: Callable[[], tuple[M, ServedModel]],
        work: Callable[[M, Sequence[Encoded]], Sequence[Out]],
        settings: PeerSettings,
        observe: Observe,
    ) -> None:
        self._load = load
        self._work = work
        self._timeout_s = settings.timeout_s
        self._stage = stage
        # Two threads read while one computes: a model takes every core that it may.
        self._reading = Pool(stage, workers=2, queue=256)
        self._computing = Pool(stage, workers=1, queue=1)
        self._batcher = Batcher(stage, self._compute, len, settings.batches, lambda batch: observe(stage, batch))
        self._held: tuple[M, ServedModel] | None = None

    async def held(self) -> tuple[M, ServedModel]:
        """Raises what loading raised, Unavailable when it takes too long."""
        if self._held is None:
            self._held = await self._in_time(self._load, asyncio.get_running_loop().time() + self._timeout_s)
        return self._held

    async def run(self, read: Callable[[M, ServedModel], list[Encoded]]) -> tuple[list[Out], int]:
        """What the model makes of the texts that ``read`` turns into tokens, and how many tokens there were."""
        deadline = asyncio.get_running_loop().time() + self._timeout_s
        model, served = await self.held()
        tokens = await self._in_time(lambda: read(model, served), deadline)
        return await self._batcher.run(tokens, deadline), sum(map(len, tokens))

    async def aclose(self) -> None:
        await self._batcher.aclose()
        await self._reading.aclose()
        await self._computing.aclose()

    async def _in_time(self, call: Callable[[], T], deadline: float) -> T:
        try:
            async with asyncio.timeout_at(deadline) as limit:
                return await self._reading.run(call)
        except TimeoutError:
            if not limit.expired():
                raise
            raise Unavailable(
                f"the {self._stage} model was not there in time", stage=self._stage, retry_after_ms=1000
            ) from None

    async def _compute(self, items: Sequence[Encoded]) -> Sequence[Out]:
        model, _ = await self.held()
        return await self._computing.run(lambda: self._work(model, items))


class SharedEncoder:
    """EmbedPort with the encoder in this process."""

    def __init__(
        self, load: Callable[[], tuple[OpenEncoder, ServedModel]], settings: PeerSettings, observe: Observe
    ) -> None:
        self._shared: Shared[OpenEncoder, NDArray[np.float32]] = Shared("embed", load, _pooled, settings, observe)

    async def model(self) -> ServedModel:
        return (await self._shared.held())[1]

    async def embed(self, call: EmbedCall) -> Embedded:
        rows, tokens = await self._shared.run(lambda encoder, model: _read(encoder, model, call))
        dimension = (await self.model()).dimension
        vectors = np.array(rows, "<f4").reshape(len(rows), dimension)
        if not np.isfinite(vectors).all():
            raise Unavailable("the encoder gave a vector that is not finite", stage="embed")
        return Embedded(vectors.tobytes(), dimension, tokens)

    async def aclose(self) -> None:
        await self._shared.aclose()


class SharedReranker:
    """ScorePort with the reranker in this process."""

    def __init__(
        self, load: Callable[[], tuple[PairScorer, ServedModel]], settings: PeerSettings, observe: Observe
    ) -> None:
        self._shared: Shared[PairScorer, float] = Shared("rerank", load, _scores, settings, observe)

    async def model(self) -> ServedModel:
        return (await self._shared.held())[1]

    async def score(self, call: ScoreCall) -> Scored:
        logits, tokens = await self._shared.run(lambda scorer, model: _read_pairs(scorer, model, call))
        if not np.isfinite(logits).all():
            raise Unavailable("the reranker gave a score that is no number", stage="rerank")
        return Scored(tuple(logits), tokens)

    async def aclose(self) -> None:
        await self._shared.aclose()


_COUNTED = 8
"""How many times the limit of a model is counted out for a text that may not be cut, so that the error can say."""


def _read(encoder: OpenEncoder, model: ServedModel, call: EmbedCall) -> list[Encoded]:
    if call.truncate:
        return encoder.tokens(call.texts, call.role, model.max_tokens)
    tokens = encoder.tokens(call.texts, call.role, model.max_tokens * _COUNTED)
    _check(tokens, model, "text")
    return tokens


def _read_pairs(scorer: PairScorer, model: ServedModel, call: ScoreCall) -> list[Encoded]:
    if call.truncate:
        return scorer.pairs(call.query, call.texts, model.max_tokens, call.text_tokens)
    pairs = scorer.pairs(call.query, call.texts, model.max_tokens * _COUNTED, call.text_tokens)
    _check(pairs, model, "query and text")
    return pairs


def _check(tokens: Sequence[Encoded], model: ServedModel, what: str) -> None:
    for at, each in enumerate(tokens):
        if len(each) > model.max_tokens:
            more = " or more" if len(each) >= model.max_tokens * _COUNTED else ""
            raise InvalidRequest(
                f"{what} {at} is of {len(each):,}{more} tokens, and {model.name} reads {model.max_tokens}: send less, "
                "or `truncate: true` to have it cut"
            )


def _pooled(encoder: OpenEncoder, items: Sequence[Encoded]) -> list[NDArray[np.float32]]:
    return list(encoder.pooled(items))


def _scores(scorer: PairScorer, items: Sequence[Encoded]) -> list[float]:
    found: list[float] = scorer.logits(items).astype(np.float64).tolist()
    return found
