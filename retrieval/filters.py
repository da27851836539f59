"""The filter tree: how it is read from JSON, what it means, and what a caller may see."""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Literal, cast, get_args

from retrieval.errors import InvalidRequest
from retrieval.metadata_values import Kind, Order, Scalar, elements, instant, is_unicode, named, typed
from retrieval.types import Metadata

Operator = Literal["eq", "ne", "gt", "gte", "lt", "lte", "in", "nin"]
FieldType = Literal["keyword", "number", "date", "boolean"]
Fields = Mapping[str, FieldType]
"""Types that a collection declares for metadata keys; other keys go by the kind of each value."""

NO_FIELDS: Final[Fields] = MappingProxyType({})
MAX_DEPTH, MAX_LEAVES, MAX_VALUES = 16, 1000, 10_000

_POSITIVE: Final[Mapping[Operator, Operator]] = MappingProxyType({"ne": "eq", "nin": "in"})
_NUMBERS: Final[tuple[Kind, ...]] = ("integer", "real")
ORDERS: Final[Mapping[str, Callable[[Any, Any], bool]]] = MappingProxyType(
    {name: getattr(operator, {"gte": "ge", "lte": "le"}.get(name, name)) for name in get_args(Order)}
)
_ACCEPTS: Final[Mapping[FieldType, tuple[str, frozenset[Kind]]]] = MappingProxyType({
    "keyword": ("text", frozenset({"string"})),
    "number": ("a finite number, integers within 64 bits", frozenset({"integer", "real"})),
    "date": ("an ISO 8601 date such as 2024-05-31 or 2024-05-31T10:00:00Z", frozenset({"date"})),
    "boolean": ("true or false", frozenset({"boolean"})),
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Compare:
    """A leaf: a document matches when any of the key's values does, and for ``ne`` and ``nin`` when none does.

    Text compares with text by code point, numbers with numbers, false is less than true; values of different
    kinds never match. Keys declared ``date``, and full ISO dates as bounds of ``gt gte lt lte`` where the key is
    not declared, compare as instants with those values that are dates. ``in`` and ``nin`` take a tuple.
    """

    type: Operator
    key: str
    value: Scalar | tuple[Scalar, ...]


@dataclass(frozen=True, slots=True)
class Join:
    type: Literal["and", "or"]
    filters: tuple[Filter, ...]


Filter = Compare | Join


@dataclass(frozen=True, slots=True)
class Wanted:
    """A leaf without its negation, in comparable form.

    Without ``order`` a value meets it that is among ``values`` of its kind; with it, a value of one of ``kinds`` that
    stands so to ``bound`` (a number is a bound for both kinds of numbers).
    """

    key: str
    values: Mapping[Kind, Sequence[Scalar]]
    order: Order | None = None
    bound: Scalar = 0
    kinds: tuple[Kind, ...] = ()


def wanted(leaf: Compare, fields: Fields) -> tuple[Wanted, bool]:
    """What ``leaf`` asks of a key's values, and whether it wants the documents where none of them meets it."""
    declared, negated = fields.get(leaf.key), leaf.type in _POSITIVE
    given = leaf.value if isinstance(leaf.value, tuple) else (leaf.value,)
    if leaf.type in ORDERS:
        order, read = cast(Order, leaf.type), _reading(given[0], declared, ordered=True)
        if read is None:
            return Wanted(leaf.key, {}, order), negated
        kind, bound = read
        return Wanted(leaf.key, {}, order, bound, _NUMBERS if kind in _NUMBERS else (kind,)), negated
    values: dict[Kind, list[Scalar]] = {}
    for each in given:
        read = _reading(each, declared, ordered=False)
        if read is not None:
            values.setdefault(read[0], []).append(read[1])
    return Wanted(leaf.key, values), negated


def _reading(value: Scalar, declared: FieldType | None, *, ordered: bool) -> tuple[Kind, Scalar] | None:
    """Kind and comparable form of a filter's value; None when no value can meet it."""
    one = typed(value)
    if one is None or one[0] != "string" or declared not in (None, "date"):
        return one
    when = instant(cast(str, value)) if ordered or declared == "date" else None
    if when is not None:
        return "date", when
    return None if declared == "date" else one


def matches(filter: Filter, metadata: Metadata, fields: Fields = NO_FIELDS) -> bool:
    """Whether a document with this metadata passes: the plain rule that every index is tested against."""
    if isinstance(filter, Join):
        passed = (matches(each, metadata, fields) for each in filter.filters)
        return all(passed) if filter.type == "and" else any(passed)
    want, negated = wanted(filter, fields)
    return negated != any(_meets(want, kind, value) for kind, value in elements(metadata.get(filter.key)))


def _meets(want: Wanted, kind: Kind, value: Scalar) -> bool:
    if want.order is None:
        if value in want.values.get(kind, ()):
            return True
        return kind == "string" and "date" in want.values and instant(cast(str, value)) in want.values["date"]
    if kind == "string" and "date" in want.kinds:
        when = instant(cast(str, value))
        return when is not None and ORDERS[want.order](when, want.bound)
    return kind in want.kinds and ORDERS[want.order](value, want.bound)


def parse_filter(tree: object, fields: Fields = NO_FIELDS) -> Filter:
    """Read ``{"type":"and","filters":[{"type":"eq","key":"lang","value":"zh"}, …]}`` (API.md).

    At most 16 levels, 1,000 comparisons and 10,000 values. Raises InvalidRequest that names the place in the tree,
    what is wrong there and what may stand there.
    """
    budget = _Budget()
    return _parse(tree, "filters", 1, fields, budget)


@dataclass(slots=True)
class _Budget:
    leaves: int = MAX_LEAVES
    values: int = MAX_VALUES

    def spend(self, path: str, leaves: int, values: int) -> None:
        self.leaves -= leaves
        self.values -= values
        if self.leaves < 0:
            raise InvalidRequest(f"{path}: a filter holds at most {MAX_LEAVES:,} comparisons; use in for many values")
        if self.values < 0:
            raise InvalidRequest(f"{path}: a filter holds at most {MAX_VALUES:,} values")


def _parse(tree: object, path: str, depth: int, fields: Fields, budget: _Budget) -> Filter:
    if not isinstance(tree, Mapping):
        raise InvalidRequest(f'{path}: expected an object such as {{"type":"eq","key":"lang","value":"zh"}}')
    kind = tree.get("type")
    allowed = (*get_args(Operator), "and", "or")
    if not isinstance(kind, str) or kind not in allowed:
        said = "is missing" if "type" not in tree else f"is {json.dumps(kind, default=str, ensure_ascii=False)[:40]}"
        raise InvalidRequest(f"{path}.type {said}; it is one of {' '.join(allowed)}")
    parts = {"type", "filters"} if kind in ("and", "or") else {"type", "key", "value"}
    for name in tree:
        if name not in parts:
            raise InvalidRequest(f"{path}.{name}: {kind} takes {' and '.join(sorted(parts - {'type'}))} and no more")
    if kind in ("and", "or"):
        inner = tree.get("filters")
        if not isinstance(inner, list | tuple) or not inner:
            raise InvalidRequest(f"{path}.filters: {kind} takes a list of at least one filter")
        if depth >= MAX_DEPTH:
            raise InvalidRequest(f"{path}: a filter is at most {MAX_DEPTH} levels deep")
        return Join(
            cast(Literal["and", "or"], kind),
            tuple(_parse(each, f"{path}.filters[{i}]", depth + 1, fields, budget) for i, each in enumerate(inner)),
        )
    return _parse_leaf(tree, cast(Operator, kind), path, fields, budget)


def _parse_leaf(tree: Mapping[str, object], kind: Operator, path: str, fields: Fields, budget: _Budget) -> Compare:
    key, value = tree.get("key"), tree.get("value")
    if not isinstance(key, str) or not key or typed(key) is None:
        raise InvalidRequest(f"{path}.key: {kind} takes the name of a metadata key")
    if "value" not in tree:
        raise InvalidRequest(f"{path}.value is missing")
    if kind in ("in", "nin"):
        if not isinstance(value, list | tuple):
            raise InvalidRequest(f"{path}.value: {kind} takes a list; eq and ne take one value")
        budget.spend(path, 1, len(value))
        values = tuple(_parse_value(each, key, f"{path}.value[{i}]", fields) for i, each in enumerate(value))
        return Compare(kind, key, values)
    if isinstance(value, list | tuple):
        raise InvalidRequest(f"{path}.value: {kind} takes one value; in and nin take a list")
    budget.spend(path, 1, 1)
    return Compare(kind, key, _parse_value(value, key, f"{path}.value", fields))


def _parse_value(value: object, key: str, path: str, fields: Fields) -> Scalar:
    one = typed(value)
    if one is None:
        raise InvalidRequest(
            f"{path} is {named(value)}; a filter compares with text, a boolean, "
            "or a finite number, integers within 64 bits"
        )
    declared = fields.get(key)
    if declared is not None and not _is_of(declared, one):
        raise InvalidRequest(f"{path}: {key} is declared {declared}, so the value is {_ACCEPTS[declared][0]}")
    return one[1]


def _is_of(declared: FieldType, one: tuple[Kind, Scalar]) -> bool:
    if declared == "date":
        return one[0] == "string" and instant(cast(str, one[1])) is not None
    return one[0] in _ACCEPTS[declared][1]


def check_metadata(metadata: Metadata, fields: Fields) -> None:
    """Raise InvalidRequest for a value that filters could not see, or that is not of its key's declared type.

    Null is allowed anywhere and means that there is no value.
    """
    for key, value in metadata.items():
        declared = fields.get(key)
        for each in value if isinstance(value, list | tuple) else (value,):
            if each is None:
                continue
            one = typed(each)
            if one is None:
                raise InvalidRequest(
                    f"metadata.{key} holds {named(each)}; it takes Unicode text, a boolean, a finite number "
                    "(integers within 64 bits), or a list of these"
                )
            if declared is not None and not _is_of(declared, one):
                raise InvalidRequest(
                    f"metadata.{key} is declared {declared} and takes {_ACCEPTS[declared][0]}, not {named(each)}"
                )


def check_acl(acl: Sequence[str]) -> None:
    """Raise InvalidRequest for a principal that is no Unicode text: it could not be kept, nor be asked for."""
    for principal in acl:
        if not isinstance(principal, str) or not is_unicode(principal):
            raise InvalidRequest(f"an access list holds {named(principal)}; it takes principals such as group:eng")


def canonical(filter: Filter) -> str:
    """JSON of the tree, the same for filters that differ only in the order or repetition of joined filters and of
    listed values, in nesting of equal joins, or in 2.0 for 2. It parses back to a filter of the same meaning."""
    return json.dumps(_ordered(filter), ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def _ordered(filter: Filter) -> dict[str, Any]:
    if isinstance(filter, Compare):
        value: Any = filter.value
        value = _distinct([_whole(each) for each in value]) if isinstance(value, tuple) else _whole(value)
        return {"type": filter.type, "key": filter.key, "value": value}
    inner: list[Any] = []
    for each in map(_ordered, filter.filters):
        inner += each["filters"] if each["type"] == filter.type else [each]
    inner = _distinct(inner)
    return inner[0] if len(inner) == 1 else {"type": filter.type, "filters": inner}


def _whole(value: Scalar) -> Scalar:
    one = typed(value)
    return value if one is None else one[1]


def _distinct(values: list[Any]) -> list[Any]:
    by_text = {json.dumps(each, ensure_ascii=False, sort_keys=True): each for each in values}
    return [by_text[text] for text in sorted(by_text)]


@dataclass(frozen=True, slots=True)
class Scope:
    """What a search may see: documents that pass ``filter`` and that one of ``principals`` may read.

    ``principals`` of None may read everything (library use, maintenance). A document whose access list is empty is
    everybody's. Scopes are equal when their ``key`` is, a text for cache keys.
    """

    filter: Filter | None = field(default=None, compare=False)
    principals: frozenset[str] | None = field(default=None, compare=False)
    key: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        who = "null" if self.principals is None else json.dumps(sorted(self.principals), ensure_ascii=False)
        what = "null" if self.filter is None else canonical(self.filter)
        object.__setattr__(self, "key", f'{{"filter":{what},"principals":{who}}}')

    def admits(self, metadata: Metadata, acl: Sequence[str], fields: Fields = NO_FIELDS) -> bool:
        """Whether one document may be seen, by the plain rule."""
        readable = self.principals is None or not acl or not self.principals.isdisjoint(acl)
        return readable and (self.filter is None or matches(self.filter, metadata, fields))


EVERYTHING: Final = Scope()
