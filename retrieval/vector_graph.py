"""Approximate search over an HNSW graph: built and searched by faiss."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.bitmap import Bitmap
from retrieval.errors import DiskFull, IndexUnreadable
from retrieval.types import Hits, Rows, Vectors
from retrieval.vector_filters import PerBitmap
from retrieval.vector_index import Meta, check_query, store_kind
from retrieval.vector_spec import Spec, parse_spec
from retrieval.vector_store import Store, best, open_store

GRAPH = "graph.faiss"

_EF_CONSTRUCTION = 200
_BLOCK = 10_000
_EXACT_BELOW = 30_000


def build_graph(
    folder: Path, spec: Spec, count: int, dimension: int, threads: int, progress: Callable[[int], None]
) -> None:
    """Write the graph over the vectors stored in ``folder``. One thread gives the same graph every time."""
    faiss = _faiss()
    faiss.omp_set_num_threads(threads)
    index = faiss.IndexHNSWFlat(dimension, spec.links, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = _EF_CONSTRUCTION
    store = open_store(folder, store_kind(spec), count, dimension)
    for start in range(0, count, _BLOCK):
        index.add(store.vectors(slice(start, start + _BLOCK)))
        progress(min(start + _BLOCK, count))
    try:
        faiss.write_index(index, str(folder / GRAPH))
    except RuntimeError as error:
        raise DiskFull(f"no space left while writing {folder / GRAPH}; what was there before is untouched") from error


def open_graph(folder: Path, meta: Meta, store: Store) -> Graph:
    """Raises IndexUnreadable."""
    path = folder / GRAPH
    try:
        index = _faiss().read_index(str(path))
    except RuntimeError as error:
        raise IndexUnreadable(f"{path} cannot be read ({error}): build the collection again") from error
    if (index.ntotal, index.d) != (meta.count, meta.dimension):
        raise IndexUnreadable(f"{path} does not belong to its vectors: build the collection again")
    spec = parse_spec(meta.spec)
    codes = open_store(folder, "i8", meta.count, meta.dimension) if spec.codec and store.kind != "i8" else store
    return Graph(meta, index, codes, store)


class Graph:
    """A graph whose nodes are the rows; few allowed rows are scanned instead."""

    def __init__(self, meta: Meta, index: Any, codes: Store, store: Store) -> None:
        self.spec, self.count, self.dimension = meta.spec, meta.count, meta.dimension
        self._links = parse_spec(meta.spec).links
        self._index, self._codes, self._store = index, codes, store
        self._allowed = PerBitmap(_few)

    def search(self, vector: NDArray[np.float32], depth: int, *, allowed: Bitmap | None = None) -> Hits:
        check_query(self, vector, allowed)
        depth = min(depth, self.count)
        if depth < 1:
            return Hits.empty()
        faiss, ef, selector = _faiss(), max(96, 2 * depth), None
        if allowed is not None:
            admitted, few = self._allowed(allowed)
            if few is not None:
                return best(few, self._store.score(few, vector), depth)
            ef = min(self.count, ef * self.count // admitted)
            selector = faiss.IDSelectorBitmap(allowed.bits)
        faiss.omp_set_num_threads(1)
        parameters = faiss.SearchParametersHNSW(efSearch=ef, sel=selector)
        _, found = self._index.search(vector[None, :], depth, params=parameters)
        rows = found[0][found[0] >= 0].astype(np.int64)
        return best(rows, self._store.score(rows, vector), depth)

    def vectors(self, rows: Rows | slice) -> Vectors:
        return self._store.vectors(rows)

    def memory(self) -> Mapping[str, int]:
        graph = self.count * (8 * self._links + 4 * self.dimension + 12)
        return {"anonymous graph": graph, "mapped store": self._store.bytes}


def _few(allowed: Bitmap) -> tuple[int, Rows | None]:
    """How many rows are allowed, and which, where they are few enough to be scanned."""
    count = allowed.count()
    return count, allowed.rows() if count <= _EXACT_BELOW else None


def _faiss() -> Any:
    import faiss

    return faiss
