"""The kernels of the graph index against their twins in numpy, on vectors small enough for both."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval import _native
from retrieval._native import graph, graph_twins
from retrieval._native.graph import NONE, Codes, Links, Tree
from retrieval.bitmap import Bitmap

SEEDS = st.integers(0, 2**31 - 1)


def _codes(count: int, dimension: int = 40, seed: int = 0) -> Codes:
    vectors = np.random.default_rng(seed).standard_normal((count, dimension), dtype=np.float32)
    return Codes(*_native.quantise_int8(vectors / np.linalg.norm(vectors, axis=1, keepdims=True)))


def _lists(count: int, width: int, seed: int) -> Links:
    numbers = np.random.default_rng(seed)
    lists = numbers.integers(0, count, (count, width)).astype(np.uint32)
    return np.where(numbers.random((count, width)) < 0.2, np.uint32(NONE), lists)


def _links(codes: Codes, degree: int, seed: int) -> Links:
    """Lists without gaps, as the search wants them."""
    return graph_twins.prune(codes, _lists(len(codes), 2 * degree, seed), 0, len(codes), 1.2, degree)


@settings(deadline=None, max_examples=25)
@given(SEEDS, st.integers(1, 6), st.integers(1, 5), st.integers(1, 9))
def test_rows_go_to_their_nearest_leaves(seed: int, branches: int, probes: int, ways: int) -> None:
    first = np.concatenate([[0], np.cumsum(np.random.default_rng(seed).integers(0, 5, branches))]).astype(np.int64)
    first[-1] = max(first[-1], 1)
    tree = Tree(_codes(branches, seed=seed + 1), _codes(int(first[-1]), seed=seed + 2), first)
    codes = _codes(30, seed=seed)
    found = graph.nearest_leaves(codes, tree, probes=probes, ways=ways)
    assert np.array_equal(found, graph_twins.nearest_leaves(codes, tree, probes, ways))


@settings(deadline=None, max_examples=25)
@given(SEEDS, st.integers(0, 150), st.integers(1, 20))
def test_neighbours_in_a_cell_are_exact(seed: int, size: int, k: int) -> None:
    codes = _codes(200, seed=seed)
    members = np.sort(np.random.default_rng(seed).permutation(200)[:size]).astype(np.int32)
    assert np.array_equal(graph.cell_neighbours(codes, members, k), graph_twins.cell_neighbours(codes, members, k))


@settings(deadline=None, max_examples=25)
@given(SEEDS, st.integers(1, 12), st.sampled_from([0.0, 1.0, 1.2]))
def test_links_are_built_as_the_twin_builds_them(seed: int, degree: int, alpha: float) -> None:
    codes = _codes(80, seed=seed)
    lists = _lists(80, 20, seed)
    links = graph.prune(codes, lists, 0, 80, alpha=alpha, degree=degree)
    assert np.array_equal(links, graph_twins.prune(codes, lists, 0, 80, alpha, degree))
    back = graph.incoming(links)
    offsets, sources = graph_twins.incoming(links)
    assert np.array_equal(back[0], offsets)
    assert np.array_equal(back[1], sources)
    both = graph.mutual(codes, links, back, 10, 70, alpha=alpha, degree=degree)
    assert np.array_equal(both, graph_twins.mutual(codes, links, back, 10, 70, alpha, degree))
    entries = np.random.default_rng(seed).integers(0, 80, (60, 3)).astype(np.uint32)
    better = graph.improve(codes, links, 10, 70, entries, width=9, alpha=alpha, degree=degree)
    assert np.array_equal(better, graph_twins.improve(codes, links, 10, 70, entries, 9, alpha, degree))


@settings(deadline=None, max_examples=40)
@given(SEEDS, st.integers(1, 30), st.integers(1, 40), st.floats(0, 1))
def test_a_search_meets_what_the_twin_meets_and_returns_what_is_admitted(
    seed: int, width: int, depth: int, share: float
) -> None:
    codes = _codes(120, seed=seed)
    links = _links(codes, 8, seed)
    numbers = np.random.default_rng(seed)
    query = _native.quantise_int8(numbers.standard_normal((1, 40), dtype=np.float32))[0][0]
    entries = numbers.integers(0, 120, 4).astype(np.uint32)
    row_of = numbers.permutation(120).astype(np.uint32)
    flags = numbers.random(120) < share
    for bits, hidden in ((None, NONE), (Bitmap.of_flags(flags).bits, NONE), (None, int(entries[0]))):
        found = graph.search(
            codes, links, query, entries, width=width, depth=depth, row_of=row_of, bits=bits, hidden=hidden
        )
        expected = graph_twins.search(codes, links, query, entries, width, depth, row_of, bits, hidden)
        assert hidden not in found.rows
        assert np.array_equal(found.rows, expected.rows)
        np.testing.assert_array_equal(found.scores, expected.scores)
        assert found.scored == expected.scored
        assert bits is None or flags[row_of[found.rows]].all()


def test_sums_and_counts_go_by_label() -> None:
    codes, rows = _codes(50), np.arange(0, 50, 2)
    labels = (np.arange(25) % 4 - 1).astype(np.int32)
    sums, counts = np.zeros((3, 40), np.float32), np.zeros(3, np.int64)
    graph.add_rows(codes, rows, labels, sums, counts)
    vectors = codes.codes * codes.scales[:, None]
    for label in range(3):
        np.testing.assert_allclose(sums[label], vectors[rows[labels == label]].sum(axis=0), atol=1e-5)
    assert counts.tolist() == [np.count_nonzero(labels == label) for label in range(3)]


def test_codes_of_the_wrong_kind_are_refused() -> None:
    with pytest.raises(ValueError, match="contiguous"):
        Codes(np.zeros((2, 3), np.int8)[:, ::2], np.zeros(2, np.float32))
    with pytest.raises(ValueError, match="scale"):
        Codes(np.zeros((2, 3), np.int8), np.zeros(3, np.float32))
