"""Vectors that arrive while they are searched: kept in memory, scanned exactly, read up to a row that is fixed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retrieval import _native
from retrieval.bitmap import Bitmap
from retrieval.errors import InvalidRequest
from retrieval.types import Hits, Rows, Vectors
from retrieval.vector_index import scan
from retrieval.vector_store import Codes, Halves


class LiveVectors:
    """At most ``capacity`` vectors of ``dimension`` numbers; 3 bytes a number, taken when they are needed.

    One writer appends while others read: what lies below the ``rows`` that a reader was given never changes.
    """

    def __init__(self, dimension: int, capacity: int) -> None:
        self.dimension, self.capacity, self.count = dimension, capacity, 0
        self._codes = np.empty((capacity, dimension), np.int8)
        self._scales = np.empty(capacity, np.float32)
        self._halves = np.empty((capacity, dimension), np.float16)

    def append(self, vectors: Vectors) -> None:
        """Raises InvalidRequest when they are of another width, hold what is not finite, or do not fit."""
        if vectors.ndim != 2 or vectors.shape[1] != self.dimension:
            raise InvalidRequest(f"want vectors of {self.dimension} numbers, got {list(vectors.shape)}")
        if not np.isfinite(vectors).all():
            raise InvalidRequest("a vector holds a number that is not finite")
        end = self.count + len(vectors)
        if end > self.capacity:
            raise InvalidRequest(f"a live block takes {self.capacity:,} vectors, and {end:,} would be in it")
        new = slice(self.count, end)
        self._codes[new], self._scales[new] = _native.quantise_int8(np.ascontiguousarray(vectors, np.float32))
        self._halves[new] = vectors
        self.count = end

    def search(self, vector: NDArray[np.float32], depth: int, *, rows: int, allowed: Bitmap | None = None) -> Hits:
        """The best of the first ``rows``, as VectorIndex.search has it; ``allowed`` covers at least those."""
        if vector.shape != (self.dimension,):
            raise InvalidRequest(
                f"the live block holds {self.dimension}-d vectors, the query's is {list(vector.shape)}"
            )
        if allowed is not None and allowed.length < rows:
            raise InvalidRequest(f"the filter is over {allowed.length:,} rows, the search over {rows:,}")
        codes = Codes(self._codes[:rows], self._scales[:rows])
        return scan(codes, Halves(self._halves[:rows]), vector, depth, allowed)

    def vectors(self, rows: Rows | slice) -> Vectors:
        """As they are stored (float16 precision), float32 ``[n, d]``."""
        return np.asarray(self._halves[rows], np.float32)
