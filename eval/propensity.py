"""How likely a result at each place is looked at, estimated from clicks alone, so that clicks can be weighed by it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from eval.clicks import Impression
from retrieval.errors import InvalidRequest

Floats = NDArray[np.float64]

Method = Literal["harvest", "em"]

PLACES = 10
"""Places whose propensity is estimated; those behind have that of the last."""

LEAST = 0.02
"""No propensity is taken for less."""

EVIDENCE = 100
"""Times that results which also stood elsewhere must have been shown at a place before interventions are enough."""

Fit = Callable[[Floats], Floats]
"""Learns how likely each row is wanted from soft targets, one a row, and returns what it learned, one a row."""


@dataclass(frozen=True, slots=True)
class Propensities:
    """The chance that a result is looked at, by place from 1, relative to the first place."""

    by_place: tuple[float, ...]
    method: Method
    shown: int
    """Results that the estimate rests on."""

    def of(self, place: int) -> float:
        return self.by_place[min(place, len(self.by_place)) - 1]


def harvested(impressions: Sequence[Impression], places: int = PLACES, rounds: int = 500) -> Propensities | None:
    """From results that stood at several places for one query, as a changed model or interleaving leaves them.

    The all-pairs estimator (Agarwal et al., WSDM 2019): for each two places k and k' the results that were shown at
    both, each counted by its share of clicks at k; then p(k) r(k, k') by maximum likelihood, here by EM. None when
    a place was not shown often enough with such results (``EVIDENCE``).
    """
    clicks, shown = _tables(impressions, places)
    there = shown > 0
    share = np.divide(clicks, shown, out=np.zeros_like(clicks), where=there)
    click, other = np.zeros((places, places)), np.zeros((places, places))
    support = np.zeros(places)
    for k in range(places):
        both = there & there[:, k : k + 1]
        both[:, k] = False
        moved = both.any(axis=1)
        support[k] = shown[moved, k].sum()
        click[k] = share[:, k] @ both
        other[k] = (1 - share[:, k]) @ both
    seen = int((shown.sum(axis=0) > 0).sum())
    if seen < 2 or (support[:seen] < EVIDENCE).any():
        return None
    p, r = 1 / np.arange(1, places + 1), np.full((places, places), 0.5)
    for _ in range(rounds):
        looked, wanted = _unclicked(p[:, None], r)
        total = click + other
        p = np.clip((click + other * looked).sum(axis=1) / np.maximum(total.sum(axis=1), 1e-12), 1e-6, 1)
        # What is wanted of the pair (k, k') is the same seen from either place.
        good, all_ = click + other * wanted, total
        r = np.clip((good + good.T) / np.maximum(all_ + all_.T, 1e-12), 1e-6, 1 - 1e-6)
    return Propensities(_relative(p[:seen]), "harvest", int(shown.sum()))


def regression_em(impressions: Sequence[Impression], fit: Fit, places: int = PLACES, rounds: int = 30) -> Propensities:
    """Without interventions: EM over p(click) = p(looked at | place) p(wanted | features).

    The regression-based EM of Wang et al. (WSDM 2018). ``fit`` has the features of the rows of ``rows_of``, in that
    order. It tells place and relevance apart only as far as results of like features stood at different places.
    Raises InvalidRequest without clicks.
    """
    place, clicked = rows_of(impressions, places)
    if not clicked.any():
        raise InvalidRequest("no result was opened, so that nothing can be said of who looks where")
    p = 1 / np.arange(1.0, places + 1)
    wanted = np.full(len(place), max(clicked.mean(), 1e-3))
    counts = np.bincount(place, minlength=places)
    for _ in range(rounds):
        looked, good = _unclicked(p[place], wanted)
        sums = np.bincount(place, np.where(clicked, 1.0, looked), places)
        p = np.clip(sums / np.maximum(counts, 1), 1e-6, 1)
        wanted = np.clip(fit(np.where(clicked, 1.0, good)), 1e-6, 1 - 1e-6)
    seen = int((counts > 0).sum())
    return Propensities(_relative(p[:seen]), "em", len(place))


def rows_of(impressions: Sequence[Impression], places: int = PLACES) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Place from 0 and whether it was opened, of every result shown among the first ``places``, in order."""
    rows = [(at, hit) for each in impressions for at, hit in enumerate(each.clicked, each.offset) if at < places]
    return np.array([at for at, _ in rows], np.int64), np.array([hit for _, hit in rows], bool)


def _tables(impressions: Sequence[Impression], places: int) -> tuple[Floats, Floats]:
    """Clicks and showings of each result of each query by place, ``[results, places]``."""
    numbers: dict[tuple[str, str], int] = {}
    told = list(_shown(impressions, places))
    for key, _, _ in told:
        numbers.setdefault(key, len(numbers))
    clicks, shown = np.zeros((len(numbers), places)), np.zeros((len(numbers), places))
    for key, at, hit in told:
        clicks[numbers[key], at] += hit
        shown[numbers[key], at] += 1
    return clicks, shown


def _shown(impressions: Sequence[Impression], places: int) -> Iterator[tuple[tuple[str, str], int, bool]]:
    for each in impressions:
        for at, (passage, hit) in enumerate(zip(each.passages, each.clicked, strict=True), each.offset):
            if at < places:
                yield (each.query, passage), at, hit


def _unclicked(p: Floats, wanted: Floats) -> tuple[Floats, Floats]:
    """Of a result that was not opened: the chance that it was looked at all the same, and that it was wanted."""
    neither = np.maximum(1 - p * wanted, 1e-12)
    return p * (1 - wanted) / neither, wanted * (1 - p) / neither


def _relative(p: Floats) -> tuple[float, ...]:
    """Over the first place's, and none above it by more than noise would: what is looked at more is no reason to
    weigh a click for more than a click at the top."""
    return tuple(float(each) for each in np.clip(p / max(p[0], 1e-6), LEAST, 1.0))
