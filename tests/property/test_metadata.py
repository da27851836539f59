"""Columns on disk and columns in memory admit, whatever the metadata, exactly what the plain rule does."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from retrieval.bitmap import Bitmap
from retrieval.filters import Filter, Scope
from retrieval.metadata import LiveMetadata, MetadataColumns, MetadataWriter, merged_facets
from retrieval.metadata_values import date_text, elements, instant
from retrieval.types import Metadata
from tests.metadata import FIELDS, KEYS, acls, documents, filters

Stored = list[tuple[Metadata, tuple[str, ...]]]

_STORED: st.SearchStrategy[Stored] = st.lists(st.tuples(documents(), acls()), max_size=12)
_SCOPES = st.builds(
    Scope, st.none() | filters(), st.none() | st.frozensets(st.sampled_from(["public", "a", "b", "c", ""]), max_size=3)
)


def sealed(folder: str, stored: Stored, block: int = 3) -> MetadataColumns:
    writer = MetadataWriter(Path(folder), FIELDS, block=block)
    for metadata, acl in stored:
        writer.add(metadata, acl)
    writer.close()
    return MetadataColumns(Path(folder), FIELDS)


def live(stored: Stored) -> LiveMetadata:
    columns = LiveMetadata(FIELDS)
    for metadata, acl in stored:
        columns.append(metadata, acl)
    return columns


def rows(found: Bitmap | None, documents: int) -> list[int]:
    assert found is None or found.length == documents
    return list(range(documents)) if found is None else found.rows().tolist()


def expected(scope: Scope, stored: Stored) -> list[int]:
    return [row for row, (metadata, acl) in enumerate(stored) if scope.admits(metadata, acl, FIELDS)]


def counted(stored: Stored, seen: Sequence[int]) -> dict[str, Counter[tuple[str, Any]]]:
    """How many documents have each value, said as a facet says it; the kind keeps true and 1 apart."""
    found: dict[str, Counter[tuple[str, Any]]] = {key: Counter() for key in KEYS}
    for row in seen:
        for key, value in stored[row][0].items():
            read = set(elements(value))
            if FIELDS.get(key) == "date":
                instants = {instant(cast(str, each)) for kind, each in read if kind == "string"} - {None}
                read = {pair for pair in read if pair[0] != "string"}
                read |= {("date", cast(int, when)) for when in instants}
            found[key].update(
                (kind, date_text(cast(int, each))) if kind == "date" else (type(each).__name__, each)
                for kind, each in read
            )
    return found


def said(facets: dict[str, list[tuple[Any, int]]]) -> dict[str, Counter[tuple[str, Any]]]:
    found: dict[str, Counter[tuple[str, Any]]] = {}
    for key, pairs in facets.items():
        found[key] = Counter()
        for value, count in pairs:
            kind = "date" if FIELDS.get(key) == "date" and isinstance(value, str) else type(value).__name__
            found[key][kind, value] += count
    return found


@given(_STORED, st.lists(_SCOPES, min_size=1, max_size=4))
def test_sealed_columns_admit_what_the_rule_does(stored: Stored, scopes: list[Scope]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        columns = sealed(folder, stored)
        assert columns.documents == len(stored)
        for scope in scopes:
            assert rows(columns.admitted(scope), len(stored)) == expected(scope, stored)
            assert rows(columns.admitted(scope), len(stored)) == expected(scope, stored)  # from the cache


@given(_STORED, filters(), st.integers(70, 80))
def test_rare_values_and_frequent_ones_are_found_alike(stored: Stored, filter: Filter, copies: int) -> None:
    """What only the first document has is rare enough to be read from postings, the rest is not."""
    with tempfile.TemporaryDirectory() as folder:
        many = [*stored[:1], *(stored[1:5] or [({}, ())]) * copies]
        columns = sealed(folder, many, block=100)
        assert rows(columns.admitted(Scope(filter)), len(many)) == expected(Scope(filter), many)


@given(_STORED, _STORED, _SCOPES)
def test_live_columns_admit_what_the_rule_does_among_the_first_documents(
    first: Stored, rest: Stored, scope: Scope
) -> None:
    columns = live(first)
    assert rows(columns.admitted(scope, len(first)), len(first)) == expected(scope, first)
    for metadata, acl in rest:
        columns.append(metadata, acl)
    assert rows(columns.admitted(scope, len(first)), len(first)) == expected(scope, first)
    both = first + rest
    assert rows(columns.admitted(scope, len(both)), len(both)) == expected(scope, both)


@given(_STORED, _STORED, _SCOPES, st.booleans())
def test_facets_count_each_document_once_for_each_of_its_values(
    one: Stored, other: Stored, scope: Scope, everything: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        columns, growing = sealed(folder, one), live(other)
        parts = [
            columns.facets(KEYS, None if everything else columns.admitted(scope)),
            growing.facets(KEYS, None if everything else growing.admitted(scope, len(other)), len(other)),
        ]
        facets = merged_facets(parts, 1000)
        both = one + other
        seen = range(len(both)) if everything else expected(scope, both)
        assert said(facets) == counted(both, seen)
        for key, pairs in facets.items():
            assert [count for _, count in pairs] == sorted((count for _, count in pairs), reverse=True)
            assert merged_facets(parts, 2)[key] == pairs[:2]
