"""Whether reading more candidates can still change the top of the order enough to matter."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LEAST_READ = 12
"""Below so many read candidates their scores say too little of how the others would score."""

TOLERANCE = 0.01
"""Part of the discounted gain of the first k that may be expected from reading on, and is then left."""

_SPREAD_FLOOR = 0.25
"""Of the residuals, in the reranker's logits: a handful of candidates on a line proves no certainty."""

_QUANTILES = np.array([-1.59322, -0.96742, -0.56595, -0.27189, 0.0, 0.27189, 0.56595, 0.96742, 1.59322])
"""Of the standard normal distribution, at (i + 0.5) / 9: where a logit may lie, each with a ninth of the chance."""


def expected_gain(read: Sequence[float], prior: Sequence[float], k: int) -> float:
    """How much of the discounted gain of the first ``k`` is expected to be missing while the rest is unread.

    ``prior`` are the scores of all candidates by the rung below, on any scale, and ``read`` the
    reranker's logits of the first ``len(read)`` of them. The logits are taken to lie on a line over
    the prior, normally distributed around it with the spread of those that were read. A candidate's
    gain is ``sigmoid(logit - bar)``, the bar being the k-th best logit read, so that no scale of the
    logits is assumed; what each unread one would add to DCG@k by itself is summed, which is more than
    they would add together. Infinity while there is too little to go by.
    """
    unread = np.asarray(prior[len(read) :], np.float64)
    if not len(unread):
        return 0.0
    if len(read) < max(LEAST_READ, k + 2):
        return math.inf
    y = np.asarray(read, np.float64)
    middle, spread = _foreseen(np.asarray(prior[: len(read)], np.float64), y, unread)
    best = np.sort(y)[::-1][:k]
    gains, discounts = _sigmoid(best - best[-1]), 1 / np.log2(np.arange(2, k + 2))
    # What comes in at place p moves those below it down by one; what was at place k falls out.
    above = np.concatenate([[0.0], np.cumsum(gains * discounts)])
    below = np.concatenate([np.cumsum((gains[:-1] * discounts[1:])[::-1])[::-1], [0.0]])
    possible = middle[:, None] + spread[:, None] * _QUANTILES
    places = np.searchsorted(-best, -possible, side="right")
    enters = places < k
    at = np.minimum(places, k - 1)
    whole = above[at] + _sigmoid(possible - best[-1]) * discounts[at] + below[at]
    added = np.where(enters, np.maximum(whole - above[-1], 0), 0)
    return float(added.mean(axis=1).sum() / above[-1])


def settled(read: Sequence[float], prior: Sequence[float], k: int, tolerance: float = TOLERANCE) -> bool:
    """Whether no more need be read: less than ``tolerance`` of the gain of the first ``k`` is expected of the rest."""
    return expected_gain(read, prior, k) < tolerance


def _foreseen(x: Floats, y: Floats, unread: Floats) -> tuple[Floats, Floats]:
    """Mean and spread of each unread candidate's logit, by the line of ``y`` over ``x``."""
    middle, width = x.mean(), float(((x - x.mean()) ** 2).sum())
    # A prior under which better candidates score worse says nothing of those that follow.
    slope = max(0.0, float(((x - middle) * (y - y.mean())).sum()) / width) if width > 0 else 0.0
    residuals = y - y.mean() - slope * (x - middle)
    spread = max(_SPREAD_FLOOR, math.sqrt(float((residuals**2).sum()) / (len(y) - 2)))
    # Further from what was read, the line itself is less certain.
    reach = 1 + 1 / len(y) + (((unread - middle) ** 2) / width if width > 0 else np.zeros(len(unread)))
    return y.mean() + slope * (unread - middle), spread * np.sqrt(reach)


def _sigmoid(x: Floats) -> Floats:
    whole: Floats = 1 / (1 + np.exp(-np.clip(x, -60, 60)))
    return whole
