"""What people do with a service, from its query log and their feedback: what they find, miss, click and rate."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from eval.rewording import USUAL, Rewording, RewordingRule, folded, most_frequent, rewordings
from eval.runs import percentiles
from eval.usage_rows import MACHINES, FeedbackRow, QueryRow

TOP = 20
"""How many failing queries and rewordings are named, unless asked otherwise."""

SearchKey = tuple[str, str, str]
"""Session, collection and query: what a click is counted for, whichever page or answer it fell on."""


@dataclass(frozen=True, slots=True)
class Day:
    """One day, UTC. A search that was asked for page by page counts once, by its first page."""

    day: str
    """ISO 8601."""
    searches: int
    answers: int
    sessions: int
    empty: int
    """Searches that went well and found nothing."""
    failed: int
    """Searches and answers that ended in a problem."""
    degraded: int
    """Searches that went without a stage."""
    cached: int
    """Searches served from the cache."""
    reworded: int
    """Searches that asked again in other words."""
    abstained: int
    left: int
    """Answers whose client went before the end."""
    search_ms: Mapping[str, float]
    """``n``, ``mean``, ``p50``, ``p95``, ``p99`` of whole searches that went well, by the service's clock."""
    first_ms: Mapping[str, float]
    """The same of the time to an answer's first words."""
    answer_ms: Mapping[str, float]
    """The same of whole answers."""


@dataclass(frozen=True, slots=True)
class Clicks:
    """What was opened. Shares are of searches in sessions alone: who names no session sends no clicks either."""

    by_rank: Mapping[int, int]
    """Clicks by place, best place first."""
    searches: int
    """Searches in sessions that found something; the same one again in a session is one."""
    clicked: int
    """Those of them of which something was opened: from any page, or from an answer to the same query."""
    mean_reciprocal_rank: float | None
    """Over the clicked searches, of the best place that was opened; None without any."""

    @property
    def rate(self) -> float | None:
        """Click-through: the share of searches that led to a click."""
        return self.clicked / self.searches if self.searches else None


@dataclass(frozen=True, slots=True)
class Ratings:
    """Thumbs, the last one of each session and passage or answer; those taken back are not counted."""

    passages_good: int
    passages_bad: int
    answers_good: int
    answers_bad: int
    judgements: int


@dataclass(frozen=True, slots=True)
class Failing:
    """A query that did not get what it wanted, with how often and in which way."""

    query: str
    collection: str
    searches: int
    empty: int
    failed: int
    abstained: int
    reworded: int
    """How often it was followed by other words for the same."""
    disliked: int
    """Bad ratings of its passages and answers."""

    @property
    def troubles(self) -> int:
        return self.empty + self.failed + self.abstained + self.reworded + self.disliked


@dataclass(frozen=True, slots=True)
class Usage:
    """Everything, oldest day first."""

    days: tuple[Day, ...]
    clicks: Clicks
    ratings: Ratings
    failing: tuple[Failing, ...]
    """Most troubles first."""
    rewordings: tuple[Rewording, ...]
    """The most frequent first."""
    machines: int
    """Lines of measurements, which count nowhere."""


@dataclass(slots=True)
class _Troubles:
    query: str
    searches: int = 0
    empty: int = 0
    failed: int = 0
    abstained: int = 0
    reworded: int = 0
    disliked: int = 0


@dataclass(slots=True)
class _Tally:
    """What is counted on the way through the log."""

    by_day: dict[str, list[QueryRow]] = field(default_factory=lambda: defaultdict(list))
    troubles: dict[tuple[str, str], _Troubles] = field(default_factory=dict)
    machines: int = 0

    def of(self, query: str, collection: str) -> _Troubles:
        return self.troubles.setdefault((folded(query), collection), _Troubles(query))


def usage(
    queries: Iterable[QueryRow],
    feedback: Iterable[FeedbackRow],
    rule: RewordingRule = USUAL,
    top: int = TOP,
) -> Usage:
    """All figures in one pass over the log, in any order, and one over the feedback."""
    tally = _Tally()
    rows = []
    for row in queries:
        if row.session.startswith(MACHINES):
            tally.machines += 1
        elif not row.offset:
            rows.append(row)
    rows.sort(key=lambda row: row.time)
    for row in rows:
        tally.by_day[row.time[:10]].append(row)
        _count(row, tally.of(row.query, row.collection))
    reworded = rewordings(rows, rule)
    for before, _ in reworded:
        tally.of(before.query, before.collection).reworded += 1
    told = [row for row in feedback if not row.session.startswith(MACHINES)]
    ratings = _ratings(told, tally)
    again = Counter(after.time[:10] for _, after in reworded)
    return Usage(
        tuple(_day(day, found, again[day]) for day, found in sorted(tally.by_day.items())),
        _clicks(rows, told),
        ratings,
        _failing(tally, top),
        most_frequent(reworded, top),
        tally.machines,
    )


def _count(row: QueryRow, troubles: _Troubles) -> None:
    troubles.searches += row.kind == "search"
    troubles.failed += _failed(row)
    troubles.empty += row.kind == "search" and not row.error and not row.results
    troubles.abstained += row.answer is not None and row.answer.outcome == "abstained"


def _failed(row: QueryRow) -> bool:
    return bool(row.error) or (row.answer is not None and row.answer.outcome == "failed")


def _day(day: str, rows: Sequence[QueryRow], reworded: int) -> Day:
    searches = [row for row in rows if row.kind == "search"]
    served = [row for row in searches if not row.error]
    answers = [row.answer for row in rows if row.answer is not None]
    return Day(
        day=day,
        searches=len(searches),
        answers=len(rows) - len(searches),
        sessions=len({row.session for row in rows if row.session}),
        empty=sum(not row.results for row in served),
        failed=sum(_failed(row) for row in rows),
        degraded=sum(bool(row.degraded) for row in served),
        cached=sum(row.cache == "hit" for row in served),
        reworded=reworded,
        abstained=sum(answer.outcome == "abstained" for answer in answers),
        left=sum(answer.outcome == "left" for answer in answers),
        search_ms=percentiles([row.timings_ms["total"] for row in served if "total" in row.timings_ms]),
        first_ms=percentiles([answer.first_ms for answer in answers if answer.first_ms is not None]),
        answer_ms=percentiles([answer.total_ms for answer in answers if answer.total_ms is not None]),
    )


def _clicks(rows: Sequence[QueryRow], told: Sequence[FeedbackRow]) -> Clicks:
    clicks = [row for row in told if row.kind == "click"]
    best: dict[SearchKey, int] = {}
    for click in clicks:
        key = (click.session, click.collection, folded(click.query))
        if click.session:
            best[key] = min(click.rank, best.get(key, click.rank))
    searches = {
        (row.session, row.collection, folded(row.query))
        for row in rows
        if row.kind == "search" and row.session and row.results
    }
    clicked = [1 / best[key] for key in searches if key in best]
    by_rank = dict(sorted(Counter(click.rank for click in clicks).items()))
    return Clicks(by_rank, len(searches), len(clicked), statistics.fmean(clicked) if clicked else None)


def _ratings(told: Sequence[FeedbackRow], tally: _Tally) -> Ratings:
    """Counts the last rating of each, and notes the bad ones as troubles of their queries."""
    last: dict[tuple[str, ...], FeedbackRow] = {}
    for row in sorted(told, key=lambda row: row.time):
        if row.kind in ("rating", "answer"):
            who = row.session or row.request_id
            last[(row.kind, who, row.collection, folded(row.query), row.passage_id)] = row
    signs: Counter[tuple[str, bool]] = Counter()
    for row in last.values():
        if row.value:
            signs[row.kind, row.value > 0] += 1
            if row.value < 0:
                tally.of(row.query, row.collection).disliked += 1
    judgements = sum(row.kind == "judgement" for row in told)
    return Ratings(
        signs["rating", True], signs["rating", False], signs["answer", True], signs["answer", False], judgements
    )


def _failing(tally: _Tally, top: int) -> tuple[Failing, ...]:
    every = [
        Failing(
            each.query, collection, each.searches, each.empty, each.failed, each.abstained, each.reworded, each.disliked
        )
        for (_, collection), each in tally.troubles.items()
    ]
    troubled = sorted((each for each in every if each.troubles), key=lambda each: (-each.troubles, each.query))
    return tuple(troubled[:top])
