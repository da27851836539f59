"""Filters and rights inside the lexical index: what it applies itself, and that the check has the last word."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from retrieval.bitmap import Bitmap
from retrieval.filters import Compare, Fields, Filter, Join, Scope
from retrieval.lexical import Lexical, LexicalWriter, parse_query
from retrieval.lexical_tags import NUMBERS, Tagger, inside

FIELDS: Fields = {"day": "date", "code": "keyword"}
COUNT = 4000


def metadata(row: int) -> dict[str, Any]:
    return {
        "lang": "zh" if row % 10 == 0 else "en",
        "year": 1990 + row % 40,
        "half": row / 2,
        "few": [row % 8, row % 3 + 0.5],
        "tags": [f"t{row % 7}", f"u{row % 400}"],
        "old": row % 50 == 0,
        "day": f"2024-{1 + row % 12:02}-{1 + row % 28:02}T10:00:00+0{row % 3}:00",
        "code": f"2024-01-{1 + row % 28:02}" if row % 2 else "text",
    }


def acl(row: int) -> tuple[str, ...]:
    return (f"group:{row % 5}",) if row % 3 else ()


@pytest.fixture(scope="module")
def lexical(tmp_path_factory: pytest.TempPathFactory) -> Lexical:
    folder = tmp_path_factory.mktemp("lexical") / "index"
    rng = np.random.default_rng(1)
    with LexicalWriter(folder) as writer:
        for row in range(COUNT):
            text = " ".join(f"w{int(rank)}" for rank in rng.zipf(1.3, 10) % 200)
            writer.add("", (), f"common {text}", metadata(row), acl(row))
    return Lexical(folder, fields=FIELDS)


def both(*filters: Filter) -> Filter:
    return Join("and", filters)


SCOPES = [
    Scope(),
    Scope(Compare("eq", "lang", "zh")),
    Scope(Compare("ne", "lang", "en")),
    Scope(Compare("in", "tags", ("t1", "u17"))),
    Scope(Compare("eq", "tags", "u17")),
    Scope(Compare("eq", "year", 1990.0)),
    Scope(Compare("gt", "year", 2020)),
    Scope(both(Compare("gte", "half", 100.5), Compare("lt", "half", 130))),
    Scope(Compare("lt", "few", 1)),
    Scope(both(Compare("gt", "few", 6.5), Compare("eq", "lang", "zh"))),
    Scope(Compare("eq", "old", True)),
    Scope(Compare("eq", "day", "2024-03-03T10:00:00Z")),
    Scope(Compare("gte", "day", "2024-12-01")),
    Scope(Compare("lte", "code", "2024-01-02")),
    Scope(Compare("eq", "code", "2024-01-02")),
    Scope(both(Compare("eq", "lang", "zh"), Compare("nin", "year", (1990, 2000)))),
    Scope(Join("or", (Compare("eq", "tags", "u3"), Compare("gt", "half", 1900)))),
    Scope(Join("or", (Compare("eq", "tags", "u3"), Compare("nin", "tags", ("t1", "t2", "t3", "t4"))))),
    Scope(Compare("eq", "lang", "fr")),
    Scope(Compare("gt", "absent", 3)),
    Scope(Compare("in", "lang", ())),
    Scope(principals=frozenset({"public"})),
    Scope(Compare("eq", "old", True), frozenset({"public", "group:3"})),
]


@pytest.mark.parametrize("scope", SCOPES, ids=lambda scope: scope.key)
@pytest.mark.parametrize("query", ["common w1 w2", "w7", '"common w1"'])
@pytest.mark.parametrize("depth", [5, 5000])
def test_a_filtered_search_is_the_whole_search_without_what_is_not_allowed(
    lexical: Lexical, scope: Scope, query: str, depth: int
) -> None:
    flags = np.array([scope.admits(metadata(row), acl(row), FIELDS) for row in range(COUNT)])
    parsed = parse_query(query, lexical.analysis)
    every = lexical.search(parsed, COUNT)
    expected = every.scores[flags[every.rows]][:depth]
    found = lexical.search(parsed, depth, allowed=Bitmap.of_flags(flags), scope=scope)
    assert flags[found.rows].all()
    assert len(set(found.rows.tolist())) == len(found)
    assert found.scores == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("admitted", [1, 20, 290, 700, 3200, 3999])
def test_what_is_deleted_is_not_found_though_the_scope_admits_it(lexical: Lexical, admitted: int) -> None:
    allowed = Bitmap.of_rows(np.random.default_rng(admitted).permutation(COUNT)[:admitted], COUNT)
    parsed = parse_query("common w1", lexical.analysis)
    found = lexical.search(parsed, 50, allowed=allowed, scope=Scope(Compare("in", "lang", ("en", "zh"))))
    assert allowed.has(found.rows).all()
    every = lexical.search(parsed, COUNT)
    assert found.scores.tolist() == pytest.approx(every.scores[allowed.has(every.rows)][:50].tolist(), rel=1e-6)


def test_nothing_allowed_is_nothing_found(lexical: Lexical) -> None:
    parsed = parse_query("common", lexical.analysis)
    assert len(lexical.search(parsed, 10, allowed=Bitmap.empty(COUNT))) == 0


def test_keys_beyond_the_columns_are_left_to_the_check() -> None:
    tagger = Tagger()
    tagger({f"key{number}": number for number in range(12)}, ())
    assert [column.name for column in tagger.columns.values()] == list(NUMBERS)
    assert inside(Scope(Compare("gt", "key3", 1)), tagger.columns, {}) is not None
    assert inside(Scope(Compare("gt", "key11", 1)), tagger.columns, {}) is None
    assert inside(Scope(Compare("eq", "key11", 1)), tagger.columns, {}) is not None


def test_without_the_types_of_the_fields_a_date_is_no_bound_inside() -> None:
    tagger = Tagger()
    tagger({"day": "2024-05-01"}, ())
    later = Scope(Compare("gt", "day", "2024-01-01"))
    assert inside(later, tagger.columns, None) is None
    assert inside(later, tagger.columns, {}) is not None
    assert inside(later, tagger.columns, {"day": "keyword"}) is None
