"""How metadata and rights are written into the lexical index, and what part of a filter the index can apply itself.

What is applied inside may admit more than the filter does and never less, since every result is checked afterwards:
hashes may collide, numbers are rounded to doubles, and a comparison that the index cannot make is left out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, cast

from retrieval.filters import Compare, Fields, Filter, Scope
from retrieval.metadata_values import Kind, Scalar, elements, instant, typed
from retrieval.types import Metadata

NUMBERS: Final = tuple(f"n{slot}" for slot in range(8))
"""Columns of doubles that metadata keys share, in the order in which keys with numbers or dates are first met."""

MAX_LISTED, MAX_TAGS = 1024, 64
"""Numbers of a key are listed by their tags when they are few, and up to so many tags are asked for instead of a
range: the index finds a tag at once, and for a range it looks through the whole column."""

EVERYBODY: Final = "everybody"
"""The tag of a document without an access list; too short to be a hash."""


@dataclass(frozen=True, slots=True)
class AnyTag:
    """Holds one of these tags at least."""

    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Between:
    """Has a number in ``column`` from ``least`` to ``most``, both included; None is no bound."""

    column: str
    least: float | None
    most: float | None


@dataclass(frozen=True, slots=True)
class Every:
    parts: tuple[Inside, ...]


@dataclass(frozen=True, slots=True)
class Either:
    parts: tuple[Inside, ...]


Inside = AnyTag | Between | Every | Either
"""A condition that the index applies itself."""


@dataclass(slots=True)
class Column:
    """Where the numbers and dates of one metadata key are: in a column of doubles, and each as a tag too."""

    name: str
    tags: dict[str, float] | None = field(default_factory=dict)
    """Every number there is by its tag; None when they were more than ``MAX_LISTED``."""

    def add(self, number: float, tag: str) -> None:
        if self.tags is not None:
            self.tags[tag] = number
            if len(self.tags) > MAX_LISTED:
                self.tags = None


Columns = dict[str, Column]
"""By metadata key."""


@dataclass(slots=True)
class Tagger:
    """Turns metadata and access lists into tags and numbers; gives columns to keys as they are met."""

    columns: Columns = field(default_factory=dict)
    _last: tuple[object, object, tuple[str, dict[str, list[float]]]] | None = None

    def __call__(self, metadata: Metadata, acl: Sequence[str]) -> tuple[str, dict[str, list[float]]]:
        """Tags with a space between them, and numbers by column. Keys beyond the columns have tags alone."""
        last = self._last
        if last is not None and last[0] is metadata and last[1] is acl:  # the next passage of the same document
            return last[2]
        tags = [_tag("acl", "", principal) for principal in acl] or [EVERYBODY]
        numbers: dict[str, list[float]] = {}
        for key, value in metadata.items():
            for kind, each in elements(value):
                tags.append(_tag(kind, key, each))
                number = _instant_tagged(key, each, tags) if kind == "string" else _number(kind, each)
                if number is not None and (column := self._column(key)):
                    column.add(number, tags[-1])
                    numbers.setdefault(column.name, []).append(number)
        found = " ".join(tags), numbers
        self._last = metadata, acl, found
        return found

    def _column(self, key: str) -> Column | None:
        if key not in self.columns and len(self.columns) < len(NUMBERS):
            self.columns[key] = Column(NUMBERS[len(self.columns)])
        return self.columns.get(key)


def inside(scope: Scope, columns: Columns, fields: Fields | None) -> Inside | None:
    """What of ``scope`` an index with these columns can apply; None when that is nothing.

    ``fields`` are the types that the collection declares; without them a bound that looks like a date may mean
    text, and is left to the check.
    """
    parts = [] if scope.filter is None else [_inside(scope.filter, columns, fields)]
    if scope.principals is not None:
        parts.append(AnyTag((EVERYBODY, *(_tag("acl", "", each) for each in sorted(scope.principals)))))
    return _every(parts)


def _every(parts: Iterable[Inside | None]) -> Inside | None:
    known = tuple(part for part in parts if part is not None)
    return known[0] if len(known) == 1 else Every(known) if known else None


def _inside(filter: Filter, columns: Columns, fields: Fields | None) -> Inside | None:
    if isinstance(filter, Compare):
        return _leaf(filter, columns, fields)
    parts = [_inside(each, columns, fields) for each in filter.filters]
    if filter.type == "and":
        return _every(parts)
    return None if None in parts else Either(tuple(part for part in parts if part is not None))


def _leaf(leaf: Compare, columns: Columns, fields: Fields | None) -> Inside | None:
    if leaf.type in ("ne", "nin"):  # what is not tagged so may still be meant
        return None
    values = leaf.value if isinstance(leaf.value, tuple) else (leaf.value,)
    if leaf.type in ("eq", "in"):
        return AnyTag(tuple(tag for value in values for tag in _tags_of(leaf.key, value)))
    (kind, bound), column = typed(values[0]) or ("boolean", False), columns.get(leaf.key)
    if kind == "string" and fields is not None and fields.get(leaf.key) != "keyword":
        when = instant(cast(str, bound))
        number = None if when is None else float(when)
    else:
        number = _number(kind, bound)
    if number is None:
        return None
    if column is None:  # no document has a number or a date there, unless the columns had run out
        return None if len(columns) == len(NUMBERS) else AnyTag(())
    least, most = (number, None) if leaf.type in ("gt", "gte") else (None, number)
    if column.tags is not None:
        tags = [tag for tag, each in column.tags.items() if (each >= number if most is None else each <= number)]
        if len(tags) <= MAX_TAGS:
            return AnyTag(tuple(tags))
    return Between(column.name, least, most)


def _tags_of(key: str, value: Scalar) -> list[str]:
    one = typed(value)
    if one is None:
        return []
    tags = [_tag(one[0], key, one[1])]
    if one[0] == "string":
        _instant_tagged(key, one[1], tags)
    return tags


def _instant_tagged(key: str, value: Scalar, tags: list[str]) -> float | None:
    """Text that is a date is tagged with its instant too, and the instant is its number."""
    when = instant(cast(str, value))
    if when is None:
        return None
    tags.append(_tag("date", key, when))
    return float(when)


def _number(kind: Kind, value: Scalar) -> float | None:
    return float(value) if kind in ("integer", "real") else None


@lru_cache(maxsize=1 << 16)
def _hashed(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def _tag(kind: str, key: str, value: Scalar) -> str:
    return _hashed(f"{kind}\0{key}\0{value}")
