"""The data of the ten-million benchmark: equal with any number of threads, its truth exact, real queries held out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import vectors_10m_data as data
from eval.bench.synthetic import BLOCK, Shape, Synthetic
from tests.vectors import clustered

pytestmark = pytest.mark.slow


def test_drawn_vectors_are_equal_with_any_number_of_threads_and_the_truth_is_exact(tmp_path: Path) -> None:
    count = BLOCK + 150
    for threads in (1, 2):
        data.draw(tmp_path / str(threads), count, threads, asked=20)
    one, two = data.codes_of(tmp_path / "1"), data.codes_of(tmp_path / "2")
    assert one.count == count
    assert np.array_equal(one.codes, two.codes)
    assert np.array_equal(one.scales, two.scales)
    queries, truth = data.questions(tmp_path / "2")
    source = Synthetic(Shape.load(), data.SEED)
    vectors = np.concatenate([drawn.vectors for drawn in source.blocks(count)])
    nearest = np.argsort(-(queries @ vectors.T), axis=1)[:, :10]
    assert [set(row) for row in truth[:, :10].tolist()] == [set(row) for row in nearest.tolist()]


def test_a_finished_folder_is_not_drawn_again(tmp_path: Path) -> None:
    data.draw(tmp_path, 200, 1, asked=20)
    drawn = (tmp_path / "state.npz").stat().st_mtime_ns
    before = data.codes_of(tmp_path).codes.copy()
    data.draw(tmp_path, 200, 1, asked=20)
    assert (tmp_path / "state.npz").stat().st_mtime_ns == drawn
    assert np.array_equal(data.codes_of(tmp_path).codes, before)


def test_real_queries_are_held_out(tmp_path: Path) -> None:
    vectors = clustered(600, data.DIMENSION)
    codes = np.rint(vectors * 127 / np.abs(vectors).max(axis=1, keepdims=True)).astype(np.int8)
    np.save(tmp_path / "vectors.i8.npy", codes)
    np.save(tmp_path / "scales.npy", np.full(600, 0.01, np.float32))
    data.take_real(tmp_path, tmp_path / "out", 500, 1, held_out=100)
    queries, truth = data.questions(tmp_path / "out")
    assert np.array_equal(queries, codes[500:] * np.float32(0.01))
    assert truth.max() < 500
    with pytest.raises(SystemExit, match="held out"):
        data.take_real(tmp_path, tmp_path / "more", 501, 1, held_out=100)
