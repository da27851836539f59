"""How a filter is written on the command line: ``lang=zh``, ``year>=2024``, ``tag=a,b``, or the API's JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from retrieval.errors import InvalidRequest

_LEAF = re.compile(r"(?P<key>[^=!<>]+?)\s*(?P<sign>!=|>=|<=|=|>|<)\s*(?P<value>.*)", re.DOTALL)
_SIGNS = {"=": "eq", "!=": "ne", ">": "gt", ">=": "gte", "<": "lt", "<=": "lte"}
_LISTS = {"eq": "in", "ne": "nin"}


def filter_tree(texts: Sequence[str]) -> dict[str, Any] | None:
    """The tree for which all of ``texts`` hold; None for none. Raises InvalidRequest.

    A value is what JSON makes of it (``2024``, ``true``, ``"2024"``), and otherwise the text itself.
    """
    trees = [_tree(text.strip()) for text in texts]
    if len(trees) < 2:
        return trees[0] if trees else None
    return {"type": "and", "filters": trees}


def _tree(text: str) -> dict[str, Any]:
    if text.startswith("{"):
        try:
            found: dict[str, Any] = json.loads(text)
        except ValueError as error:
            raise InvalidRequest(f"the filter {text!r} is not JSON: {error}") from error
        return found
    leaf = _LEAF.fullmatch(text)
    if leaf is None:
        raise InvalidRequest(f"cannot read the filter {text!r}: write KEY=VALUE, KEY>=VALUE, KEY=ONE,OTHER, or JSON")
    kind, value = _SIGNS[leaf["sign"]], leaf["value"].strip()
    if kind in _LISTS and "," in value and not value.startswith('"'):
        return {
            "type": _LISTS[kind],
            "key": leaf["key"].strip(),
            "value": [_value(one.strip()) for one in value.split(",")],
        }
    return {"type": kind, "key": leaf["key"].strip(), "value": _value(value)}


def _value(text: str) -> str | int | float | bool:
    try:
        found = json.loads(text)
    except ValueError:
        return text
    return found if isinstance(found, str | int | float | bool) else text
