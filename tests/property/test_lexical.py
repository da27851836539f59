"""What the lexical index applies of a filter admits everything that the filter does, whatever the documents hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from retrieval.filters import Compare, Fields, Filter, Join, Scope
from retrieval.lexical_tags import AnyTag, Between, Every, Inside, Tagger, inside

KEYS = st.sampled_from(["a", "b", "day", "word"])
FIELDS: Fields = {"day": "date", "word": "keyword"}
DATES = st.sampled_from(
    ["2024-05-01", "2024-05-01T00:00:00Z", "2024-05-01T02:00:00+02:00", "2024-06-01T08:30Z", "1969-12-31"]
)
VALUES = st.one_of(
    st.booleans(),
    st.integers(-3, 3),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(-3, 3),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=2),
    DATES,
)
METADATA = st.dictionaries(KEYS, st.one_of(VALUES, st.lists(VALUES, max_size=3), st.none()), max_size=4)
LEAVES = st.one_of(
    st.builds(Compare, st.sampled_from(["eq", "ne", "gt", "gte", "lt", "lte"]), KEYS, VALUES),
    st.builds(Compare, st.sampled_from(["in", "nin"]), KEYS, st.lists(VALUES, max_size=3).map(tuple)),
)
FILTERS: st.SearchStrategy[Filter] = st.recursive(
    LEAVES,
    lambda inner: st.builds(Join, st.sampled_from(["and", "or"]), st.lists(inner, min_size=1, max_size=3).map(tuple)),
)
PRINCIPALS = st.frozensets(st.sampled_from(["public", "group:a", "group:b"]), max_size=2)


def meets(condition: Inside, tags: Sequence[str], numbers: Mapping[str, list[float]]) -> bool:
    if isinstance(condition, AnyTag):
        return not set(condition.tags).isdisjoint(tags)
    if isinstance(condition, Between):
        least = float("-inf") if condition.least is None else condition.least
        most = float("inf") if condition.most is None else condition.most
        return any(least <= each <= most for each in numbers.get(condition.column, ()))
    parts = [meets(part, tags, numbers) for part in condition.parts]
    return all(parts) if isinstance(condition, Every) else any(parts)


@given(
    documents=st.lists(st.tuples(METADATA, PRINCIPALS.map(tuple)), min_size=1, max_size=6),
    tree=st.none() | FILTERS,
    principals=st.none() | PRINCIPALS,
    known=st.booleans(),
    listed=st.booleans(),
)
def test_what_the_scope_admits_the_index_lets_through(
    documents: list[tuple[dict[str, Any], tuple[str, ...]]],
    tree: Filter | None,
    principals: frozenset[str] | None,
    known: bool,
    listed: bool,
) -> None:
    scope, tagger = Scope(tree, principals), Tagger()
    written = [tagger(metadata, acl) for metadata, acl in documents]
    if not listed:  # as when a key has more numbers than are listed
        for column in tagger.columns.values():
            column.tags = None
    condition = inside(scope, tagger.columns, FIELDS if known else None)
    for (metadata, acl), (tags, numbers) in zip(documents, written, strict=True):
        if condition is not None and scope.admits(metadata, acl, FIELDS):
            assert meets(condition, tags.split(), numbers)
