"""Tests of paired differences: is it chance, how large may it be, and what could this set have seen at all.

Everything takes the differences of the same queries and nothing else. No result depends on the order of the
queries, and exchanging the two systems changes signs and nothing more: random draws are laid over the values in
order of their size, from a stream that depends on their number alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

DRAWS = 20_000
"""Random assignments of signs, where they are too many to try all: a p of 0.05 is then known to 0.0015."""

EXACT = 16
"""Up to so many queries that differ, all assignments are tried."""

POWER = 0.8
"""The chance with which a difference counts as detectable."""

SAME = 1e-9
"""Two values of a metric that are nearer than this are one: they differ by rounding."""

LEAST_MS = 1e-3
"""Times below a clock's resolution are taken as this, so that their ratio exists."""

_SEED = 20_260_101
_CELLS = 1 << 21  # of one block of draws: 16 MB of float64


def sign_flip(differences: ArrayLike, draws: int = DRAWS) -> Floats:
    """Two-sided p of each row of ``differences`` [tests, queries], by Fisher's paired randomisation test.

    If two systems are equally good, either could have had either score of a query, so that all
    2^n assignments of signs are as likely (Fisher, The Design of Experiments, 1935; Smucker et al.,
    CIKM 2007, for retrieval). p is the share of assignments whose mean is at least as far from 0 as
    the mean that was seen: over all of them when at most ``EXACT`` queries differ, else over ``draws``
    random ones and the one that was seen, (1 + count) / (1 + draws). 1.0 where nothing differs.
    """
    rows = _rows(differences)
    sizes = np.sort(np.where(np.abs(rows) < SAME, 0.0, np.abs(rows)), axis=1)[:, ::-1]
    found = np.abs(np.where(np.abs(rows) < SAME, 0.0, rows).sum(axis=1))
    moved = (sizes > 0).sum(axis=1)
    p = np.empty(len(rows))
    for count in range(EXACT + 1):
        if (some := moved == count).any():
            p[some] = _exact(sizes[some, :count], found[some])
    if (many := moved > EXACT).any():
        p[many] = _drawn(sizes[many], found[many], draws)
    return p


def _exact(sizes: Floats, found: Floats) -> Floats:
    """Over all signs. The first value keeps its plus: turning all signs round changes no distance."""
    shares = []
    for row, far in zip(sizes, found, strict=True):
        positive = row[:1].sum(keepdims=True)
        for size in row[1:]:
            positive = np.concatenate([positive, positive + size])
        shares.append(_as_far(positive, row.sum(), far).mean())
    return np.array(shares)


def _drawn(sizes: Floats, found: Floats, draws: int) -> Floats:
    """Over random signs, the same for every row. The sums of all signs of eight queries at a time are looked up."""
    columns = -(-sizes.shape[1] // 8)
    signs = np.random.default_rng([_SEED, sizes.shape[1]]).integers(0, 256, (columns, draws), np.uint8)
    bits = np.arange(256) >> np.arange(8)[:, None] & 1
    counts = []
    for row, far in zip(sizes, found, strict=True):
        sums = np.pad(row, (0, 8 * columns - len(row))).reshape(columns, 8) @ bits
        positive = np.zeros(draws)
        for eight, drawn in zip(sums, signs, strict=True):
            positive += eight[drawn]
        counts.append(_as_far(positive, row.sum(), far).sum())
    return (1 + np.array(counts, np.float64)) / (1 + draws)


def _as_far(positive: Floats, total: float, found: float) -> NDArray[np.bool_]:
    """Whether sums are as far out as ``found``, given the part of each that has a plus before it.

    Sums of the same values in another order differ by rounding, and must still count as equal.
    """
    far: NDArray[np.bool_] = np.abs(2 * positive - total) >= found - SAME * max(total, 1.0)
    return far


def holm(ps: Sequence[float]) -> list[float]:
    """p of each test, corrected for their number after Holm (Scandinavian Journal of Statistics, 1979).

    The chance that any of them is below the level though nothing differs stays below the level,
    however they depend on each other. Metrics of one ranking depend on each other in ways that nobody
    has worked out, which rules out corrections that want independence, and it is never weaker than Bonferroni's.
    """
    corrected, highest = [0.0] * len(ps), 0.0
    for rank, place in enumerate(sorted(range(len(ps)), key=lambda each: ps[each])):
        highest = max(highest, min(1.0, (len(ps) - rank) * ps[place]))
        corrected[place] = highest
    return corrected


def mean_intervals(differences: ArrayLike, level: float = 0.05, draws: int = 10_000) -> Floats:
    """Lower and upper end of the mean of each row of [tests, queries]: [tests, 2], right 1 - ``level`` of the time.

    The paired bootstrap's percentiles (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13).
    """
    rows = np.sort(_rows(differences), axis=1)
    width = rows.shape[1]
    means = [times @ rows.T / width for times in _resamples(width, draws)]
    ends: Floats = np.quantile(np.concatenate(means), [level / 2, 1 - level / 2], axis=0).T
    return ends


def least_detectable(differences: ArrayLike, values: ArrayLike, level: float, power: float = POWER) -> float:
    """The least true difference of means that a set like this finds at ``level`` with the chance ``power``.

    (t(1 - level / 2) + t(power)) * s / sqrt(n) with n - 1 degrees of freedom, s being the spread of the
    differences (Bloom, Evaluation Review, 1995: the minimum detectable effect). Where few queries or none differ,
    s says too little. So it is never less than what the test can reach at all: with c queries that
    differ, all in one direction, its p is 2^(1 - c), and each of the c must have moved by at least the
    smallest step between two ``values`` of the metric that were seen; 1.0 where there is only one. Infinite for a set
    of fewer than c queries.
    """
    (row,) = _rows(differences)
    needed = math.ceil(1 - math.log2(level))
    if len(row) < needed:
        return math.inf
    steps = np.diff(np.unique(np.asarray(values, np.float64)))
    steps = steps[steps > SAME]
    floor = needed * (float(steps.min()) if len(steps) else 1.0) / len(row)
    spread = float(row.std(ddof=1)) / math.sqrt(len(row))
    return max(floor, (t_quantile(1 - level / 2, len(row) - 1) + t_quantile(power, len(row) - 1)) * spread)


def t_quantile(p: float, degrees: int) -> float:
    """Student's t at ``p``, to 0.4 % from 5 ``degrees`` on and p up to 0.999 (Abramowitz and Stegun, 1964, 26.7.5)."""
    z = NormalDist().inv_cdf(p)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92_160,
    )
    return z + math.fsum(term / float(degrees) ** power for power, term in enumerate(terms, 1))


def wins_losses_ties(differences: ArrayLike) -> tuple[int, int, int]:
    """Queries that gained, that lost, and that stayed."""
    (row,) = _rows(differences)
    wins, losses = int((row > SAME).sum()), int((row < -SAME).sum())
    return wins, losses, len(row) - wins - losses


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times the first's time the second takes, with the ends of the interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class TimesCompared:
    """Times of the same queries under two systems."""

    p50: Ratio
    """Of the medians."""
    p95: Ratio
    paired: Ratio
    """The median of each query's own ratio: long and short queries do not widen its interval."""
    p: float
    """That the ratios of the queries lie around 1, two-sided, by the randomisation test on their logarithms."""


def compare_times(a: ArrayLike, b: ArrayLike, level: float = 0.05, draws: int = 2_000) -> TimesCompared:
    """Compare milliseconds [queries] of two systems, query by query; ratios are b over a.

    Percentiles are of the nearest rank. Intervals are the paired bootstrap's: queries are drawn with
    both their times. Queries are taken as independent; a disturbance over many of them makes the intervals too narrow.
    """
    pairs = np.maximum(np.array([a, b], np.float64), LEAST_MS)
    pairs = pairs[:, np.lexsort((np.abs(pairs[0] - pairs[1]), pairs.sum(axis=0)))]
    logs = np.log(pairs[1] / pairs[0])
    three = np.vstack([pairs, logs])
    drawn = np.concatenate([_log_ratios(three, times) for times in _resamples(len(logs), draws)], axis=1)
    seen = np.exp(_log_ratios(three, np.ones((1, len(logs)), np.int64))[:, 0])
    ends = np.exp(np.quantile(drawn, [level / 2, 1 - level / 2], axis=1))
    p50, p95, paired = (Ratio(*map(float, row)) for row in np.vstack([seen, ends]).T)
    return TimesCompared(p50, p95, paired, float(sign_flip(logs)[0]))


def _log_ratios(three: Floats, times: NDArray[np.int64]) -> Floats:
    """Log ratio of p50, of p95, and median log ratio [3, draws], when queries are taken ``times`` [draws, queries].

    ``three`` [3, queries] are a, b and their log ratios. A value's rank in a draw is read off the
    running sum of how often each value before it was taken, which spares sorting every draw.
    """
    count = three.shape[1]
    ranks = [max(1, math.ceil(count * q)) for q in (0.5, 0.95)]
    middle = [(count + 1) // 2, count // 2 + 1]
    (a50, a95), (b50, b95), (lower, upper) = (
        _at_ranks(row, times, wanted) for row, wanted in zip(three, (ranks, ranks, middle), strict=True)
    )
    return np.stack([np.log(b50 / a50), np.log(b95 / a95), (lower + upper) / 2])


def _at_ranks(values: Floats, times: NDArray[np.int64], ranks: Sequence[int]) -> list[Floats]:
    """The values of these ranks, from 1, in each draw."""
    order = np.argsort(values)
    reached = np.cumsum(times[:, order], axis=1)
    return [values[order][(reached < rank).sum(axis=1)] for rank in ranks]


def _resamples(count: int, draws: int) -> Iterator[NDArray[np.int64]]:
    """How often each of ``count`` queries is taken, of so many drawn with replacement; [block, count] at a time."""
    random = np.random.default_rng([_SEED, 1, count])
    for block in _blocks(draws, count):
        taken = random.integers(0, count, (block, count)) + np.arange(block)[:, None] * count
        yield np.bincount(taken.ravel(), minlength=block * count).reshape(block, count)


def _rows(differences: ArrayLike) -> Floats:
    rows = np.atleast_2d(np.asarray(differences, np.float64))
    if not rows.size:
        raise ValueError("there is no query to compare")
    if not np.isfinite(rows).all():
        raise ValueError("a difference is no number: leave out queries that have no value")
    return rows


def _blocks(draws: int, width: int) -> Iterator[int]:
    """How many draws at a time, so that a block stays small."""
    step = max(1, _CELLS // width)
    for begin in range(0, draws, step):
        yield min(step, draws - begin)
