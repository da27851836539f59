"""What holds for every filter, whatever the metadata."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from retrieval.filters import Compare, Filter, Join, Scope, canonical, matches, parse_filter
from retrieval.types import Metadata
from tests.metadata import FIELDS, acls, documents, filters


@given(filters(), documents())
def test_a_filter_and_its_canonical_text_mean_the_same(filter: Filter, metadata: Metadata) -> None:
    again = parse_filter(json.loads(canonical(filter)))
    assert matches(again, metadata, FIELDS) == matches(filter, metadata, FIELDS)
    assert canonical(again) == canonical(filter)


@given(filters(), filters(), documents())
def test_joins_do_not_depend_on_order(one: Filter, other: Filter, metadata: Metadata) -> None:
    for kind in ("and", "or"):
        there, back = Join(kind, (one, other)), Join(kind, (other, one))
        assert canonical(there) == canonical(back)
        assert matches(there, metadata, FIELDS) == matches(back, metadata, FIELDS)


@given(filters(leaves=True), documents())
def test_a_negation_passes_what_the_plain_operator_does_not(filter: Filter, metadata: Metadata) -> None:
    assert isinstance(filter, Compare)
    if filter.type in ("eq", "in"):
        negated = Compare("ne" if filter.type == "eq" else "nin", filter.key, filter.value)
        assert matches(filter, metadata, FIELDS) != matches(negated, metadata, FIELDS)


@given(filters(), documents(), acls(), st.frozensets(st.sampled_from(["public", "a", "b", "c"])))
def test_more_principals_never_see_less(
    filter: Filter, metadata: Metadata, acl: tuple[str, ...], principals: frozenset[str]
) -> None:
    if Scope(filter, principals).admits(metadata, acl, FIELDS):
        assert Scope(filter, principals | {"b"}).admits(metadata, acl, FIELDS)
        assert Scope(filter).admits(metadata, acl, FIELDS)
