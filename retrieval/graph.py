"""A graph over int8 vectors that was built in blocks: opened from its folder, and walked from the nearest cells."""

from __future__ import annotations

from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from retrieval import _native
from retrieval._native.graph import Codes, Links, nearest_leaves, search
from retrieval.bitmap import Bitmap
from retrieval.errors import IndexUnreadable
from retrieval.graph_build import LINKS, NODE_SCALES, NODES, TREE, build_links, load_tree
from retrieval.types import Rows
from retrieval.vector_effort import calibrated
from retrieval.vector_graph import WIDTHS, Graph
from retrieval.vector_index import Meta
from retrieval.vector_lists import MEMBERS, Lists
from retrieval.vector_planner import probes_for
from retrieval.vector_spec import Spec, parse_spec
from retrieval.vector_steps import Steps
from retrieval.vector_store import Codes as Store
from retrieval.vector_store import Halves, mapped

ENTRIES, PROBES = 8, 6
"""A walk begins at the middle rows of so many cells, which are sought in so many branches of the tree."""


def build_cell_graph(
    folder: Path, spec: Spec, store: Store, threads: int, steps: Steps, recall: float
) -> dict[str, int]:
    """Write the graph over what ``store`` holds, and lists for filters; returns the effort that ``recall`` takes."""
    build_links(folder, spec.links, store, threads, steps)
    lists = Lists(folder, store.count, store.dimension)
    effort = {"width": WIDTHS[-1], "probes": probes_for(store, lists, recall)}
    index = open_cell_graph(folder, Meta(str(spec), store.count, store.dimension, effort), store)
    return calibrated(index, index.with_effort, [{**effort, "width": width} for width in WIDTHS], recall)


def open_cell_graph(folder: Path, meta: Meta, store: Store | Halves) -> Graph:
    """Raises IndexUnreadable."""
    lists = Lists(folder, meta.count, meta.dimension)
    return Graph(meta, CellWalk(folder, meta), lists, store)


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

    def __call__(self, vector: NDArray[np.float32], width: int, allowed: Bitmap | None) -> Rows:
        """At most ``width`` allowed rows, the nearest that were met while so many were kept in sight."""
        codes, scale = _native.quantise_int8(vector[None, :])
        cells = nearest_leaves(Codes(codes, scale), self._tree, probes=PROBES, ways=ENTRIES)[0]
        found = search(
            self._nodes, self._links, codes[0], self._central[cells[cells >= 0]], width=width, depth=width,
            row_of=self._row_of, bits=None if allowed is None else allowed.bits,
        )  # fmt: skip
        return self._row_of[found.rows].astype(np.int64)

    @property
    def bytes(self) -> int:
        arrays = (self._nodes.codes, self._nodes.scales, self._links, self._row_of, self._tree.leaves.codes)
        return sum(array.nbytes for array in arrays)
