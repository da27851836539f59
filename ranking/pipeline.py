"""The order that the caller sees: the first candidates reranked in the time there is, the rest behind them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ranking.budget import UNKNOWN, Budget, estimated_tokens
from ranking.cross_encoder import PAIR_TOKENS
from ranking.fields import numeric_fields
from ranking.reading import read
from ranking.stage_table import table_of
from ranking.tuned import Tuned
from ranking.windows import WEIGHED, Windows, WindowTexts
from retrieval.errors import InvalidRequest, RiddleError
from retrieval.languages import reads
from retrieval.types import Candidate, Clock, Ranked, Reranker, StageScore

_VERSION = "3"
"""Changes whenever the same candidates would come out in another order or with other scores."""


@dataclass(frozen=True, slots=True)
class RankSettings:
    """How much is reranked."""

    depth: int = 50
    """Candidates that the cross-encoder reads when a request does not say."""
    window_tokens: int = 48
    """Of each the cross-encoder reads the stretch of about so many tokens that fits the query best; 0 for all."""
    order: Literal["reranker", "blend"] = "blend"
    """What decides: the reranker alone, or all stages, trusted as `riddle tune` learned of the collection."""
    diversity: float = 0.0
    """How much variety counts beside relevance in the first 100 places, 0 to 1, when a request does not say."""
    fields: tuple[str, ...] = ()
    """Metadata that learned trees see as numbers, as KEY:KIND; kinds are number, log (for counts) and age (in days)."""
    early_stop: int = 10
    """In blend order reading ends when the rest is not expected to change the first so many; 0 reads on to `depth`."""

    def __post_init__(self) -> None:
        if not 0 <= self.diversity <= 1:
            raise ValueError(f"diversity must be from 0 to 1, not {self.diversity}")
        try:
            numeric_fields(self.fields_text)
        except InvalidRequest as error:
            raise ValueError(f"fields: {error.detail}") from error
        for name in ("depth", "window_tokens", "early_stop"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} {getattr(self, name)} must not be negative")

    @property
    def fields_text(self) -> str:
        """``fields`` as ``ranking.fields.numeric_fields`` reads them."""
        return ", ".join(self.fields)


class RankPipeline:
    """Orders candidates with a reranker, or leaves them in fused order without one. Thread-safe.

    ``budget`` plans what ``read`` reads in the time there is; without one it begins all, and time alone ends it.
    """

    def __init__(
        self, reranker: Reranker | None, settings: RankSettings | None = None, budget: Budget | None = None
    ) -> None:
        self._reranker = reranker
        self._budget = budget
        self.settings = settings or RankSettings()

    @property
    def version(self) -> str:
        """Names pipeline and model; part of every cache key."""
        if self._reranker is None:
            return f"{_VERSION}:fused"
        return f"{_VERSION}:{self._reranker.name}:{self.settings.window_tokens}:{self.settings.early_stop}"

    def rank(
        self,
        query: str,
        candidates: Sequence[Candidate],
        *,
        depth: int | None = None,
        deadline_ms: float | None = None,
    ) -> Ranked:
        """Rerank the first ``depth`` candidates (best fused first); the others follow in the order given.

        A reranked candidate's score is sigmoid(logit), ``scored_by`` ``rerank``; the others keep
        theirs. ``deadline_ms`` is the time left from now. When it does not suffice for all
        ``depth``, or the reranker fails, nothing is reordered and ``degraded`` says ``rerank``. A
        query in a language that the reranker was not trained for is not reranked and not degraded.
        """
        clock = Clock()
        head = list(candidates[: self.settings.depth if depth is None else depth])
        if self._reranker is None or not head or not _reads(self._reranker, query):
            return Ranked(tuple(candidates), clock.ms)
        deadline = None if deadline_ms is None else time.monotonic() + deadline_ms / 1000
        with clock("rerank"):
            try:
                logits = self._reranker.score(query, self._read(query, head), deadline)
            except RiddleError:
                logits = np.empty(0, np.float32)
        if len(logits) < len(head):
            return Ranked(tuple(candidates), clock.ms, ("rerank",))
        return Ranked((*_reordered(head, logits), *candidates[len(head) :]), clock.ms)

    def read(
        self,
        query: str,
        candidates: Sequence[Candidate],
        *,
        depth: int | None = None,
        whole: bool = False,
        deadline_ms: float | None = None,
    ) -> Ranked:
        """Give the foremost of ``candidates`` the stage ``rerank``, and leave the order as it is.

        They come in the order in which they are worth reading, their scores being what speaks for them so
        far. As many of the first ``depth`` are read as there is time for, fewer where the rest is not
        expected to matter; ``degraded`` says ``rerank`` when it was time, or the reranker, that ended it.
        With ``whole`` exactly ``depth`` are read, or ``degraded`` says so.
        """
        clock = Clock()
        began = time.monotonic()
        head = list(candidates[: self.settings.depth if depth is None else depth])
        if self._reranker is None or not head or not _reads(self._reranker, query):
            return Ranked(tuple(candidates), clock.ms)
        with clock("rerank"):
            try:
                weighed = [each.passage for each in candidates[:WEIGHED]]
                passages = [each.passage for each in head]
                texts = WindowTexts(query, passages, weighed, self.settings.window_tokens)
                lengths = estimated_tokens(query, texts.heads(), PAIR_TOKENS)
                spent = (time.monotonic() - began) * 1000
                found = read(
                    self._reranker,
                    self._budget or Budget(UNKNOWN),
                    query,
                    texts,
                    [each.score for each in head],
                    k=0 if whole else self.settings.early_stop,
                    left_ms=None if deadline_ms is None else deadline_ms - spent,
                    whole=whole or self._budget is None,
                    lengths=lengths,
                )
            except RiddleError:
                return Ranked(tuple(candidates), clock.ms, ("rerank",))
        late = ("rerank",) if found.late else ()
        return Ranked((*_with_logits(head, found.logits), *candidates[len(head) :]), clock.ms, late)

    def _read(self, query: str, head: Sequence[Candidate]) -> list[str]:
        passages = [item.passage for item in head]
        if not self.settings.window_tokens:
            return [passage.full_text for passage in passages]
        windows = Windows(query, passages)
        return [windows.text(passage, self.settings.window_tokens) for passage in passages]


def blended(
    query: str, candidates: Sequence[Candidate], tuned: Tuned, models: Mapping[str, str] | None = None
) -> tuple[Candidate, ...]:
    """The candidates as all their stages together order them, each with the probability that it is relevant.

    ``scored_by`` names the best stage that saw any of them: the rung of the ladder. The probability means the
    same on every rung. ``models`` names the encoder, as ``dense``, and what gave ``rerank``: a list too short to
    show what is usual is held against what is usual of them.
    """
    if not candidates:
        return ()
    found = tuned.judge(table_of(query, candidates), models)
    return tuple(
        replace(candidates[at], score=float(found.probabilities[at]), scored_by=found.rung) for at in found.order
    )


def in_reading_order(
    query: str, candidates: Sequence[Candidate], tuned: Tuned, models: Mapping[str, str] | None = None
) -> tuple[Candidate, ...]:
    """The candidates as all stages below the reranker order them together, each with that blend as its score."""
    if not candidates:
        return ()
    order, scores = tuned.reading_order(table_of(query, candidates), models)
    return tuple(replace(candidates[at], score=float(scores[at])) for at in order)


def _reads(reranker: Reranker, query: str) -> bool:
    return reads(reranker.languages, query)


def _with_logits(head: Sequence[Candidate], logits: NDArray[np.float32]) -> list[Candidate]:
    """``head`` as it stands, those that were read with their probability and its rank."""
    probability = _probability(logits)
    ranks = np.argsort(np.argsort(-logits, kind="stable"), kind="stable") + 1
    return [
        each
        if np.isnan(logits[at])
        else replace(each, stages={**each.stages, "rerank": StageScore(int(ranks[at]), float(probability[at]))})
        for at, each in enumerate(head)
    ]


def _probability(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = 1 / (1 + np.exp(-np.clip(logits.astype(np.float64), -60, 60)))
    return found  # unclipped, exp can overflow


def _reordered(head: Sequence[Candidate], logits: NDArray[np.float32]) -> list[Candidate]:
    """``head`` by falling logit, ties in the order they came."""
    order = np.argsort(-logits, kind="stable")
    probability = _probability(logits)
    return [
        replace(
            head[at],
            score=float(probability[at]),
            scored_by="rerank",
            stages={**head[at].stages, "rerank": StageScore(rank, float(probability[at]))},
        )
        for rank, at in enumerate(order.tolist(), start=1)
    ]
