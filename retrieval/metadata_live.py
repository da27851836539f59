"""Metadata of documents that are still in memory: columns that grow while searches read them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from retrieval.bitmap import Bitmap
from retrieval.filters import NO_FIELDS, ORDERS, Fields, Scope, Wanted, check_acl
from retrieval.metadata_evaluation import evaluate
from retrieval.metadata_facets import FacetCounts, KindCounts
from retrieval.metadata_values import Kind, Order, Scalar, bound_among, elements, instant
from retrieval.types import Metadata

_DTYPES: Final[Mapping[Kind, type[np.generic]]] = {"integer": np.int64, "date": np.int64, "real": np.float64}


class LiveMetadata:
    """Documents are appended by one writer at a time; readers name how many of the first they see, and need no lock.

    Nothing is cached: on the at most 8,192 documents of a live block a comparison takes some 50 microseconds.
    """

    def __init__(self, fields: Fields = NO_FIELDS) -> None:
        self._fields = fields
        self._columns: dict[tuple[str | None, Kind], _LiveColumn] = {}
        self._documents = 0

    def append(self, metadata: Metadata, acl: Sequence[str]) -> None:
        """The next document; readers see it once they are told of one more.

        Raises InvalidRequest, and appends nothing, for a principal that is not Unicode text.
        """
        check_acl(acl)
        document = self._documents
        for principal in dict.fromkeys(acl):
            self._column(None, "string").add(document, principal)
        for key, value in metadata.items():
            for kind, each in dict.fromkeys(self._stored(key, value)):
                self._column(key, kind).add(document, each)
        self._documents = document + 1

    def admitted(self, scope: Scope, documents: int) -> Bitmap | None:
        """Which of the first ``documents`` may be seen; None for all of them."""
        found: Bitmap | None = None
        lists = self._columns.get((None, "string"))
        if scope.principals is not None and lists is not None:
            allowed = lists.equal(scope.principals, documents) | lists.present(documents).inverted()
            found = allowed
        if scope.filter is not None:
            passed = evaluate(scope.filter, self._fields, lambda want: self._meeting(want, documents))
            found = passed if found is None else found & passed
        return found

    def facets(self, keys: Iterable[str], documents: Bitmap | None, count: int) -> dict[str, FacetCounts]:
        """Counts of the values of ``keys`` among the first ``count`` documents, those in ``documents`` where given."""
        flags = None if documents is None else documents.flags()
        found: dict[str, FacetCounts] = {}
        for key in keys:
            text: Kind = "date" if self._fields.get(key) == "date" else "string"
            columns = [self._columns.get((key, kind)) for kind in (text, "integer", "real", "boolean")]
            found[key] = FacetCounts([column.counts(flags, count) for column in columns if column is not None])
        return found

    def _stored(self, key: str, value: object) -> Iterable[tuple[Kind, Scalar]]:
        """What is kept of a value: as ``MetadataWriter`` does, of text its instant, itself, or both."""
        declared = self._fields.get(key)
        for kind, each in elements(value):
            if kind != "string" or declared != "date":
                yield kind, each
            if kind == "string" and declared in (None, "date"):
                when = instant(cast(str, each))
                if when is not None:
                    yield "date", when

    def _meeting(self, want: Wanted, documents: int) -> Bitmap:
        found = Bitmap.empty(documents)
        for kind, values in want.values.items():
            if (column := self._columns.get((want.key, kind))) is not None:
                found |= column.equal(values, documents)
        for kind in want.kinds:
            if want.order is not None and (column := self._columns.get((want.key, kind))) is not None:
                found |= column.between(*bound_among(kind, want.order, want.bound), documents)
        return found

    def _column(self, key: str | None, kind: Kind) -> _LiveColumn:
        column = self._columns.get((key, kind))
        if column is None:
            column = self._columns[key, kind] = _LiveColumn(kind)
        return column


class _Growing:
    """An array that doubles; what was handed out stays as it is, and what is beyond is written before it is counted."""

    def __init__(self, dtype: type[np.generic]) -> None:
        self._array: NDArray[Any] = np.empty(64, dtype)
        self._count = 0

    def append(self, value: Any) -> None:
        if self._count == len(self._array):
            self._array = np.concatenate([self._array, np.empty_like(self._array)])
        self._array[self._count] = value
        self._count += 1

    def view(self) -> NDArray[Any]:
        count = self._count  # read before the array: an array is never shorter than an earlier count
        return self._array[:count]


class _LiveColumn:
    """Values are numbered as they come; pairs of document and number grow in the order of documents."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self._codes: dict[Scalar, int] = {}
        self._values: list[Scalar] = []
        self._numbers = _Growing(_DTYPES[kind]) if kind in _DTYPES else None
        self._pair_codes = _Growing(np.uint32)
        self._pair_docs = _Growing(np.uint32)

    def add(self, document: int, value: Scalar) -> None:
        code = self._codes.get(value)
        if code is None:
            code = len(self._values)
            self._values.append(value)
            if self._numbers is not None:
                self._numbers.append(value)
            self._codes[value] = code
        self._pair_codes.append(code)
        self._pair_docs.append(document)  # last: readers go by the documents

    def equal(self, wanted: Iterable[Scalar], documents: int) -> Bitmap:
        codes = [code for value in wanted if (code := self._codes.get(value)) is not None]
        docs, pairs = self._pairs(documents)
        if len(codes) == 1:
            return _flagged(docs[pairs == codes[0]], documents)
        table = np.zeros(len(self._values), np.bool_)
        table[[code for code in codes if code < len(table)]] = True
        return _flagged(docs[table[pairs]], documents)

    def between(self, order: Order, bound: Scalar, documents: int) -> Bitmap:
        docs, pairs = self._pairs(documents)  # before the values: every number among them has its value
        if self._numbers is not None:
            table = np.asarray(ORDERS[order](self._numbers.view(), bound))
        else:
            table = np.array([ORDERS[order](value, bound) for value in self._values[:]], np.bool_)
        return _flagged(docs[table[pairs]], documents)

    def present(self, documents: int) -> Bitmap:
        return _flagged(self._pairs(documents)[0], documents)

    def counts(self, flags: NDArray[np.bool_] | None, documents: int) -> KindCounts:
        docs, pairs = self._pairs(documents)
        counts = np.bincount(pairs if flags is None else pairs[flags[docs]])
        codes = np.flatnonzero(counts)
        return KindCounts(self.kind, codes, counts[codes], self._values.__getitem__, self._codes.get)

    def _pairs(self, documents: int) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
        """Of the first ``documents``."""
        docs = self._pair_docs.view()
        docs = docs[: np.searchsorted(docs, documents)]
        return docs, self._pair_codes.view()[: len(docs)]


def _flagged(docs: NDArray[np.uint32], documents: int) -> Bitmap:
    flags = np.zeros(documents, np.bool_)
    flags[docs] = True
    return Bitmap.of_flags(flags)
