"""Whether reading more candidates can still change the top of the order enough to matter."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LEAST_READ = 12
"""Below so many read candidates their scores say too little of how the others would score."""

ENTRANTS = 0.05
"""Unread candidates that may be expected to belong into the top and still be left out."""

_SPREAD_FLOOR = 0.25
"""Of the residuals, in the reranker's logits: a handful of candidates on a line proves no certainty."""


def expected_entrants(read: Sequence[float], prior: Sequence[float], k: int) -> float:
    """How many of the unread candidates would be expected among the first ``k`` if all were read.

    ``prior`` are the scores of all candidates by the rung below, on any scale, and ``read`` the
    reranker's logits of the first ``len(read)`` of them. The logits are taken to lie on a line over
    the prior, normally distributed around it with the spread of those that were read; an unread
    candidate enters when it passes the k-th best that was read. Infinity while there is too little to go by.
    """
    unread = np.asarray(prior[len(read) :], np.float64)
    if not len(unread):
        return 0.0
    if len(read) < max(LEAST_READ, k + 2):
        return math.inf
    x, y = np.asarray(prior[: len(read)], np.float64), np.asarray(read, np.float64)
    middle, width = x.mean(), float(((x - x.mean()) ** 2).sum())
    # A prior under which better candidates score worse says nothing of those that follow.
    slope = max(0.0, float(((x - middle) * (y - y.mean())).sum()) / width) if width > 0 else 0.0
    residuals = y - y.mean() - slope * (x - middle)
    spread = max(_SPREAD_FLOOR, math.sqrt(float((residuals**2).sum()) / (len(y) - 2)))
    # Further from what was read, the line itself is less certain.
    reach = 1 + 1 / len(y) + (((unread - middle) ** 2) / width if width > 0 else 0.0)
    bar = float(np.sort(y)[-k])
    distance = (bar - y.mean() - slope * (unread - middle)) / (spread * np.sqrt(reach))
    return float(sum(0.5 * math.erfc(each / math.sqrt(2)) for each in np.atleast_1d(distance)))


def settled(read: Sequence[float], prior: Sequence[float], k: int, entrants: float = ENTRANTS) -> bool:
    """Whether no more need be read: fewer than ``entrants`` of the others are expected among the first ``k``."""
    return expected_entrants(read, prior, k) < entrants
