"""Centres in two levels, fitted to the vectors: they cut a build into cells, and say where a search begins."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from retrieval import _native
from retrieval._native.graph import NONE, Codes, Links, Places, Tree, add_rows, nearest_leaves
from retrieval.types import Rows, Vectors

T = TypeVar("T")

MEMBERS = 600
"""Rows of a leaf on average. Exact neighbours in cells cost as the square of it; leaves are also what few allowed rows
are sought in, and the fewer their rows, the more centres every search looks at."""

PROBES = 8
"""Branches whose leaves are compared. At 1 M real embeddings the best leaf is missed for 1 row in 40."""

_PER_LEAF = 64
"""Rows that a leaf's centre is fitted to."""
_ROUNDS = 8
_BLOCK = 8192


def leaf_count(rows: int) -> tuple[int, int]:
    """Leaves and branches for so many rows: branches are as many as the leaves of one."""
    leaves = max(1, rows // MEMBERS)
    return leaves, max(1, round(leaves**0.5))


def fit_tree(codes: Codes, *, seed: int, threads: int, cells: int | None = None) -> Tree:
    """Spherical k-means of the branches, then of the leaves within each, on a sample spread over all rows.

    Equal codes give an equal tree for any number of threads. About ``cells`` leaves when given, else one for MEMBERS.
    """
    leaves, branches = leaf_count(len(codes) if cells is None else cells * MEMBERS)
    numbers = np.random.default_rng(seed)
    wanted = min(len(codes), _PER_LEAF * leaves)
    sample = _taken(_taken(codes, np.arange(wanted) * len(codes) // wanted), numbers.permutation(wanted))
    roots = _fit_branches(sample, branches, numbers, threads)
    labels = _nearest(sample, flat(roots), threads)
    counts = np.bincount(labels, minlength=branches)
    shares = np.maximum(1, np.rint(counts / wanted * leaves)).astype(np.int64)
    first = np.concatenate([[0], np.cumsum(shares)])
    order, starts = np.argsort(labels, kind="stable"), np.concatenate([[0], np.cumsum(counts)])
    picked = [
        numbers.choice(order[starts[b] : starts[b + 1]] if counts[b] else wanted, share, replace=share > counts[b])
        for b, share in enumerate(shares.tolist())
    ]
    tree = Tree(roots, _taken(sample, np.concatenate(picked)), first)
    for _ in range(_ROUNDS):
        labels = _nearest(sample, tree, threads)
        tree = Tree(roots, _means(sample, labels, tree.leaves), first)
    return tree


def flat(centres: Codes) -> Tree:
    """Centres of one level as a tree of one branch."""
    nothing = Codes(np.zeros((1, centres.dimension), np.int8), np.zeros(1, np.float32))
    return Tree(nothing, centres, np.array([0, len(centres)], np.int64))


def assign(codes: Codes, tree: Tree, *, ways: int, threads: int) -> Places:
    """For each row the leaves of its best ``ways`` centres, best first, -1 where there are fewer."""

    def block(first: int, last: int) -> Places:
        return nearest_leaves(codes.part(first, last), tree, probes=PROBES, ways=ways)

    found = list(in_threads(block, spans(0, len(codes), _BLOCK), threads))
    return np.concatenate(found) if found else np.empty((0, ways), np.int32)


@dataclass(frozen=True, slots=True, eq=False)
class Members:
    """Which rows each leaf holds, with the way in which it holds them: those of leaf ``i`` are
    ``starts[i] .. starts[i + 1]`` of ``rows`` (int32) and ``ways`` (int8), rows ascending."""

    rows: Places
    ways: NDArray[np.int8]
    starts: NDArray[np.int64]


def members(places: Places, leaves: int) -> Members:
    """Turn the leaves of each row, ``[n, ways]``, into the rows of each leaf."""
    flattened = places.ravel()
    order = np.argsort(flattened, kind="stable")[int(np.count_nonzero(flattened < 0)) :]
    counts = np.bincount(flattened[flattened >= 0], minlength=leaves)
    width = places.shape[1]
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return Members((order // width).astype(np.int32), (order % width).astype(np.int8), starts)


def central_rows(codes: Codes, starts: NDArray[np.int64], leaves: Codes) -> Links:
    """For each leaf the row nearest to its centre, where rows lie in the order of leaves; NONE for an empty leaf."""
    found = np.full(len(leaves), NONE, np.uint32)
    for leaf, (first, last) in enumerate(zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True)):
        if first < last:
            part = codes.part(first, last)
            rows, _ = _native.scan_int8(part.codes, part.scales, vectors_of(leaves, leaf), 1)
            found[leaf] = first + rows[0]
    return found


def vectors_of(codes: Codes, rows: int | Rows | slice) -> Vectors:
    """Those rows as float32."""
    return np.asarray(codes.codes[rows] * codes.scales[rows][..., None], np.float32)


def spans(first: int, last: int, size: int) -> Iterator[tuple[int, int]]:
    """``first .. last`` cut into pieces of at most ``size``."""
    return ((start, min(start + size, last)) for start in range(first, last, size))


def in_threads(work: Callable[[int, int], T], pieces: Iterable[tuple[int, int]], threads: int) -> Iterator[T]:
    """``work`` of every piece, in order; kernels run without the interpreter's lock, so that threads help."""
    if threads == 1:
        yield from (work(*piece) for piece in pieces)
        return
    with ThreadPoolExecutor(threads) as pool:
        yield from pool.map(lambda piece: work(*piece), pieces)


def _fit_branches(sample: Codes, branches: int, numbers: np.random.Generator, threads: int) -> Codes:
    part = sample.part(0, min(len(sample), 256 * branches))
    centres = _taken(part, np.sort(numbers.choice(len(part), branches, replace=False)))
    for _ in range(_ROUNDS):
        centres = _means(part, _nearest(part, flat(centres), threads), centres)
    return centres


def _nearest(codes: Codes, tree: Tree, threads: int) -> Places:
    def block(first: int, last: int) -> Places:
        return nearest_leaves(codes.part(first, last), tree, probes=1, ways=1)[:, 0]

    return np.concatenate(list(in_threads(block, spans(0, len(codes), _BLOCK), threads)))


def _means(codes: Codes, labels: Places, before: Codes) -> Codes:
    """The unit means of the labelled rows; a centre that has none stays."""
    sums = np.zeros((len(before), codes.dimension), np.float32)
    counts = np.zeros(len(before), np.int64)
    add_rows(codes, np.arange(len(codes)), np.ascontiguousarray(labels), sums, counts)
    sums[counts == 0] = vectors_of(before, np.flatnonzero(counts == 0))
    norms = np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), np.float32(1e-12))
    return Codes(*_native.quantise_int8(np.asarray(sums / norms, np.float32)))


def _taken(codes: Codes, rows: NDArray[np.int64]) -> Codes:
    return Codes(np.ascontiguousarray(codes.codes[rows]), np.ascontiguousarray(codes.scales[rows]))
