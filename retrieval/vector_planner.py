"""How a search goes about a filter: score every allowed row, read lists around the query, or leave it to the index."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval import _native
from retrieval._native.lists import scan_lists_f16, scan_lists_int8
from retrieval.bitmap import Bitmap
from retrieval.types import Hits, Rows, Vectors
from retrieval.vector_effort import calibrated
from retrieval.vector_filters import PerBitmap
from retrieval.vector_lists import Lists
from retrieval.vector_store import Codes, Store, best

PROBES = (4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)

SCORED_BELOW = 12_000
"""So few allowed rows are all scored: half a millisecond where they lie anywhere."""

LISTS_BELOW = 0.5
"""The share of allowed rows from which on an index that looks at all of them wastes less than half."""

FAR = 0.25
"""When this share of the lists was read without evidence enough, what is allowed lies far from the query. There the
order of centroids says little: a sixth of the rows in the farthest tenth of lists held a quarter of the best."""

SCORED_WHEN_FAR = 400_000
"""So many allowed rows are all scored when they lie far; more are searched with four times the evidence."""


@dataclass(frozen=True, slots=True)
class Admitted:
    """What is known of a bitmap: how many rows it allows, and which, where they are few."""

    count: int
    rows: Rows | None


class ListScan:
    """Reads the rows of the nearest lists from the store itself: what lists that hold no codes are good for."""

    spec = "lists"

    def __init__(self, store: Store, lists: Lists, probes: int) -> None:
        """``probes``: how many lists an unfiltered search has to read."""
        self.count, self.dimension, self.probes = store.count, store.dimension, probes
        self._store, self._lists = store, lists

    def search(self, vector: NDArray[np.float32], depth: int, *, allowed: Bitmap | None = None) -> Hits:
        hits, _ = self.reach(vector, depth, allowed, self._lists.count, self.probes)
        return hits

    def reach(
        self, vector: NDArray[np.float32], depth: int, allowed: Bitmap | None, most: int, probes: int
    ) -> tuple[Hits, bool]:
        """What the evidence of ``probes`` lists finds within the nearest ``most``, and whether they gave so much."""
        near, _ = self._lists.nearest(vector, most)
        goal = probes * max(1.0, depth / 10) ** 0.25
        bits, store, members = None if allowed is None else allowed.bits, self._store, self._lists.members
        if isinstance(store, Codes):
            found = scan_lists_int8(store.codes, store.scales, vector, members, near, bits, 2 * depth + 64, goal)
        else:
            found = scan_lists_f16(store.halves, vector, members, near, bits, depth, goal)
        return best(found.rows, store.score(found.rows, vector), depth), found.reached

    def vectors(self, rows: Rows | slice) -> Vectors:
        return self._store.vectors(rows)

    def memory(self) -> Mapping[str, int]:
        return {"anonymous centroids": self._lists.bytes, "mapped members": 4 * self.count}


class Planner:
    """Searches over the rows of ``store`` that are allowed. Thread-safe."""

    def __init__(self, store: Store, lists: Lists, probes: int, *, scored_below: int = SCORED_BELOW) -> None:
        self._store, self._lists, self._scan = store, lists, ListScan(store, lists, probes)
        self._scored_below = scored_below
        self._admitted: PerBitmap[Admitted] = PerBitmap(self._admit)

    def share(self, allowed: Bitmap) -> float:
        return self._admitted(allowed).count / max(1, self._store.count)

    def search(self, vector: NDArray[np.float32], depth: int, allowed: Bitmap) -> Hits | None:
        """None when so much is allowed that the index itself does better."""
        admitted = self._admitted(allowed)
        if admitted.rows is not None:
            return self._score(admitted.rows, vector, depth)
        if admitted.count > LISTS_BELOW * self._store.count:
            return None
        hits, reached = self._scan.reach(vector, depth, allowed, int(FAR * self._lists.count) + 1, self._scan.probes)
        if reached:
            return hits
        if admitted.count <= SCORED_WHEN_FAR:
            return self._score(allowed.rows(), vector, depth)
        return self._scan.reach(vector, depth, allowed, self._lists.count, 4 * self._scan.probes)[0]

    def _score(self, rows: Rows, vector: NDArray[np.float32], depth: int) -> Hits:
        places, scores = _native.top(self._store.score(rows, vector), depth)
        return Hits(rows[places], scores)

    def _admit(self, allowed: Bitmap) -> Admitted:
        count = allowed.count()
        return Admitted(count, allowed.rows() if count <= self._scored_below else None)


def probes_for(store: Store, lists: Lists, recall: float) -> int:
    """How many lists must be read for ``recall``, measured."""
    scan = ListScan(store, lists, lists.count)
    efforts = [{"probes": probes} for probes in (*(each for each in PROBES if each < lists.count), lists.count)]
    return calibrated(scan, lambda effort: ListScan(store, lists, effort["probes"]), efforts, recall)["probes"]
