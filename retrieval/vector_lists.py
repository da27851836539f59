"""The rows of a segment in lists around centroids: fitted and assigned when it is built, and found near a query."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retrieval._native.graph import Codes as TreeCodes
from retrieval._native.graph import Tree
from retrieval._native.lists import Cells
from retrieval.graph_cells import assign, fit_tree, vectors_of
from retrieval.types import Rows, Vectors
from retrieval.vector_steps import Steps
from retrieval.vector_store import Codes, Store, mapped, store_of

CENTROIDS, OFFSETS, MEMBERS = "centroids.f32", "offsets.i64", "members.i32"
ASSIGNED = "assigned.i32"
"""The list of each row; there only while an index is built."""

BLOCK = 1 << 20
"""Rows between two points at which a killed build goes on."""

_TREE = "tree.npz"
_SAMPLE = 64
"""Rows for each list that the centroids are fitted to."""
_AT_ONCE = 65_536
_SEED = 20240501


def build_lists(folder: Path, store: Store, lists: int, threads: int, steps: Steps) -> None:
    """Fit about ``lists`` centroids to the vectors of ``store`` and write which rows are nearest to each.

    Equal vectors give equal files, with any number of threads.
    """
    steps("centroids", lambda: _fit(folder, store, lists, threads))
    for start in range(0, store.count, BLOCK):
        steps(f"assign {start}", lambda start=start: _assign(folder, store, start, threads, steps))  # type: ignore[misc]
    steps("members", lambda: _invert(folder, store.count))


def remove_aside(folder: Path) -> None:
    """Remove what only the building needed."""
    for name in (_TREE, ASSIGNED):
        (folder / name).unlink(missing_ok=True)


class Lists:
    """Centroids in memory, as they are and as int8, and the members. Thread-safe."""

    def __init__(self, folder: Path, count: int, dimension: int, *, packed: bool = False) -> None:
        """``packed``: vectors are kept in the order of the members. Raises IndexUnreadable."""
        offsets = folder / OFFSETS
        self.count = max(0, offsets.stat().st_size // 8 - 1) if offsets.exists() else 0
        self.centroids: Vectors = np.array(mapped(folder / CENTROIDS, np.float32, (self.count, dimension)))
        self._codes = store_of(self.centroids)
        self.cells = Cells(
            self._codes.codes, self._codes.scales, np.array(mapped(offsets, np.int64, (self.count + 1,))),
            np.array(mapped(folder / MEMBERS, np.int32, (count,))), packed,
        )  # fmt: skip

    def nearest(self, query: NDArray[np.float32], count: int) -> tuple[Rows, NDArray[np.float32]]:
        """The ``count`` lists with the best centroids, best first by int8, and their exact products with ``query``."""
        lists, _ = self._codes.scan(query, count)
        return lists, np.asarray(self.centroids[lists] @ query, np.float32)

    @property
    def bytes(self) -> int:
        return int(self.centroids.nbytes + self._codes.bytes + self.cells.offsets.nbytes + self.cells.members.nbytes)

    def places(self) -> NDArray[np.int32]:
        """For each row where it stands among the members."""
        places = np.empty(len(self.cells.members), np.int32)
        places[self.cells.members] = np.arange(len(places), dtype=np.int32)
        return places


def _fit(folder: Path, store: Store, lists: int, threads: int) -> None:
    wanted = min(store.count, _SAMPLE * lists)
    rows = np.arange(wanted) * store.count // max(1, wanted)
    sample = store_of(store.vectors(rows))
    tree = fit_tree(TreeCodes(sample.codes, sample.scales), seed=_SEED, threads=threads, cells=lists)
    np.savez(
        folder / _TREE, branches=tree.branches.codes, branch_scales=tree.branches.scales, leaves=tree.leaves.codes,
        leaf_scales=tree.leaves.scales, first=tree.first,
    )  # fmt: skip
    (folder / CENTROIDS).write_bytes(vectors_of(tree.leaves, slice(None)).data)
    with (folder / ASSIGNED).open("wb") as file:
        file.truncate(4 * store.count)


def _assign(folder: Path, store: Store, start: int, threads: int, steps: Steps) -> None:
    with np.load(folder / _TREE) as kept:
        branches = TreeCodes(kept["branches"], kept["branch_scales"])
        tree = Tree(branches, TreeCodes(kept["leaves"], kept["leaf_scales"]), kept["first"])
    last = min(start + BLOCK, store.count)
    with (folder / ASSIGNED).open("r+b") as file:
        file.seek(4 * start)
        for first in range(start, last, _AT_ONCE):
            part = slice(first, min(first + _AT_ONCE, last))
            codes = Codes(store.codes[part], store.scales[part]) if isinstance(store, Codes) else None
            codes = codes or store_of(store.vectors(part))
            places = assign(TreeCodes(codes.codes, codes.scales), tree, ways=1, threads=threads)
            file.write(np.ascontiguousarray(places[:, 0]).data)
            steps.progress(part.stop)


def _invert(folder: Path, count: int) -> None:
    assigned = mapped(folder / ASSIGNED, np.int32, (count,))
    with np.load(folder / _TREE) as kept:
        lists = len(kept["leaf_scales"])
    order = np.argsort(assigned, kind="stable").astype(np.int32)
    (folder / MEMBERS).write_bytes(order.data)
    offsets = np.concatenate([[0], np.cumsum(np.bincount(assigned, minlength=lists))]).astype(np.int64)
    (folder / OFFSETS).write_bytes(offsets.data)
