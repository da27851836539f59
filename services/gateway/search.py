"""The path of one search: describe, look in the cache, recall, rank, cut."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from retrieval.errors import InvalidRequest, RiddleError
from retrieval.filters import canonical, parse_filter
from retrieval.types import Candidate, Clock, CollectionInfo, JSONScalar, Ranked, Recalled
from services.cache import Cache, cache_key
from services.gateway.cursor import (
    Cursor,
    check_generation,
    check_question,
    check_window,
    question_digest,
    read_cursor,
    window_digest,
)
from services.ports import RankPort, RecallPort, RecallRequest, Rights
from services.telemetry import Telemetry
from services.wire import FacetCount, Result, SearchRequest, SearchResponse, SearchResultsEvent

log = logging.getLogger("riddle.search")


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

    @property
    def fetch(self) -> int | None:
        """How many candidates this page needs, those that are reranked among them; None for all."""
        if self.group_size is not None:
            return None
        return max(self.rerank_depth, (self.cursor.offset if self.cursor else 0) + self.k)

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
            "rrf_k": self.recall.rrf_k,
            "weights": dict(self.recall.weights),
            "rerank_depth": self.rerank_depth,
        }

    @property
    def whole(self) -> Mapping[str, object]:
        """All that a page depends on. The budget is not part of it: a result that it cut short is not kept."""
        cursor = str(self.cursor) if self.cursor else None
        return {**self.question, "facets": list(self.recall.facets), "k": self.k, "cursor": cursor}


@dataclass(frozen=True, slots=True)
class Page:
    """What the cache holds."""

    candidates: tuple[Candidate, ...]
    next_cursor: str | None
    facets: Mapping[str, tuple[tuple[JSONScalar, int], ...]] = field(default_factory=dict)


_PAGE = TypeAdapter(Page)


@dataclass(frozen=True, slots=True)
class Found:
    """One page of results, and how it came about."""

    page: Page
    generation: str
    cache: Literal["hit", "miss"]
    degraded: tuple[str, ...]
    timings_ms: Mapping[str, float]

    def response(self, *, explain: bool) -> SearchResponse:
        return SearchResponse(
            results=self.results(explain=explain),
            generation=self.generation,
            cache=self.cache,
            degraded=list(self.degraded),
            timings_ms=dict(self.timings_ms),
            next_cursor=self.page.next_cursor,
            facets=self.facets() or None,
        )

    def facets(self) -> dict[str, list[FacetCount]]:
        return {
            key: [FacetCount(value=value, count=count) for value, count in counts]
            for key, counts in self.page.facets.items()
        }

    def event(self, *, explain: bool) -> SearchResultsEvent:
        return SearchResultsEvent(
            generation=self.generation, results=self.results(explain=explain), degraded=list(self.degraded)
        )

    def results(self, *, explain: bool) -> list[Result]:
        return [Result.of(candidate, explain=explain) for candidate in self.page.candidates]


class Search:
    """The funnel, seen from the gateway."""

    def __init__(
        self, recall: RecallPort, rank: RankPort, cache: Cache, limits: SearchLimits, telemetry: Telemetry
    ) -> None:
        self._recall = recall
        self._rank = rank
        self._cache = cache
        self._limits = limits
        self._telemetry = telemetry

    async def __call__(self, request: SearchRequest, rights: Rights) -> Found:
        """Raises InvalidRequest, CollectionNotFound, Conflict, Overloaded, and Unavailable when recall is down.

        A ranking that is down or out of time is no error: the fused order stands and ``degraded``
        says so.
        """
        clock, began = Clock(), time.monotonic()
        plan = self.plan(request, rights)
        with clock("describe"):
            info = await self._recall.describe(plan.recall.collection)
        if plan.cursor:
            check_generation(plan.cursor, info.generation)
        with clock("cache"):
            page = await self._remembered(info, rights, plan)
        if page is not None:
            return self._done(Found(page, info.generation, "hit", (), clock.ms), began)

        with clock("recall"):
            asked = replace(plan.recall, fetch=plan.fetch, deadline_ms=_left(plan, began))
            recalled = await self._recall.recall(asked)
        ranked = await self._ranked(plan, recalled, _left(plan, began))
        degraded = (*recalled.degraded, *ranked.degraded)
        page = replace(cut(plan, recalled, ranked, reranked="rerank" not in degraded), facets=recalled.facets)

        timings = {**clock.ms, **recalled.timings_ms, **ranked.timings_ms}
        found = Found(page, recalled.info.generation, "miss", degraded, timings)
        if not degraded:
            await self._remember(recalled.info, found, rights, plan)
        return self._done(found, began)

    def plan(self, request: SearchRequest, rights: Rights) -> Plan:
        """Fill in defaults and hold the request to the limits. Raises InvalidRequest."""
        limits = self._limits
        if len(request.query) > limits.max_query_chars:
            raise InvalidRequest(
                f"query: {len(request.query):,} characters, at most {limits.max_query_chars:,} are taken"
            )
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
                rrf_k=fusion.k or limits.rrf_k,
                weights=weights,
            ),
            filter_key="" if request.filters is None else canonical(parse_filter(request.filters)),
            group_size=(request.group_size or 1) if request.group_by else None,
            rerank_depth=limits.rerank_depth if depth == "auto" else depth,
            k=k,
            cursor=read_cursor(request.cursor) if request.cursor is not None else None,
            budget_ms=request.budget_ms,
            explain=request.explain,
        )
        if plan.cursor:
            check_question(plan.cursor, question_digest(plan.question))
        return plan

    async def _ranked(self, plan: Plan, recalled: Recalled, left_ms: float | None) -> Ranked:
        """The final order, or the fused one when ranking cannot be had."""
        fused = Ranked(recalled.candidates, {}, ())
        if not plan.rerank_depth or not recalled.candidates:
            return fused
        if plan.cursor and not plan.cursor.reranked:
            return replace(fused, degraded=("rerank",))
        try:
            return await self._rank.rank(
                plan.recall.query, recalled.candidates, depth=plan.rerank_depth, deadline_ms=left_ms
            )
        except RiddleError as error:
            log.warning("ranked without the reranker: %s", error.detail)
            return replace(fused, degraded=("rerank",))

    async def _remembered(self, info: CollectionInfo, rights: Rights, plan: Plan) -> Page | None:
        version = self._rank.version
        if not version:
            return None
        kept = await self._cache.get(cache_key(_state(info), version, rights, plan.whole))
        if kept is None:
            return None
        try:
            return _PAGE.validate_json(kept)
        except ValidationError:
            log.warning("the cache held a page that cannot be read; searching anew")
            return None

    async def _remember(self, info: CollectionInfo, found: Found, rights: Rights, plan: Plan) -> None:
        # The version is asked anew: the rank service may have been replaced since the look-up.
        version = self._rank.version
        if version:
            key = cache_key(_state(info), version, rights, plan.whole)
            await self._cache.put(key, _PAGE.dump_json(found.page))

    def _done(self, found: Found, began: float) -> Found:
        total = round((time.monotonic() - began) * 1000, 3)
        done = replace(found, timings_ms={**found.timings_ms, "total": total})
        self._telemetry.observe_search(done.timings_ms, done.cache, done.degraded)
        return done


def cut(plan: Plan, recalled: Recalled, ranked: Ranked, *, reranked: bool) -> Page:
    """The page that was asked for. Raises Conflict when the cursor's window is no longer this one."""
    generation = recalled.info.generation
    window = window_digest(recalled.order, ranked.candidates[: plan.rerank_depth])
    if plan.cursor:
        check_generation(plan.cursor, generation)
        check_window(plan.cursor, window)
    places = grouped(ranked.candidates, plan.group_size)
    start = plan.cursor.offset if plan.cursor else 0
    end = start + plan.k
    rest = len(places) + recalled.more - end
    following = Cursor(generation, question_digest(plan.question), window, end, reranked) if rest > 0 else None
    page = tuple(candidate for place in places[start:end] for candidate in place)
    return Page(page, str(following) if following else None)


def grouped(candidates: Sequence[Candidate], size: int | None) -> list[list[Candidate]]:
    """What counts as one result: each passage, or with ``size`` each document with its first so many passages.

    Documents stand in the order of their best passage, and passages within one in their own.
    """
    if size is None:
        return [[candidate] for candidate in candidates]
    groups: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        group = groups.setdefault(candidate.passage.document_id, [])
        if len(group) < size:
            group.append(candidate)
    return list(groups.values())


def _state(info: CollectionInfo) -> str:
    """What a cached page was found in. A home that was removed and built again counts from 1 anew: the time tells."""
    return f"{info.generation} {info.created}"


def _left(plan: Plan, began: float) -> float | None:
    """Milliseconds of the budget that remain; None without one."""
    if plan.budget_ms is None:
        return None
    return max(0.0, plan.budget_ms - (time.monotonic() - began) * 1000)
