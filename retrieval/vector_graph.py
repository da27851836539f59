"""Approximate search over an HNSW graph: faiss builds it, and searches it unless its vectors are int8."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from retrieval import _native
from retrieval._native.graph import NONE, Links
from retrieval._native.graph import Codes as Nodes
from retrieval._native.graph import search as walk
from retrieval.bitmap import Bitmap
from retrieval.errors import DiskFull, IndexUnreadable
from retrieval.types import Hits, Rows, Vectors
from retrieval.vector_effort import calibrated
from retrieval.vector_index import Meta, check_query
from retrieval.vector_lists import Lists, build_lists, remove_aside
from retrieval.vector_planner import LISTS_BELOW, MARGIN, ListScan, Planner, margin_for
from retrieval.vector_spec import Spec, lists_for, parse_spec
from retrieval.vector_steps import Steps
from retrieval.vector_store import Codes, Halves, Ordered, Store, best, mapped, open_store

GRAPH, LINKS = "graph.faiss", "links.u32"

WIDTHS = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)

SCORED_BELOW = 10_000
"""So few allowed rows are all scored: 0.5 ms, within twice an unfiltered search; a walk among them is no slower when
they lie anywhere, and several times as slow when they lie far from the query."""

_EF_CONSTRUCTION = 200
_ENTRIES = 4
_BLOCK = 10_000


class Walk(Protocol):
    """Best-first search. Thread-safe."""

    lists_below: float
    """The share of allowed rows up to which lists are better than ``within``."""

    def __call__(self, vector: NDArray[np.float32], width: int) -> Rows:
        """At most ``width`` rows, the nearest that were met while so many were kept in sight."""
        ...

    def within(self, vector: NDArray[np.float32], width: int, allowed: Bitmap, share: float) -> Rows | None:
        """Allowed rows, as near as those of a call; ``share`` of all rows are allowed. None when too few were met."""
        ...

    @property
    def bytes(self) -> int: ...


def build_graph(
    folder: Path, spec: Spec, store: Halves | Codes, threads: int, steps: Steps, recall: float
) -> dict[str, int]:
    """Write the graph over what ``store`` holds, and lists for filters; returns the effort that ``recall`` takes."""
    build_lists(folder, store, lists_for(store.count), threads, steps)
    steps("graph", lambda: _insert(folder, spec, store, threads, steps))
    remove_aside(folder)
    scan = ListScan(str(spec), Lists(folder, store.count, store.dimension), store, store)
    effort = {"width": WIDTHS[-1], "margin": margin_for(scan, recall)}
    index = open_graph(folder, Meta(str(spec), store.count, store.dimension, effort), store)
    return calibrated(index, index.with_effort, index.efforts, recall)


def open_graph(folder: Path, meta: Meta, store: Halves | Codes) -> Graph:
    """Raises IndexUnreadable."""
    spec = parse_spec(meta.spec)
    lists = Lists(folder, meta.count, meta.dimension)
    scan = ListScan(meta.spec, lists, store, store, meta.effort.get("margin", MARGIN))
    if not spec.codec:
        return Graph(meta, FaissWalk(folder / GRAPH, meta), scan, store)
    codes = store if isinstance(store, Codes) else open_store(folder, "i8", meta.count, meta.dimension)
    assert isinstance(codes, Codes)
    return Graph(meta, NativeWalk(folder, spec, codes, lists), scan, store)


class Graph:
    """A graph whose nodes are the rows; few allowed rows are sought in lists instead."""

    def __init__(self, meta: Meta, nodes: Walk, scan: ListScan, store: Store) -> None:
        self.spec, self.count, self.dimension = meta.spec, meta.count, meta.dimension
        self._meta, self._nodes, self._scan, self._store = meta, nodes, scan, store
        self._width = meta.effort["width"]
        self._planner = Planner(scan, scored_below=SCORED_BELOW, lists_below=nodes.lists_below)

    def with_effort(self, effort: Mapping[str, int]) -> Graph:
        """The same index, searched harder or less hard."""
        return Graph(replace(self._meta, effort=effort), self._nodes, self._scan, self._store)

    @property
    def efforts(self) -> list[dict[str, int]]:
        """What ``with_effort`` takes, cheapest first."""
        return [{**self._meta.effort, "width": width} for width in WIDTHS]

    def search(self, vector: NDArray[np.float32], depth: int, *, allowed: Bitmap | None = None) -> Hits:
        check_query(self, vector, allowed)
        depth = min(depth, self.count)
        if depth < 1:
            return Hits.empty()
        width = max(self._width, 2 * depth)
        if allowed is not None:
            planned = self._planner.search(vector, depth, allowed)
            if planned is not None:
                return planned
            met = self._nodes.within(vector, width, allowed, self._planner.share(allowed))
            if met is None:
                return self._scan.search(vector, depth, allowed=allowed)
            return best(met, self._store.score(met, vector), depth)
        rows = self._nodes(vector, min(width, self.count))
        return best(rows, self._store.score(rows, vector), depth)

    def vectors(self, rows: Rows | slice) -> Vectors:
        return self._store.vectors(rows)

    def memory(self) -> Mapping[str, int]:
        return {
            "anonymous graph": self._nodes.bytes,
            **self._scan.memory(),
            **({"anonymous places": 4 * self.count} if isinstance(self._store, Ordered) else {}),
            **({} if isinstance(self._store, Ordered) else {"mapped store": self._store.bytes}),
        }


class FaissWalk:
    """faiss's own search, over float32 vectors inside the graph's file."""

    lists_below = LISTS_BELOW

    def __init__(self, path: Path, meta: Meta) -> None:
        try:
            self._index: Any = _faiss().read_index(str(path))
        except RuntimeError as error:
            raise IndexUnreadable(f"{path} cannot be read ({error}): build the collection again") from error
        if (self._index.ntotal, self._index.d) != (meta.count, meta.dimension):
            raise IndexUnreadable(f"{path} does not belong to its vectors: build the collection again")

    def __call__(self, vector: NDArray[np.float32], width: int) -> Rows:
        return self._walk(vector, width, None)

    def within(self, vector: NDArray[np.float32], width: int, allowed: Bitmap, share: float) -> Rows | None:
        return _enough(self._walk(vector, _widened(width, share, allowed), allowed), width)

    def _walk(self, vector: NDArray[np.float32], width: int, allowed: Bitmap | None) -> Rows:
        faiss = _faiss()
        faiss.omp_set_num_threads(1)
        selector = None if allowed is None else faiss.IDSelectorBitmap(allowed.bits)
        parameters = faiss.SearchParametersHNSW(efSearch=width, sel=selector)
        _, found = self._index.search(vector[None, :], width, params=parameters)
        return np.asarray(found[0][found[0] >= 0], np.int64)

    @property
    def bytes(self) -> int:
        hnsw = self._index.hnsw
        return int(4 * self._index.d * self._index.ntotal + 4 * hnsw.neighbors.size() + 8 * hnsw.offsets.size())


class NativeWalk:
    """The links of the ground level, walked over int8 codes from a row of each of the nearest lists."""

    lists_below = LISTS_BELOW

    def __init__(self, folder: Path, spec: Spec, codes: Codes, lists: Lists) -> None:
        """Links and codes are read into memory. Raises IndexUnreadable."""
        self._links: Links = np.array(mapped(folder / LINKS, np.uint32, (codes.count, 2 * spec.links)))
        self._nodes = Nodes(np.array(codes.codes), np.array(codes.scales))
        self._rows = np.arange(codes.count, dtype=np.uint32)
        self._lists = lists
        offsets, members = lists.cells.offsets, lists.cells.members
        middles = np.minimum((offsets[:-1] + offsets[1:]) // 2, codes.count - 1)  # of an empty list some other's row
        self._entries = members[middles].astype(np.uint32)

    def __call__(self, vector: NDArray[np.float32], width: int) -> Rows:
        return self._walk(vector, width, None)

    def within(self, vector: NDArray[np.float32], width: int, allowed: Bitmap, share: float) -> Rows | None:
        return _enough(self._walk(vector, _widened(width, share, allowed), allowed), width)

    def _walk(self, vector: NDArray[np.float32], width: int, allowed: Bitmap | None) -> Rows:
        near, _ = self._lists.nearest(vector, _ENTRIES)
        query, _ = _native.quantise_int8(vector[None, :])
        bits = None if allowed is None else allowed.bits
        return walk(
            self._nodes, self._links, query[0], self._entries[near], width=width, depth=width, row_of=self._rows,
            bits=bits,
        ).rows  # fmt: skip

    @property
    def bytes(self) -> int:
        nodes = self._nodes.codes.nbytes + self._nodes.scales.nbytes
        return int(self._links.nbytes + self._rows.nbytes + self._entries.nbytes + nodes)


def _widened(width: int, share: float, allowed: Bitmap) -> int:
    """How many rows must be kept in sight for ``width`` allowed ones among them."""
    return min(int(width / share), allowed.length)


def _enough(rows: Rows, width: int) -> Rows | None:
    """Of what was met a tenth of what should be is allowed: it lies elsewhere."""
    return rows if len(rows) >= width else None


def _insert(folder: Path, spec: Spec, store: Store, threads: int, steps: Steps) -> None:
    """One thread gives the same graph every time."""
    faiss = _faiss()
    faiss.omp_set_num_threads(threads)
    index = faiss.IndexHNSWFlat(store.dimension, spec.links, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = _EF_CONSTRUCTION
    for start in range(0, store.count, _BLOCK):
        end = min(start + _BLOCK, store.count)
        index.add(store.vectors(slice(start, end)))
        steps.progress(end)
    if spec.codec:
        _write_links(folder, index)
        return
    try:
        faiss.write_index(index, str(folder / GRAPH))
    except RuntimeError as error:
        raise DiskFull(f"no space left while writing {folder / GRAPH}; what was there before is untouched") from error


def _write_links(folder: Path, index: Any) -> None:
    faiss, hnsw = _faiss(), index.hnsw
    degree = hnsw.nb_neighbors(0)
    starts = faiss.vector_to_array(hnsw.offsets)[:-1].astype(np.int64)
    everything = faiss.vector_to_array(hnsw.neighbors)
    with (folder / LINKS).open("wb") as file:
        for first in range(0, len(starts), _BLOCK):
            links = everything[starts[first : first + _BLOCK, None] + np.arange(degree)]
            file.write(np.where(links < 0, NONE, links).astype(np.uint32).data)


def _faiss() -> Any:
    import faiss

    return faiss
