"""A search request with its defaults filled in and its limits checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ranking.diversity import WINDOW
from retrieval.errors import InvalidRequest
from retrieval.filters import canonical, parse_filter
from retrieval.fusion import FusionMethod, Normalisation
from services.gateway.cursor import Cursor, check_question, question_digest, read_cursor
from services.ports import RecallRequest, Rights
from services.query_settings import Rewrite, Spelling
from services.wire import SearchRequest
from services.wire_ranking import Fusion, Mmr, RankingOptions
from services.wire_understanding import Understanding

DIVERSITY_MS = 20.0
"""Comparing a hundred passages of 1,400 characters takes 16 ms of one core."""


ANSWER_MS = 14.0
"""Of a budget, for the blend, the JSON and its way to the caller, while others are served on the same cores."""


@dataclass(frozen=True, slots=True)
class SearchLimits:
    """What a request may ask for, and what it gets when it does not say."""

    default_collection: str
    max_query_chars: int
    max_k: int
    default_k: int
    recall_depth: int
    rerank_depth: int
    rrf_k: int
    weights: Mapping[str, float]
    fusion: FusionMethod = "rrf"
    normalisation: Normalisation = "min-max"
    diversity: float = 0.0
    calibrated: bool = False
    """Whether scores are probabilities of relevance."""
    spelling: Spelling = "off"
    rewrite: Rewrite = "off"
    rewrites: bool = False
    """Whether there is a model that can rewrite queries."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A request with its defaults filled in and its limits checked."""

    recall: RecallRequest
    filter_key: str
    """The filter in a form that is the same for all ways to write it."""
    group_size: int | None
    """The most passages of one document, which stand together; None when passages are not grouped."""
    rerank_depth: int
    k: int
    cursor: Cursor | None
    budget_ms: int | None
    explain: bool
    diversity: float = 0.0
    """How much variety counts beside relevance, 0 to 1."""
    min_probability: float | None = None
    rewrite: Rewrite = "off"
    """What a model adds to the query before it is searched."""

    @property
    def fetch(self) -> int | None:
        """How many candidates this page needs, those that may change their places among them; None for all."""
        if self.group_size is not None:
            return None
        return max(self.moved, (self.cursor.offset if self.cursor else 0) + self.k)

    @property
    def moved(self) -> int:
        """How many of recall's candidates may stand elsewhere in the end: those reranked, and those rearranged."""
        return max(self.rerank_depth, WINDOW if self.diversity else 0)

    @property
    def kept_ms(self) -> float:
        """Of the budget, what is kept for what comes after ranking, in milliseconds."""
        return ANSWER_MS + (DIVERSITY_MS if self.diversity else 0.0)

    @property
    def question(self) -> Mapping[str, object]:
        """All that the ranked window depends on, who asks among it: a cursor is of use to its own caller only."""
        return {
            "rights": list(self.recall.rights.principals),
            "collection": self.recall.collection,
            "query": self.recall.query,
            "filters": self.filter_key,
            "group_size": self.group_size,
            "depth": self.recall.depth,
            "fusion": self.recall.fusion,
            "rrf_k": self.recall.rrf_k,
            "normalisation": self.recall.normalisation,
            "weights": dict(self.recall.weights),
            "rerank_depth": self.rerank_depth,
            "diversity": self.diversity,
            "min_probability": self.min_probability,
            "spelling": self.recall.spelling,
            "rewrite": self.rewrite,
        }

    @property
    def whole(self) -> Mapping[str, object]:
        """All that a page depends on. The budget is not part of it: a result that it cut short is not kept."""
        cursor = str(self.cursor) if self.cursor else None
        return {**self.question, "facets": list(self.recall.facets), "k": self.k, "cursor": cursor}


def plan_of(request: SearchRequest, rights: Rights, limits: SearchLimits) -> Plan:
    """Fill in defaults and hold the request to the limits. Raises InvalidRequest."""
    if len(request.query) > limits.max_query_chars:
        raise InvalidRequest(f"query: {len(request.query):,} characters, at most {limits.max_query_chars:,} are taken")
    k = limits.default_k if request.k is None else request.k
    if k > limits.max_k:
        raise InvalidRequest(f"k: at most {limits.max_k:,}, not {k:,}; use `cursor` to go on")
    fusion, depth = request.ranking.fusion, request.ranking.rerank.depth
    weights: dict[str, float] = dict(limits.weights) | dict(fusion.weights or {})
    if not any(weights.values()):
        raise InvalidRequest("ranking.fusion.weights: at least one channel needs a weight above 0")
    plan = Plan(
        recall=RecallRequest(
            collection=request.collection or limits.default_collection,
            query=request.query.strip(),
            rights=rights,
            filters=request.filters,
            facets=tuple(dict.fromkeys(request.facets)),
            depth=limits.recall_depth,
            fusion=_method(fusion, limits),
            rrf_k=fusion.k or limits.rrf_k,
            normalisation=fusion.normalisation or limits.normalisation,
            weights=weights,
            spelling=request.understanding.spelling or limits.spelling,
        ),
        filter_key="" if request.filters is None else canonical(parse_filter(request.filters)),
        group_size=(request.group_size or 1) if request.group_by else None,
        rerank_depth=limits.rerank_depth if depth == "auto" else depth,
        k=k,
        cursor=read_cursor(request.cursor) if request.cursor is not None else None,
        budget_ms=request.budget_ms,
        explain=request.explain,
        diversity=_diversity(request.ranking, limits),
        min_probability=_least(request.ranking, limits),
        rewrite=_rewrite(request.understanding, limits),
    )
    if plan.cursor:
        check_question(plan.cursor, question_digest(plan.question))
    return plan


def _diversity(ranking: RankingOptions, limits: SearchLimits) -> float:
    asked = ranking.diversity
    if asked is None:
        return limits.diversity
    return 1 - asked.mmr_lambda if isinstance(asked, Mmr) else asked


def _least(ranking: RankingOptions, limits: SearchLimits) -> float | None:
    """Raises InvalidRequest where scores are on the scale of whatever came last: a threshold means nothing there."""
    if ranking.min_probability is not None and not limits.calibrated:
        raise InvalidRequest(
            "ranking.min_probability: scores of this server are no probabilities; they are with `rank.order=blend`"
        )
    return ranking.min_probability


def _rewrite(asked: Understanding, limits: SearchLimits) -> Rewrite:
    """Raises InvalidRequest where nobody could rewrite."""
    if asked.rewrite not in (None, "off") and not limits.rewrites:
        raise InvalidRequest("understanding.rewrite: this server has no model for it; it has one with `generation.url`")
    return asked.rewrite or limits.rewrite


def _method(fusion: Fusion, limits: SearchLimits) -> FusionMethod:
    """Raises InvalidRequest for what goes with another method than the request's or, without one, the server's."""
    method = fusion.method or limits.fusion
    for name, given, of in (("k", fusion.k, "rrf"), ("normalisation", fusion.normalisation, "weighted")):
        if given is not None and method != of:
            whose = "the request's" if fusion.method else "this server's"
            raise InvalidRequest(f"ranking.fusion.{name}: it goes with the method `{of}`, and {whose} is `{method}`")
    return method
