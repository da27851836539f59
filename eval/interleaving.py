"""Reads off clicks in interleaved lists which of two rankers won, and how many clicks are needed to know."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from eval.clicks import Impression
from eval.statistics import POWER, sign_flip

EXACT_UP_TO = 100_000
"""Searches that decide; beyond, the binomial distribution is taken as normal."""


@dataclass(frozen=True, slots=True)
class Credit:
    """One search of an interleaved list: clicks on what each ranker had put there."""

    query: str
    a: int
    b: int


@dataclass(frozen=True, slots=True)
class Contest:
    """What the clicks say of two rankers."""

    a: str
    b: str
    searches: int
    """Of interleaved lists, clicked or not."""
    wins_a: int
    wins_b: int
    ties: int
    """Searches with as many clicks for either, and at least one."""
    share_b: float
    """Of the searches with a click, those that b won, a tie counting half; 0.5 for equal rankers."""
    p: float
    """Two-sided, of the sign test: that equal rankers differ as much in the searches that decide."""
    p_by_query: float
    """Two-sided, of the randomisation test over each query's own balance: a query asked often counts as one."""
    needed: int | None
    """Deciding searches with which a share like this would show with the chance of 0.8; None for an even one."""
    level: float

    @property
    def winner(self) -> str:
        """The better one; empty while either test takes the difference for chance."""
        if max(self.p, self.p_by_query) >= self.level or self.wins_a == self.wins_b:
            return ""
        return self.a if self.wins_a > self.wins_b else self.b


def contest(credits: Iterable[Credit], a: str = "a", b: str = "b", level: float = 0.05) -> Contest:
    """Count the searches that each ranker won.

    A ranker wins a search when more clicks fell on what it had put there (Radlinski, Kurup and Joachims, CIKM
    2008; Chapelle et al., TOIS 2012). Searches of one query are not independent, which the sign test takes them to
    be; the second test does not, and both must agree before there is a winner.
    """
    listed = list(credits)
    wins_a, wins_b = sum(each.a > each.b for each in listed), sum(each.b > each.a for each in listed)
    ties = sum(each.a == each.b > 0 for each in listed)
    clicked = wins_a + wins_b + ties
    by_query: dict[str, list[float]] = {}
    for each in listed:
        if each.a or each.b:
            by_query.setdefault(each.query, []).append(float(np.sign(each.b - each.a)))
    balance = [float(np.mean(each)) for each in by_query.values()]
    share = (wins_b + ties / 2) / clicked if clicked else 0.5
    return Contest(
        a=a,
        b=b,
        searches=len(listed),
        wins_a=wins_a,
        wins_b=wins_b,
        ties=ties,
        share_b=share,
        p=sign_test(wins_a, wins_b),
        p_by_query=float(sign_flip(balance)[0]) if balance else 1.0,
        needed=searches_needed(wins_b / (wins_a + wins_b), level) if wins_a + wins_b else None,
        level=level,
    )


def contests(impressions: Sequence[Impression], level: float = 0.05) -> list[Contest]:
    """One contest for each pair of rankers that took turns in the log; ``a`` comes first by name."""
    found: dict[tuple[str, str], list[Credit]] = {}
    for each in impressions:
        teams = sorted({team for team in each.teams if team})
        if len(teams) == 2:
            clicks = [
                sum(hit for hit, of in zip(each.clicked, each.teams, strict=True) if of == team) for team in teams
            ]
            found.setdefault((teams[0], teams[1]), []).append(Credit(each.query, *clicks))
    return [contest(credits, a, b, level) for (a, b), credits in sorted(found.items())]


def sign_test(wins_a: int, wins_b: int) -> float:
    """Two-sided p of the binomial test that either wins half of the searches that decide; 1.0 without any."""
    count, fewer = wins_a + wins_b, min(wins_a, wins_b)
    if not count:
        return 1.0
    if count > EXACT_UP_TO:
        return min(1.0, 2 * NormalDist(count / 2, math.sqrt(count) / 2).cdf(fewer + 0.5))
    logs = [
        math.lgamma(count + 1) - math.lgamma(each + 1) - math.lgamma(count - each + 1) - count * math.log(2)
        for each in range(fewer + 1)
    ]
    return min(1.0, 2 * math.fsum(map(math.exp, logs)))


def searches_needed(share: float, level: float = 0.05, power: float = POWER) -> int | None:
    """Deciding searches with which a true ``share`` of wins is told from a half at ``level`` with the chance ``power``.

    ((z(1 - level / 2) / 2 + z(power) * sqrt(share (1 - share))) / (share - 1/2))² (Fleiss, Statistical Methods
    for Rates and Proportions, 1981); None for a half.
    """
    if abs(share - 0.5) < 1e-9:
        return None
    normal = NormalDist()
    spread = normal.inv_cdf(1 - level / 2) / 2 + normal.inv_cdf(power) * math.sqrt(share * (1 - share))
    return math.ceil((spread / (share - 0.5)) ** 2)
