"""What is known of documents beside their text, as columns: which may be seen, and how often values occur."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from retrieval.bitmap import Bitmap
from retrieval.errors import IndexUnreadable
from retrieval.filters import Fields, Filter, Scope, Wanted
from retrieval.metadata_columns import ARRAYS, DIRECTORY, FORMAT, Column, Values
from retrieval.metadata_evaluation import BitmapCache, evaluate
from retrieval.metadata_facets import FacetCounts, KindCounts, merged_facets
from retrieval.metadata_live import LiveMetadata
from retrieval.metadata_values import Kind, bound_among
from retrieval.metadata_writer import MetadataWriter

__all__ = ["FacetCounts", "LiveMetadata", "MetadataColumns", "MetadataWriter", "merged_facets"]

_CACHE_BYTES = 2**27


class MetadataColumns:
    """The columns of one segment, mapped. Thread-safe. Nothing of them is read until a filter asks for it."""

    def __init__(self, folder: Path, fields: Fields, *, cache_bytes: int = _CACHE_BYTES) -> None:
        """``cache_bytes`` bound what is kept of results, an eighth of a byte for each document and result.

        Raises IndexUnreadable when the folder is damaged, of another format, or was written when keys of ``fields``
        were declared of other types.
        """
        try:
            said = json.loads((folder / DIRECTORY).read_text(encoding="utf-8"))
            if said["format"] != FORMAT:
                raise IndexUnreadable(f"{folder}: metadata of format {said['format']}; this version reads {FORMAT}")
            mapped = np.memmap(folder / ARRAYS, np.uint8, "r") if said["columns"] else np.empty(0, np.uint8)
            self.documents = int(said["documents"])
            self._columns = {
                (each["key"], each["kind"]): _column(each["kind"], self.documents, each["arrays"], mapped)
                for each in said["columns"]
            }
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise IndexUnreadable(f"{folder}: the metadata columns cannot be read: {error}") from error
        changed = [key for key, was in said["fields"].items() if fields.get(key) != was]
        if changed:
            raise IndexUnreadable(f"{folder}: {changed[0]} was declared {said['fields'][changed[0]]}; build it anew")
        self._fields = fields
        self._cache = BitmapCache(cache_bytes)

    def admitted(self, scope: Scope) -> Bitmap | None:
        """Documents that ``scope`` may see; None for all of them. Kept by scope, by principals, and by comparison."""
        filter = scope.filter
        if filter is None:
            return None if scope.principals is None else self._readable(scope.principals)
        return self._cache.get(scope.key, lambda: self._admitted(filter, scope.principals))

    def facets(self, keys: Iterable[str], documents: Bitmap | None) -> dict[str, FacetCounts]:
        """Counts of the values of ``keys`` among ``documents`` (None: all), for ``merged_facets``."""
        found: dict[str, FacetCounts] = {}
        for key in keys:
            text: Kind = "date" if self._fields.get(key) == "date" else "string"
            columns = [self._columns.get((key, kind)) for kind in (text, "integer", "real", "boolean")]
            found[key] = FacetCounts([
                KindCounts(column.kind, *column.counts(documents), column.values.__getitem__, column.values.find)
                for column in columns
                if column is not None
            ])  # fmt: skip
        return found

    def _admitted(self, filter: Filter, principals: frozenset[str] | None) -> Bitmap:
        readable = None if principals is None else self._readable(principals)
        passed = evaluate(filter, self._fields, self._meeting)
        return passed if readable is None else passed & readable

    def _readable(self, principals: frozenset[str]) -> Bitmap | None:
        lists = self._columns.get((None, "string"))
        if lists is None:
            return None

        def compute() -> Bitmap:
            public = self._cache.get("public", lambda: lists.present().inverted())
            return lists.equal(principals) | public

        return self._cache.get(f"principals {sorted(principals)!r}", compute)

    def _meeting(self, want: Wanted) -> Bitmap:
        return self._cache.get(f"leaf {want!r}", lambda: self._compute(want))

    def _compute(self, want: Wanted) -> Bitmap:
        parts = [column.equal(values) for kind, values in want.values.items() if (column := self._of(want, kind))]
        if want.order is not None:
            parts += [
                column.between(*bound_among(kind, want.order, want.bound))
                for kind in want.kinds
                if (column := self._of(want, kind))
            ]
        found = parts[0] if parts else Bitmap.empty(self.documents)
        for part in parts[1:]:
            found |= part
        return found

    def _of(self, want: Wanted, kind: Kind) -> Column | None:
        return self._columns.get((want.key, kind))


def _column(kind: str, documents: int, arrays: dict[str, list[Any]], mapped: NDArray[np.uint8]) -> Column:
    views = {}
    for name, (offset, dtype, count) in arrays.items():
        end = offset + count * np.dtype(dtype).itemsize
        if end > len(mapped):
            raise ValueError(f"{ARRAYS} is cut short")
        views[name] = np.asarray(mapped)[offset:end].view(dtype)
    return Column(cast(Kind, kind), Values(cast(Kind, kind), views), documents, views)
