"""From what users did with results to grades: clicks, weighed by how likely a place is looked at, and ratings."""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

_ENDS = re.compile(r"[\s?？!！.。]+$")


@dataclass(frozen=True, slots=True)
class ClickRule:
    """How clicks become grades.

    The rate of a document for a query is its clicks over its examinations. In a search whose deepest click is at or
    below the document's place it was examined once (a user reads from the top down to what is clicked: Joachims et
    al., SIGIR 2005), in another ``1 / rank`` times (the usual propensity: Joachims, Swaminathan and Schnabel, WSDM
    2017). So a click far down, where few look, tells more than one on top.
    """

    least_searches: int = 3
    """A document that fewer searches showed has no grade: too little is known."""
    least_rate: float = 0.1
    """Below it the grade is 0, from it on 1."""
    high_rate: float = 0.5
    """From it on the grade is 2."""

    def grade(self, rate: float) -> int:
        return 2 if rate >= self.high_rate else 1 if rate >= self.least_rate else 0


@dataclass(slots=True)
class Seen:
    """What a log tells of one query."""

    wordings: Counter[str] = field(default_factory=Counter)
    searches: dict[str, dict[str, tuple[int, bool]]] = field(default_factory=lambda: defaultdict(dict))
    """search -> document -> its rank there, and whether it was clicked."""
    ratings: dict[str, dict[str, float]] = field(default_factory=lambda: defaultdict(dict))
    """document -> who rated -> the last value."""
    judgements: dict[str, dict[str, float]] = field(default_factory=lambda: defaultdict(dict))
    """document -> who judged -> the last grade."""

    def show(self, search: str, document: str, rank: int, *, clicked: bool) -> None:
        """One search had a document at that rank, from 1; told again, the best rank and any click count."""
        before = self.searches[search].get(document, (rank, False))
        self.searches[search][document] = (min(rank, before[0]), clicked or before[1])


def normalised(query: str) -> str:
    """The form in which two wordings of a query are compared."""
    return _ENDS.sub("", " ".join(unicodedata.normalize("NFKC", query).casefold().split()))


def grades_of(every: Iterable[Seen], rule: ClickRule) -> list[dict[str, int]]:
    """Grades by document for each query.

    Of one document a judgement counts before ratings, and these before clicks; several are averaged and rounded half
    up. Ratings are thumbs (grade 1 for more up than down, else 0) when none in the log exceeds 1, else stars from 1 to
    5 (grade: stars less 1). Clicks: ``ClickRule``; in a log without a single document that was shown and not clicked,
    every search of a query is taken to have shown whatever was clicked in one of them, at its usual place.
    """
    every = list(every)
    impressions = any(
        not clicked for each in every for shown in each.searches.values() for _, clicked in shown.values()
    )
    stars = any(value > 1 for each in every for values in each.ratings.values() for value in values.values())
    return [
        _clicked(each.searches, rule, impressions)
        | {document: _rated([*values.values()], stars) for document, values in each.ratings.items() if values}
        | {document: _rounded([*values.values()]) for document, values in each.judgements.items()}
        for each in every
    ]


def _clicked(
    searches: Mapping[str, Mapping[str, tuple[int, bool]]], rule: ClickRule, impressions: bool
) -> dict[str, int]:
    """The grade of each document that enough searches showed."""
    places: dict[str, list[int]] = defaultdict(list)
    for shown in searches.values():
        for document, (rank, _) in shown.items():
            places[document].append(rank)
    deepest = {
        search: max((rank for rank, clicked in shown.values() if clicked), default=0)
        for search, shown in searches.items()
    }
    found: dict[str, int] = {}
    for document, ranks in places.items():
        usual = sorted(ranks)[len(ranks) // 2]
        clicks, examined, times = 0, 0.0, 0
        for search, shown in searches.items():
            if impressions and document not in shown:
                continue
            rank, clicked = shown.get(document, (usual, False))
            times += 1
            clicks += clicked
            examined += 1.0 if rank <= deepest[search] else 1.0 / rank
        if times >= rule.least_searches:
            found[document] = rule.grade(clicks / examined)
    return found


def _rated(values: Sequence[float], stars: bool) -> int:
    mean = sum(values) / len(values)
    return max(0, _rounded([mean - 1])) if stars else int(mean > 0)


def _rounded(values: Sequence[float]) -> int:
    return math.floor(sum(values) / len(values) + 0.5)
