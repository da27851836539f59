"""`riddle bench ann`: what it reads, that its truth is exact, and that it races each index at its best effort."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from eval.bench.ann import bench_ann, rows_of
from eval.bench.ann_peers import Contender, Effort, Ours, built, peers
from eval.bench.embeddings import Embeddings, of_vectors, read_embeddings, unit
from retrieval import _native
from retrieval.errors import InvalidRequest, SourceUnreadable
from retrieval.types import Rows, Vectors
from tests.vectors import clustered


@pytest.fixture
def embeddings(tmp_path: Path) -> Embeddings:
    np.save(tmp_path / "some.npy", 3 * clustered(1200))
    return read_embeddings(tmp_path / "some.npy", queries=40)


def test_the_last_rows_are_questions_and_all_are_of_unit_norm(embeddings: Embeddings) -> None:
    vectors = clustered(1200)
    assert (embeddings.count, embeddings.dimension) == (1160, 32)
    assert embeddings.queries == pytest.approx(vectors[1160:], abs=1e-6)
    assert np.concatenate(list(embeddings.blocks())) == pytest.approx(vectors[:1160], abs=1e-6)
    assert len(embeddings.sample(100)) == 100


def test_fvecs_and_bytes_with_scales_are_read_alike(tmp_path: Path) -> None:
    vectors = clustered(50)
    rows = np.concatenate([np.full((50, 1), 32, np.int32).view(np.float32), vectors], axis=1)
    (tmp_path / "x.fvecs").write_bytes(np.ascontiguousarray(rows).tobytes())
    codes, scales = _native.quantise_int8(vectors)
    np.save(tmp_path / "x.i8.npy", codes)
    np.save(tmp_path / "x.scales.npy", scales)
    for name, close in (("x.fvecs", 1e-6), ("x.i8.npy", 0.01)):
        read = read_embeddings(tmp_path / name, queries=10, passages=20)
        assert read.count == 20
        assert np.concatenate(list(read.blocks())) == pytest.approx(vectors[:20], abs=close)
        assert read.queries == pytest.approx(vectors[40:], abs=close)


def test_what_holds_no_embeddings_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "flat.npy", np.zeros(5))
    with pytest.raises(SourceUnreadable, match="holds no embeddings"):
        read_embeddings(tmp_path / "flat.npy", queries=1)
    np.save(tmp_path / "few.npy", clustered(5))
    with pytest.raises(SourceUnreadable, match="too few to hold 5 out"):
        read_embeddings(tmp_path / "few.npy", queries=5)


def test_the_truth_is_exact(embeddings: Embeddings) -> None:
    vectors = np.concatenate(list(embeddings.blocks()))
    for query, rows in zip(embeddings.queries, embeddings.nearest(10), strict=True):
        assert rows.tolist() == np.argsort(-(vectors @ query), kind="stable")[:10].tolist()


def test_vectors_of_a_collection_are_held_out_at_random() -> None:
    vectors = clustered(300)
    source = of_vectors("docs", 300, lambda rows: vectors[rows], queries=20, seed=1)
    everything = np.concatenate([*source.blocks(), source.queries])
    assert source.count == 280
    assert sorted(map(tuple, everything.round(4).tolist())) == sorted(map(tuple, unit(vectors).round(4).tolist()))


class Guess:
    """Finds the truth for an effort of 2 and nothing for 1."""

    name = "guess"

    def build(self, embeddings: Embeddings, folder: Path, threads: int) -> None:
        self.builds = getattr(self, "builds", 0) + 1

    def open(self, folder: Path, embeddings: Embeddings) -> Sequence[Effort]:
        self._base = np.concatenate(list(embeddings.blocks()))
        return [{"tries": 1}, {"tries": 2}, {"tries": 3}]

    def search(self, query: Vectors, k: int, effort: Effort) -> Rows:
        order = np.argsort(-(self._base @ query), kind="stable")
        return order[:k] if effort["tries"] > 1 else order[::-1][:k]

    def memory(self) -> Mapping[str, int]:
        return {"anonymous": 1160 * 7, "mapped": 0}


def test_each_is_built_once_and_raced_at_the_effort_that_reaches_the_recall(
    embeddings: Embeddings, tmp_path: Path
) -> None:
    guess = Guess()
    for _ in range(2):
        report = bench_ann(embeddings, [guess], tmp_path / "work", recall=0.95, threads=1, progress=lambda text: None)
    assert guess.builds == 1
    assert [point.effort["tries"] for point in report.swept] == [1, 2], "harder ones would only cost time"
    (raced,) = report.raced
    assert (raced.effort["tries"], raced.recall_10, raced.recall_100, raced.own_bytes) == (2, 1.0, 1.0, 7.0)
    assert len(raced.latency.samples) == 5 * 40
    assert rows_of(report.raced)[0][:4] == ("guess", "tries 2", "1.0000", "1.0000")
    assert report.as_json()["recall"] == 0.95


@pytest.mark.parametrize(
    "contender",
    [
        Ours("Flat"),
        Ours("HNSW8,SQ8"),
        Ours("IVF16,PQ8x4fsr,Refine(SQ8)"),
        *peers(["faiss", "faiss-hnsw", "hnswlib"], 32, 16),
    ],
    ids=lambda contender: contender.name,
)
def test_every_contender_finds_nearly_all_with_its_last_effort(
    contender: Contender, embeddings: Embeddings, tmp_path: Path
) -> None:
    folder, seconds = built(contender, embeddings, tmp_path / "work", 1)
    assert built(contender, embeddings, tmp_path / "work", 1) == (folder, seconds)
    hardest = contender.open(folder, embeddings)[-1]
    truth = embeddings.nearest(10)
    found = [contender.search(query, 10, hardest) for query in embeddings.queries]
    assert np.mean([len(np.intersect1d(*pair)) for pair in zip(found, truth, strict=True)]) >= 9
    assert contender.memory().keys() == {"anonymous", "mapped"}


def test_an_unknown_peer_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="choose from faiss"):
        peers(["annoy"], 32, 16)
