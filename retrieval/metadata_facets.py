"""Counts of the values under a metadata key, read out by the most frequent, and added up over segments."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from retrieval.metadata_values import Kind, Scalar, date_text

_ENOUGH = 1000
"""So many values of each part are looked at, at most, to find those that are most frequent over all parts."""


@dataclass(frozen=True)
class KindCounts:
    """Distinct values of one kind that occur, in comparable form: ``codes`` ascending with ``counts`` above 0."""

    kind: Kind
    codes: NDArray[np.int64]
    counts: NDArray[np.int64]
    value: Callable[[int], Scalar]
    find: Callable[[Scalar], int | None]

    def top(self, n: int) -> tuple[list[tuple[Scalar, int]], int]:
        """The ``n > 0`` values with the highest counts, ties by code, and a count that no value left out exceeds."""
        places, left = np.arange(len(self.counts)), 0
        if n < len(places):
            left = int(np.partition(self.counts, len(places) - n)[len(places) - n])
            above = np.flatnonzero(self.counts > left)
            places = np.concatenate([above, np.flatnonzero(self.counts == left)[: n - len(above)]])
        return [(self.value(int(self.codes[place])), int(self.counts[place])) for place in places], left

    def of(self, value: Scalar) -> int:
        code = self.find(value)
        place = len(self.codes) if code is None else int(np.searchsorted(self.codes, code))
        return int(self.counts[place]) if place < len(self.codes) and self.codes[place] == code else 0


class FacetCounts:
    """How many documents have each value of one key, in one part of a collection."""

    def __init__(self, kinds: Sequence[KindCounts]) -> None:
        self._kinds = {each.kind: each for each in kinds if len(each.codes)}

    def top(self, n: int) -> tuple[set[tuple[Kind, Scalar]], int]:
        """At least the ``n > 0`` values with the highest counts, and a count that no value left out exceeds."""
        shown = {kind: each.top(n) for kind, each in self._kinds.items()}
        values = {(kind, value) for kind, (pairs, _) in shown.items() for value, _ in pairs}
        return values, max((left for _, left in shown.values()), default=0)

    def of(self, value: tuple[Kind, Scalar]) -> int:
        each = self._kinds.get(value[0])
        return each.of(value[1]) if each else 0


def merged_facets(parts: Sequence[Mapping[str, FacetCounts]], limit: int) -> dict[str, list[tuple[Scalar, int]]]:
    """For each key its ``limit`` most frequent values over all parts, most first, equal ones by kind and value.

    Each count is exact. The choice of values is exact too unless more than 1,000 values of a part are as frequent
    as those chosen. Dates are written in UTC. A key without values has an empty list.
    """
    keys = dict.fromkeys(key for part in parts for key in part)
    return {key: _most([part[key] for part in parts if key in part], limit) for key in keys}


def _most(parts: Sequence[FacetCounts], limit: int) -> list[tuple[Scalar, int]]:
    """Threshold algorithm: what no part shows among its first has at most the sum of the parts' last counts shown."""
    depth = max(limit, 1)
    while True:
        shown = [part.top(depth) for part in parts]
        values = set().union(*(each for each, _ in shown))
        totals = [(value, sum(part.of(value) for part in parts)) for value in values]
        totals.sort(key=lambda pair: (-pair[1], pair[0]))
        left = sum(each for _, each in shown)
        if (
            not left
            or len(parts) == 1
            or depth >= _ENOUGH
            or (len(totals) >= limit > 0 and totals[limit - 1][1] > left)
        ):
            return [(_said(*value), count) for value, count in totals[:limit]]
        depth = min(depth * 8, _ENOUGH)


def _said(kind: Kind, value: Scalar) -> Scalar:
    return date_text(cast(int, value)) if kind == "date" else value
