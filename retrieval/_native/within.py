"""Best-first search of the part of a graph that a bitmap admits, begun with what the cells nearest to the query admit.

Nodes lie in the order of cells. Only admitted nodes are scored or kept in the beam; where too few of a node's links are
admitted, the links of the others are followed in their place (ACORN; Patel et al., SIGMOD 2024).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval._native.graph import NONE, Codes, Found, Links
from retrieval._native.library import address, loaded

TOGETHER = 4
"""Nodes expanded at a time, so that more of memory is asked for at once. Beside kTogether in within.cpp."""

_WORD = 64


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """Centroids, and the nodes of each: cell ``i`` is ``offsets[i] .. offsets[i + 1]`` (int64), all nodes together."""

    centroids: Codes
    offsets: NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Admitted:
    """A bitmap and what searches have learned of it: its bits in the order of nodes, worked out where they were asked
    for. An eighth of a byte and an eighth of that for each node."""

    row_of: Links
    bits: NDArray[np.uint8]
    words: NDArray[np.uint64]
    known: NDArray[np.uint8]

    @classmethod
    def of(cls, row_of: Links, bits: NDArray[np.uint8]) -> Admitted:
        """``bits`` are asked by ``row_of[node]``."""
        words = -(-len(row_of) // _WORD)
        return cls(row_of, bits, np.zeros(words, np.uint64), np.zeros(words, np.uint8))

    def flags(self) -> NDArray[np.bool_]:
        """For each node whether it is admitted."""
        return np.asarray(self.bits[self.row_of >> 3] >> (self.row_of & 7).astype(np.uint8) & 1, np.bool_)


@dataclass(frozen=True, slots=True)
class Effort:
    """A beam of ``width`` begins with the best of ``seeds`` admitted nodes. Links of nodes that are not admitted are
    followed until ``enough`` admitted ones were met beside a node."""

    width: int
    seeds: int
    enough: int


def search_within(
    codes: Codes, links: Links, query: NDArray[np.int8], cells: Cells, admitted: Admitted, effort: Effort, far: Effort,
    far_read: int,
) -> Found:  # fmt: skip
    """The beam at its end. Cells are read whole, the nearest first, until the seeds are there; where that took more
    than ``far_read`` nodes, what is admitted lies far from the query, and ``far`` takes the place of ``effort``.
    Scores lack the query's scale."""
    library = loaded()
    if library is None:
        return _twin(codes, links, query, cells, admitted.flags(), effort, far, far_read)
    room = max(effort.width, far.width)
    rows, scores, scored = np.empty(room, np.int64), np.empty(room, np.float32), np.zeros(1, np.int64)
    found = library.riddle_graph_search_within(
        address(codes.codes), address(codes.scales), len(codes), codes.dimension, address(links), links.shape[1],
        address(query), address(cells.centroids.codes), address(cells.centroids.scales), len(cells.centroids),
        address(cells.offsets), address(admitted.row_of), address(admitted.bits), address(admitted.words),
        address(admitted.known), effort.width, effort.seeds, effort.enough, far.width, far.seeds, far.enough, far_read,
        address(rows), address(scores), address(scored),
    )  # fmt: skip
    if found < 0:
        raise MemoryError("no memory for a search of the graph")
    return Found(rows[:found], scores[:found], int(scored[0]))


def _twin(
    codes: Codes, links: Links, query: NDArray[np.int8], cells: Cells, flags: NDArray[np.bool_], effort: Effort,
    far: Effort, far_read: int,
) -> Found:  # fmt: skip
    """The same in numpy, for where nothing was compiled."""
    seeds, chosen = _seeds(query, cells, flags, effort, far, far_read)
    beam = _best(_scored(codes, query, seeds), chosen.width)
    met, expanded, scored = {node for _, node in beam}, set[int](), len(seeds)
    while True:
        nodes = [node for _, node in beam if node not in expanded][:TOGETHER]
        if not nodes:
            rows = np.array([node for _, node in beam], np.int64)
            return Found(rows, -np.array([score for score, _ in beam], np.float32), scored)
        expanded.update(nodes)
        fresh = [each for node in nodes for each in _beside(links, node, flags, chosen.enough, met)]
        scored += len(fresh)
        beam = _best(dict.fromkeys(beam + _scored(codes, query, fresh)), chosen.width)


def _seeds(
    query: NDArray[np.int8], cells: Cells, flags: NDArray[np.bool_], effort: Effort, far: Effort, far_read: int
) -> tuple[list[int], Effort]:
    """The admitted nodes of the nearest cells, and the effort that they take."""
    products = (cells.centroids.codes.astype(np.float32) @ query.astype(np.float32)) * cells.centroids.scales
    order = np.lexsort((np.arange(len(products)), -products)).tolist()
    seeds, read, chosen = list[int](), 0, effort
    while True:
        while order and len(seeds) < chosen.seeds:
            first, end = cells.offsets[order[0] : order.pop(0) + 2].tolist()
            seeds += (first + np.flatnonzero(flags[first:end])).tolist()
            read += end - first
        if chosen is far or read <= far_read:
            return seeds, chosen
        chosen = far


def _beside(links: Links, node: int, flags: NDArray[np.bool_], enough: int, met: set[int]) -> list[int]:
    """Admitted nodes that ``node`` leads to and that were not met yet; they and what was looked through are, then."""
    own = [each for each in links[node].tolist() if each != NONE]
    near = [each for each in own if flags[each]]
    fresh = [each for each in dict.fromkeys(near) if each not in met]
    met.update(fresh)
    count = len(near)
    for through in own:
        if count >= enough:
            break
        if flags[through] or through in met:
            continue
        met.add(through)
        beyond = dict.fromkeys(each for each in links[through].tolist() if each != NONE and flags[each])
        more = [each for each in beyond if each not in met]
        met.update(more)
        fresh += more
        count += len(more)
    return fresh


def _scored(codes: Codes, query: NDArray[np.int8], nodes: list[int]) -> list[tuple[float, int]]:
    """Nodes with their scores, negative so that the best sort first, ties by node."""
    products = (codes.codes[nodes].astype(np.float32) @ query.astype(np.float32)) * codes.scales[nodes]
    return list(zip((-products).tolist(), nodes, strict=True))


def _best(hits: dict[tuple[float, int], None] | list[tuple[float, int]], width: int) -> list[tuple[float, int]]:
    return sorted(hits)[:width]
