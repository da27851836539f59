"""The kernels in numpy: what they are tested against, and what runs where nothing could be compiled."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retrieval.types import Rows

Int8 = NDArray[np.int8]
Half = NDArray[np.float16]
Float = NDArray[np.float32]
Bits = NDArray[np.uint8]

_BLOCK = 8192
"""Rows that are widened at a time."""


def quantise_int8(vectors: Float) -> tuple[Int8, Float]:
    top = np.abs(vectors).max(axis=1, initial=0).astype(np.float32)
    inverse = np.divide(np.float32(127), top, out=np.zeros_like(top), where=top > 0)
    return np.rint(vectors * inverse[:, None]).astype(np.int8), top / np.float32(127)


def scan_int8(
    codes: Int8, scales: Float, query: Int8, query_scale: float, depth: int, bits: Bits | None
) -> tuple[Rows, Float]:
    scores = np.empty(len(codes), np.float32)
    for start in range(0, len(codes), _BLOCK):
        part = slice(start, start + _BLOCK)
        exact = codes[part].astype(np.float32) @ query.astype(np.float32)  # whole numbers below 2^24: exact
        scores[part] = exact * (scales[part] * np.float32(query_scale))
    if bits is None:
        return top(scores, depth)
    rows = np.flatnonzero(np.unpackbits(bits, count=len(codes), bitorder="little")).astype(np.int64)
    places, best = top(scores[rows], depth)
    return rows[places], best


def score_rows_int8(codes: Int8, scales: Float, rows: Rows, query: Float) -> Float:
    return np.asarray(codes[rows].astype(np.float32) @ query * scales[rows], np.float32)


def score_rows_float(store: Half | Float, rows: Rows, query: Float) -> Float:
    return np.asarray(store[rows].astype(np.float32) @ query, np.float32)


def top(scores: Float, depth: int) -> tuple[Rows, Float]:
    depth = min(depth, len(scores))
    if depth < 1:
        return np.empty(0, np.int64), np.empty(0, np.float32)
    last = np.partition(scores, -depth)[-depth]  # all as good as the last place, so that its ties are cut by row
    rows = np.flatnonzero(scores >= last).astype(np.int64)
    order = np.lexsort((rows, -scores[rows]))[:depth]
    return rows[order], scores[rows[order]]
