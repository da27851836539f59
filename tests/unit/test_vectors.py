"""The dense channel: exact search against numpy, the graph against exact search."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.errors import IndexUnreadable, InvalidRequest
from retrieval.types import Vectors
from retrieval.vectors import FLAT_BELOW, GRAPH, Flat, VectorIndex, build_index, open_index, resolve


def unit(count: int, dimension: int = 32, seed: int = 0) -> Vectors:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(20, dimension))
    drawn = centres[rng.integers(0, 20, count)] + rng.normal(size=(count, dimension))
    vectors: Vectors = (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)
    return vectors


def graph(folder: Path, vectors: Vectors, spec: str = "HNSW16") -> VectorIndex:
    folder.mkdir(exist_ok=True)
    build_index(spec, vectors, folder)
    return open_index(spec, vectors, folder)


@given(st.integers(0, 60), st.integers(0, 70), st.integers(0, 1000))
def test_exact_search_is_a_sort_by_score_then_row(count: int, depth: int, seed: int) -> None:
    vectors = np.round(unit(count, 3, seed), 1)  # rounded, so that there are ties
    query = np.array([1, 0, 0], np.float32)
    hits = Flat(vectors).search(query, depth)
    scores = vectors @ query
    expected = sorted(range(count), key=lambda row: (-scores[row], row))[:depth]
    assert hits.rows.tolist() == expected
    assert hits.scores.tolist() == [scores[row] for row in expected]


def test_the_graph_finds_nearly_all_that_exact_search_finds(tmp_path: Path) -> None:
    vectors, queries = unit(3000), unit(50, seed=1)
    approximate, exact = graph(tmp_path, vectors), Flat(vectors)
    found = [
        len(set(approximate.search(query, 100).rows.tolist()) & set(exact.search(query, 100).rows.tolist()))
        for query in queries
    ]
    assert np.mean(found) >= 97


def test_scores_of_the_graph_are_cosines(tmp_path: Path) -> None:
    vectors = unit(500)
    query = unit(1, seed=2)[0]
    hits = graph(tmp_path, vectors).search(query, 10)
    assert hits.scores == pytest.approx(vectors[hits.rows] @ query, abs=1e-5)
    assert (np.diff(hits.scores) <= 0).all()


def test_the_same_vectors_give_the_same_graph(tmp_path: Path) -> None:
    vectors = unit(800)
    for name in ("a", "b"):
        graph(tmp_path / name, vectors)
    assert (tmp_path / "a" / GRAPH).read_bytes() == (tmp_path / "b" / GRAPH).read_bytes()


def test_a_depth_beyond_the_collection_gives_all_of_it(tmp_path: Path) -> None:
    vectors = unit(7)
    assert sorted(graph(tmp_path, vectors).search(vectors[0], 1000).rows.tolist()) == list(range(7))


def test_an_empty_graph_finds_nothing(tmp_path: Path) -> None:
    assert len(graph(tmp_path, unit(0)).search(unit(1)[0], 5)) == 0


def test_auto_is_exact_for_few_and_a_graph_for_many() -> None:
    assert resolve("auto", FLAT_BELOW - 1) == "Flat"
    assert resolve("auto", FLAT_BELOW) == "HNSW16"
    assert resolve("HNSW32", 5) == "HNSW32"


@pytest.mark.parametrize("spec", ["", "flat", "HNSW", "HNSW1", "IVF16,PQ4", "HNSW16 "])
def test_an_unknown_spec_is_refused_by_name(spec: str) -> None:
    with pytest.raises(InvalidRequest, match="unknown vector index"):
        resolve(spec, 10)


def test_a_graph_of_other_vectors_is_called_unreadable(tmp_path: Path) -> None:
    build_index("HNSW16", unit(50), tmp_path)
    with pytest.raises(IndexUnreadable, match="does not belong"):
        open_index("HNSW16", unit(51), tmp_path)
    (tmp_path / GRAPH).write_bytes(b"")
    with pytest.raises(IndexUnreadable, match="cannot be read"):
        open_index("HNSW16", unit(50), tmp_path)
