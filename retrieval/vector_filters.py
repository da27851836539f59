"""What an index needs to know of a filter before it searches, worked out once for each bitmap and remembered."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from retrieval.bitmap import Bitmap

T = TypeVar("T")

_KEPT = 16
"""Bitmaps remembered for each index; the caller's own cache of filters holds most of them anyway."""


@dataclass(frozen=True, slots=True)
class _Entry(Generic[T]):
    bitmap: Bitmap
    """Held, so that its identity is not given to another while it is the key."""
    value: T


class PerBitmap(Generic[T]):
    """``compute(bitmap)`` for each bitmap seen of late, known by identity: bitmaps never change. Thread-safe."""

    def __init__(self, compute: Callable[[Bitmap], T]) -> None:
        self._compute = compute
        self._guard = threading.Lock()
        self._entries: OrderedDict[int, _Entry[T]] = OrderedDict()

    def __call__(self, bitmap: Bitmap) -> T:
        key = id(bitmap)
        with self._guard:
            entry = self._entries.get(key)
            if entry is not None:
                self._entries.move_to_end(key)
                return entry.value
        value = self._compute(bitmap)
        with self._guard:
            self._entries[key] = _Entry(bitmap, value)
            if len(self._entries) > _KEPT:
                self._entries.popitem(last=False)
        return value
