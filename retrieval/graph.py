"""A graph over int8 vectors that was built in blocks: opened from its folder, and walked from the nearest cells."""

from __future__ import annotations

from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from retrieval import _native
from retrieval._native.graph import NONE, Codes, Links, nearest_leaves, search
from retrieval._native.within import Admitted, Cells, Effort, search_within
from retrieval.bitmap import Bitmap
from retrieval.errors import IndexUnreadable
from retrieval.graph_build import LINKS, NODE_SCALES, NODES, TREE, build_links, load_tree
from retrieval.types import Rows
from retrieval.vector_effort import exact, surely
from retrieval.vector_filters import PerBitmap
from retrieval.vector_graph import WIDTHS, Graph
from retrieval.vector_index import Meta
from retrieval.vector_lists import MEMBERS, OFFSETS, Lists
from retrieval.vector_planner import MARGIN, ListScan, margin_for
from retrieval.vector_spec import Spec, parse_spec
from retrieval.vector_steps import Steps
from retrieval.vector_store import Codes as Store
from retrieval.vector_store import Halves, Ordered, best, mapped

ENTRIES, PROBES = 8, 6
"""A walk begins at the middle rows of so many cells, which are sought in so many branches of the tree."""

MOST = 0.5
"""Where a greater share of rows is allowed, the walk goes over all, wider by what it leaves out; where that leaves
less than half of what it should, what is nearest is shut out (seen already, deleted) and it goes four times as wide."""

SEEDS, FAR_SEEDS = 10, 40
"""Admitted nodes of the nearest cells that a filtered walk begins with, times the width: by these alone a filter that
admits one row in a hundred anywhere is nearly answered, and of a far region they are the hills to climb from."""

_FAR = 1.4
"""What is admitted lies far when the cells that hold the seeds are so many times larger than under a filter that has
nothing to do with the vectors."""

_K, _SEED = 10, 20240501
_SAMPLE, _SAMPLED = 1000, 300_000_000
"""Questions that the width is tried with; fewer of many rows, since each is compared with all of them."""


def build_cell_graph(
    folder: Path, spec: Spec, store: Store, threads: int, steps: Steps, recall: float
) -> dict[str, int]:
    """Write the graph over what ``store`` holds, and lists for filters; returns the effort that ``recall`` takes."""
    build_links(folder, spec.links, store, threads, steps)
    meta = Meta(str(spec), store.count, store.dimension, {})
    walk = CellWalk(folder, meta)
    return {"width": width_for(walk, store, recall), "margin": margin_for(_scan(folder, meta, walk, store), recall)}


def open_cell_graph(folder: Path, meta: Meta, finer: Halves | None) -> Graph:
    """Without finer vectors the nodes are all that is kept. Raises IndexUnreadable."""
    walk = CellWalk(folder, meta)
    lists = Lists(folder, meta.count, meta.dimension, packed=True)
    store = finer or Ordered(walk.vectors, lists.places())
    return Graph(meta, walk, _scan(folder, meta, walk, store), store)


def _scan(folder: Path, meta: Meta, walk: CellWalk, store: Store | Halves | Ordered) -> ListScan:
    """The cells as lists, read from the nodes, which lie in their order."""
    lists = Lists(folder, meta.count, meta.dimension, packed=True)
    return ListScan(meta.spec, lists, walk.vectors, store, meta.effort.get("margin", MARGIN))


def width_for(walk: CellWalk, store: Store, recall: float) -> int:
    """The least of WIDTHS at which recall@10 is surely ``recall``, asked with stored vectors that are hidden.

    A stored vector is a node of the graph: its links are its neighbours, and a search for it finds them too easily. At
    a million real embeddings and a beam of 32, held-out questions had a recall of 0.924, stored ones 0.977, and stored
    ones whose nodes are passed over as if they were not there 0.940.
    """
    nodes = np.sort(
        np.random.default_rng(_SEED).permutation(store.count)[: max(300, min(_SAMPLE, _SAMPLED // max(1, store.count)))]
    )
    rows = walk.rows(nodes)
    queries = store.vectors(rows)
    truth = [
        set(hits.rows[hits.rows != row][:_K].tolist())
        for hits, row in zip(exact(store, queries, _K + 1), rows, strict=True)
    ]
    for width in WIDTHS:
        shares = []
        for node, query, expected in zip(nodes.tolist(), queries, truth, strict=True):
            near = walk(query, max(width, 2 * _K), hidden=node)
            found = expected & set(best(near, store.score(near, query), _K).rows.tolist())
            shares.append(len(found) / max(1, len(expected)))
        if surely(shares, recall):
            return width
    return WIDTHS[-1]


class CellWalk:
    """Codes in the order of cells, links and tree, all read into memory: pages of a map would be too small for a walk
    that jumps about. Thread-safe."""

    def __init__(self, folder: Path, meta: Meta) -> None:
        """Raises IndexUnreadable."""
        count, degree = meta.count, parse_spec(meta.spec).links
        self._nodes = Codes(
            np.array(mapped(folder / NODES, np.int8, (count, meta.dimension))),
            np.array(mapped(folder / NODE_SCALES, np.float32, (count,))),
        )
        self._links: Links = np.array(mapped(folder / LINKS, np.uint32, (count, degree)))
        self._row_of: Links = np.array(mapped(folder / MEMBERS, np.int32, (count,))).view(np.uint32)
        try:
            self._tree, self._central = load_tree(folder / TREE)
        except (OSError, KeyError, ValueError, BadZipFile) as error:
            raise IndexUnreadable(f"{folder / TREE} cannot be read ({error}): build the collection again") from error
        offsets = np.array(mapped(folder / OFFSETS, np.int64, (len(self._tree.leaves) + 1,)))
        self._cells = Cells(self._tree.leaves, offsets)
        self._admitted = PerBitmap(lambda allowed: Admitted.of(self._row_of, allowed.bits))

    lists_below = 0.0

    def __call__(self, vector: NDArray[np.float32], width: int, *, hidden: int = NONE) -> Rows:
        """As of any walk; the node ``hidden`` is passed over."""
        codes, scale = _native.quantise_int8(vector[None, :])
        cells = nearest_leaves(Codes(codes, scale), self._tree, probes=PROBES, ways=ENTRIES)[0]
        found = search(
            self._nodes, self._links, codes[0], self._central[cells[cells >= 0]], width=width, depth=width,
            row_of=self._row_of, bits=None, hidden=hidden,
        )  # fmt: skip
        return self.rows(found.rows)

    def within(self, vector: NDArray[np.float32], width: int, allowed: Bitmap, share: float) -> Rows | None:
        """With so many seeds a narrower beam finds as much as a call does; among rows that are all far, neighbours
        tell less of each other and it must be wider."""
        if share > MOST:
            for wider in (1, 4):
                met = self(vector, min(int(wider * width / share), allowed.length))
                met = met[allowed.has(met)]
                if 2 * len(met) >= width:
                    return met
        codes, _ = _native.quantise_int8(vector[None, :])
        seeds, degree = SEEDS * width, self._links.shape[1]
        near = Effort(-(-5 * width // 6), seeds, 5 * degree // 8)
        far = Effort(2 * width, FAR_SEEDS * width, 3 * degree // 4)
        count = self._row_of.size
        far_read = int(_FAR * seeds / max(share, 1 / count) + count / len(self._cells.centroids))
        found = search_within(
            self._nodes, self._links, codes[0], self._cells, self._admitted(allowed), near, far, far_read
        )
        return self.rows(found.rows) if len(found.rows) >= near.width else None

    def rows(self, nodes: Rows) -> Rows:
        """The rows of the store that nodes stand for."""
        return self._row_of[nodes].astype(np.int64)

    @property
    def vectors(self) -> Store:
        """The nodes, in their order."""
        return Store(self._nodes.codes, self._nodes.scales)

    @property
    def bytes(self) -> int:
        arrays = (self._nodes.codes, self._nodes.scales, self._links, self._row_of, self._tree.leaves.codes)
        return sum(array.nbytes for array in arrays)
