"""The user's own numbers: which metadata fields of a collection are features, and how their values are read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import InvalidRequest
from retrieval.types import Metadata

FieldKind = Literal["number", "log", "age"]

_KINDS: tuple[FieldKind, ...] = get_args(FieldKind)
_DAY_S = 86_400.0
_MILLISECONDS = 1e11
"""Times since 1970 beyond this are in milliseconds: in seconds they would lie after the year 5000."""


@dataclass(frozen=True, slots=True)
class NumericField:
    """One metadata field as a feature.

    ``number``: the value as it is. ``log``: sign(x) ln(1 + |x|), for counts such as views or stars.
    ``age``: days from a date (ISO 8601, or seconds or milliseconds since 1970) to the time of the query.
    """

    key: str
    kind: FieldKind

    @property
    def column(self) -> str:
        return f"field.{self.key}.{self.kind}"

    def values(self, rows: Sequence[Metadata], now: float) -> NDArray[np.float64]:
        """One value for each passage's metadata; NaN where the field is missing or is no such value."""
        return np.array([self._value(row, now) for row in rows], np.float64)

    def _value(self, row: Metadata, now: float) -> float:
        value = row.get(self.key)
        if isinstance(value, Sequence) and not isinstance(value, str):
            value = value[0] if len(value) == 1 else None
        if self.kind == "age":
            then = _seconds(value)
            return math.nan if then is None else (now - then) / _DAY_S
        found = _number(value)
        if found is None:
            return math.nan
        return math.copysign(math.log1p(abs(found)), found) if self.kind == "log" else found


def numeric_fields(text: str) -> tuple[NumericField, ...]:
    """Read ``stars:log, updated:age, price``; a field without a kind is a ``number``. Raises InvalidRequest."""
    found: dict[str, NumericField] = {}
    for part in filter(None, (each.strip() for each in text.split(","))):
        key, colon, kind = (piece.strip() for piece in part.rpartition(":"))
        if not colon:
            key, kind = kind, "number"
        known = next((each for each in _KINDS if each == kind), None)
        if known is None or not key:
            raise InvalidRequest(f"{part!r}: wants FIELD:KIND, such as stars:log; kinds are {', '.join(_KINDS)}")
        field = NumericField(key, known)
        if field.column in found:
            raise InvalidRequest(f"{part!r}: this field is named twice")
        found[field.column] = field
    return tuple(found.values())


def _number(value: object) -> float | None:
    if isinstance(value, bool):
        return float(value)
    try:
        found = float(value) if isinstance(value, int | float | str) else math.nan
    except (ValueError, OverflowError):  # a word, or a whole number that no float holds
        return None
    return found if math.isfinite(found) else None


def _seconds(value: object) -> float | None:
    """Since 1970, UTC."""
    number = None if isinstance(value, bool) else _number(value)
    if number is not None and not (isinstance(value, str) and len(value) <= 4):
        return number / 1000 if abs(number) > _MILLISECONDS else number
    if not isinstance(value, str):
        return None
    try:
        then = datetime.fromisoformat(value if len(value) != 4 else f"{value}-01-01")
    except ValueError:
        return None
    try:
        return (then if then.tzinfo else then.replace(tzinfo=UTC)).timestamp()
    except (OverflowError, OSError):  # a year that the clock does not reach
        return None
