"""Vector indexes of one segment: written, opened, searched under filters, each against exact search in numpy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.bitmap import Bitmap
from retrieval.errors import IndexUnreadable, InvalidRequest
from retrieval.types import Vectors
from retrieval.vector_effort import measured_recall
from retrieval.vector_index import META, VectorIndex, open_index
from retrieval.vector_live import LiveVectors
from retrieval.vector_writer import VectorWriter
from tests.vectors import clustered

DIMENSION = 32
SPECS = (
    "Flat",
    "Flat,Refine(SQ8)",
    "HNSW8",
    "HNSW8,SQ8",
    "HNSW8,SQ8,Refine(SQfp16)",
    "Graph16,SQ8",
    "Graph16,SQ8,Refine(SQfp16)",
    "IVF16,SQ8",
    "IVF16,SQ8,Refine(SQfp16)",
    "IVF16,PQ16x4fsr,Refine(SQ8)",
    "IVF16,PQ16x4fs,Refine(SQfp16)",
    "IVF16,RaBitQ,Refine(SQ8)",
    "IVF16,RaBitQfs",
)


def written(folder: Path, vectors: Vectors, spec: str, parts: int = 3) -> VectorIndex:
    writer = VectorWriter(folder, vectors.shape[1], spec)
    for part in np.array_split(vectors, parts):
        writer.add(part)
    writer.close(spec)
    return open_index(folder)


VECTORS, QUERIES = clustered(3000), clustered(20, seed=1)


def expected(vectors: Vectors, query: Vectors, depth: int, flags: np.ndarray) -> list[int]:
    rows = np.flatnonzero(flags)
    scores = vectors[rows] @ query
    found: list[int] = rows[np.lexsort((rows, -scores))][:depth].tolist()
    return found


@pytest.fixture(scope="module", params=SPECS)
def index(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> VectorIndex:
    return written(tmp_path_factory.mktemp("index"), VECTORS, request.param)


@pytest.mark.slow
def test_every_index_finds_nearly_what_exact_search_finds(index: VectorIndex) -> None:
    everything = np.ones(len(VECTORS), bool)
    found = [
        len(set(index.search(query, 10).rows.tolist()) & set(expected(VECTORS, query, 10, everything)))
        for query in QUERIES
    ]
    assert (index.count, index.dimension) == (len(VECTORS), DIMENSION)
    assert np.mean(found) >= 9.3


@pytest.mark.parametrize("share", [0.0, 0.0005, 0.01, 0.1, 0.3, 0.6, 0.99, 1.0])
def test_only_allowed_rows_come_back_and_nearly_all_of_the_best(index: VectorIndex, share: float) -> None:
    flags = np.random.default_rng(5).random(len(VECTORS)) < share
    allowed = Bitmap.of_flags(flags)
    overlap = []
    for query in QUERIES:
        hits = index.search(query, 10, allowed=allowed)
        assert flags[hits.rows].all()
        assert (np.diff(hits.scores) <= 0).all()
        wanted = expected(VECTORS, query, 10, flags)
        assert len(hits) == len(wanted)
        overlap.append(len(set(hits.rows.tolist()) & set(wanted)) / max(1, len(wanted)))
    assert np.mean(overlap) >= 0.93 or not flags.any()


def test_scores_are_cosines_and_stored_vectors_come_back(index: VectorIndex) -> None:
    hits = index.search(QUERIES[0], 10)
    assert hits.scores == pytest.approx(VECTORS[hits.rows] @ QUERIES[0], abs=5e-3)
    assert index.vectors(np.array([7, 3])) == pytest.approx(VECTORS[[7, 3]], abs=5e-3)
    assert len(index.vectors(slice(10, 20))) == 10
    assert all(name.split()[0] in {"anonymous", "mapped"} and size > 0 for name, size in index.memory().items())


def test_a_depth_beyond_the_segment_is_cut_and_none_is_nothing(index: VectorIndex) -> None:
    hits = index.search(QUERIES[0], 10 * len(VECTORS))
    assert len(set(hits.rows.tolist())) == len(hits) <= len(VECTORS)
    assert len(index.search(QUERIES[0], 0)) == 0


@pytest.mark.parametrize("spec", ["Flat", "Flat,Refine(SQ8)"])
def test_a_scan_of_few_gives_all_of_them_and_an_empty_one_nothing(tmp_path: Path, spec: str) -> None:
    vectors = clustered(7)
    assert sorted(written(tmp_path / "few", vectors, spec).search(vectors[0], 1000).rows.tolist()) == list(range(7))
    empty = written(tmp_path / "none", clustered(0), spec)
    assert len(empty.search(vectors[0], 5)) == 0
    assert len(empty.search(vectors[0], 5, allowed=Bitmap.full(0))) == 0


@pytest.mark.slow
@pytest.mark.parametrize("spec", SPECS)
def test_equal_vectors_give_equal_files(tmp_path: Path, spec: str) -> None:
    for name, parts in (("a", 1), ("b", 5)):
        written(tmp_path / name, clustered(600), spec, parts)
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "b").iterdir())
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in names)


@given(st.integers(0, 60), st.integers(0, 70), st.integers(0, 1000))
def test_a_live_block_is_a_sort_by_score_then_row_over_the_rows_a_reader_was_given(
    count: int, depth: int, seed: int
) -> None:
    vectors = np.round(clustered(count + 5, 4, seed), 1)  # rounded, so that there are ties
    live = LiveVectors(4, 100)
    live.append(vectors[: count // 2])
    live.append(vectors[count // 2 :])
    flags = np.random.default_rng(seed).random(count) < 0.5
    query = np.array([1, 0, 0, 0], np.float32)
    kept = live.vectors(slice(0, count))
    assert kept == pytest.approx(vectors[:count], abs=1e-3)
    assert live.search(query, depth, rows=count).rows.tolist() == expected(kept, query, depth, np.ones(count, bool))
    hits = live.search(query, depth, rows=count, allowed=Bitmap.of_flags(flags))
    assert hits.rows.tolist() == expected(kept, query, depth, flags)


def test_a_live_block_refuses_what_does_not_fit() -> None:
    live = LiveVectors(DIMENSION, 10)
    live.append(clustered(8))
    with pytest.raises(InvalidRequest, match="takes 10 vectors"):
        live.append(clustered(3))
    with pytest.raises(InvalidRequest, match="32 numbers"):
        live.append(clustered(1, 8))
    with pytest.raises(InvalidRequest, match="not finite"):
        live.append(np.full((1, DIMENSION), np.nan, np.float32))
    assert live.count == 8


def test_measured_recall_is_one_for_an_exact_index_and_low_for_a_broken_one(tmp_path: Path) -> None:
    index = written(tmp_path, clustered(2000), "Flat")
    assert measured_recall(index, sample=50, seed=1) >= 0.999
    assert measured_recall(Shuffled(index), sample=50, seed=1) < 0.1
    assert measured_recall(written(tmp_path / "one", clustered(1), "Flat"), sample=5, seed=1) == 1.0


class Shuffled:
    """An index that answers with the rows of another question."""

    def __init__(self, index: VectorIndex) -> None:
        self._index = index
        self.count, self.dimension, self.spec = index.count, index.dimension, index.spec
        self.vectors, self.memory = index.vectors, index.memory

    def search(self, vector: Vectors, depth: int, *, allowed: Bitmap | None = None):  # type: ignore[no-untyped-def]
        return self._index.search(-vector, depth, allowed=allowed)


def test_a_killed_writer_goes_on_where_it_was(tmp_path: Path) -> None:
    vectors = clustered(300)
    whole = written(tmp_path / "whole", vectors, "HNSW8,SQ8")
    killed = VectorWriter(tmp_path / "killed", DIMENSION, "auto")
    killed.add(vectors[:100])
    killed.flush()
    killed.add(vectors[200:])  # of a partition that was never finished
    killed.abandon()
    again = VectorWriter(tmp_path / "killed", DIMENSION, "auto", keep=100)
    again.add(vectors[100:])
    with pytest.raises(KeyboardInterrupt):
        again.close("HNSW8,SQ8", progress=interrupt_after(2))
    last = VectorWriter(tmp_path / "killed", DIMENSION, "auto", keep=300)
    seen: list[int] = []
    last.close("HNSW8,SQ8", progress=seen.append)
    assert seen == [300, 300], "the codes were made before the interruption, lists and graph were not"
    query = clustered(1, seed=3)[0]
    assert open_index(tmp_path / "killed").search(query, 20).rows.tolist() == whole.search(query, 20).rows.tolist()
    VectorWriter(tmp_path / "killed", DIMENSION, "auto", keep=300).close("HNSW8,SQ8", progress=seen.append)
    assert len(seen) == 2, "a finished index is left alone"


def interrupt_after(calls: int) -> Callable[[int], None]:
    seen: list[int] = []

    def progress(now: int) -> None:
        seen.append(now)
        if len(seen) == calls:
            raise KeyboardInterrupt

    return progress


def test_a_writer_refuses_what_is_not_there_and_what_does_not_fit(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="not the 5 that should be kept"):
        VectorWriter(tmp_path / "a", DIMENSION, "auto", keep=5)
    writer = VectorWriter(tmp_path / "b", DIMENSION, "Flat,Refine(SQ8)")
    with pytest.raises(InvalidRequest, match="want vectors of 32"):
        writer.add(clustered(2, 8))
    with pytest.raises(InvalidRequest, match="not finite"):
        writer.add(np.full((1, DIMENSION), np.inf, np.float32))
    with pytest.raises(InvalidRequest, match="keeps halves"):
        writer.close("Flat")
    with pytest.raises(InvalidRequest, match="0 vectors are too few for HNSW8,SQ8"):
        writer.close("HNSW8,SQ8")


def test_a_query_or_a_filter_of_another_size_is_refused(tmp_path: Path) -> None:
    for spec in ("Flat", "HNSW8"):
        index = written(tmp_path / spec, clustered(300), spec)
        with pytest.raises(InvalidRequest, match="32-d vectors"):
            index.search(clustered(1, 8)[0], 5)
        with pytest.raises(InvalidRequest, match="filter is over 301"):
            index.search(clustered(1)[0], 5, allowed=Bitmap.full(301))


@pytest.mark.parametrize("spec", SPECS)
def test_a_damaged_folder_is_called_unreadable(tmp_path: Path, spec: str) -> None:
    written(tmp_path, clustered(600), spec)
    for path in sorted(tmp_path.iterdir()):
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(IndexUnreadable, match="build the collection again"):
            open_index(tmp_path)
        path.write_bytes(whole)
    (tmp_path / META).unlink()
    with pytest.raises(IndexUnreadable):
        open_index(tmp_path)
