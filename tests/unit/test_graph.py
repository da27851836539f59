"""The graph built in blocks: near to exact search, the same however it was built, and after any interruption."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from retrieval import _native
from retrieval._native.graph import NONE
from retrieval.graph_build import LINKS, NODE_SCALES, NODES, TREE, build_links
from retrieval.graph_cells import assign, fit_tree, leaf_count, members
from retrieval.types import Vectors
from retrieval.vector_index import open_index
from retrieval.vector_lists import CENTROIDS, MEMBERS, OFFSETS
from retrieval.vector_steps import Steps
from retrieval.vector_store import Codes
from retrieval.vector_writer import VectorWriter

pytestmark = pytest.mark.slow

COUNT, DIMENSION, DEGREE = 3000, 24, 12
FILES = {NODES, NODE_SCALES, LINKS, TREE, CENTROIDS, MEMBERS, OFFSETS, "building.json"}


class Stopped(Exception):
    pass


def _vectors(count: int, seed: int) -> Vectors:
    """A hundred loose topics."""
    topics = np.random.default_rng(0).standard_normal((100, DIMENSION))
    numbers = np.random.default_rng(seed)
    vectors = topics[numbers.integers(0, 100, count)] + 0.7 * numbers.standard_normal((count, DIMENSION))
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


@pytest.fixture(scope="module")
def store() -> Codes:
    return Codes(*_native.quantise_int8(_vectors(COUNT, 1)))


@pytest.fixture(scope="module")
def whole(store: Codes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the graph of ``store``, built at one go."""
    folder = tmp_path_factory.mktemp("graph")
    _build(folder, store)
    return folder


def _build(folder: Path, store: Codes, *, threads: int = 1, stop_after: int | None = None, block: int = 750) -> None:
    """Raises Stopped at the call of progress number ``stop_after``."""
    calls = 0

    def progress(_: int) -> None:
        nonlocal calls
        calls += 1
        if calls == stop_after:
            raise Stopped

    folder.mkdir(exist_ok=True)
    build_links(folder, DEGREE, store, threads, Steps(folder, {"of": "a test"}, progress), block=block)


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name not in {"building.json", TREE}}


def test_equal_vectors_give_equal_files_by_any_threads_and_blocks(store: Codes, whole: Path, tmp_path: Path) -> None:
    assert {path.name for path in whole.iterdir()} == FILES
    _build(tmp_path, store, threads=3, block=COUNT)
    assert _contents(tmp_path) == _contents(whole)


@pytest.mark.parametrize("stop_after", [1, 5, 9, 14, 20])
def test_a_build_that_was_stopped_goes_on_to_the_same_files(
    store: Codes, whole: Path, tmp_path: Path, stop_after: int
) -> None:
    with pytest.raises(Stopped):
        _build(tmp_path, store, stop_after=stop_after)
    _build(tmp_path, store)
    assert _contents(tmp_path) == _contents(whole)


def test_links_are_distinct_rows_and_never_the_row_itself(whole: Path) -> None:
    links = np.fromfile(whole / LINKS, np.uint32).reshape(COUNT, DEGREE)
    for row, found in enumerate(links.tolist()):
        kept = [other for other in found if other != NONE]
        assert found[: len(kept)] == kept, "gaps in a list would end it"
        assert kept
        assert row not in kept
        assert len(set(kept)) == len(kept)
        assert max(kept) < COUNT


def test_a_search_finds_what_exact_search_finds(tmp_path: Path) -> None:
    vectors = _vectors(COUNT, 1)
    writer = VectorWriter(tmp_path, DIMENSION, f"Graph{DEGREE},SQ8")
    writer.add(vectors)
    writer.close(f"Graph{DEGREE},SQ8", recall=0.97)
    index = open_index(tmp_path)
    found = 0
    for query in _vectors(100, 2):
        hits = index.search(query, 10)
        found += len(set(hits.rows.tolist()) & set(np.argsort(-(vectors @ query))[:10].tolist()))
        np.testing.assert_allclose(hits.scores, vectors[hits.rows] @ query, atol=0.01)
        assert (np.diff(hits.scores) <= 0).all()
    assert found / 1000 > 0.95


def test_every_row_is_in_its_cells_and_cells_are_as_many_as_asked(store: Codes) -> None:
    from retrieval._native.graph import Codes as Rows

    rows = Rows(store.codes, store.scales)
    tree = fit_tree(rows, seed=1, threads=1)
    assert abs(len(tree.leaves) - leaf_count(COUNT)[0]) <= leaf_count(COUNT)[1]
    places = assign(rows, tree, ways=3, threads=2)
    assert np.array_equal(places, assign(rows, tree, ways=3, threads=1))
    held = members(places, len(tree.leaves))
    for leaf in range(len(tree.leaves)):
        part = slice(held.starts[leaf], held.starts[leaf + 1])
        assert np.array_equal(held.rows[part], np.flatnonzero((places == leaf).any(axis=1)))
        assert (places[held.rows[part], held.ways[part]] == leaf).all()
