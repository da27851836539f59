"""The kernels against their numpy twins, at every instruction set that this processor runs."""

from __future__ import annotations

import ctypes
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval import _native
from retrieval._native import build, library, twins
from retrieval.bitmap import Bitmap
from retrieval.types import Vectors

SHAPES = st.tuples(st.integers(0, 70), st.integers(1, 200), st.integers(0, 2**31 - 1))


def _vectors(count: int, dimension: int, seed: int) -> Vectors:
    return np.random.default_rng(seed).standard_normal((count, dimension), dtype=np.float32)


def _close(found: Vectors, expected: Vectors) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)


def test_the_installed_package_has_its_kernels() -> None:
    """`pip install` compiled them: the makefile asks for a compiler before it installs."""
    assert _native.level() in {"portable", "avx2", "avx512"}


@settings(deadline=None)
@given(SHAPES)
def test_codes_are_those_of_the_twin(shape: tuple[int, int, int]) -> None:
    vectors = _vectors(*shape)
    vectors[: len(vectors) // 10] = 0
    codes, scales = _native.quantise_int8(vectors)
    twin_codes, twin_scales = twins.quantise_int8(vectors)
    assert np.array_equal(scales, twin_scales)
    assert np.abs(codes.astype(int) - twin_codes).max(initial=0) <= 1  # a value halfway may fall to either side
    assert np.abs(codes * scales[:, None] - vectors).max(initial=0) <= 0.51 * scales.max(initial=0)
    assert codes.min(initial=0) >= -127


@settings(deadline=None)
@given(SHAPES, st.integers(0, 80), st.floats(0, 1))
def test_a_scan_is_that_of_the_twin_and_keeps_to_the_bitmap(
    shape: tuple[int, int, int], depth: int, share: float
) -> None:
    count, dimension, seed = shape
    codes, scales = twins.quantise_int8(_vectors(count, dimension, seed))
    query = _vectors(1, dimension, seed + 1)[0]
    flags = np.random.default_rng(seed).random(count) < share
    query_codes, query_scale = _native.quantise_int8(query[None, :])
    for bits in (None, Bitmap.of_flags(flags).bits):
        rows, scores = _native.scan_int8(codes, scales, query, depth, bits)
        expected = twins.scan_int8(codes, scales, query_codes[0], float(query_scale[0]), depth, bits)
        assert np.array_equal(rows, expected[0])
        assert np.array_equal(scores, expected[1])
        assert bits is None or flags[rows].all()


@settings(deadline=None)
@given(SHAPES, st.integers(0, 90))
def test_listed_rows_get_the_scores_of_the_twin_in_their_order(shape: tuple[int, int, int], wanted: int) -> None:
    count, dimension, seed = shape
    vectors = _vectors(count, dimension, seed)
    query = _vectors(1, dimension, seed + 1)[0]
    rows = np.random.default_rng(seed).integers(0, max(count, 1), wanted if count else 0)
    codes, scales = _native.quantise_int8(vectors)
    _close(_native.score_rows_int8(codes, scales, rows, query), twins.score_rows_int8(codes, scales, rows, query))
    half = vectors.astype(np.float16)
    _close(_native.score_rows_f16(half, rows, query), twins.score_rows_float(half, rows, query))
    _close(_native.score_rows_f32(vectors, rows, query), vectors[rows] @ query)


@settings(deadline=None)
@given(st.lists(st.integers(-5, 5), max_size=300), st.integers(0, 310))
def test_the_best_scores_come_first_and_ties_by_row(values: list[int], depth: int) -> None:
    scores = np.array(values, np.float32)
    rows, best = _native.top(scores, depth)
    assert rows.tolist() == sorted(range(len(values)), key=lambda row: (-values[row], row))[:depth]
    assert np.array_equal(best, scores[rows])


def test_every_level_that_runs_here_scans_alike() -> None:
    codes, scales = twins.quantise_int8(_vectors(500, 391, 7))
    query, query_scale = twins.quantise_int8(_vectors(1, 391, 8))
    expected = twins.scan_int8(codes, scales, query[0], float(query_scale[0]), 40, None)
    portable = library.opened("portable")
    assert portable is not None
    for number, name in library.LEVELS.items():
        kernels = library.opened(name)
        if number > portable.riddle_processor() or kernels is None:
            continue
        rows, scores = np.empty(40, np.int64), np.empty(40, np.float32)
        kernels.riddle_scan_int8(
            codes.ctypes.data, scales.ctypes.data, 500, 391, query.ctypes.data, float(query_scale[0]), None, 40,
            rows.ctypes.data, scores.ctypes.data,
        )  # fmt: skip
        assert np.array_equal(rows, expected[0]), name
        assert np.array_equal(scores, expected[1]), name


def test_wrong_arrays_are_refused() -> None:
    codes, scales = np.zeros((4, 8), np.int8), np.zeros(4, np.float32)
    query = np.zeros(8, np.float32)
    for call in (
        lambda: _native.scan_int8(codes[:, ::2], scales, query, 1),
        lambda: _native.scan_int8(codes, scales[:3], query, 1),
        lambda: _native.scan_int8(codes, scales, query[:7], 1),
        lambda: _native.scan_int8(codes, scales, query, 1, np.zeros(0, np.uint8)),
        lambda: _native.score_rows_int8(codes, scales, np.array([4]), query),
        lambda: _native.score_rows_f32(codes, np.array([0]), query),  # type: ignore[arg-type]
    ):
        with pytest.raises(ValueError, match=r"want|bitmap|row numbers"):
            call()


def test_a_compiler_that_fails_leaves_no_library_and_says_so_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "kernels-portable.so").write_bytes(b"of an older build")
    with pytest.raises(build.CompilerFailed, match="no-such-compiler"):
        build.compile_kernels("no-such-compiler", tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="no g++")
def test_the_sources_compile_without_a_warning(tmp_path: Path) -> None:
    # -Wno-maybe-uninitialized: GCC's own AVX-512 header trips it.
    made = build.compile_kernels("g++", tmp_path, extra=("-Wall", "-Wextra", "-Werror", "-Wno-maybe-uninitialized"))
    assert [ctypes.CDLL(str(path)).riddle_abi() for path in made] == [library.ABI] * len(made)
