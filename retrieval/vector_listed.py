"""Lists of whole vectors, those of a list side by side in one file: an index by itself, and what lists of codes map."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retrieval.bitmap import Bitmap
from retrieval.types import Hits, Rows, Vectors
from retrieval.vector_effort import calibrated
from retrieval.vector_index import Meta, check_query
from retrieval.vector_lists import MEMBERS, Lists, build_lists
from retrieval.vector_planner import MARGINS, ListScan, Planner
from retrieval.vector_spec import Spec
from retrieval.vector_steps import Steps
from retrieval.vector_store import Codes, Halves, Kind, Ordered, Store, StoreWriter, mapped, open_store

_AT_ONCE = 65_536


def write_listed(folder: Path, store: Halves | Codes, steps: Steps) -> None:
    """Copy ``store`` into the order of the lists in ``folder``: read in a row vectors come three times as fast."""
    members = mapped(folder / MEMBERS, np.int32, (store.count,))
    writer = StoreWriter(folder, store.dimension, store.kind, name="listed")
    for start in range(0, store.count, _AT_ONCE):
        writer.copy(store, members[start : start + _AT_ONCE].astype(np.int64))
        steps.progress(min(start + _AT_ONCE, store.count))
    writer.close()


def open_listed(folder: Path, meta: Meta, kind: Kind) -> tuple[Lists, Ordered]:
    """Raises IndexUnreadable."""
    lists = Lists(folder, meta.count, meta.dimension, packed=True)
    base = open_store(folder, kind, meta.count, meta.dimension, name="listed")
    return lists, Ordered(base, lists.places())


def build_listed(
    folder: Path, spec: Spec, codes: Codes, finer: Halves | None, threads: int, steps: Steps, recall: float
) -> dict[str, int]:
    """Write lists and their vectors; returns the effort that ``recall`` takes."""
    build_lists(folder, codes, spec.lists, threads, steps)
    steps("order", lambda: write_listed(folder, codes, steps))
    index = open_listed_index(folder, Meta(str(spec), codes.count, codes.dimension, {"margin": MARGINS[-1]}), finer)
    return calibrated(index, index.with_effort, index.efforts, recall)


def open_listed_index(folder: Path, meta: Meta, finer: Halves | None) -> Listed:
    """Raises IndexUnreadable."""
    lists, store = open_listed(folder, meta, "i8")
    return Listed(meta, lists, store, finer or store)


class Listed:
    """Bytes in lists, mapped; a search reads the nearest lists as far as it pays, whatever the filter."""

    def __init__(self, meta: Meta, lists: Lists, listed: Ordered, store: Store) -> None:
        self.spec, self.count, self.dimension = meta.spec, meta.count, meta.dimension
        self._meta, self._lists, self._listed, self._store = meta, lists, listed, store
        self._scan = ListScan(meta.spec, lists, listed.base, store, meta.effort["margin"])
        self._planner = Planner(self._scan, lists_below=1.0)

    @property
    def efforts(self) -> list[dict[str, int]]:
        """What ``with_effort`` takes, cheapest first."""
        return [{"margin": margin} for margin in MARGINS]

    def with_effort(self, effort: Mapping[str, int]) -> Listed:
        """The same index, searched harder or less hard."""
        return Listed(replace(self._meta, effort=effort), self._lists, self._listed, self._store)

    def search(self, vector: NDArray[np.float32], depth: int, *, allowed: Bitmap | None = None) -> Hits:
        check_query(self, vector, allowed)
        if allowed is not None and depth > 0 and (planned := self._planner.search(vector, depth, allowed)) is not None:
            return planned
        return self._scan.search(vector, depth, allowed=allowed)

    def vectors(self, rows: Rows | slice) -> Vectors:
        return self._store.vectors(rows)

    def memory(self) -> Mapping[str, int]:
        finer = {} if self._store is self._listed else {"mapped store": self._store.bytes}
        own = self._lists.bytes + 4 * self.count
        return {"anonymous lists": own, "mapped vectors": self._listed.bytes, **finer}
