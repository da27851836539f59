"""Kernels of inverted lists: the rows of some lists scored, those alone that a bitmap admits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from retrieval._native import quantise_int8, twins
from retrieval._native.library import address, loaded
from retrieval.types import Rows

Bits = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Members:
    """Rows (int32) by list: those of list ``l`` are ``rows[offsets[l]:offsets[l + 1]]`` (offsets int64)."""

    offsets: NDArray[np.int64]
    rows: NDArray[np.int32]


class Scanned(NamedTuple):
    """The best rows, best first, ties by row; how many admitted rows were scored, how many lists read, and whether
    the goal was reached before the lists came to an end."""

    rows: Rows
    scores: NDArray[np.float32]
    scored: int
    read: int
    reached: bool


def scan_lists_int8(
    codes: NDArray[np.int8], scales: NDArray[np.float32], query: NDArray[np.float32], members: Members, lists: Rows,
    bits: Bits | None, depth: int, goal: float,
) -> Scanned:  # fmt: skip
    """Go through ``lists`` in their order until the evidence is ``goal``; scores are by int8 on both sides.

    Evidence is the number of lists in which a row was admitted, times the root of the share of their rows that was:
    without a bitmap the number of lists. The best of a tenth of the rows lie further out than the best of all, yet
    not ten times as many lists; and a list of which nothing is admitted tells nothing.
    """
    query_codes, query_scale = quantise_int8(query[None, :])
    library = loaded()
    if library is None:
        wide = query_codes[0].astype(np.float32)
        scale = np.float32(query_scale[0])
        return _twin(lambda rows: (codes[rows] @ wide) * (scales[rows] * scale), members, lists, bits, depth, goal)
    room = _Room(depth)
    found = library.riddle_scan_lists_int8(
        address(codes), address(scales), codes.shape[1], address(query_codes), float(query_scale[0]),
        *_of(members, lists, bits, depth, goal), *room.addresses,
    )  # fmt: skip
    return room.cut(found)


def scan_lists_f16(
    halves: NDArray[np.float16], query: NDArray[np.float32], members: Members, lists: Rows, bits: Bits | None,
    depth: int, goal: float,
) -> Scanned:  # fmt: skip
    """As scan_lists_int8, over a float16 store; ``query`` is not rounded."""
    library = loaded()
    if library is None:
        return _twin(lambda rows: halves[rows].astype(np.float32) @ query, members, lists, bits, depth, goal)
    room = _Room(depth)
    found = library.riddle_scan_lists_f16(
        address(halves), halves.shape[1], address(query), *_of(members, lists, bits, depth, goal), *room.addresses
    )
    return room.cut(found)


class _Room:
    """Where a kernel writes what it found."""

    def __init__(self, depth: int) -> None:
        self._rows, self._scores = np.empty(depth, np.int64), np.empty(depth, np.float32)
        self._seen = np.zeros(3, np.int64)
        self.addresses = (address(self._rows), address(self._scores), address(self._seen))

    def cut(self, found: int) -> Scanned:
        if found < 0:
            raise MemoryError("no memory for the best rows of a scan")
        scored, read, reached = self._seen.tolist()
        return Scanned(self._rows[:found], self._scores[:found], scored, read, bool(reached))


def _of(members: Members, lists: Rows, bits: Bits | None, depth: int, goal: float) -> tuple[int | float | None, ...]:
    return (
        address(members.offsets), address(members.rows), address(lists), len(lists),
        None if bits is None else address(bits), depth, goal,
    )  # fmt: skip


def _twin(
    score: Callable[[Rows], NDArray[np.float32]], members: Members, lists: Rows, bits: Bits | None, depth: int,
    goal: float,
) -> Scanned:  # fmt: skip
    """The same in numpy, for where nothing was compiled."""
    parts: list[Rows] = [np.empty(0, np.int64)]
    scored = read = touched = everything = 0
    reached = False
    for number in lists.tolist():
        rows = members.rows[members.offsets[number] : members.offsets[number + 1]].astype(np.int64)
        size = len(rows)
        if bits is not None:
            rows = rows[(bits[rows >> 3] >> (rows & 7).astype(np.uint8) & 1).astype(np.bool_)]
        read += 1
        if len(rows):
            parts.append(rows)
            scored, touched, everything = scored + len(rows), touched + 1, everything + size
        reached = touched > 0 and touched * touched * scored >= goal * goal * everything
        if reached:
            break
    rows = np.sort(np.concatenate(parts))  # so that ties of the places below are ties by row
    places, best = twins.top(np.asarray(score(rows), np.float32), depth)
    return Scanned(rows[places], best, scored, read, reached)
