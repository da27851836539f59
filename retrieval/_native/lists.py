"""Kernels of inverted lists: the nearest lists read as far as it pays, among the rows that a bitmap admits."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from retrieval._native import quantise_int8, twins
from retrieval._native.library import address, loaded
from retrieval.types import Rows

NEAR = 4
"""When none of so many lists holds an admitted row, what is admitted lies far. Beside kNear in lists.cpp."""


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """Lists around centroids (int8 ``[l, d]``, a float32 scale each): list ``i`` is ``offsets[i] .. offsets[i + 1]``
    (int64) of ``members`` (int32 rows). ``packed``: vectors lie in the order of the members, not of their rows."""

    centroids: NDArray[np.int8]
    scales: NDArray[np.float32]
    offsets: NDArray[np.int64]
    members: NDArray[np.int32]
    packed: bool


@dataclass(frozen=True, slots=True)
class Reach:
    """Lists are read until the next centroid's product with the query, and ``margin``, are no more than the ``k``th
    best of what was admitted. ``far`` is the margin when the nearest lists admit nothing. ``keep`` rows come out."""

    keep: int
    k: int
    margin: float
    far: float


class Found(NamedTuple):
    """The best rows, best first, ties by row; how many admitted rows were scored and how many lists read."""

    rows: Rows
    scores: NDArray[np.float32]
    scored: int
    read: int


def search_lists_int8(
    codes: NDArray[np.int8], scales: NDArray[np.float32], query: NDArray[np.float32], cells: Cells,
    bits: NDArray[np.uint8] | None, reach: Reach,
) -> Found:  # fmt: skip
    """Scores are by int8 on both sides."""
    rounded, scale = quantise_int8(query[None, :])
    library = loaded()
    if library is None:
        wide, by = rounded[0].astype(np.float32), np.float32(scale[0])
        return _twin(lambda at: (codes[at] @ wide) * (scales[at] * by), wide * by, cells, bits, reach)
    room = _Room(min(reach.keep, len(codes)))
    found = library.riddle_search_lists_int8(
        address(codes), address(scales), codes.shape[1], address(rounded), float(scale[0]), *_of(cells, bits, reach),
        *room.addresses,
    )  # fmt: skip
    return room.cut(found)


def search_lists_f16(
    halves: NDArray[np.float16], query: NDArray[np.float32], cells: Cells, bits: NDArray[np.uint8] | None, reach: Reach
) -> Found:
    """As search_lists_int8 over float16; rows are scored by the query as it is, centroids by its int8."""
    rounded, scale = quantise_int8(query[None, :])
    library = loaded()
    if library is None:
        wide = rounded[0].astype(np.float32) * np.float32(scale[0])
        return _twin(lambda at: halves[at].astype(np.float32) @ query, wide, cells, bits, reach)
    room = _Room(min(reach.keep, len(halves)))
    found = library.riddle_search_lists_f16(
        address(halves), address(query), halves.shape[1], address(rounded), float(scale[0]), *_of(cells, bits, reach),
        *room.addresses,
    )  # fmt: skip
    return room.cut(found)


class _Room:
    """Where a kernel writes what it found."""

    def __init__(self, keep: int) -> None:
        self._rows, self._scores = np.empty(keep, np.int64), np.empty(keep, np.float32)
        self._seen = np.zeros(2, np.int64)
        self.addresses = (address(self._rows), address(self._scores), address(self._seen))

    def cut(self, found: int) -> Found:
        if found < 0:
            raise MemoryError("no memory for a search of lists")
        scored, read = self._seen.tolist()
        return Found(self._rows[:found], self._scores[:found], scored, read)


def _of(cells: Cells, bits: NDArray[np.uint8] | None, reach: Reach) -> tuple[int | float | None, ...]:
    return (
        address(cells.centroids), address(cells.scales), len(cells.scales), address(cells.offsets),
        address(cells.members), int(cells.packed), None if bits is None else address(bits),
        min(reach.keep, len(cells.members)), reach.k, reach.margin, reach.far,
    )  # fmt: skip


def _twin(
    score: Callable[[Rows], NDArray[np.float32]], query: NDArray[np.float32], cells: Cells,
    bits: NDArray[np.uint8] | None, reach: Reach,
) -> Found:  # fmt: skip
    """The same in numpy, for where nothing was compiled."""
    products = (cells.centroids @ query) * cells.scales
    rows, scores = np.empty(0, np.int64), np.empty(0, np.float32)
    margin, read = reach.margin, 0
    best: list[float] = []
    for number in np.lexsort((np.arange(len(products)), -products)).tolist():
        if len(best) == reach.k and products[number] + margin <= best[0]:
            break
        places = np.arange(cells.offsets[number], cells.offsets[number + 1])
        if bits is not None:
            held = cells.members[places]
            places = places[(bits[held >> 3] >> (held & 7).astype(np.uint8) & 1).astype(np.bool_)]
        if len(places) and not len(rows) and read >= NEAR:
            margin = reach.far
        read += 1
        here = np.asarray(score(places if cells.packed else cells.members[places].astype(np.int64)), np.float32)
        rows = np.concatenate([rows, cells.members[places].astype(np.int64)])
        scores = np.concatenate([scores, here])
        best = sorted(heapq.nlargest(reach.k, [*best, *here.tolist()]))
    order = np.argsort(rows)  # so that ties of the places below are ties by row
    places, top = twins.top(scores[order], reach.keep)
    return Found(rows[order][places], top, len(rows), read)
