"""A walk among what a filter admits: nothing else comes back, nearly all is found, and the kernel does as its twin."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from retrieval import _native
from retrieval._native import graph_twins, within
from retrieval._native.graph import NONE, Codes
from retrieval._native.within import Admitted, Cells, Effort, search_within
from retrieval.bitmap import Bitmap
from retrieval.graph import CellWalk
from retrieval.vector_graph import Graph
from retrieval.vector_index import VectorIndex, open_index, read_meta
from retrieval.vector_store import best
from retrieval.vector_writer import VectorWriter
from tests.vectors import clustered

pytestmark = pytest.mark.slow

COUNT = 6000
VECTORS, QUERIES = clustered(COUNT), clustered(20, seed=1)
REGIONS = (VECTORS @ VECTORS[:16].T).argmax(axis=1)
RANKED = np.argsort(-(QUERIES @ VECTORS[:16].T), axis=1)
"""Regions of each query, the nearest first."""
WIDTH = 48

Flags = NDArray[np.bool_]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("graph")
    writer = VectorWriter(folder, VECTORS.shape[1], "Graph16,SQ8")
    writer.add(VECTORS)
    writer.close("Graph16,SQ8")
    return folder


@pytest.fixture(scope="module")
def walk(folder: Path) -> CellWalk:
    return CellWalk(folder, read_meta(folder))


@pytest.fixture(scope="module")
def index(folder: Path) -> VectorIndex:
    return open_index(folder)


def recall(walk: CellWalk, index: VectorIndex, flags_of: Flags) -> float:
    """Mean share of the ten best allowed rows; ``flags_of`` is ``[queries, rows]``."""
    stored, found, wanted = index.vectors(slice(None)), 0, 0
    for query, flags in zip(QUERIES, flags_of, strict=True):
        allowed = Bitmap.of_flags(flags)
        met = walk.within(query, WIDTH, allowed, float(flags.mean()))
        hits = index.search(query, 10, allowed=allowed)
        assert flags[hits.rows].all()
        if met is not None:
            assert flags[met].all()
            assert len(np.unique(met)) == len(met)
            hits = best(met, stored[met] @ query, 10)
        rows = np.flatnonzero(flags)
        truth = rows[np.argsort(-(stored[rows] @ query), kind="stable")][:10]
        found, wanted = found + len(np.intersect1d(hits.rows, truth)), wanted + len(truth)
    return found / wanted if wanted else 1.0


@pytest.mark.parametrize("share", [0.0001, 0.001, 0.01, 0.03, 0.1, 0.2, 0.4, 0.6, 0.8, 0.95, 0.99, 1.0])
def test_a_filter_that_knows_nothing_of_the_vectors_finds_nearly_all(
    walk: CellWalk, index: VectorIndex, share: float
) -> None:
    flags = np.random.default_rng(7).random(COUNT) < share
    assert recall(walk, index, np.broadcast_to(flags, (len(QUERIES), COUNT))) >= 0.95


@pytest.mark.parametrize("regions", [slice(0, 1), slice(0, 4), slice(0, 8), slice(8, 16), slice(12, 16), slice(15, 16)])
@pytest.mark.parametrize("share", [1.0, 0.2])
def test_regions_near_the_query_or_far_from_it_find_nearly_all(
    walk: CellWalk, index: VectorIndex, regions: slice, share: float
) -> None:
    also = np.random.default_rng(8).random(COUNT) < share
    flags = np.stack([np.isin(REGIONS, ranked[regions]) & also for ranked in RANKED])
    assert recall(walk, index, flags) >= 0.95


@pytest.mark.parametrize("nearest", [1, 10, 30])
def test_what_is_nearest_to_the_query_can_be_shut_out(walk: CellWalk, index: VectorIndex, nearest: int) -> None:
    flags = np.ones((len(QUERIES), COUNT), bool)
    np.put_along_axis(flags, np.argsort(-(QUERIES @ VECTORS.T), axis=1)[:, :nearest], False, axis=1)
    assert recall(walk, index, flags) >= 0.95


def test_too_little_is_left_to_others(walk: CellWalk) -> None:
    few = Bitmap.of_rows([3, 70, 5999], COUNT)
    assert walk.within(QUERIES[0], WIDTH, few, 3 / COUNT) is None
    assert walk.within(QUERIES[0], WIDTH, Bitmap.empty(COUNT), 0) is None


def test_an_index_walks_where_much_is_allowed(index: VectorIndex) -> None:
    """And its answers come from the walk, deep ones too: far fewer rows are scored than are allowed."""
    assert isinstance(index, Graph)
    flags = np.arange(COUNT) % 5 > 0
    for query in QUERIES:
        for depth in (1, 10, 700):
            hits = index.search(query, depth, allowed=Bitmap.of_flags(flags))
            assert len(hits) == depth
            assert flags[hits.rows].all()


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 2**31 - 1), st.floats(0, 1), st.integers(1, 30), st.integers(1, 60), st.integers(0, 8),
    st.integers(0, 200),
)  # fmt: skip
def test_the_kernel_meets_what_its_twin_meets_and_nothing_else_comes_back(
    seed: int, share: float, width: int, seeds: int, enough: int, far_read: int
) -> None:
    count = 150
    numbers = np.random.default_rng(seed)
    codes, centroids = (Codes(*_native.quantise_int8(clustered(size, 40, seed + size))) for size in (count, 6))
    lists = numbers.integers(0, count, (count, 16)).astype(np.uint32)
    links = graph_twins.prune(
        codes, np.where(numbers.random(lists.shape) < 0.2, np.uint32(NONE), lists), 0, count, 1.2, 8
    )
    offsets = np.concatenate([[0], np.sort(numbers.integers(0, count + 1, 5)), [count]]).astype(np.int64)
    flags = numbers.random(count) < share
    admitted = Admitted.of(numbers.permutation(count).astype(np.uint32), Bitmap.of_flags(flags).bits)
    query = _native.quantise_int8(clustered(1, 40, seed + 1))[0][0]
    cells, near, far = Cells(centroids, offsets), Effort(width, seeds, enough), Effort(2 * width, 3 * seeds, 8)
    expected = within._twin(codes, links, query, cells, admitted.flags(), near, far, far_read)
    for _ in range(2):  # when the bits by node are worked out, and when they are known
        found = search_within(codes, links, query, cells, admitted, near, far, far_read)
        assert flags[admitted.row_of[found.rows]].all()
        assert np.array_equal(found.rows, expected.rows)
        np.testing.assert_array_equal(found.scores, expected.scores)
        assert found.scored == expected.scored
