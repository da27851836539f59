"""What a row may bring beside its text: a vector, the principals that may see it, a version of its own."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexing.access import parse_principals
from retrieval.errors import InvalidRequest, SourceUnreadable


def own_vector(name: str, value: Any) -> NDArray[np.float32] | None:
    """A row's vector, float32 ``[d]`` of unit length; None when it brings none. Raises SourceUnreadable."""
    if value is None:
        return None
    numbers = isinstance(value, list) and all(isinstance(x, (int, float)) and not isinstance(x, bool) for x in value)
    vector = np.asarray(value, np.float64) if numbers else np.empty(0)
    length = float(np.linalg.norm(vector))
    if not vector.size or not np.isfinite(length) or length == 0.0:
        raise SourceUnreadable(
            f"{name} is no vector of finite numbers, not all of them 0; where the field holds something else, leave it "
            f"to the metadata with --map vector="
        )
    return (vector / length).astype(np.float32)


def own_principals(name: str, value: Any) -> tuple[str, ...]:
    """A row's principals, from a list or from a text with commas; empty when it names none. Raises SourceUnreadable.

    What is neither is an error: taking it for nothing would open the row to everybody.
    """
    if value is None or value == []:
        return ()
    names = value.split(",") if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(each, str) for each in names):
        raise SourceUnreadable(f"{name} is no list of principals such as group:eng")
    try:
        return parse_principals(names, name)
    except InvalidRequest as error:
        raise SourceUnreadable(error.detail) from error


def own_version(name: str, value: Any) -> int:
    """A row's version, 1 or more; 0 when it brings none. Text is read too, for CSV has nothing else."""
    if value is None:
        return 0
    text = str(value)
    if isinstance(value, bool) or not text.isascii() or not text.isdigit() or not 0 < int(text) < 1 << 63:
        raise SourceUnreadable(f"{name} is {text[:40]!r}, and versions are whole numbers from 1")
    return int(text)
