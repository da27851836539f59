"""Combine several rankings of one query into one."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from retrieval.errors import InvalidRequest
from retrieval.types import Hits


def rrf(rankings: Mapping[str, Hits], k: int = 60, weights: Mapping[str, float] | None = None) -> Hits:
    """Reciprocal rank fusion (Cormack et al., SIGIR 2009): score(d) = sum over channels of weight / (k + rank).

    Uses ranks only (from 1), so channels need no common score scale. A row is in the result when it
    is in any channel of positive weight; channels without a weight have 1. Ties are ordered by row,
    and channels are summed by name, so equal input gives equal output in any order and on every
    machine. Raises InvalidRequest for a negative ``k`` or weight.
    """
    weights = weights or {}
    if k < 0 or any(not weight >= 0 for weight in weights.values()):
        raise InvalidRequest(f"rank fusion needs k >= 0 and weights >= 0, not k={k} and {dict(weights)}")
    channels = [(hits, weights.get(name, 1.0)) for name, hits in sorted(rankings.items())]
    channels = [(hits, weight) for hits, weight in channels if weight > 0 and len(hits)]
    if not channels:
        return Hits.empty()
    rows, places = np.unique(np.concatenate([hits.rows for hits, _ in channels]), return_inverse=True)
    gains = np.concatenate([weight / (k + np.arange(1, len(hits) + 1)) for hits, weight in channels])
    scores = np.zeros(len(rows))
    np.add.at(scores, places, gains)
    final = scores.astype(np.float32)
    order = np.lexsort((rows, -final))
    return Hits(rows[order].astype(np.int64), final[order])
