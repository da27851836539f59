"""What people saw and what of it they opened: the query log and the feedback that refers to it, put together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from eval.rewording import folded
from eval.usage_rows import MACHINES, FeedbackRow, QueryRow


@dataclass(frozen=True, slots=True)
class Impression:
    """One page of results that somebody saw, best first."""

    query: str
    """Folded: what counts as the same query."""
    collection: str
    passages: tuple[str, ...]
    clicked: tuple[bool, ...]
    offset: int = 0
    """Results on earlier pages."""
    vectors: tuple[str, ...] = ()
    """Packed, as the log keeps them; empty where it kept none."""
    features: str = ""
    """Their version."""
    teams: tuple[str, ...] = field(default=())
    """Who put each result there; empty names outside interleaved lists."""


@dataclass(frozen=True, slots=True)
class Seen:
    """All of them, and what was left out."""

    impressions: tuple[Impression, ...]
    machines: int
    """Searches of measurements."""
    silent: int
    """Searches outside a session, whose clicks nobody could have sent, and which have none."""
    strays: int
    """Clicks on searches that are not in the log any more."""

    @property
    def clicks(self) -> int:
        return sum(sum(each.clicked) for each in self.impressions)


def impressions(queries: Iterable[QueryRow], feedback: Iterable[FeedbackRow], collection: str = "") -> Seen:
    """Pages of searches that found something, in the order of the log, with their clicks.

    ``collection`` leaves others out; empty takes all. The same passage opened twice is opened once.
    """
    clicks: dict[tuple[str, str], set[str]] = {}
    for told in feedback:
        if told.kind == "click" and not told.session.startswith(MACHINES) and collection in ("", told.collection):
            clicks.setdefault((told.key, told.request_id), set()).add(told.passage_id)
    found: list[Impression] = []
    left_out: Counter[str] = Counter()
    for row in queries:
        if row.kind != "search" or row.error or not row.results or collection not in ("", row.collection):
            continue
        opened = clicks.pop((row.key, row.request_id), None)
        if row.session.startswith(MACHINES):
            left_out["machines"] += 1
        elif not row.session and opened is None:
            left_out["silent"] += 1
        else:
            found.append(_impression(row, opened or set()))
    return Seen(tuple(found), left_out["machines"], left_out["silent"], sum(map(len, clicks.values())))


def _impression(row: QueryRow, opened: set[str]) -> Impression:
    return Impression(
        query=folded(row.query),
        collection=row.collection,
        passages=tuple(each.passage_id for each in row.results),
        clicked=tuple(each.passage_id in opened for each in row.results),
        offset=row.offset,
        vectors=tuple(each.vector for each in row.results) if row.vectors else (),
        features=row.vectors,
        teams=tuple(each.team for each in row.results),
    )
