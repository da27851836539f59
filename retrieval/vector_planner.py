"""How a search goes about a filter: score all allowed rows, read lists around the query, or leave it to the index."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval import _native
from retrieval._native.lists import Reach, search_lists_f16, search_lists_int8
from retrieval.bitmap import Bitmap
from retrieval.types import Hits, Rows, Vectors
from retrieval.vector_effort import calibrated
from retrieval.vector_filters import PerBitmap
from retrieval.vector_lists import Lists
from retrieval.vector_store import Codes, Halves, Store, best

MARGIN = 200
"""Thousandths of a cosine. At 1 M sentences in 4,096 lists a margin of 0.20 read 24 lists in the median for recall@10
of 0.95; under filters that admit 2 to 40 % anywhere, or regions near the query, 0.94 to 0.99."""

FILTERED, FAR = 0.03, 0.12
"""What a filter adds to the margin, and what it adds where nothing near the query is admitted. Measured likewise: of
the half of all regions that lies farthest, 0.20 found 0.89, 0.25 0.93 and 0.30 0.97."""

SCORED_BELOW = 12_000
"""So few allowed rows are all scored: half a millisecond where they lie anywhere."""

LISTS_BELOW = 0.3
"""The share of allowed rows from which on an index that looks at all rows does with three times its effort."""

MARGINS = (50, 75, 100, 125, 150, 175, 200, 225, 250, 275, 300, 350, 400)


class ListScan:
    """Reads the nearest lists vector by vector until what comes cannot better what was found.

    How far that is, the query and the filter decide: a centroid's product with the query and a margin must reach the
    ``depth``th best score so far. Few rows allowed, or far ones, make that score low and the search long.
    """

    def __init__(self, spec: str, lists: Lists, vectors: Codes | Halves, store: Store, margin: int = MARGIN) -> None:
        """``vectors`` are what is read, in the order that ``lists`` says; what they find is scored from ``store``."""
        self.spec, self.count, self.dimension = spec, store.count, store.dimension
        self._lists, self._vectors, self.store, self._margin = lists, vectors, store, margin

    def with_effort(self, effort: Mapping[str, int]) -> ListScan:
        """The same lists, read further or less far."""
        return ListScan(self.spec, self._lists, self._vectors, self.store, effort["margin"])

    def search(self, vector: NDArray[np.float32], depth: int, *, allowed: Bitmap | None = None) -> Hits:
        depth = min(depth, self.count)
        if depth < 1:
            return Hits.empty()
        margin = self._margin / 1000 + (0.0 if allowed is None else FILTERED)
        keep = depth if self._vectors is self.store and isinstance(self._vectors, Halves) else 2 * depth + 64
        reach = Reach(keep, depth, margin, margin + FAR)
        bits = None if allowed is None else allowed.bits
        if isinstance(self._vectors, Codes):
            found = search_lists_int8(self._vectors.codes, self._vectors.scales, vector, self._lists.cells, bits, reach)
        else:
            found = search_lists_f16(self._vectors.halves, vector, self._lists.cells, bits, reach)
        return best(found.rows, self.store.score(found.rows, vector), depth)

    def vectors(self, rows: Rows | slice) -> Vectors:
        return self.store.vectors(rows)

    def memory(self) -> Mapping[str, int]:
        return {"anonymous lists": self._lists.bytes}


@dataclass(frozen=True, slots=True)
class Admitted:
    """What is known of a bitmap: how many rows it allows, and which, where they are few."""

    count: int
    rows: Rows | None


class Planner:
    """Searches over allowed rows alone. Thread-safe."""

    def __init__(self, scan: ListScan, *, scored_below: int = SCORED_BELOW, lists_below: float = LISTS_BELOW) -> None:
        """``lists_below``: above that share of allowed rows the index is to look itself."""
        self._scan, self._store = scan, scan.store
        self._scored_below, self._lists_below = scored_below, lists_below
        self._admitted: PerBitmap[Admitted] = PerBitmap(self._admit)

    def share(self, allowed: Bitmap) -> float:
        return self._admitted(allowed).count / max(1, self._store.count)

    def search(self, vector: NDArray[np.float32], depth: int, allowed: Bitmap) -> Hits | None:
        """None when so much is allowed that the index itself does better."""
        admitted = self._admitted(allowed)
        if admitted.rows is not None:
            places, scores = _native.top(self._store.score(admitted.rows, vector), depth)
            return Hits(admitted.rows[places], scores)
        if admitted.count > self._lists_below * self._store.count:
            return None
        return self._scan.search(vector, depth, allowed=allowed)

    def _admit(self, allowed: Bitmap) -> Admitted:
        count = allowed.count()
        return Admitted(count, allowed.rows() if count <= self._scored_below else None)


def margin_for(scan: ListScan, recall: float) -> int:
    """The margin that reading the lists needs for ``recall``, measured."""
    return calibrated(scan, scan.with_effort, [{"margin": margin} for margin in MARGINS], recall)["margin"]
