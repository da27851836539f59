"""What filters mean, how they are read, and what is said of those that cannot be."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest

from retrieval.errors import InvalidRequest
from retrieval.filters import (
    EVERYTHING,
    MAX_DEPTH,
    MAX_LEAVES,
    MAX_VALUES,
    Compare,
    Fields,
    Join,
    Operator,
    Scope,
    canonical,
    check_metadata,
    matches,
    parse_filter,
)
from retrieval.metadata_values import Scalar, date_text, instant
from retrieval.types import Metadata

FIELDS: Fields = {"lang": "keyword", "year": "number", "published": "date", "draft": "boolean"}


def leaf(type: str, key: str, value: object) -> dict[str, object]:
    return {"type": type, "key": key, "value": value}


def test_a_tree_of_the_api_becomes_a_filter() -> None:
    tree = {"type": "and", "filters": [leaf("eq", "lang", "zh"), leaf("in", "year", [2023, 2024.0])]}
    assert parse_filter(tree) == Join("and", (Compare("eq", "lang", "zh"), Compare("in", "year", (2023, 2024))))


@pytest.mark.parametrize(
    ("tree", "said"),
    [
        ("lang=zh", "filters: expected an object"),
        ({}, "filters.type is missing; it is one of eq ne gt gte lt lte in nin and or"),
        (leaf("like", "lang", "zh"), 'filters.type is "like"; it is one of'),
        ({"type": ["eq"]}, "filters.type is"),
        ({"type": "eq", "value": 1}, "filters.key: eq takes the name"),
        ({"type": "eq", "key": "lang"}, "filters.value is missing"),
        (leaf("eq", "lang", None), "filters.value is null; a filter compares with text"),
        (leaf("eq", "lang", {"a": 1}), "filters.value is an object"),
        (
            leaf("gt", "n", float("nan")),
            "filters.value is a number; a filter compares with text, a boolean, or a finite",
        ),
        (leaf("gt", "n", 2**63), "integers within 64 bits"),
        (leaf("eq", "lang", "\ud800"), "filters.value is text"),
        (leaf("eq", "lang", ["zh"]), "filters.value: eq takes one value; in and nin take a list"),
        (leaf("in", "lang", "zh"), "filters.value: in takes a list"),
        (leaf("in", "lang", ["zh", None]), "filters.value[1] is null"),
        ({**leaf("eq", "lang", "zh"), "boost": 2}, "filters.boost: eq takes key and value and no more"),
        ({"type": "or", "filters": []}, "filters.filters: or takes a list of at least one"),
        ({"type": "or", "filters": [leaf("eq", "a", 1), {"type": "not"}]}, "filters.filters[1].type"),
        (leaf("eq", "year", "2024"), "year is declared number, so the value is a finite number"),
        (leaf("eq", "year", True), "year is declared number"),
        (leaf("gt", "published", "May"), "published is declared date, so the value is an ISO 8601 date"),
        (leaf("in", "draft", [True, 1]), "filters.value[1]: draft is declared boolean"),
        (leaf("eq", "lang", 1), "lang is declared keyword, so the value is text"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tree: object, said: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        parse_filter(tree, FIELDS)
    assert said in raised.value.detail


def test_a_filter_is_at_most_sixteen_levels_deep() -> None:
    tree: dict[str, Any] = leaf("eq", "a", 1)
    for _ in range(MAX_DEPTH - 1):
        tree = {"type": "and", "filters": [tree]}
    parse_filter(tree)
    with pytest.raises(InvalidRequest, match="at most 16 levels"):
        parse_filter({"type": "and", "filters": [tree]})


def test_a_filter_has_at_most_a_thousand_comparisons_and_ten_thousand_values() -> None:
    many = [leaf("eq", "a", i) for i in range(MAX_LEAVES)]
    parse_filter({"type": "or", "filters": many})
    with pytest.raises(InvalidRequest, match=r"filters.filters\[1000\]: a filter holds at most 1,000"):
        parse_filter({"type": "or", "filters": [*many, leaf("eq", "a", -1)]})
    parse_filter(leaf("in", "a", list(range(MAX_VALUES))))
    with pytest.raises(InvalidRequest, match="at most 10,000 values"):
        parse_filter(leaf("in", "a", list(range(MAX_VALUES + 1))))


DOCUMENT = cast("Metadata", {
    "lang": "zh", "year": 2024, "price": 2.5, "draft": False, "tags": ["news", "law", 7], "none": None,
    "when": "2024-05-31T12:00:00+02:00", "big": 2**53 + 1, "nan": float("nan"), "nested": {"a": 1},
})  # fmt: skip


@pytest.mark.parametrize(
    ("type", "key", "value", "expected"),
    [
        ("eq", "lang", "zh", True),
        ("ne", "lang", "zh", False),
        ("eq", "year", 2024.0, True),
        ("eq", "year", "2024", False),
        ("eq", "draft", 0, False),
        ("eq", "draft", False, True),
        ("lt", "draft", True, True),
        ("eq", "tags", "law", True),
        ("ne", "tags", "law", False),
        ("in", "tags", ("sport", 7), True),
        ("nin", "tags", ("sport", "arts"), True),
        ("in", "tags", (), False),
        ("nin", "tags", (), True),
        ("gt", "tags", "m", True),
        ("gt", "tags", 6, True),
        ("gte", "price", 2.5, True),
        ("gt", "price", 2.5, False),
        ("lt", "price", 3, True),
        ("lte", "year", 2023.9, False),
        ("gt", "lang", 3, False),
        ("eq", "missing", "x", False),
        ("ne", "missing", "x", True),
        ("nin", "missing", ("x",), True),
        ("lt", "missing", 1, False),
        ("ne", "none", "x", True),
        ("eq", "big", 2**53, False),
        ("gt", "big", float(2**53), True),
        ("lte", "nan", 1, False),
        ("eq", "nested", "a", False),
        ("gte", "when", "2024-05-31T10:00Z", True),
        ("gt", "when", "2024-05-31T10:00:00Z", False),
        ("lt", "when", "2024-06-01", True),
        ("eq", "when", "2024-05-31T10:00:00Z", False),
        ("lt", "when", "2024-06", True),
        ("gt", "lang", "2024-05-31", False),
    ],
)
def test_a_document_passes_by_the_kind_of_its_values(
    type: Operator, key: str, value: Scalar | tuple[Scalar, ...], expected: bool
) -> None:
    assert matches(Compare(type, key, value), DOCUMENT) is expected


def test_a_declared_date_is_an_instant_for_every_operator() -> None:
    document: Metadata = {"published": ["2024-05-31T12:00:00+02:00", "soon"]}
    same = Compare("eq", "published", "2024-05-31T10:00:00Z")
    assert matches(same, document, FIELDS)
    assert not matches(same, document)
    assert matches(Compare("in", "published", ("2024-05-31 10:00",)), document, FIELDS)
    assert not matches(Compare("eq", "published", "soon"), document, FIELDS)
    assert not matches(Compare("gt", "published", "soon"), document, FIELDS)


def test_a_declared_keyword_that_looks_like_a_date_stays_text() -> None:
    document: Metadata = {"lang": "2024-05-31T12:00:00+02:00"}
    bound = Compare("gt", "lang", "2024-05-31T11:00:00Z")
    assert matches(bound, document, FIELDS)
    assert not matches(bound, document)


def test_joins_are_all_and_any() -> None:
    yes, no = Compare("eq", "lang", "zh"), Compare("eq", "lang", "en")
    assert [matches(Join("and", pair), DOCUMENT) for pair in ((yes, yes), (yes, no))] == [True, False]
    assert [matches(Join("or", pair), DOCUMENT) for pair in ((no, yes), (no, no))] == [True, False]


def test_equal_meaning_gives_equal_text() -> None:
    one = Join("and", (Compare("in", "year", (2024, 2023)), Join("and", (Compare("eq", "lang", "zh"),))))
    other = Join("and", (Compare("eq", "lang", "zh"), Compare("in", "year", (2023.0, 2024, 2023))))
    assert canonical(one) == canonical(other)
    assert parse_filter(json.loads(canonical(one))) == Join(
        "and", (Compare("eq", "lang", "zh"), Compare("in", "year", (2023, 2024)))
    )


def test_true_and_one_are_not_the_same_filter() -> None:
    assert canonical(Compare("eq", "a", True)) != canonical(Compare("eq", "a", 1))
    assert Scope(Compare("eq", "a", True)) != Scope(Compare("eq", "a", 1))


def test_metadata_of_the_declared_types_passes() -> None:
    check_metadata({"lang": ["zh", "en"], "year": 2024.5, "published": "2024-05-31", "draft": None, "x": 1}, FIELDS)


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({"lang": 1}, "metadata.lang is declared keyword and takes text, not a number"),
        ({"year": ["2024"]}, "metadata.year is declared number and takes a finite number, integers"),
        ({"year": True}, "not a boolean"),
        ({"published": "soon"}, "metadata.published is declared date and takes an ISO 8601 date"),
        ({"draft": "no"}, "metadata.draft is declared boolean and takes true or false, not text"),
        ({"author": {"name": "x"}}, "metadata.author holds an object; it takes"),
        ({"author": [["x"]]}, "metadata.author holds a list"),
        ({"n": float("inf")}, "metadata.n holds a number"),
        ({"n": -(2**63) - 1}, "integers within 64 bits"),
        ({"s": "\udcff"}, "metadata.s holds text; it takes Unicode text"),
    ],
)  # fmt: skip
def test_metadata_that_filters_would_not_see_is_refused_by_name(metadata: Any, said: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        check_metadata(metadata, FIELDS)
    assert said in raised.value.detail


def test_a_scope_admits_by_filter_and_by_access_list() -> None:
    scope = Scope(Compare("eq", "lang", "zh"), frozenset({"public", "group:eng"}))
    assert scope.admits({"lang": "zh"}, ())
    assert scope.admits({"lang": "zh"}, ("user:a", "group:eng"))
    assert not scope.admits({"lang": "zh"}, ("user:a",))
    assert not scope.admits({"lang": "en"}, ())
    assert not Scope(principals=frozenset()).admits({}, ("public",))
    assert EVERYTHING.admits({}, ("user:a",))


def test_scopes_are_equal_when_they_admit_the_same() -> None:
    one = Scope(Compare("in", "a", (1, 2)), frozenset({"x", "y"}))
    other = Scope(Compare("in", "a", (2, 1.0)), frozenset({"y", "x"}))
    assert one == other
    assert hash(one) == hash(other)
    assert Scope(principals=frozenset()) != EVERYTHING


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1970-01-01", "1970-01-01"),
        ("1970-01-01T00:00:00.000001+00:00", "1970-01-01T00:00:00.000001Z"),
        ("2024-05-31 12:00+02:00", "2024-05-31T10:00:00Z"),
        ("0001-01-01T00:00:00+14:00", "0001-01-01"),
    ],
)
def test_an_instant_is_written_in_utc(text: str, said: str) -> None:
    when = instant(text)
    assert when is not None
    assert date_text(when) == said


@pytest.mark.parametrize(
    "text", ["2024", "2024-05", "20240531", "2024-W01-1", "2024-02-30", "2024-05-31T25:00", "x", ""]
)
def test_what_is_not_a_full_date_is_none(text: str) -> None:
    assert instant(text) is None
