"""How a scope becomes a set of documents: the tree is walked, leaves come from columns, results are kept."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from functools import reduce
from operator import and_, or_

from retrieval.bitmap import Bitmap
from retrieval.filters import Compare, Fields, Filter, Wanted, wanted

Leaf = Callable[[Wanted], Bitmap]
"""The documents of which any value meets what is wanted."""


def evaluate(filter: Filter, fields: Fields, leaf: Leaf) -> Bitmap:
    """Documents that ``filter`` passes: the rule of ``filters.matches``, by sets."""
    if isinstance(filter, Compare):
        want, negated = wanted(filter, fields)
        found = leaf(want)
        return found.inverted() if negated else found
    parts = (evaluate(each, fields, leaf) for each in filter.filters)
    return reduce(and_ if filter.type == "and" else or_, parts)


class BitmapCache:
    """The sets used last, as many as fit into ``limit`` bytes. Thread-safe; two threads may compute the same set."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._bytes = 0
        self._kept: OrderedDict[str, Bitmap] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: str, compute: Callable[[], Bitmap]) -> Bitmap:
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
                return found
        made = compute()
        with self._lock:
            if key not in self._kept:
                self._kept[key] = made
                self._bytes += _size(key, made)
                while self._bytes > self._limit:
                    self._bytes -= _size(*self._kept.popitem(last=False))
        return made

    @property
    def bytes(self) -> int:
        return self._bytes


def _size(key: str, bitmap: Bitmap) -> int:
    return bitmap.bits.nbytes + 2 * len(key) + 200
