"""Inner products over quantised vectors, compiled where a compiler was there at installation, else in numpy.

Every function takes C-contiguous arrays (memory maps too), runs without the interpreter's lock in one thread, and
gives rows best first with ties by row. Scores are inner products: cosines of unit vectors. Wrong shapes and types
raise ValueError.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from retrieval._native import twins
from retrieval._native.library import address, level, loaded
from retrieval.types import Rows

__all__ = ["level", "quantise_int8", "scan_int8", "score_rows_f16", "score_rows_f32", "score_rows_int8", "top"]

T = TypeVar("T", bound=np.generic)

Int8 = NDArray[np.int8]
Half = NDArray[np.float16]
Float = NDArray[np.float32]
Bits = NDArray[np.uint8]


def quantise_int8(vectors: Float) -> tuple[Int8, Float]:
    """Codes int8 ``[n, d]`` in -127..127 and one float32 scale a row: ``codes * scale`` is the vector, nearly.

    The scale is the row's largest absolute value over 127, so a code is off by at most half a scale.
    """
    vectors = _matrix(vectors, np.float32)
    library = loaded()
    if library is None:
        return twins.quantise_int8(vectors)
    count, dimension = vectors.shape
    codes, scales = np.empty((count, dimension), np.int8), np.empty(count, np.float32)
    library.riddle_quantise_int8(address(vectors), count, dimension, address(codes), address(scales))
    return codes, scales


def scan_int8(codes: Int8, scales: Float, query: Float, depth: int, bits: Bits | None = None) -> tuple[Rows, Float]:
    """The best ``depth`` rows of ``codes`` ``[n, d]`` by inner product with ``query``.

    ``query`` is float32 ``[d]`` and quantised here. ``bits`` are a Bitmap's packed bits; only rows whose bit is set are
    looked at. Both sides are int8, so rescore what comes out from a finer store where order matters.
    """
    codes = _matrix(codes, np.int8)
    count, dimension = codes.shape
    scales, query = _vector(scales, np.float32, count), _vector(query, np.float32, dimension)
    if bits is not None and (bits.dtype != np.uint8 or 8 * len(bits) < count):
        raise ValueError(f"{len(bits)} bytes of {bits.dtype} are no bitmap of {count} rows")
    depth = max(0, min(depth, count))
    if depth == 0:
        return np.empty(0, np.int64), np.empty(0, np.float32)
    query_codes, query_scale = quantise_int8(query[None, :])
    library = loaded()
    if library is None:
        return twins.scan_int8(codes, scales, query_codes[0], float(query_scale[0]), depth, bits)
    rows, scores = _room(depth)
    found = library.riddle_scan_int8(
        address(codes), address(scales), count, dimension, address(query_codes), float(query_scale[0]),
        None if bits is None else address(np.ascontiguousarray(bits)), depth, address(rows), address(scores),
    )  # fmt: skip
    return _cut(rows, scores, found)


def score_rows_int8(codes: Int8, scales: Float, rows: Rows, query: Float) -> Float:
    """Inner products of ``query`` (float32 ``[d]``, not quantised) with the rows numbered ``rows``, in their order."""
    codes = _matrix(codes, np.int8)
    count, dimension = codes.shape
    scales, query, rows = (
        _vector(scales, np.float32, count),
        _vector(query, np.float32, dimension),
        _inside(rows, count),
    )
    library = loaded()
    if library is None:
        return twins.score_rows_int8(codes, scales, rows, query)
    out = np.empty(len(rows), np.float32)
    library.riddle_score_rows_int8(
        address(codes), address(scales), address(rows), len(rows), address(query), dimension, address(out)
    )
    return out


def score_rows_f16(store: Half, rows: Rows, query: Float) -> Float:
    """As score_rows_int8, over a float16 store ``[n, d]``."""
    return _score_rows(_matrix(store, np.float16), rows, query, "riddle_score_rows_f16")


def score_rows_f32(store: Float, rows: Rows, query: Float) -> Float:
    """As score_rows_int8, over a float32 store ``[n, d]``."""
    return _score_rows(_matrix(store, np.float32), rows, query, "riddle_score_rows_f32")


def top(scores: Float, depth: int) -> tuple[Rows, Float]:
    """The places of the best ``depth`` of ``scores`` (float32 ``[n]``, no NaN), and those scores."""
    scores = _vector(scores, np.float32, len(scores))
    depth = max(0, min(depth, len(scores)))
    library = loaded()
    if library is None or depth == 0:
        return twins.top(scores, depth)
    rows, best = _room(depth)
    return _cut(rows, best, library.riddle_top(address(scores), len(scores), depth, address(rows), address(best)))


def _score_rows(store: Half | Float, rows: Rows, query: Float, kernel: str) -> Float:
    count, dimension = store.shape
    query, rows = _vector(query, np.float32, dimension), _inside(rows, count)
    library = loaded()
    if library is None:
        return twins.score_rows_float(store, rows, query)
    out = np.empty(len(rows), np.float32)
    getattr(library, kernel)(address(store), address(rows), len(rows), address(query), dimension, address(out))
    return out


def _room(depth: int) -> tuple[Rows, Float]:
    return np.empty(depth, np.int64), np.empty(depth, np.float32)


def _cut(rows: Rows, scores: Float, found: int) -> tuple[Rows, Float]:
    if found < 0:
        raise MemoryError("no memory for the best rows of a scan")
    return rows[:found], scores[:found]


def _matrix(array: NDArray[T], dtype: type[T]) -> NDArray[T]:
    if array.ndim != 2 or array.dtype != dtype or not array.flags.c_contiguous:
        raise ValueError(f"want a C-contiguous matrix of {np.dtype(dtype)}, got {array.dtype} {array.shape}")
    return array


def _vector(array: NDArray[T], dtype: type[T], size: int) -> NDArray[T]:
    if array.shape != (size,) or array.dtype != dtype:
        raise ValueError(f"want {size} values of {np.dtype(dtype)}, got {array.dtype} {array.shape}")
    return np.ascontiguousarray(array)


def _inside(rows: Rows, count: int) -> Rows:
    rows = np.ascontiguousarray(rows, np.int64)
    if rows.ndim != 1 or (len(rows) and (rows.min() < 0 or rows.max() >= count)):
        raise ValueError(f"row numbers must lie in 0..{count - 1}")
    return rows
