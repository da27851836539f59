"""One metadata column on disk: values of one kind under one key, by document and by value, and sets read from it."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import reduce
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from retrieval.bitmap import Bitmap
from retrieval.metadata_values import Kind, Order, Scalar

Codes = NDArray[np.unsignedinteger[Any]]

FORMAT: Final = 2
DIRECTORY, ARRAYS = "columns.json", "columns.bin"
"""The directory names for each column its key (null: access lists), kind, and arrays: [byte offset, dtype, count]."""

RARE = 64
"""A set of at most one document in so many is gathered from postings; a larger one is read off the codes in order.
At 10 million documents setting 156,000 bits one by one takes 1.1 ms, a pass over the codes 1 to 4 ms."""

_BLOCK = 1 << 17
_FEW_SPANS = 8
"""Up to so many stretches of codes are compared one by one; more are looked up in a table, 2 ns a document."""


class Column:
    """Values are numbered in their order: the ``code`` of a value is its place among the column's distinct values.

    Where most documents have one value and none has two, ``codes`` holds a code for each document (the number of
    values where it has none). Else it holds one for each pair of document and value, the documents in ``docs``,
    ascending. ``totals[c]`` counts the pairs with codes below ``c``; ``postings[starts[c]:starts[c + 1]]`` are the
    documents of code ``c`` if it is rare. The documents of codes that are not are read off ``codes``, or with pairs
    from ``sets``: packed bits, one set for each code in ``frequent``. All arrays may be mapped. Thread-safe.
    """

    def __init__(self, kind: Kind, values: Values, documents: int, arrays: Mapping[str, NDArray[Any]]) -> None:
        self.kind = kind
        self.values = values
        self.documents = documents
        self._codes: Codes = arrays["codes"]
        self._docs: Codes | None = arrays.get("docs")
        self._totals: Codes = arrays["totals"]
        self._starts: Codes = arrays.get("starts", arrays["totals"])
        self._postings: Codes = arrays["postings"]
        self._frequent: NDArray[np.int64] = arrays.get("frequent", np.empty(0, np.int64))
        self._sets: NDArray[np.uint8] = arrays.get("sets", np.empty(0, np.uint8))

    def equal(self, wanted: Iterable[Scalar]) -> Bitmap:
        """Documents that have any of ``wanted``, values of this kind."""
        codes = sorted(code for code in map(self.values.find, set(wanted)) if code is not None)
        return self._spans(_stretches(codes))

    def between(self, order: Order, bound: Scalar) -> Bitmap:
        """Documents with a value that stands so to ``bound``, which is in this kind's form (``bound_among``)."""
        place = self.values.place(bound, after=order in ("gt", "lte"))
        return self._spans([(place, len(self.values)) if order in ("gt", "gte") else (0, place)])

    def present(self) -> Bitmap:
        """Documents that have any value."""
        if self._docs is None:
            return self._spans([(0, len(self.values))])
        return _listed([self._docs], self.documents)

    def counts(self, documents: Bitmap | None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Codes that occur among ``documents`` (None: all), ascending, and how many of these have each."""
        if documents is None or documents.count() == self.documents:
            return np.arange(len(self.values)), np.diff(self._totals).astype(np.int64)
        if self._docs is not None:
            picked: NDArray[Any] = self._codes[documents.flags()[self._docs]]
        elif documents.count() * RARE <= self.documents:
            picked = self._codes[documents.rows()]
        else:
            picked = self._codes[documents.flags()]
        distinct = len(self.values)
        if len(picked) < distinct // 4:
            codes, counts = np.unique(picked, return_counts=True)
        else:
            counts = np.bincount(picked, minlength=distinct + 1)
            codes = np.flatnonzero(counts)
            counts = counts[codes]
        known = int(np.searchsorted(codes, distinct))
        return codes[:known].astype(np.int64), counts[:known].astype(np.int64)

    def _spans(self, spans: Sequence[tuple[int, int]]) -> Bitmap:
        """Documents with a code in any of the half-open ``spans``, which ascend and do not touch."""
        spans = [(low, high) for low, high in spans if low < high]
        pairs = sum(int(self._totals[high]) - int(self._totals[low]) for low, high in spans)
        postings = [self._postings[int(self._starts[low]) : int(self._starts[high])] for low, high in spans]
        if self._docs is None and (pairs > sum(map(len, postings)) or pairs * RARE > self.documents):
            return _packed(self._codes, self._test(spans))
        found = _listed(postings, self.documents)
        for low, high in spans:
            for place in range(*np.searchsorted(self._frequent, (low, high)).tolist()):
                found |= self._set(place)
        return found

    def _set(self, place: int) -> Bitmap:
        size = len(self._sets) // len(self._frequent)
        return Bitmap(self._sets[place * size : (place + 1) * size], self.documents)

    def _test(self, spans: Sequence[tuple[int, int]]) -> Callable[[Codes], NDArray[np.bool_]]:
        """What tells for an array of codes which of them lie in ``spans``, of which there is at least one."""
        if len(spans) > _FEW_SPANS:
            table = np.zeros(len(self.values) + 1, np.bool_)
            for low, high in spans:
                table[low:high] = True
            return lambda codes: table[codes]
        kind = self._codes.dtype.type
        tests = [_within(kind(low), kind(high), kind(high - low)) for low, high in spans]
        if len(tests) == 1:
            return tests[0]
        return lambda codes: reduce(np.logical_or, (test(codes) for test in tests))


def _within(low: Any, high: Any, width: Any) -> Callable[[Codes], NDArray[np.bool_]]:
    """Codes from ``low`` to below ``high``, in their own type; one less than ``low`` wraps round to a great number."""
    if width == 1:
        return lambda codes: codes == low
    return (lambda codes: codes < high) if low == 0 else (lambda codes: codes - low < width)


def _listed(docs: Sequence[Codes], documents: int) -> Bitmap:
    """The documents in any of ``docs``."""
    if sum(map(len, docs)) * RARE <= documents:
        return Bitmap.of_rows(np.concatenate(docs).astype(np.int64) if docs else [], documents)
    flags = np.zeros(documents, np.bool_)
    for each in docs:
        flags[each] = True
    return Bitmap.of_flags(flags)


def _packed(codes: Codes, test: Callable[[Codes], NDArray[np.bool_]]) -> Bitmap:
    """Block by block, so that what lies between stays in the processor's cache."""
    bits = np.zeros(-(-len(codes) // 64) * 8, np.uint8)
    for start in range(0, len(codes), _BLOCK):
        packed = np.packbits(test(codes[start : start + _BLOCK]), bitorder="little")
        bits[start >> 3 : (start >> 3) + len(packed)] = packed
    return Bitmap(bits, len(codes))


def _stretches(codes: Sequence[int]) -> list[tuple[int, int]]:
    """Ascending codes as half-open stretches."""
    spans: list[tuple[int, int]] = []
    for code in codes:
        if spans and spans[-1][1] == code:
            spans[-1] = (spans[-1][0], code + 1)
        else:
            spans.append((code, code + 1))
    return spans


class Values:
    """The distinct values of a column, ascending: int64 or float64, or UTF-8 text between ``offsets``."""

    def __init__(self, kind: Kind, arrays: Mapping[str, NDArray[Any]]) -> None:
        self._kind = kind
        self._values = arrays["values"]
        self._offsets = arrays.get("offsets")
        self._text = memoryview(self._values) if self._offsets is not None else memoryview(b"")  # type: ignore[arg-type]

    def __len__(self) -> int:
        return len(self._values) if self._offsets is None else len(self._offsets) - 1

    def __getitem__(self, code: int) -> Scalar:
        """In comparable form: dates in microseconds."""
        if self._offsets is not None:
            return str(self._text[self._offsets[code] : self._offsets[code + 1]], "utf-8")
        value: Scalar = self._values[code].item()
        return bool(value) if self._kind == "boolean" else value

    def find(self, value: Scalar) -> int | None:
        code = self.place(value, after=False)
        return code if code < len(self) and self[code] == value else None

    def place(self, value: Scalar, *, after: bool) -> int:
        """How many values are less than ``value``, or with ``after`` not greater; Python's comparison is exact."""
        return (bisect_right if after else bisect_left)(self, value)
