"""Draws metadata, access lists and filters that meet often: few keys, few values, every kind and its edges."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from retrieval.filters import Compare, Fields, Filter, Join
from retrieval.types import Metadata

FIELDS: Fields = {"word": "keyword", "count": "number", "when": "date", "flag": "boolean"}
KEYS = (*FIELDS, "a", "b")

TEXTS = ("", "a", "b", "ab", "zh", "中文", "𝒳", "\x00", "2024", "2024-05-31", "2024-05-31T00:00:00Z",
         "2024-05-31T02:00+02:00", "2024-06-01 10:30:00.5", "1969-12-31", "0001-01-01T00:00:00+14:00")  # fmt: skip
NUMBERS = (
    0,
    -0.0,
    1,
    1.0,
    1.5,
    -1,
    2,
    2.5,
    2**53,
    2**53 + 1,
    float(2**53),
    2**63 - 1,
    -(2**63),
    float(2**63),
    1e300,
    -5e-324,
)

values: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from(TEXTS), st.sampled_from(NUMBERS), st.booleans(), st.text(max_size=2), st.integers(-3, 3)
)
unseen = st.sampled_from([None, float("nan"), float("inf"), 2**63, "\ud800", {"a": 1}, ["a"]])


def documents() -> st.SearchStrategy[Metadata]:
    """Metadata as bad as libraries may bring it: of every kind under every key, and values that no filter sees."""
    one = st.one_of(values, values, values, unseen)
    return st.dictionaries(st.sampled_from(KEYS), st.one_of(one, st.lists(one, max_size=4)), max_size=len(KEYS))


def acls() -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(["public", "a", "b", ""]), max_size=3).map(tuple)


def filters(*, leaves: bool = False) -> st.SearchStrategy[Filter]:
    keys = st.sampled_from((*KEYS, "missing"))
    given = values.filter(lambda value: not isinstance(value, str) or value.isprintable() or value == "\x00")
    leaf: st.SearchStrategy[Any] = st.one_of(
        st.builds(Compare, st.sampled_from(["eq", "ne", "gt", "gte", "lt", "lte"]), keys, given),
        st.builds(Compare, st.sampled_from(["in", "nin"]), keys, st.lists(given, max_size=4).map(tuple)),
    )
    if leaves:
        return leaf
    return st.recursive(
        leaf,
        lambda inner: st.builds(
            Join, st.sampled_from(["and", "or"]), st.lists(inner, min_size=1, max_size=3).map(tuple)
        ),
        max_leaves=6,
    )
