"""The kernel of late interaction against its twin in numpy, at every instruction set that this processor runs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from retrieval._native import late, library
from retrieval._native.late import LateQuery, Weights

SEEDS = st.integers(0, 2**31 - 1)
CENTROIDS = 50


def _weights(bits: int, dimension: int, seed: int) -> Weights:
    values = np.sort(np.random.default_rng(seed).choice(128, 2**bits, replace=False)).astype(np.uint8)
    return Weights(values, 64, bits, dimension)


def _query(count: int, weights: Weights, seed: int) -> LateQuery:
    numbers = np.random.default_rng(seed)
    vectors = numbers.standard_normal((count, weights.dimension), dtype=np.float32)
    centroids = numbers.standard_normal((CENTROIDS, weights.dimension), dtype=np.float32)
    steps = numbers.random(weights.dimension, dtype=np.float32)
    return LateQuery.of(vectors, centroids, steps, weights)


def _passages(lengths: list[int], weights: Weights, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    numbers = np.random.default_rng(seed)
    tokens = numbers.integers(0, 256, (sum(lengths), weights.width)).astype(np.uint8)
    tokens[:, :2] = numbers.integers(0, CENTROIDS, len(tokens)).astype("<u2")[:, None].view(np.uint8)
    return tokens, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


@settings(deadline=None, max_examples=60)
@given(
    SEEDS,
    st.sampled_from([2, 4]),
    st.sampled_from([8, 24, 64, 96, 128, 256]),
    st.integers(1, 40),
    st.lists(st.integers(0, 12), min_size=1, max_size=9),
)
def test_scores_are_those_of_the_twin_bit_by_bit_at_every_level(
    seed: int, bits: int, dimension: int, count: int, lengths: list[int]
) -> None:
    weights = _weights(bits, dimension, seed)
    query, (tokens, starts) = _query(count, weights, seed), _passages(lengths, weights, seed)
    rows = np.random.default_rng(seed).integers(0, len(lengths), 7)
    expected = late.twin(tokens, starts, rows, query)
    assert np.array_equal(np.isnan(expected), np.array(lengths)[rows] == 0)
    portable = library.opened("portable")
    assert portable is not None
    for number, name in library.LEVELS.items():
        kernels = library.opened(name)
        if number <= portable.riddle_processor() and kernels is not None:
            found = late.max_sim(tokens, starts, rows, query, kernels)
            assert np.array_equal(found, expected, equal_nan=True), name


@settings(deadline=None)
@given(SEEDS, st.sampled_from([2, 4]), st.integers(0, 20))
def test_packed_codes_come_out_as_they_went_in(seed: int, bits: int, count: int) -> None:
    codes = np.random.default_rng(seed).integers(0, 2**bits, (count, 96)).astype(np.uint8)
    packed = late.packed(codes, bits)
    assert packed.shape == (count, 96 * bits // 8)
    assert np.array_equal(late.unpacked(packed, bits), codes)


def test_a_score_is_the_sum_of_the_best_products_of_vectors_as_they_decompress() -> None:
    weights = _weights(4, 96, 3)
    numbers = np.random.default_rng(3)
    centroids = numbers.standard_normal((CENTROIDS, 96), dtype=np.float32)
    steps = numbers.random(96, dtype=np.float32) / np.float32(50)
    vectors = numbers.standard_normal((5, 96), dtype=np.float32)
    tokens, starts = _passages([20, 30], weights, 3)
    units = weights.values[late.unpacked(tokens[:, 3:], 4)].astype(np.float32) - weights.zero
    whole = (centroids[late.centroids_of(tokens)] + units * steps) * late.factors_of(tokens)[:, None]
    scores = vectors @ whole.T
    expected = [scores[:, :20].max(1).sum(), scores[:, 20:].max(1).sum()]
    found = late.max_sim(tokens, starts, np.arange(2), LateQuery.of(vectors, centroids, steps, weights))
    assert found == pytest.approx(expected, rel=5e-3)


def test_a_centroid_that_is_not_there_leads_nowhere_else() -> None:
    """Contents of large files are not read when they are opened, so that a number in them can be anything."""
    weights = _weights(2, 96, 1)
    tokens, starts = _passages([3], weights, 1)
    tokens[:, :2] = 255
    query = _query(4, weights, 1)
    assert np.isfinite(late.max_sim(tokens, starts, np.zeros(1, np.int64), query)).all()
    assert np.isfinite(late.twin(tokens, starts, np.zeros(1, np.int64), query)).all()


def test_what_does_not_fit_together_is_refused() -> None:
    weights = _weights(2, 96, 1)
    query, (tokens, starts) = _query(4, weights, 1), _passages([3, 2], weights, 1)
    rows = np.arange(2)
    for call in (
        lambda: late.max_sim(tokens[:, :-1], starts, rows, query),
        lambda: late.max_sim(tokens[:4], starts, rows, query),
        lambda: late.max_sim(tokens, starts, rows + 1, query),
        lambda: late.max_sim(tokens, starts.astype(np.int32), rows, query),
        lambda: Weights(np.zeros(4, np.uint8), 64, 3, 96),
        lambda: Weights(np.zeros(4, np.uint8), 64, 2, 300),
        lambda: Weights(np.full(4, 128, np.uint8), 64, 2, 96),
    ):
        with pytest.raises(ValueError, match=r"want|row numbers|weights"):
            call()
