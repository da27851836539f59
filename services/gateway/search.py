"""The path of one search: describe, look in the cache, recall, rank, cut."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from retrieval.errors import RiddleError
from retrieval.types import Candidate, Clock, CollectionInfo, Correction, JSONScalar, Ranked, Recalled
from services.cache import Cache, cache_key
from services.gateway.cursor import (
    Cursor,
    check_generation,
    check_window,
    question_digest,
    window_digest,
)
from services.gateway.ordering import Ordering
from services.gateway.plan import Plan, SearchLimits, plan_of
from services.gateway.rewriting import Rewriting
from services.gateway.variety import shown
from services.ports import RankPort, RecallPort, Rights
from services.telemetry import Telemetry
from services.wire import FacetCount, Result, SearchRequest, SearchResponse, SearchResultsEvent
from services.wire_understanding import WireCorrection

log = logging.getLogger("riddle.search")


@dataclass(frozen=True, slots=True)
class Page:
    """What the cache holds."""

    candidates: tuple[Candidate, ...]
    next_cursor: str | None
    facets: Mapping[str, tuple[tuple[JSONScalar, int], ...]] = field(default_factory=dict)
    correction: Correction | None = None
    meant: bool = False
    """Whether the correction was searched, or is a suggestion."""


_PAGE = TypeAdapter(Page)
_NOTHING: tuple[str, ...] = ()


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
            correction=self.correction(),
        )

    def correction(self) -> WireCorrection | None:
        corrected = self.page.correction
        return None if corrected is None else WireCorrection.of(corrected, searched=self.page.meant)

    def facets(self) -> dict[str, list[FacetCount]]:
        return {
            key: [FacetCount(value=value, count=count) for value, count in counts]
            for key, counts in self.page.facets.items()
        }

    def event(self, *, explain: bool) -> SearchResultsEvent:
        return SearchResultsEvent(
            generation=self.generation,
            results=self.results(explain=explain),
            degraded=list(self.degraded),
            correction=self.correction(),
        )

    def results(self, *, explain: bool) -> list[Result]:
        return [Result.of(candidate, explain=explain) for candidate in self.page.candidates]


class Search:
    """The funnel, seen from the gateway. With ``ordering`` all stages decide the order, else the last one does."""

    def __init__(
        self, recall: RecallPort, rank: RankPort, cache: Cache, limits: SearchLimits, telemetry: Telemetry,
        ordering: Ordering | None = None, rewriting: Rewriting | None = None,
    ) -> None:  # fmt: skip
        self._recall = recall
        self._rank = rank
        self._cache = cache
        self._limits = limits
        self._telemetry = telemetry
        self._ordering = ordering
        self._rewriting = rewriting

    async def __call__(self, request: SearchRequest, rights: Rights) -> Found:
        """Raises InvalidRequest, CollectionNotFound, Conflict, Overloaded, and Unavailable when recall is down.

        A ranking that is down or out of time is no error: the fused order stands and ``degraded``
        says so.
        """
        clock, began = Clock(), time.monotonic()
        plan = plan_of(request, rights, self._limits)
        with clock("describe"):
            info = await self._recall.describe(plan.recall.collection)
        if plan.cursor:
            check_generation(plan.cursor, info.generation)
        with clock("cache"):
            page = await self._remembered(info, rights, plan)
        if page is not None:
            return self._done(Found(page, info.generation, "hit", (), clock.ms), began)

        asked, unwritten = plan.recall, _NOTHING
        if plan.rewrite != "off" and self._rewriting is not None:
            with clock("rewrite"):
                asked, unwritten = await self._rewriting(asked, plan.rewrite, _left(plan, began))
        with clock("recall"):
            # What is blended is laid on a scale of all candidates: with fewer of them it would come out otherwise.
            fetch, late = (plan.fetch, False) if self._ordering is None else (None, True)
            asked = replace(asked, fetch=fetch, late=late, deadline_ms=_left(plan, began))
            recalled = await self._recall.recall(asked)
        if self._ordering is None:
            ranked, moved = await self._ranked(plan, recalled, _left(plan, began)), plan.rerank_depth
        else:
            ranked, moved = await self._blended(self._ordering, plan, recalled, began), len(recalled.candidates)
        degraded = (*unwritten, *recalled.degraded, *ranked.degraded)
        page = cut(plan, recalled, ranked, moved, await shown(plan, ranked.candidates, clock))
        meant = plan.recall.spelling == "on"
        page = replace(page, facets=recalled.facets, correction=recalled.correction, meant=meant)

        timings = {**clock.ms, **recalled.timings_ms, **ranked.timings_ms}
        found = Found(page, recalled.info.generation, "miss", degraded, timings)
        if not degraded:
            await self._remember(recalled.info, found, rights, plan)
        return self._done(found, began)

    async def _ranked(self, plan: Plan, recalled: Recalled, left_ms: float | None) -> Ranked:
        """The final order, or the fused one when ranking cannot be had."""
        fused = Ranked(recalled.candidates, {}, ())
        if not plan.rerank_depth or not recalled.candidates:
            return fused
        if plan.cursor and plan.cursor.read is not None:
            return replace(fused, degraded=("rerank",))
        try:
            query = read_as(plan, recalled)
            return await self._rank.rank(query, recalled.candidates, depth=plan.rerank_depth, deadline_ms=left_ms)
        except RiddleError as error:
            log.warning("ranked without the reranker: %s", error.detail)
            return replace(fused, degraded=("rerank",))

    async def _blended(self, ordering: Ordering, plan: Plan, recalled: Recalled, began: float) -> Ranked:
        """The order of all stages: trees over all candidates, as many read as there is time for, then the blend."""
        clock, query, info = Clock(), read_as(plan, recalled), recalled.info
        with clock("ltr"):
            hurried = plan.budget_ms is not None
            candidates, treeless = await ordering.with_trees(query, info.name, recalled.candidates, hurried=hurried)
        if plan.rerank_depth and candidates:
            candidates = ordering.reading(query, info, candidates)
        read = await self._read(plan, query, candidates, _left(plan, began))
        with clock("blend"):
            ordered = ordering.ordered(query, info, read.candidates)
        return Ranked(ordered, {**clock.ms, **read.timings_ms}, (*treeless, *read.degraded))

    async def _read(self, plan: Plan, query: str, candidates: Sequence[Candidate], left_ms: float | None) -> Ranked:
        """The candidates as they came, the foremost read by the reranker."""
        unread = Ranked(tuple(candidates), {}, ())
        if not plan.rerank_depth or not candidates:
            return unread
        before = plan.cursor.read if plan.cursor else None
        if before == 0:
            return replace(unread, degraded=("rerank",))
        depth = plan.rerank_depth if before is None else before
        try:
            found = await self._rank.read(query, candidates, depth=depth, whole=before is not None, deadline_ms=left_ms)
        except RiddleError as error:
            log.warning("ranked without the reranker: %s", error.detail)
            return replace(unread, degraded=("rerank",))
        # Where time ended it on the first page, it has ended it on all.
        return found if before is None else replace(found, degraded=("rerank",))

    async def _remembered(self, info: CollectionInfo, rights: Rights, plan: Plan) -> Page | None:
        version = self._version(info)
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
        version = self._version(info)
        if version:
            key = cache_key(_state(info), version, rights, plan.whole)
            await self._cache.put(key, _PAGE.dump_json(found.page))

    def _version(self, info: CollectionInfo) -> str:
        """All that the order of the same candidates hangs on; empty while the ranking's own is not known."""
        version = self._rank.version
        return f"{version}|{self._ordering.version(info.name)}" if version and self._ordering else version

    def _done(self, found: Found, began: float) -> Found:
        total = round((time.monotonic() - began) * 1000, 3)
        done = replace(found, timings_ms={**found.timings_ms, "total": total})
        self._telemetry.observe_search(done.timings_ms, done.cache, done.degraded)
        return done


def read_as(plan: Plan, recalled: Recalled) -> str:
    """What models read as the query: what was meant, where that is searched."""
    searched = recalled.correction if plan.recall.spelling == "on" else None
    return searched.query if searched else plan.recall.query


def cut(plan: Plan, recalled: Recalled, ranked: Ranked, moved: int, shown: Sequence[Candidate]) -> Page:
    """The page that was asked for, of ``shown``; ranking may have moved the first ``moved`` candidates.

    Raises Conflict when the cursor's window is no longer this one.
    """
    generation = recalled.info.generation
    window = window_digest(recalled.order, ranked.candidates[:moved])
    if plan.cursor:
        check_generation(plan.cursor, generation)
        check_window(plan.cursor, window)
    places = grouped(shown, plan.group_size)
    start = plan.cursor.offset if plan.cursor else 0
    end = start + plan.k
    rest = len(places) + recalled.more - end
    read = sum("rerank" in each.stages for each in ranked.candidates) if "rerank" in ranked.degraded else None
    following = Cursor(generation, question_digest(plan.question), window, end, read) if rest > 0 else None
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
    """Milliseconds of the budget that remain up to the last stage; None without one."""
    if plan.budget_ms is None:
        return None
    return max(0.0, plan.budget_ms - plan.kept_ms - (time.monotonic() - began) * 1000)
