"""Which searches asked again, in other words, for what the search before had not brought."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from eval.usage_rows import DIGEST, QueryRow
from generation.overlap import content_terms


@dataclass(frozen=True, slots=True)
class RewordingRule:
    """What counts as asking again: a search in the same session, within ``within_s`` seconds of the one before, whose
    query is another one and shares at least ``alike`` of the content words of the shorter of the two."""

    within_s: float = 600.0
    alike: float = 0.5


USUAL = RewordingRule()


@dataclass(frozen=True, slots=True)
class Rewording:
    before: str
    after: str
    times: int


def rewordings(rows: Sequence[QueryRow], rule: RewordingRule) -> list[tuple[QueryRow, QueryRow]]:
    """Searches and the one that followed each in other words, by ``rule``; ``rows`` oldest first.

    Digests tell equal queries only, so that a log without the queries' text shows none.
    """
    found: list[tuple[QueryRow, QueryRow]] = []
    last: dict[tuple[str, str], QueryRow] = {}
    for row in rows:
        if row.kind != "search" or not row.session:
            continue
        where = (row.session, row.collection)
        before = last.get(where)
        if before is not None and _seconds(before, row) <= rule.within_s and alike(before.query, row.query, rule.alike):
            found.append((before, row))
        last[where] = row
    return found


def alike(before: str, after: str, least: float) -> bool:
    """Whether two queries are different ones that share at least ``least`` of the content words of the shorter."""
    if folded(before) == folded(after) or before.startswith(DIGEST) or after.startswith(DIGEST):
        return False
    one, other = set(content_terms(before)), set(content_terms(after))
    return bool(one and other) and len(one & other) >= least * min(len(one), len(other))


def folded(query: str) -> str:
    """The form in which equal queries are equal."""
    return " ".join(query.casefold().split())


def _seconds(before: QueryRow, after: QueryRow) -> float:
    return (_instant(after.time) - _instant(before.time)).total_seconds()


def _instant(time: str) -> datetime:
    found = datetime.fromisoformat(time)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def most_frequent(pairs: Sequence[tuple[QueryRow, QueryRow]], top: int) -> tuple[Rewording, ...]:
    counted = Counter((folded(before.query), folded(after.query)) for before, after in pairs)
    ordered = sorted(counted.items(), key=lambda pair: (-pair[1], pair[0]))
    return tuple(Rewording(before, after, times) for (before, after), times in ordered[:top])
