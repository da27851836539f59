"""Embeddings in files, in the forms that benchmarks come in: read by blocks, the last of them held out as questions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import SourceUnreadable
from retrieval.types import Rows, Vectors

AT_ONCE = 32_768


@dataclass(frozen=True, slots=True)
class Embeddings:
    """``count`` base vectors of unit norm, and others of the same kind as ``queries`` (float32 ``[q, d]``)."""

    name: str
    count: int
    queries: Vectors
    read: Callable[[int, int], NDArray[np.generic]]
    """Rows ``first .. last`` as numbers; unit norm or not."""

    @property
    def dimension(self) -> int:
        return int(self.queries.shape[1])

    def blocks(self) -> Iterator[Vectors]:
        """All base vectors in order, some at a time."""
        for first in range(0, self.count, AT_ONCE):
            yield unit(self.read(first, min(first + AT_ONCE, self.count)))

    def sample(self, most: int) -> Vectors:
        """``most`` base vectors spread over all of them, fewer when there are fewer."""
        rows = np.unique(np.linspace(0, self.count - 1, min(most, self.count)).astype(np.int64))
        parts = [block[rows[(rows >= at) & (rows < at + len(block))] - at] for at, block in self._numbered()]
        return np.concatenate(parts)

    def nearest(self, depth: int) -> list[Rows]:
        """The exact best ``depth`` base rows for each query, by inner product in float32."""
        best = np.full((len(self.queries), depth), -np.inf, np.float32)
        rows = np.zeros((len(self.queries), depth), np.int64)
        for at, block in self._numbered():
            scores = np.concatenate([best, self.queries @ block.T], axis=1)
            numbers = np.concatenate(
                [rows, np.broadcast_to(np.arange(at, at + len(block)), (len(rows), len(block)))], 1
            )
            kept = np.argpartition(-scores, depth - 1, axis=1)[:, :depth]
            best, rows = np.take_along_axis(scores, kept, 1), np.take_along_axis(numbers, kept, 1)
        order = np.argsort(-best, axis=1, kind="stable")
        return list(np.take_along_axis(rows, order, 1))

    def _numbered(self) -> Iterator[tuple[int, Vectors]]:
        for number, block in enumerate(self.blocks()):
            yield number * AT_ONCE, block


def read_embeddings(path: Path, *, queries: int, passages: int | None = None) -> Embeddings:
    """``x.fvecs``; ``x.npy`` of floats; or ``x.i8.npy`` with ``x.scales.npy`` beside it, one float32 a row.

    The last ``queries`` rows are questions, the first ``passages`` (all others) the base. Raises SourceUnreadable.
    """
    try:
        total, read = _opened(path)
    except (OSError, ValueError) as error:
        raise SourceUnreadable(f"{path} holds no embeddings: {error}") from error
    if total <= queries:
        raise SourceUnreadable(f"{path} holds {total:,} vectors: too few to hold {queries:,} out as questions")
    count = min(passages or total, total - queries)
    return Embeddings(path.name, count, unit(read(total - queries, total)), read)


def of_vectors(name: str, count: int, read: Callable[[Rows], Vectors], *, queries: int, seed: int) -> Embeddings:
    """Vectors that are read by row, ``queries`` of them drawn and held out. Raises SourceUnreadable when too few."""
    if count <= queries:
        raise SourceUnreadable(f"{name} holds {count:,} vectors: too few to hold {queries:,} out as questions")
    order = np.random.default_rng(seed).permutation(count)
    held, base = order[:queries], np.sort(order[queries:])
    return Embeddings(name, len(base), unit(read(np.sort(held))), lambda first, last: read(base[first:last]))


def unit(vectors: NDArray[np.generic]) -> Vectors:
    """As float32 of unit norm, C-contiguous; zeros stay."""
    wide = np.ascontiguousarray(vectors, np.float32)
    return np.asarray(wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), np.float32(1e-12)), np.float32)


def _opened(path: Path) -> tuple[int, Callable[[int, int], NDArray[np.generic]]]:
    if path.suffix == ".fvecs":  # each row: its dimension as int32, then so many float32
        dimension = int(np.fromfile(path, np.int32, 1)[0])
        rows = np.memmap(path, np.float32, "r").reshape(-1, dimension + 1)
        return len(rows), lambda first, last: rows[first:last, 1:]
    values = np.load(path, mmap_mode="r")
    if values.ndim != 2:
        raise ValueError(f"want a matrix, got {values.ndim} dimensions")
    if values.dtype != np.int8:
        return len(values), lambda first, last: values[first:last]
    scales = np.load(path.with_name(path.name.replace(".i8.npy", ".scales.npy")))
    return len(values), lambda first, last: values[first:last] * scales[first:last, None]
