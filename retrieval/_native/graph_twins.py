"""The kernels of the graph in numpy and plain Python: slow, and what the compiled ones are tested against."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from retrieval.types import Rows

if TYPE_CHECKING:
    from retrieval._native.graph import Codes, Found, Links, Places, Tree

NONE = 0xFFFFFFFF

Float = NDArray[np.float32]


def nearest_leaves(codes: Codes, tree: Tree, probes: int, ways: int) -> Places:
    out = np.full((len(codes), ways), -1, np.int32)
    for row in range(len(codes)):
        near = _products(tree.branches, slice(None), codes.codes[row])
        branches = np.argsort(-near, kind="stable")[:probes]
        leaves = np.concatenate([np.arange(tree.first[b], tree.first[b + 1]) for b in branches.tolist()])
        scores = _products(tree.leaves, leaves, codes.codes[row])
        best = leaves[np.argsort(-scores, kind="stable")[:ways]]
        out[row, : len(best)] = best
    return out


def add_rows(codes: Codes, rows: Rows, labels: Places, sums: Float, counts: NDArray[np.int64]) -> None:
    kept = labels >= 0
    np.add.at(sums, labels[kept], codes.codes[rows[kept]] * codes.scales[rows[kept], None])
    np.add.at(counts, labels[kept], 1)


def cell_neighbours(codes: Codes, members: Places, k: int) -> Links:
    out = np.full((len(members), k), NONE, np.uint32)
    for place, row in enumerate(members.tolist()):
        scores = _products(codes, members, codes.codes[row]) * codes.scales[row]
        scores[place] = -np.inf
        best = np.argsort(-scores, kind="stable")[: min(k, len(members) - 1)]
        out[place, : len(best)] = members[best]
    return out


def prune(codes: Codes, lists: Links, first: int, last: int, alpha: float, degree: int) -> Links:
    rows = range(first, last)
    return _stacked([_pruned(codes, row, lists[row], alpha, degree) for row in rows], degree)


def improve(
    codes: Codes, links: Links, first: int, last: int, entries: Links, width: int, alpha: float, degree: int
) -> Links:
    chosen = []
    for row in range(first, last):
        beam, _ = _walk(codes, links, codes.codes[row], entries[row - first], width)
        held = np.array([node for _, node in beam], np.uint32)
        chosen.append(_pruned(codes, row, np.concatenate([held, links[row]]), alpha, degree))
    return _stacked(chosen, degree)


def incoming(links: Links) -> tuple[NDArray[np.int64], Links]:
    rows, places = np.nonzero(links != NONE)
    targets = links[rows, places]
    order = np.lexsort((rows, targets))
    counts = np.bincount(targets, minlength=len(links))
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), rows[order].astype(np.uint32)


def mutual(
    codes: Codes, links: Links, back: tuple[NDArray[np.int64], Links], first: int, last: int, alpha: float, degree: int
) -> Links:
    offsets, sources = back
    chosen = []
    for row in range(first, last):
        both = np.concatenate([links[row], sources[offsets[row] : offsets[row + 1]]])
        fits = len(set(both.tolist()) - {NONE, row}) <= degree
        chosen.append(_pruned(codes, row, both, 0 if fits else alpha, degree))
    return _stacked(chosen, degree)


def search(
    codes: Codes, links: Links, query: NDArray[np.int8], entries: Links, width: int, depth: int, row_of: Links,
    bits: NDArray[np.uint8] | None, hidden: int = NONE,
) -> Found:  # fmt: skip
    from retrieval._native.graph import Found

    _, scored = _walk(codes, links, query, entries, width, hidden)
    rows = np.array(sorted(scored), np.int64)
    if bits is not None:
        outside = row_of[rows]
        rows = rows[(bits[outside >> 3] >> (outside & 7).astype(np.uint8) & 1).astype(np.bool_)]
    scores = np.array([scored[row] for row in rows.tolist()], np.float32)
    order = np.lexsort((rows, -scores))[:depth]
    return Found(rows[order], scores[order], len(scored))


def _walk(
    codes: Codes, links: Links, query: NDArray[np.int8], entries: Links, width: int, hidden: int = NONE
) -> tuple[list[tuple[float, int]], dict[int, float]]:
    """Best-first search: the beam at its end as (-score, row), best first, and the score of every row met."""
    scored: dict[int, float] = {}
    beam: list[tuple[float, int]] = []
    expanded: set[int] = set()
    fresh = [int(row) for row in dict.fromkeys(entries.tolist()) if row not in {NONE, hidden}]
    while True:
        for row, score in zip(fresh, _products(codes, np.array(fresh, np.int64), query).tolist(), strict=True):
            scored[row] = score
            heapq.heappush(beam, (-score, row))
        beam = sorted(beam)[:width]
        node = next((row for _, row in beam if row not in expanded), None)
        if node is None:
            return beam, scored
        expanded.add(node)
        fresh = [row for row in dict.fromkeys(links[node].tolist()) if row not in {NONE, hidden} and row not in scored]


def _pruned(codes: Codes, row: int, candidates: Links, alpha: float, degree: int) -> list[int]:
    others = np.array(sorted(set(candidates.tolist()) - {NONE, row}), np.int64)
    scores = _products(codes, others, codes.codes[row]) * codes.scales[row]
    order = np.lexsort((others, -scores))
    kept: list[int] = []
    for other, score in zip(others[order].tolist(), scores[order].tolist(), strict=True):
        if len(kept) == degree:
            break
        between = _products(codes, np.array(kept, np.int64), codes.codes[other]) * codes.scales[other]
        if not alpha or (alpha * (1 - between) > 1 - score).all():
            kept.append(other)
    return kept


def _products(codes: Codes, rows: Rows | Places | slice, query: NDArray[np.int8]) -> Float:
    exact = codes.codes[rows].astype(np.float32) @ query.astype(np.float32)
    return np.asarray(exact * codes.scales[rows], np.float32)


def _stacked(chosen: list[list[int]], degree: int) -> Links:
    out = np.full((len(chosen), degree), NONE, np.uint32)
    for place, rows in enumerate(chosen):
        out[place, : len(rows)] = rows
    return out
