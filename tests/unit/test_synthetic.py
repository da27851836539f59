"""Generated vectors: reproducible by block, of unit norm, and shaped like what they were fitted to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from eval.bench.synthetic import BLOCK, Shape, Synthetic, fit
from retrieval.types import Vectors


def _real(count: int, seed: int = 3) -> Vectors:
    """Forty crowded topics that share a lopsided covariance, 24 dimensions."""
    numbers = np.random.default_rng(seed)
    topics = np.random.default_rng(0).standard_normal((40, 24))
    spread = 0.6 ** np.arange(24)
    vectors = topics[numbers.integers(0, 40, count)] + numbers.standard_normal((count, 24)) * spread
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


@pytest.fixture(scope="module")
def shape() -> Shape:
    return fit(_real(4000), (0.2, 0.2, 0.2), clusters=40)


def test_any_block_is_the_same_whenever_it_is_drawn(shape: Shape) -> None:
    source = Synthetic(shape, 5)
    in_order = list(source.blocks(2 * BLOCK + 10))
    assert [len(drawn.vectors) for drawn in in_order] == [BLOCK, BLOCK, 10]
    again = Synthetic(shape, 5).block(2, 10)
    assert np.array_equal(again.vectors, in_order[2].vectors)
    assert np.array_equal(again.clusters, in_order[2].clusters)
    resumed = list(source.blocks(2 * BLOCK + 10, first=1))
    assert np.array_equal(resumed[0].vectors, in_order[1].vectors)


def test_vectors_are_of_unit_norm_and_seeds_and_queries_differ(shape: Shape) -> None:
    source = Synthetic(shape, 5)
    block, queries = source.block(0, 1000).vectors, source.queries(1000)
    assert block.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(block, axis=1), 1, atol=1e-5)
    assert not (block[:, None, :4] == queries[None, :, :4]).all(axis=2).any()
    assert not np.array_equal(block, Synthetic(shape, 6).block(0, 1000).vectors)


def test_vectors_have_the_covariance_of_what_was_fitted(shape: Shape) -> None:
    drawn = Synthetic(shape, 1).block(0, 20_000).vectors
    fitted = np.cov(_real(20_000, seed=4), rowvar=False)
    assert np.linalg.norm(np.cov(drawn, rowvar=False) - fitted) < 0.15 * np.linalg.norm(fitted)


def test_clusters_tell_where_a_vector_lies(shape: Shape) -> None:
    drawn = Synthetic(shape, 1).block(0, 5000)
    own = np.einsum("ij,ij->i", drawn.vectors, shape.centres[drawn.clusters])
    assert own.mean() > (drawn.vectors @ shape.centres.T).mean() + 0.3


def test_a_shape_survives_being_stored(shape: Shape, tmp_path: Path) -> None:
    shape.save(tmp_path / "shape.npz")
    loaded = Shape.load(tmp_path / "shape.npz")
    assert loaded.shares == shape.shares
    np.testing.assert_allclose(loaded.centres, shape.centres, atol=0.01)
    assert np.array_equal(loaded.scales, shape.scales)


def test_the_packaged_shape_has_neighbours_as_near_as_real_sentences_have() -> None:
    """Among 100,000: real ones have their nearest at a mean cosine of 0.68 and their tenth at 0.55, give or take."""
    source = Synthetic(Shape.load(), 2)
    vectors = np.concatenate([drawn.vectors for drawn in source.blocks(100_000)])
    scores = -np.sort(-(source.queries(64) @ vectors.T), axis=1)
    assert vectors.shape == (100_000, 384)
    assert 0.58 < scores[:, 0].mean() < 0.78
    assert 0.46 < scores[:, 9].mean() < 0.64


def test_too_small_a_sample_is_refused() -> None:
    with pytest.raises(ValueError, match="too few"):
        fit(_real(100), (0.2, 0.2, 0.2), clusters=40)
