"""Builds a graph over int8 vectors in blocks: cells, exact neighbours in cells, links, one round of searches.

Inserting rows one by one, as HNSW does, walks a growing graph at random through memory, and cannot go on after a kill.
Here each stage reads whole arrays and writes its own block by block:

1. *cells*: centres in two levels; every row goes to its best WAYS leaves, so that cells overlap.
2. *order*: rows are numbered by their leaf from here on, so that neighbours lie near each other in memory.
3. *neighbours*: in each cell, for each row the NEAREST others, exactly.
4. *prune*: of these the links that point in different directions (``prune`` says how); *join*: and links back.
5. *improve*: each row is searched for in that graph, and its links chosen anew of what was met; *finish*: and back.

No block depends on another of its stage: with any number of threads the files are equal.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from retrieval._native.graph import (
    NONE,
    Codes,
    Links,
    Tree,
    cell_neighbours,
    improve,
    incoming,
    mutual,
    prune,
)
from retrieval.graph_cells import Members, assign, central_rows, fit_tree, in_threads, members, spans, vectors_of
from retrieval.vector_lists import CENTROIDS, MEMBERS, OFFSETS
from retrieval.vector_steps import Steps
from retrieval.vector_store import Codes as Store
from retrieval.vector_store import mapped

NODES, NODE_SCALES, LINKS, TREE = "nodes.i8", "nodes.f32", "links.u32", "tree.npz"
"""Codes and scales in the order of leaves, links between those numbers, and what a search begins with."""

WAYS, NEAREST = 3, 16
"""Cells of a row, and neighbours taken of each. At 100,000 real embeddings and a beam of 40, recall@10 in the end was
0.848 with one cell, 0.963 with two, 0.964 with three, which leave fewer rows out of reach."""

ALPHA = 1.2
"""How much nearer a chosen neighbour must be to keep another out; 1.0 gave half the links and a recall 0.025 lower."""

WIDTH = 64
"""Beam of the searches of *improve*: 40 gave a recall 0.004 lower for two thirds of the time."""

BLOCK = 1 << 20
"""Rows between two points at which a killed build goes on."""

_ENTRIES = 2
_AT_ONCE = 4096
_SEED = 20240501
_PLACES, _ORDERED, _LISTS = "places.i32", "ordered.i32", "lists.u32"
_PRUNED, _JOINED, _IMPROVED = "pruned.u32", "joined.u32", "improved.u32"


def build_links(folder: Path, degree: int, store: Store, threads: int, steps: Steps, *, block: int = BLOCK) -> None:
    """Write NODES, NODE_SCALES, LINKS (``[n, degree]``) and TREE, and lists for filters (``vector_lists``).

    What only the building needs is removed at its end. Raises OSError.
    """
    work = _Work(folder, degree, store, threads, steps, block)
    steps("cells", work.cells)
    work.blocks("assign", work.assign)
    steps("order", work.order)
    work.by_leaves("neighbours", work.neighbours)
    work.blocks("prune", work.prune)
    work.blocks("join", lambda first, last: work.both(_PRUNED, _JOINED, first, last))
    work.blocks("improve", work.improve)
    work.blocks("finish", lambda first, last: work.both(_IMPROVED, LINKS, first, last))
    for name in (_PLACES, _ORDERED, _LISTS, _PRUNED, _JOINED, _IMPROVED):
        (folder / name).unlink(missing_ok=True)


def load_tree(path: Path) -> tuple[Tree, Links]:
    """The tree, and for each leaf the row nearest to its centre."""
    with path.open("rb") as file, np.load(file) as kept:
        branches, leaves = (Codes(kept[name], kept[f"{name}_scales"]) for name in ("branches", "leaves"))
        return Tree(branches, leaves, kept["first"]), kept["central"]


class _Work:
    """The stages over one folder. Arrays that a stage reads again and again are loaded once."""

    def __init__(self, folder: Path, degree: int, store: Store, threads: int, steps: Steps, block: int) -> None:
        self._folder, self._degree, self._threads, self._steps = folder, degree, threads, steps
        self._store, self._block, self._count = store, block, store.count
        self._source = Codes(store.codes, store.scales)
        self._nodes: Codes | None = None
        self._held: Members | None = None
        self._back: tuple[str, tuple[NDArray[np.int64], Links]] | None = None

    def blocks(self, name: str, work: Callable[[int, int], None]) -> None:
        """One step for each block of rows."""
        for first, last in spans(0, self._count, self._block):
            self._steps(f"{name} {first}", lambda first=first, last=last: work(first, last))  # type: ignore[misc]
        self._back = None

    def by_leaves(self, name: str, work: Callable[[int, int], None]) -> None:
        """One step for so many leaves as hold about a block of rows."""
        leaves = len(load_tree(self._folder / TREE)[0].leaves)
        for first, last in spans(0, leaves, max(1, leaves * self._block // max(1, self._count))):
            self._steps(f"{name} {first}", lambda first=first, last=last: work(first, last))  # type: ignore[misc]

    def cells(self) -> None:
        tree = fit_tree(self._source, seed=_SEED, threads=self._threads)
        self._save_tree(tree, np.full(len(tree.leaves), NONE, np.uint32))
        (self._folder / CENTROIDS).write_bytes(vectors_of(tree.leaves, slice(None)).data)
        self._open(_PLACES, np.int32, WAYS, "w+")

    def assign(self, first: int, last: int) -> None:
        """The leaves of the rows as they lie in the store."""
        tree, _ = load_tree(self._folder / TREE)
        for start, end in spans(first, last, 1 << 16):
            part = self._source.part(start, end)
            self._open(_PLACES, np.int32, WAYS, "r+")[start:end] = assign(part, tree, ways=WAYS, threads=self._threads)
            self._steps.progress(end)

    def order(self) -> None:
        """Number the rows by leaf, write them in that order, and find the row that stands for each leaf."""
        tree, _ = load_tree(self._folder / TREE)
        places = np.array(self._open(_PLACES, np.int32, WAYS))
        order = np.argsort(places[:, 0], kind="stable").astype(np.int32)
        (self._folder / MEMBERS).write_bytes(order.data)
        counts = np.bincount(places[:, 0], minlength=len(tree.leaves))
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        (self._folder / OFFSETS).write_bytes(offsets.data)
        with (self._folder / NODES).open("wb") as codes, (self._folder / NODE_SCALES).open("wb") as scales:
            for start, end in spans(0, self._count, 1 << 16):
                codes.write(self._source.codes[order[start:end]].data)
                scales.write(self._source.scales[order[start:end]].data)
        self._save_tree(tree, central_rows(self._codes(), offsets, tree.leaves))
        self._open(_ORDERED, np.int32, WAYS, "w+")[:] = places[order]
        self._open(_LISTS, np.uint32, WAYS * NEAREST, "w+")[:] = NONE
        for name in (_PRUNED, _JOINED, _IMPROVED, LINKS):
            self._open(name, np.uint32, self._degree, "w+")

    def neighbours(self, first: int, last: int) -> None:
        """A row keeps what each of its cells finds at a place of its own, so that cells do not wait for each other."""
        codes, lists = self._codes(), self._open(_LISTS, np.uint32, WAYS * NEAREST, "r+")
        if self._held is None:
            places = np.array(self._open(_ORDERED, np.int32, WAYS))
            self._held = members(places, len(load_tree(self._folder / TREE)[0].leaves))
        held = self._held
        columns = np.arange(NEAREST)

        def cell(leaf: int, _: int) -> None:
            part = slice(held.starts[leaf], held.starts[leaf + 1])
            rows, ways = held.rows[part], held.ways[part].astype(np.int64)
            lists[rows[:, None], (ways * NEAREST)[:, None] + columns] = cell_neighbours(codes, rows, NEAREST)

        for _ in in_threads(cell, spans(first, last, 1), self._threads):
            pass
        self._steps.progress(int(held.starts[last]) // WAYS)

    def prune(self, first: int, last: int) -> None:
        codes, lists = self._codes(), self._open(_LISTS, np.uint32, WAYS * NEAREST)
        self._write(
            _PRUNED, first, last, lambda start, end: prune(codes, lists, start, end, alpha=ALPHA, degree=self._degree)
        )

    def improve(self, first: int, last: int) -> None:
        codes, links = self._codes(), self._open(_JOINED, np.uint32, self._degree)
        places, (_, central) = self._open(_ORDERED, np.int32, WAYS), load_tree(self._folder / TREE)

        def searched(start: int, end: int) -> Links:
            near = np.array(places[start:end, :_ENTRIES])
            entries = np.where(near < 0, np.uint32(NONE), central[near])
            return improve(codes, links, start, end, entries, width=WIDTH, alpha=ALPHA, degree=self._degree)

        self._write(_IMPROVED, first, last, searched)

    def both(self, source: str, target: str, first: int, last: int) -> None:
        """Links and links back."""
        codes, links = self._codes(), self._open(source, np.uint32, self._degree)
        if self._back is None or self._back[0] != source:
            self._back = source, incoming(links)
        back = self._back[1]
        self._write(
            target,
            first,
            last,
            lambda start, end: mutual(codes, links, back, start, end, alpha=ALPHA, degree=self._degree),
        )

    def _write(self, name: str, first: int, last: int, work: Callable[[int, int], Links]) -> None:
        out = self._open(name, np.uint32, self._degree, "r+")
        pieces = list(spans(first, last, _AT_ONCE))
        for (start, end), links in zip(pieces, in_threads(work, pieces, self._threads), strict=True):
            out[start:end] = links
        self._steps.progress(last)

    def _codes(self) -> Codes:
        """The vectors in the order of leaves, in memory: every stage goes back and forth in them."""
        if self._nodes is None:
            shape = (self._count, self._source.dimension)
            codes = np.array(mapped(self._folder / NODES, np.int8, shape))
            self._nodes = Codes(codes, np.array(mapped(self._folder / NODE_SCALES, np.float32, shape[:1])))
        return self._nodes

    def _save_tree(self, tree: Tree, central: Links) -> None:
        np.savez(
            self._folder / TREE, branches=tree.branches.codes, branches_scales=tree.branches.scales,
            leaves=tree.leaves.codes, leaves_scales=tree.leaves.scales, first=tree.first, central=central,
        )  # fmt: skip

    def _open(self, name: str, dtype: type[Any], width: int, mode: Literal["r", "r+", "w+"] = "r") -> NDArray[Any]:
        found: NDArray[Any] = np.memmap(self._folder / name, dtype, mode, shape=(self._count, width)).view(np.ndarray)
        return found
