"""The dense channel: nearest neighbours by inner product of unit vectors, exact or over a graph."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import DiskFull, IndexUnreadable, InvalidRequest
from retrieval.types import Hits, Vectors

FLAT_BELOW = 5000
"""``auto`` searches exactly below this many passages. Measured at 384 dimensions, one thread of an EPYC, depth 100:
5,000 take 0.3 ms exactly and 0.7 over the graph, 10,000 take 1.6 and 0.6, and the graph 6 s to build."""

GRAPH = "graph.hnsw"

_EF_CONSTRUCTION = 200
_SEED = 20240501
_BLOCK = 10_000


class VectorIndex(Protocol):
    """Thread-safe, immutable."""

    def search(self, vector: NDArray[np.float32], depth: int) -> Hits:
        """The best ``depth`` rows by inner product with ``vector`` (float32 ``[d]``, unit); scores are cosines."""
        ...


def resolve(spec: str, passages: int) -> str:
    """``auto`` becomes ``Flat`` or ``HNSW16`` by size; others are checked. Raises InvalidRequest."""
    if spec == "auto":
        return "Flat" if passages < FLAT_BELOW else "HNSW16"
    if spec == "Flat" or re.fullmatch(r"HNSW([2-9]|[1-9][0-9])", spec):
        return spec
    raise InvalidRequest(f"unknown vector index {spec!r}: use auto, Flat or HNSW<links>, such as HNSW16")


def build_index(
    spec: str, vectors: Vectors, folder: Path, *, threads: int = 1, progress: Callable[[int], None] | None = None
) -> None:
    """Write what ``spec`` (resolved) needs besides the vectors. One thread gives the same graph every time."""
    if spec == "Flat":
        return
    import hnswlib

    count, dimension = vectors.shape
    index = hnswlib.Index(space="ip", dim=dimension)
    index.init_index(max_elements=max(count, 1), M=_links(spec), ef_construction=_EF_CONSTRUCTION, random_seed=_SEED)
    for start in range(0, count, _BLOCK):
        block = vectors[start : start + _BLOCK]
        index.add_items(block, np.arange(start, start + len(block)), num_threads=threads)
        if progress:
            progress(start + len(block))
    path = folder / GRAPH
    index.save_index(str(path))
    if path.stat().st_size < index.index_file_size():  # hnswlib does not look whether its writes succeed
        raise DiskFull(f"no space left while writing {path}; what was there before is untouched")


def open_index(spec: str, vectors: Vectors, folder: Path) -> VectorIndex:
    """Raises IndexUnreadable."""
    return Flat(vectors) if spec == "Flat" else Graph(folder / GRAPH, _links(spec), vectors.shape)


class Flat:
    """Exact search: one matrix product over all vectors."""

    def __init__(self, vectors: Vectors) -> None:
        self._vectors = vectors

    def search(self, vector: NDArray[np.float32], depth: int) -> Hits:
        depth = min(depth, len(self._vectors))
        if depth < 1:
            return Hits.empty()
        scores = np.asarray(self._vectors @ vector, np.float32)
        # Everything as good as the last place, so that ties there are cut by row and not by chance.
        last = np.partition(scores, -depth)[-depth]
        rows = np.flatnonzero(scores >= last)
        order = np.lexsort((rows, -scores[rows]))[:depth]
        return Hits(rows[order].astype(np.int64), scores[rows[order]])


class Graph:
    """Approximate search over an HNSW graph (hnswlib), held in memory."""

    def __init__(self, path: Path, links: int, shape: tuple[int, ...]) -> None:
        import hnswlib

        self._count = shape[0]
        self._index: Any = hnswlib.Index(space="ip", dim=shape[1])
        try:
            self._index.load_index(str(path))
        except RuntimeError as error:
            raise IndexUnreadable(f"{path} cannot be read ({error}): build the collection again") from error
        if (self._index.element_count, self._index.M) != (self._count, links):
            raise IndexUnreadable(f"{path} does not belong to its vectors: build the collection again")
        self._index.set_num_threads(1)

    def search(self, vector: NDArray[np.float32], depth: int) -> Hits:
        depth = min(depth, self._count)
        if depth < 1:
            return Hits.empty()
        # A race with a query of another depth costs at most some recall: hnswlib never looks at fewer than k.
        self._index.set_ef(max(64, 2 * depth))
        labels, distances = self._index.knn_query(vector[None, :], k=depth, num_threads=1)
        rows, scores = labels[0].astype(np.int64), (1.0 - distances[0]).astype(np.float32)
        order = np.lexsort((rows, -scores))
        return Hits(rows[order], scores[order])


def _links(spec: str) -> int:
    return int(spec.removeprefix("HNSW"))
