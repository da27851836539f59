"""The kernel of late interaction: MaxSim over tokens kept as a centroid and a residual of a few bits a dimension."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval._native import quantise_int8
from retrieval._native.library import address, loaded
from retrieval.types import Rows, Vectors

LANES = 16
"""Query tokens side by side. Beside kLanes in late.cpp."""
MOST_DIMENSIONS = 256
CENTROID_BYTES, HEAD_BYTES = 2, 3
"""A token's record begins with its centroid's number, little end first, and what makes it a unit vector as a byte."""
LEAST, STEP = np.float32(0.75), np.float32(1 / 512)
"""Byte ``b`` stands for the factor ``LEAST + b * STEP``. Beside kLeast and kStep in late.cpp."""

_OWN_THREAD = 1 << 18
"""Multiplications up to which OpenBLAS keeps a product to the thread that asks for it. From there on it waits for
others, which a busy machine runs when it gets to them: 8 to 16 ms for a query's products, which take 0.1."""

Bytes = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """What the codes of a residual stand for: ``values[code] - zero``, times the dimension's own step.

    ``values`` is uint8 ``[2 ** bits]`` in 0..127, ``bits`` 2 or 4, ``dimension`` a multiple of 8 up to 256.
    """

    values: Bytes
    zero: int
    bits: int
    dimension: int

    def __post_init__(self) -> None:
        fits = self.dimension % 8 == 0 and 0 < self.dimension <= MOST_DIMENSIONS
        if self.bits not in (2, 4) or self.values.shape != (2**self.bits,) or self.values.dtype != np.uint8 or not fits:
            raise ValueError(f"no weights of {self.bits} bits in {self.dimension} dimensions: {self.values!r}")
        if self.values.max() > 127 or not 0 <= self.zero <= 127:
            raise ValueError("weights lie in 0..127")

    @property
    def width(self) -> int:
        """Bytes a token."""
        return HEAD_BYTES + self.dimension * self.bits // 8


@dataclass(frozen=True, slots=True, eq=False)
class LateQuery:
    """A query's tokens made ready: products with each centroid, float32 ``[centroids, q]``, and codes int8 ``[q, d]``
    with a scale (float32 ``[q]``) for the residuals; the steps of the dimensions are in the codes."""

    by_centroid: NDArray[np.float32]
    codes: NDArray[np.int8]
    scales: NDArray[np.float32]
    weights: Weights

    @classmethod
    def of(cls, vectors: Vectors, centroids: Vectors, steps: NDArray[np.float32], weights: Weights) -> LateQuery:
        """``vectors`` float32 ``[q, d]``, ``centroids`` ``[c, d]``, ``steps`` ``[d]``."""
        codes, scales = quantise_int8(np.ascontiguousarray(vectors * steps, np.float32))
        return cls(_products(np.asarray(centroids, np.float32), vectors), codes, scales, weights)

    def __len__(self) -> int:
        return len(self.codes)


def _products(centroids: Vectors, vectors: Vectors) -> NDArray[np.float32]:
    """``centroids @ vectors.T``, some rows at a time."""
    out = np.empty((len(centroids), len(vectors)), np.float32)
    at_once = max(1, _OWN_THREAD // max(1, vectors.size))
    for start in range(0, len(centroids), at_once):
        np.matmul(centroids[start : start + at_once], vectors.T, out=out[start : start + at_once])
    return out


def max_sim(
    tokens: Bytes, starts: NDArray[np.int64], rows: Rows, query: LateQuery, library: ctypes.CDLL | None = None
) -> NDArray[np.float32]:
    """For each of ``rows`` the sum over the query's tokens of the best product with one of the passage's (Khattab and
    Zaharia, SIGIR 2020); NaN for a passage without tokens.

    ``tokens`` is uint8 ``[n, width]``, mapped or not; those of passage ``r`` are ``starts[r] .. starts[r + 1]``.
    ``library`` stands for the one that suits this processor.
    """
    weights = query.weights
    _check(tokens, starts, rows, query)
    library = library or loaded()
    if library is None or not len(query):
        return twin(tokens, starts, rows, query)
    lanes = -(-len(query) // LANES)
    room = lanes * LANES - len(query)
    by_centroid = np.pad(query.by_centroid, ((0, 0), (0, room)))
    codes = np.pad(query.codes, ((0, room), (0, 0)))
    # Groups of four dimensions of all tokens of the query lie together.
    grouped = np.ascontiguousarray(codes.reshape(len(codes), -1, 4).transpose(1, 0, 2))
    scales = np.pad(query.scales, (0, room))
    offsets = codes.sum(1, dtype=np.int32) * np.int32(weights.zero)
    table = np.zeros(16, np.uint8)
    table[: len(weights.values)] = weights.values
    wanted = np.ascontiguousarray(rows, np.int64)
    out = np.empty(len(rows), np.float32)
    failed = library.riddle_max_sim(
        address(tokens), weights.width, address(starts), address(wanted), len(rows), address(by_centroid),
        len(by_centroid), address(grouped), address(scales), address(offsets), lanes, len(query), address(table),
        weights.bits, weights.dimension, address(out),
    )  # fmt: skip
    if failed:
        raise MemoryError("no memory for late interaction")
    return out


def twin(tokens: Bytes, starts: NDArray[np.int64], rows: Rows, query: LateQuery) -> NDArray[np.float32]:
    """The same in numpy: what the kernel is tested against, and what runs where nothing was compiled."""
    weights = query.weights
    out = np.full(len(rows), np.nan, np.float32)
    offsets = query.codes.sum(1, dtype=np.int32) * np.int32(weights.zero)
    for place, row in enumerate(rows.tolist()):
        own = tokens[starts[row] : starts[row + 1]]
        if len(own):
            units = weights.values[unpacked(own[:, HEAD_BYTES:], weights.bits)].astype(np.int32)
            exact = units @ query.codes.T.astype(np.int32) - offsets
            scores = query.by_centroid[
                np.minimum(centroids_of(own), len(query.by_centroid) - 1)
            ] + query.scales * exact.astype(np.float32)
            scores = scores * factors_of(own)[:, None]
            out[place] = np.add.accumulate(scores.max(0, initial=-1e30), dtype=np.float32)[-1] if len(query) else 0
    return out


def packed(codes: Bytes, bits: int) -> Bytes:
    """Codes of ``bits`` bits, uint8 ``[n, d]``, in ``d * bits / 8`` bytes: byte ``j`` holds those of dimensions ``j``,
    ``j + stride`` and so on, the first in its lowest bits."""
    planes = 8 // bits
    parts = codes.reshape(len(codes), planes, codes.shape[1] // planes)
    out = np.zeros((len(codes), parts.shape[2]), np.uint8)
    for plane in range(planes):
        out |= parts[:, plane] << np.uint8(plane * bits)
    return out


def unpacked(residuals: Bytes, bits: int) -> Bytes:
    """What ``packed`` was given."""
    mask = np.uint8(2**bits - 1)
    return np.concatenate([residuals >> np.uint8(plane * bits) & mask for plane in range(8 // bits)], axis=1)


def centroids_of(tokens: Bytes) -> NDArray[np.uint16]:
    """The number of each token's centroid."""
    return np.ascontiguousarray(tokens[:, :CENTROID_BYTES]).view("<u2")[:, 0]


def factors_of(tokens: Bytes) -> NDArray[np.float32]:
    """What each token's vector is multiplied by."""
    return np.asarray(LEAST + tokens[:, CENTROID_BYTES].astype(np.float32) * STEP, np.float32)


def _check(tokens: Bytes, starts: NDArray[np.int64], rows: Rows, query: LateQuery) -> None:
    weights = query.weights
    if (
        tokens.ndim != 2
        or tokens.dtype != np.uint8
        or tokens.shape[1] != weights.width
        or not tokens.flags.c_contiguous
    ):
        raise ValueError(f"want contiguous tokens of {weights.width} bytes, got {tokens.dtype} {tokens.shape}")
    if starts.dtype != np.int64 or not starts.flags.c_contiguous or starts[-1] > len(tokens):
        raise ValueError(f"want int64 starts of passages up to {len(tokens)} tokens")
    if len(rows) and (rows.min() < 0 or rows.max() >= len(starts) - 1):
        raise ValueError(f"row numbers must lie in 0..{len(starts) - 2}")
    if query.codes.shape != (len(query), weights.dimension) or query.by_centroid.shape[1] != len(query):
        raise ValueError(f"the query's tokens are not of {weights.dimension} dimensions")
