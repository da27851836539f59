"""Filters as they are typed."""

from __future__ import annotations

from typing import Any

import pytest

from retrieval.errors import InvalidRequest
from retrieval.filters import parse_filter
from services.filter_text import filter_tree


def leaf(kind: str, key: str, value: object) -> dict[str, Any]:
    return {"type": kind, "key": key, "value": value}


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("lang=zh", leaf("eq", "lang", "zh")),
        ("year >= 2024", leaf("gte", "year", 2024)),
        ("year<2024.5", leaf("lt", "year", 2024.5)),
        ("draft!=true", leaf("ne", "draft", True)),
        ('year="2024"', leaf("eq", "year", "2024")),
        ("published>2024-05-31", leaf("gt", "published", "2024-05-31")),
        ("tag=a, b,3", leaf("in", "tag", ["a", "b", 3])),
        ("tag!=a,b", leaf("nin", "tag", ["a", "b"])),
        ('tag="a,b"', leaf("eq", "tag", "a,b")),
        ("url=http://x/?a=b", leaf("eq", "url", "http://x/?a=b")),
        ("name=", leaf("eq", "name", "")),
        ("x=null", leaf("eq", "x", "null")),
        ('{"type":"eq","key":"a","value":1}', leaf("eq", "a", 1)),
    ],
)
def test_a_filter_is_read_as_it_is_typed(text: str, tree: dict[str, Any]) -> None:
    assert filter_tree([text]) == tree
    parse_filter(tree)


def test_several_must_all_hold_and_none_is_no_filter() -> None:
    assert filter_tree(["a=1", "b=2"]) == {"type": "and", "filters": [leaf("eq", "a", 1), leaf("eq", "b", 2)]}
    assert filter_tree([]) is None


@pytest.mark.parametrize("text", ["", "lang", "=zh", "{", "a~b"])
def test_what_cannot_be_read_says_how_to_write_it(text: str) -> None:
    with pytest.raises(InvalidRequest, match="filter"):
        filter_tree([text])
