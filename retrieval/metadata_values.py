"""What a metadata value is to a filter: its kind, and the form in which values of that kind compare."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Literal

Scalar = str | int | float | bool
Kind = Literal["string", "integer", "real", "date", "boolean"]
"""Values of one kind have one order. Whole numbers and others are kinds of their own so that both stay exact:
``integer`` holds every whole number of 64 bits, 2.0 too, and ``real`` the doubles that are none."""

Order = Literal["gt", "gte", "lt", "lte"]

_INT64 = range(-(2**63), 2**63)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
DATE = r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]+)?)?(?:Z|[+-][0-9]{2}:?[0-9]{2})?)?"
"""A full ISO 8601 date in the extended form, with or without a time of day and a zone."""
_DATE = re.compile(DATE)


def elements(value: object) -> Iterator[tuple[Kind, Scalar]]:
    """The values that a filter sees in a metadata value: itself, or what a list holds."""
    if isinstance(value, list | tuple):
        for element in value:
            one = typed(element)
            if one is not None:
                yield one
    else:
        one = typed(value)
        if one is not None:
            yield one


def typed(value: object) -> tuple[Kind, Scalar] | None:
    """Kind and comparable form, or None for what filters do not see.

    Not seen, as if it were not there: null, numbers that are not finite, integers beyond 64 bits, text that is
    not Unicode (lone surrogates), and whatever is no JSON scalar.
    """
    if isinstance(value, str):
        return ("string", value) if is_unicode(value) else None
    if isinstance(value, bool):
        return "boolean", value
    if isinstance(value, int):
        return ("integer", value) if value in _INT64 else None
    if isinstance(value, float) and math.isfinite(value):
        whole = int(value) if value.is_integer() else None
        return ("integer", whole) if whole is not None and whole in _INT64 else ("real", value)
    return None


def is_unicode(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def instant(text: str) -> int | None:
    """Microseconds since 1970 of a full ISO 8601 date, None for other text.

    A date alone is its midnight; without a zone it is UTC; digits past the microsecond are dropped.
    """
    if not _DATE.fullmatch(text):
        return None
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return None
    return ((when if when.tzinfo else when.replace(tzinfo=UTC)) - _EPOCH) // _MICROSECOND


def date_text(microseconds: int) -> str:
    """The instant as a date, with a time of day in UTC where it is not midnight.

    What lies outside the years 1 to 9999 once its zone is counted in is written as the nearest that is inside.
    """
    least, most = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    bounded = min(max(microseconds, (least - _EPOCH) // _MICROSECOND), (most - _EPOCH) // _MICROSECOND)
    when = _EPOCH + bounded * _MICROSECOND
    text = when.replace(tzinfo=None).isoformat()
    return text.removesuffix("T00:00:00") if text.endswith("T00:00:00") else f"{text}Z"


def bound_among(kind: Kind, order: Order, bound: Scalar) -> tuple[Order, Scalar]:
    """The same bound in the numbers of ``kind``, exactly: among integers 2.5 as a least value is 3.

    So that columns of int64 and float64 compare without rounding; other kinds keep their bound.
    """
    if kind == "integer" and isinstance(bound, float):
        down = order in ("gt", "lte")
        return order, math.floor(bound) if down else math.ceil(bound)
    if kind == "real" and isinstance(bound, int):
        near = float(bound)
        if near > bound:  # no double lies between them
            return "gte" if order in ("gt", "gte") else "lt", near
        if near < bound:
            return "gt" if order in ("gt", "gte") else "lte", near
        return order, near
    return order, bound


def named(value: object) -> str:
    """How a message calls a value's kind."""
    kinds = ((bool, "a boolean"), (str, "text"), (int | float, "a number"), (list | tuple, "a list"))
    return "null" if value is None else next((name for type, name in kinds if isinstance(value, type)), "an object")
