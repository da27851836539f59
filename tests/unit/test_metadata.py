"""Metadata columns at their edges: what they refuse, keep in memory, and what happens while they grow."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retrieval.bitmap import Bitmap
from retrieval.errors import IndexUnreadable, InvalidRequest
from retrieval.filters import EVERYTHING, Compare, Fields, Join, Scope
from retrieval.metadata import LiveMetadata, MetadataColumns, MetadataWriter, merged_facets
from retrieval.metadata_columns import ARRAYS, DIRECTORY
from retrieval.metadata_evaluation import BitmapCache
from retrieval.metadata_runs import as_arrow, dates_among
from retrieval.metadata_values import instant
from retrieval.types import Metadata

Stored = list[tuple[Metadata, tuple[str, ...]]]
FIELDS: Fields = {"published": "date", "lang": "keyword"}


def sealed(folder: Path, stored: Stored, fields: Fields = FIELDS) -> MetadataColumns:
    writer = MetadataWriter(folder, fields, block=1000)
    for metadata, acl in stored:
        writer.add(metadata, acl)
    writer.close()
    return MetadataColumns(folder, fields)


def rows(found: Bitmap | None) -> list[int]:
    assert found is not None
    listed: list[int] = found.rows().tolist()
    return listed


def many(count: int) -> Stored:
    """Every kind of column, in more than one block of the writer."""
    return [
        (
            {"lang": "zh" if i % 10 == 0 else "en", "n": i, "half": i / 2, "tags": [f"t{i % 7}", f"u{i % 1000}"],
             "published": f"2024-{i % 12 + 1:02}-01", **({"seldom": i} if i % 1000 == 0 else {})},
            ("group:a",) if i % 3 == 0 else (),
        )
        for i in range(count)
    ]  # fmt: skip


def test_columns_of_several_blocks_admit_what_the_rule_does(tmp_path: Path) -> None:
    stored = many(6_500)
    columns = sealed(tmp_path, stored)
    for scope in (
        Scope(Compare("eq", "lang", "zh")),
        Scope(Compare("in", "tags", ("t3", "u999"))),
        Scope(Compare("eq", "tags", "u17")),
        Scope(Compare("gte", "half", 3_240.5)),
        Scope(Compare("lt", "n", 3_000)),
        Scope(Compare("gt", "published", "2024-10-31T23:00:00Z")),
        Scope(Compare("ne", "seldom", 6_000)),
        Scope(Join("and", (Compare("gt", "seldom", 5), Compare("eq", "lang", "zh"))), frozenset({"public"})),
        Scope(principals=frozenset({"group:a"})),
    ):
        found = columns.admitted(scope)
        expected = [row for row, (metadata, acl) in enumerate(stored) if scope.admits(metadata, acl, FIELDS)]
        assert (list(range(len(stored))) if found is None else rows(found)) == expected


def test_facets_of_a_key_with_many_values_name_the_most_frequent(tmp_path: Path) -> None:
    stored: Stored = [({"tags": [f"t{i}", *(["often"] if i % 2 else [])], "n": i % 3}, ()) for i in range(5000)]
    columns = sealed(tmp_path, stored)
    few = Bitmap.of_rows(np.array([1, 2, 3]), 5000)
    assert merged_facets([columns.facets(["tags"], None)], 2) == {"tags": [("often", 2500), ("t0", 1)]}
    assert merged_facets([columns.facets(["tags", "n", "none"], few)], 9) == {
        "tags": [("often", 2), ("t1", 1), ("t2", 1), ("t3", 1)], "n": [(0, 1), (1, 1), (2, 1)], "none": [],
    }  # fmt: skip


def test_a_value_that_leads_nowhere_and_is_first_in_sum_is_found(tmp_path: Path) -> None:
    """Each part has its own leaders; what is second in both has the highest sum."""
    parts = []
    for name in ("x", "y"):
        stored: Stored = [({"a": name if i < 10 else "both"}, ()) for i in range(19)]
        parts.append(sealed(tmp_path / name, stored).facets(["a"], None))
    assert merged_facets(parts, 1) == {"a": [("both", 18)]}
    assert merged_facets(parts, 0) == {"a": []}


def test_facets_keep_true_and_one_apart_and_write_dates_in_utc(tmp_path: Path) -> None:
    stored: Stored = [
        ({"a": True, "published": "2024-05-31T02:00:00+02:00"}, ()),
        ({"a": 1, "published": "2024-05-31"}, ()),
    ]
    growing = LiveMetadata(FIELDS)
    for metadata, acl in stored:
        growing.append(metadata, acl)
    parts = [sealed(tmp_path, stored).facets(["a", "published"], None), growing.facets(["a", "published"], None, 2)]
    facets = merged_facets(parts, 5)
    assert facets["published"] == [("2024-05-31", 4)]
    assert [(type(value), count) for value, count in facets["a"]] == [(bool, 2), (int, 2)]


def test_a_segment_without_documents_or_metadata_can_be_read(tmp_path: Path) -> None:
    assert rows(sealed(tmp_path / "none", []).admitted(Scope(Compare("ne", "a", 1)))) == []
    bare = sealed(tmp_path / "bare", [({}, ()), ({}, ())])
    assert rows(bare.admitted(Scope(Compare("ne", "a", 1)))) == [0, 1]
    assert bare.admitted(Scope(principals=frozenset())) is None
    assert bare.admitted(EVERYTHING) is None


@pytest.mark.parametrize("write", [MetadataWriter.add, LiveMetadata.append])
@pytest.mark.parametrize("principal", ["\ud800", 7])
def test_an_access_list_that_could_not_be_kept_is_refused(tmp_path: Path, write: Any, principal: Any) -> None:
    columns = MetadataWriter(tmp_path, {}) if write is MetadataWriter.add else LiveMetadata()
    with pytest.raises(InvalidRequest, match="principals such as group:eng"):
        write(columns, {}, ("a", principal))
    if isinstance(columns, LiveMetadata):
        assert columns.admitted(Scope(principals=frozenset()), 0) is None
    else:
        columns.abandon()


def test_what_was_spilled_is_gone_when_the_columns_are_written_or_abandoned(tmp_path: Path) -> None:
    sealed(tmp_path / "whole", many(10))
    MetadataWriter(tmp_path / "left", {}).abandon()
    assert sorted(path.name for path in (tmp_path / "whole").iterdir()) == [ARRAYS, DIRECTORY]
    assert list((tmp_path / "left").iterdir()) == []


def test_damaged_columns_are_unreadable(tmp_path: Path) -> None:
    sealed(tmp_path, many(100))
    whole, arrays = (tmp_path / DIRECTORY).read_text(), (tmp_path / ARRAYS).read_bytes()
    (tmp_path / ARRAYS).write_bytes(arrays[: len(arrays) // 2])
    with pytest.raises(IndexUnreadable, match="cut short"):
        MetadataColumns(tmp_path, FIELDS)
    for text in ("", "[]", "{}", json.dumps(json.loads(whole) | {"format": 99})):
        (tmp_path / DIRECTORY).write_text(text)
        with pytest.raises(IndexUnreadable):
            MetadataColumns(tmp_path, FIELDS)
    with pytest.raises(IndexUnreadable):
        MetadataColumns(tmp_path / "none", FIELDS)


def test_field_types_may_be_added_and_not_changed(tmp_path: Path) -> None:
    stored: Stored = [({"published": "2024-05-31T02:00:00+02:00", "made": "2024-05-31T02:00:00+02:00"}, ())]
    sealed(tmp_path, stored)
    added = MetadataColumns(tmp_path, {**FIELDS, "made": "date", "new": "number"})
    assert rows(added.admitted(Scope(Compare("eq", "made", "2024-05-31")))) == [0]
    with pytest.raises(IndexUnreadable, match="published was declared date"):
        MetadataColumns(tmp_path, {**FIELDS, "published": "keyword"})


@pytest.mark.parametrize(
    "text",
    ["2024-05-31", "2024-02-30", "2023-02-29", "2024-02-29T23:59:59Z", "2024-05-31T24:00:00Z", "2024-05-31T10:00:60Z",
     "2024-05-31T10:00:00.5Z", "2024-05-31T10:00:00.123456Z", "2024-05-31T10:00:00.1234567Z", "0999-01-01",
     "0000-01-01", "2999-12-31T23:59:59.999999Z", "1000-01-01",
     "1969-12-31T23:59:59.999999Z", "2024-05-31T10:00:00+05:30",
     "2024-05-31 10:00:00", "2024-05-31T10:00Z", "2024-13-01", "2024-00-10", "2024-05-31\n", "x2024-05-31", "中"],
)  # fmt: skip
def test_dates_are_read_many_at_a_time_as_they_are_one_by_one(text: str) -> None:
    for others in ([], ["2024-01-01", "2024-01-01T00:00:00Z"]):
        texts = [*others, text]
        docs, instants = dates_among(as_arrow("string", texts), np.arange(len(texts), dtype=np.uint32))
        expected = {i: when for i, each in enumerate(texts) if (when := instant(each)) is not None}
        assert dict(zip(docs.tolist(), instants.to_pylist(), strict=True)) == expected


def test_the_cache_forgets_what_was_used_longest_ago() -> None:
    made: list[str] = []

    def make(key: str) -> Bitmap:
        def compute() -> Bitmap:
            made.append(key)
            return Bitmap.full(80_000)

        return cache.get(key, compute)

    cache = BitmapCache(25_000)
    for key in ("a", "b", "a", "c", "a", "b"):
        make(key)
    assert made == ["a", "b", "c", "b"]
    assert cache.bytes <= 25_000


def test_readers_of_live_columns_see_whole_documents_while_a_writer_appends() -> None:
    live, done = LiveMetadata(), threading.Event()
    counted = 0
    wrong: list[int] = []

    def read() -> None:
        while not done.is_set():
            seen = counted
            found = live.admitted(Scope(Join("and", (Compare("gte", "n", 0), Compare("eq", "tags", "odd")))), seen)
            if found is None or rows(found) != list(range(1, seen, 2)):
                wrong.append(seen)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for i in range(4000):
        live.append({"n": i, "tags": ["odd" if i % 2 else "even", f"t{i}"]}, (f"user:{i % 50}",))
        counted = i + 1
    done.set()
    for reader in readers:
        reader.join()
    assert wrong == []
