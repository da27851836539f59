"""Combine several rankings of one query into one: by ranks, by weighted scores, or by how scores are distributed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import InvalidRequest
from retrieval.types import Hits

FusionMethod = Literal["rrf", "weighted", "dbsf"]
Normalisation = Literal["min-max", "z"]

LEAST = 1e-3
"""What a hit counts for at least where its distribution would give it nothing: being found says something."""

Floats = NDArray[np.float64]


def fuse(
    rankings: Mapping[str, Hits],
    method: FusionMethod = "rrf",
    *,
    k: int = 60,
    weights: Mapping[str, float] | None = None,
    normalisation: Normalisation = "min-max",
) -> Hits:
    """Fuse by a method's name; ``k`` is of ``rrf`` alone, ``normalisation`` of ``weighted`` alone."""
    if method == "rrf":
        return rrf(rankings, k, weights)
    if method == "weighted":
        return weighted(rankings, weights, normalisation)
    if method == "dbsf":
        return dbsf(rankings, weights)
    raise InvalidRequest(f"fusion.method: rrf, weighted or dbsf, not {method!r}")


def rrf(rankings: Mapping[str, Hits], k: int = 60, weights: Mapping[str, float] | None = None) -> Hits:
    """Reciprocal rank fusion (Cormack et al., SIGIR 2009): score(d) = sum over channels of weight / (k + rank).

    Uses ranks only (from 1), so channels need no common score scale. A row is in the result when it
    is in any channel of positive weight; channels without a weight have 1. Ties are ordered by row,
    and channels are summed by name, so equal input gives equal output in any order and on every
    machine. Raises InvalidRequest for a negative ``k`` or weight.
    """
    if not k >= 0:
        raise InvalidRequest(f"rank fusion needs k >= 0 and weights >= 0, not k={k} and {dict(weights or {})}")
    return _summed(rankings, weights, lambda scores: 1 / (k + np.arange(1, len(scores) + 1)))


def weighted(
    rankings: Mapping[str, Hits],
    weights: Mapping[str, float] | None = None,
    normalisation: Normalisation = "min-max",
) -> Hits:
    """A weighted sum of each channel's scores on a common scale (CombSUM: Fox and Shaw, TREC-2, 1994).

    What a channel did not find counts as one mean step below its last hit and is the scale's 0, so
    that every hit is worth more than none, the only hit of a channel included. ``min-max`` lays the
    best hit at 1; ``z`` counts in standard deviations of the channel's scores. Rows, ties, weights
    and errors are those of ``rrf``.
    """
    scales: Mapping[str, Callable[[Floats], Floats]] = {"min-max": _min_max, "z": _deviations}
    if normalisation not in scales:
        raise InvalidRequest(f"fusion.normalisation: min-max or z, not {normalisation!r}")
    return _summed(rankings, weights, scales[normalisation])


def dbsf(rankings: Mapping[str, Hits], weights: Mapping[str, float] | None = None) -> Hits:
    """Distribution-based score fusion (Mazzeschi, 2023; in Qdrant since 1.11): sum of (s - (m - 3 d)) / 6 d.

    m and d are mean and sample standard deviation of a channel's scores. Where they tell nothing, for
    a single hit or equal scores, a hit counts 0.5, as in Qdrant; one that lies more than three
    deviations below counts ``LEAST``, so that none is lost. Rows, ties, weights and errors are those
    of ``rrf``.
    """
    return _summed(rankings, weights, _distributed)


def _summed(
    rankings: Mapping[str, Hits], weights: Mapping[str, float] | None, gain: Callable[[Floats], Floats]
) -> Hits:
    """Each row's weighted gains over the channels of positive weight; ``gain`` maps a channel's scores to gains."""
    weights = weights or {}
    if any(not weight >= 0 for weight in weights.values()):
        raise InvalidRequest(f"rank fusion needs k >= 0 and weights >= 0, not {dict(weights)}")
    channels = [(hits, weights.get(name, 1.0)) for name, hits in sorted(rankings.items())]
    channels = [(hits, weight) for hits, weight in channels if weight > 0 and len(hits)]
    if not channels:
        return Hits.empty()
    rows, places = np.unique(np.concatenate([hits.rows for hits, _ in channels]), return_inverse=True)
    gains = np.concatenate([weight * gain(hits.scores.astype(np.float64)) for hits, weight in channels])
    scores = np.zeros(len(rows))
    np.add.at(scores, places, gains)
    final = scores.astype(np.float32)
    order = np.lexsort((rows, -final))
    return Hits(rows[order].astype(np.int64), final[order])


def _min_max(scores: Floats) -> Floats:
    """``n`` equal steps lie between the best hit, at 1, and what was not found, at 0."""
    low, width = float(scores.min()), float(np.ptp(scores))
    if not width > 0:
        return np.ones(len(scores))
    rest = 1 / len(scores)
    laid: Floats = (np.maximum((scores - low) / width, 0) + rest) / (1 + rest)
    return laid


def _deviations(scores: Floats) -> Floats:
    spread = float(scores.std())
    if not spread > 0:
        return np.ones(len(scores))
    deviations: Floats = (scores - scores.min() + np.ptp(scores) / len(scores)) / spread
    return deviations


def _distributed(scores: Floats) -> Floats:
    spread = float(scores.std(ddof=1)) if len(scores) > 1 else 0.0
    if not spread > 0:
        return np.full(len(scores), 0.5)
    gains: Floats = np.maximum((scores - scores.mean() + 3 * spread) / (6 * spread), LEAST)
    return gains
