"""Kernels of the graph index: cells in two levels, exact neighbours in a cell, links, best-first search.

Rows are numbered in the order of ``Codes``; link lists are uint32 ``[n, degree]``, best first, ended by NONE. All
functions run without the interpreter's lock in the calling thread, so that blocks of rows can go to a pool of threads;
a block's result does not depend on the others. Where nothing was compiled, graph_twins does the same in numpy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from retrieval._native import graph_twins as twins
from retrieval._native.library import address, loaded
from retrieval.types import Rows

NONE = 0xFFFFFFFF
"""Ends a list of links."""

Links = NDArray[np.uint32]
Places = NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class Codes:
    """Vectors as ``codes * scales[:, None]``: int8 ``[n, d]`` and float32 ``[n]``, both contiguous, mapped or not."""

    codes: NDArray[np.int8]
    scales: NDArray[np.float32]

    def __post_init__(self) -> None:
        if self.codes.ndim != 2 or self.codes.dtype != np.int8 or not self.codes.flags.c_contiguous:
            raise ValueError(f"codes must be a contiguous int8 matrix, not {self.codes.dtype} {self.codes.shape}")
        if self.scales.dtype != np.float32 or self.scales.shape != self.codes.shape[:1]:
            raise ValueError(f"want one float32 scale for each of {len(self.codes)} rows, got {self.scales.shape}")

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def dimension(self) -> int:
        return int(self.codes.shape[1])

    def part(self, first: int, last: int) -> Codes:
        return Codes(self.codes[first:last], self.scales[first:last])


@dataclass(frozen=True, slots=True, eq=False)
class Tree:
    """Centres in two levels: ``first[b] .. first[b + 1]`` (int64) are the leaves of branch ``b``."""

    branches: Codes
    leaves: Codes
    first: NDArray[np.int64]


class Found(NamedTuple):
    """Rows best first, their scores, and how many rows were scored on the way."""

    rows: Rows
    scores: NDArray[np.float32]
    scored: int


def nearest_leaves(codes: Codes, tree: Tree, *, probes: int, ways: int) -> Places:
    """For each row its best ``ways`` (at most 64) leaves among those of its best ``probes`` branches, -1 for none."""
    out = np.empty((len(codes), ways), np.int32)
    library = loaded()
    if library is None:
        return twins.nearest_leaves(codes, tree, probes, ways)
    library.riddle_nearest_leaves(
        *_of(codes), len(codes), codes.dimension, *_of(tree.branches), len(tree.branches), *_of(tree.leaves),
        address(tree.first), probes, ways, address(out), None,
    )  # fmt: skip
    return out


def add_rows(codes: Codes, rows: Rows, labels: Places, sums: NDArray[np.float32], counts: NDArray[np.int64]) -> None:
    """Add vector ``rows[i]`` to ``sums[labels[i]]``, and 1 to ``counts[labels[i]]``; a label of -1 is left out."""
    library = loaded()
    if library is None:
        twins.add_rows(codes, rows, labels, sums, counts)
        return
    library.riddle_add_rows(
        *_of(codes), address(rows), len(rows), codes.dimension, address(labels), address(sums), address(counts)
    )


def cell_neighbours(codes: Codes, members: Places, k: int) -> Links:
    """Exact: for each of ``members`` (rows) its ``k`` nearest others among them, ``[m, k]``."""
    library = loaded()
    if library is None:
        return twins.cell_neighbours(codes, members, k)
    out = np.empty((len(members), k), np.uint32)
    _check(
        library.riddle_cell_neighbours(*_of(codes), codes.dimension, address(members), len(members), k, address(out))
    )
    return out


def prune(codes: Codes, lists: Links, first: int, last: int, *, alpha: float, degree: int) -> Links:
    """Links of rows ``first..last``, ``[last - first, degree]``, out of their ``lists`` ``[n, width]``.

    A list is in any order, with repeats, and NONE where nothing is.

    The rule of relative neighbourhood graphs as Vamana relaxes it (Subramanya et al., NeurIPS 2019): best first, one
    stays unless one that stayed is nearer to it, ``alpha`` times, than the row is; distance is 1 - cosine. With
    ``alpha`` 0 the best stay, whatever their positions.
    """
    library = loaded()
    if library is None:
        return twins.prune(codes, lists, first, last, alpha, degree)
    out = np.empty((last - first, degree), np.uint32)
    _check(
        library.riddle_graph_prune(
            *_of(codes), codes.dimension, address(lists), lists.shape[1], first, last, alpha, degree, address(out)
        )
    )
    return out


def improve(
    codes: Codes, links: Links, first: int, last: int, entries: Links, *, width: int, alpha: float, degree: int
) -> Links:
    """New links for rows ``first..last``: what a search for the row from ``entries`` ``[last - first, e]`` holds at its
    end, and the links it has, pruned as in ``prune``."""
    library = loaded()
    if library is None:
        return twins.improve(codes, links, first, last, entries, width, alpha, degree)
    out = np.empty((last - first, degree), np.uint32)
    _check(
        library.riddle_graph_improve(
            *_of(codes),
            codes.dimension,
            address(links),
            links.shape[1],
            first,
            last,
            address(entries),
            entries.shape[1],
            width,
            alpha,
            degree,
            address(out),
        )
    )
    return out


def incoming(links: Links) -> tuple[NDArray[np.int64], Links]:
    """Who links to each row: sources of row ``i`` are ``sources[offsets[i]:offsets[i + 1]]``, ascending."""
    library = loaded()
    if library is None:
        return twins.incoming(links)
    offsets = np.empty(len(links) + 1, np.int64)
    sources = np.empty(int(np.count_nonzero(links != NONE)), np.uint32)
    library.riddle_graph_incoming(address(links), len(links), links.shape[1], address(offsets), address(sources))
    return offsets, sources


def mutual(
    codes: Codes, links: Links, back: tuple[NDArray[np.int64], Links], first: int, last: int, *, alpha: float,
    degree: int,
) -> Links:  # fmt: skip
    """Links and incoming links of rows ``first..last`` together, pruned by ``alpha`` where they are over ``degree``."""
    library = loaded()
    if library is None:
        return twins.mutual(codes, links, back, first, last, alpha, degree)
    out = np.empty((last - first, degree), np.uint32)
    _check(
        library.riddle_graph_mutual(
            *_of(codes),
            codes.dimension,
            address(links),
            links.shape[1],
            address(back[0]),
            address(back[1]),
            first,
            last,
            alpha,
            degree,
            address(out),
        )
    )
    return out


def search(
    codes: Codes, links: Links, query: NDArray[np.int8], entries: Links, *, width: int, depth: int,
    row_of: Links, bits: NDArray[np.uint8] | None, hidden: int = NONE,
) -> Found:  # fmt: skip
    """Best-first search with a beam of ``width`` from ``entries`` (rows). What was scored and has its bit set, the best
    ``depth`` of it; bits are asked by ``row_of[row]``. The row ``hidden`` is passed over as if it were not there.
    Scores lack the query's scale."""
    library = loaded()
    if library is None:
        return twins.search(codes, links, query, entries, width, depth, row_of, bits, hidden)
    rows, scores, scored = np.empty(depth, np.int64), np.empty(depth, np.float32), np.zeros(1, np.int64)
    found = library.riddle_graph_search(
        *_of(codes), codes.dimension, address(links), links.shape[1], address(query), address(entries), len(entries),
        width, address(row_of), None if bits is None else address(bits), hidden, depth, address(rows),
        address(scores), address(scored),
    )  # fmt: skip
    _check(found)
    return Found(rows[:found], scores[:found], int(scored[0]))


def _of(codes: Codes) -> tuple[int, int]:
    return address(codes.codes), address(codes.scales)


def _check(result: int) -> None:
    if result < 0:
        raise MemoryError("no memory for a step of the graph")
