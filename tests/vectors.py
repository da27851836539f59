"""Vectors that crowd around some centres, for tests of indexes."""

from __future__ import annotations

import numpy as np

from retrieval.types import Vectors


def clustered(count: int, dimension: int = 32, seed: int = 0) -> Vectors:
    """Unit vectors around twenty centres, which are the same for every ``seed``."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(20, dimension))
    drawn = centres[rng.integers(0, 20, count)] + rng.normal(size=(count, dimension))
    vectors: Vectors = (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)
    return vectors
