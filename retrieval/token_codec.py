"""How token vectors are kept: the nearest of some centroids and a residual of a few bits a dimension, and back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval._native.late import (
    CENTROID_BYTES,
    HEAD_BYTES,
    LEAST,
    STEP,
    LateQuery,
    Weights,
    centroids_of,
    factors_of,
    packed,
    unpacked,
)
from retrieval.errors import InvalidRequest, ModelMissing
from retrieval.types import Vectors

BITS = (2, 4)
ZERO, TOP = 64, 63
"""A residual's levels are whole numbers from ``ZERO - TOP`` to ``ZERO + TOP``, so that products stay in integers."""

_BLOCK = 4096
"""Tokens that are compared with all centroids at a time."""

Bytes = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class LateSpec:
    """What must match between the tokens of an index and those of a query, and what a token takes."""

    model: str
    fingerprint: str
    """sha256 (first 16 hex digits) of weights, tokenizer, projection and centroids."""
    dimension: int
    bits: int

    @property
    def width(self) -> int:
        """Bytes a token."""
        return HEAD_BYTES + self.dimension * self.bits // 8


@dataclass(frozen=True, slots=True, eq=False)
class CodecTables:
    """What a codec is made of: ``centroids`` float32 ``[c, d]``; ``spread`` ``[d]``, the standard deviation in each
    dimension of what is left beside the centroid; ``levels`` ascending, ``[2 ** bits]``, in units of that."""

    centroids: Vectors
    spread: NDArray[np.float32]
    levels: NDArray[np.float32]


class Codec:
    """Compresses unit vectors of tokens, as ColBERTv2 does (Santhanam et al., NAACL 2022). Immutable.

    One codec serves all collections of a model, and is shipped with it: so a passage that comes by itself is compressed
    at once, segments are merged byte by byte, and one table of products with the centroids serves a whole query.
    """

    def __init__(self, spec: LateSpec, tables: CodecTables) -> None:
        self.spec = spec
        self.centroids = np.ascontiguousarray(tables.centroids, np.float32)
        largest = np.float32(np.abs(tables.levels).max())
        values = (np.rint(tables.levels / largest * TOP) + ZERO).astype(np.uint8)
        self.weights = Weights(values, ZERO, spec.bits, spec.dimension)
        self.steps = np.asarray(tables.spread * (largest / np.float32(TOP)), np.float32)
        units = values.astype(np.float32) - ZERO
        self._units = units
        self._between = (units[1:] + units[:-1]) / 2
        self._half_norms = (self.centroids**2).sum(1) / 2

    def encode(self, vectors: Vectors) -> Bytes:
        """Uint8 ``[n, width]`` for float32 ``[n, d]``."""
        out = np.empty((len(vectors), self.spec.width), np.uint8)
        for start in range(0, len(vectors), _BLOCK):
            block = vectors[start : start + _BLOCK]
            nearest = (block @ self.centroids.T - self._half_norms).argmax(1)
            residuals = (block - self.centroids[nearest]) / self.steps
            codes = np.searchsorted(self._between, residuals.ravel()).astype(np.uint8).reshape(block.shape)
            part = out[start : start + _BLOCK]
            part[:, :CENTROID_BYTES] = nearest.astype("<u2")[:, None].view(np.uint8)
            part[:, HEAD_BYTES:] = packed(codes, self.spec.bits)
            lengths = np.linalg.norm(self.centroids[nearest] + self._units[codes] * self.steps, axis=1)
            factors = (1 / np.maximum(lengths, 1e-6) - LEAST) / STEP
            part[:, CENTROID_BYTES] = np.rint(factors).clip(0, 255).astype(np.uint8)
        return out

    def decode(self, tokens: Bytes) -> Vectors:
        """What ``encode`` kept of vectors, float32 ``[n, d]``, nearly unit rows."""
        units = self._units[unpacked(tokens[:, HEAD_BYTES:], self.spec.bits)]
        whole = self.centroids[centroids_of(tokens)] + units * self.steps
        return np.asarray(whole * factors_of(tokens)[:, None], np.float32)

    def query(self, vectors: Vectors) -> LateQuery:
        """A query's token vectors, float32 ``[q, d]``, made ready for MaxSim."""
        return LateQuery.of(vectors, self.centroids, self.steps, self.weights)


def fitted(residuals: Vectors, bits: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """``spread`` and ``levels`` for these residuals, ``[n, d]``: Lloyd's algorithm over all numbers, each in units of
    its dimension's standard deviation (Lloyd, 1982)."""
    spread = np.asarray(residuals.std(0) + 1e-9, np.float32)
    values = np.sort((residuals / spread).ravel())
    levels = np.quantile(values, (np.arange(2**bits) + 0.5) / 2**bits)
    sums = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    for _ in range(200):
        ends = np.concatenate([[0], np.searchsorted(values, (levels[1:] + levels[:-1]) / 2), [len(values)]])
        levels = (sums[ends[1:]] - sums[ends[:-1]]) / np.maximum(np.diff(ends), 1)
    return spread, np.asarray(levels, np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class LateFile:
    """What is shipped with a model of late interaction: a projection of its hidden states, float32 ``[d, hidden]``,
    the codec's tables by bits, how queries and passages are marked, which tokens of passages are left out, and what
    each token of the vocabulary counts for in a query, float32 ``[vocabulary]`` in 0..1."""

    projection: Vectors
    tables: dict[int, CodecTables]
    query_mark: str
    passage_mark: str
    query_tokens: int
    without: frozenset[int]
    importance: NDArray[np.float32]

    @property
    def dimension(self) -> int:
        return int(self.projection.shape[0])

    def codec(self, model: str, fingerprint: str, bits: int) -> Codec:
        """Raises InvalidRequest for bits that it has no levels for."""
        if bits not in self.tables:
            raise InvalidRequest(
                f"token vectors are kept in {' or '.join(map(str, BITS))} bits a dimension, not {bits}"
            )
        return Codec(LateSpec(model, fingerprint, self.dimension, bits), self.tables[bits])


def read_late_file(path: Path) -> LateFile:
    """Raises ModelMissing when the file is not one of late interaction."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as file:
            said = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        floats = {name: each.astype(np.float32) for name, each in tensors.items()}
        centroids = floats["centroids"] * floats["centroid_scales"][:, None]
        return LateFile(
            floats["projection"],
            {bits: CodecTables(centroids, floats["spread"], floats[f"levels{bits}"]) for bits in BITS},
            said["query_mark"],
            said["passage_mark"],
            int(said["query_tokens"]),
            frozenset(tensors["without"].tolist()),
            floats["importance"] / np.float32(255),
        )
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise ModelMissing(f"{path} is not a file of late interaction ({error}): pull the model again") from None


def write_late_file(path: Path, late: LateFile) -> None:
    """Projection in half precision, centroids in int8 with a scale each, importance in bytes."""
    from safetensors.numpy import save_file

    from retrieval._native import quantise_int8

    tables = next(iter(late.tables.values()))
    codes, scales = quantise_int8(np.ascontiguousarray(tables.centroids, np.float32))
    tensors: dict[str, NDArray[Any]] = {
        "projection": late.projection.astype(np.float16),
        "centroids": codes,
        "centroid_scales": scales,
        "spread": tables.spread,
        "importance": np.rint(late.importance * 255).astype(np.uint8),
        "without": np.array(sorted(late.without), np.int32),
        **{f"levels{bits}": each.levels for bits, each in late.tables.items()},
    }
    marks = {"query_mark": late.query_mark, "passage_mark": late.passage_mark, "query_tokens": str(late.query_tokens)}
    save_file(tensors, path, marks)
