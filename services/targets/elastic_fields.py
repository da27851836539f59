"""What an index has to search in and to show: fields of its mapping, values of a hit, bodies for the question."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from indexing.records import GUESSES
from retrieval.errors import InvalidRequest

QUERY = "{{query}}"
_TEXTS = ("text", "match_only_text", "search_as_you_type")


def shown_fields(names: Collection[str]) -> tuple[str, str]:
    """Which of some fields are shown as title and text: by their names, else no title and the first of them."""
    by_name = {name.rpartition(".")[2].lower(): name for name in reversed(list(names))}
    title = next((by_name[each] for each in GUESSES["title"] if each in by_name), "")
    rest = [name for name in names if name != title]
    text = next((by_name[each] for each in GUESSES["text"] if by_name.get(each) in rest), rest[0] if rest else "")
    return title, text


def text_fields(properties: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """All text fields by their dotted names; those of ``nested`` objects need another query and are left out."""
    for name, said in properties.items():
        if said.get("type") in _TEXTS:
            yield prefix + name, said
        elif said.get("type", "object") == "object":
            yield from text_fields(said.get("properties", {}), f"{prefix}{name}.")


def field_of(properties: Mapping[str, Any], dotted: str) -> Mapping[str, Any] | None:
    """What the mapping says of a field, or of one of another field's ``fields``."""
    head, _, rest = dotted.partition(".")
    said = properties.get(head)
    if said is None or not rest:
        return said
    return field_of(said.get("properties") or said.get("fields") or {}, rest)


def value_of(source: Mapping[str, Any], dotted: str) -> str:
    """The value of a field in a hit's source, several joined; empty when it has none."""
    value: Any = source.get(dotted)
    if value is None:
        value = source
        for part in dotted.split("."):
            value = value.get(part) if isinstance(value, dict) else None
    if isinstance(value, list):
        return "\n".join(str(each) for each in value)
    return "" if value is None else str(value)


def read_template(path: str) -> dict[str, Any]:
    """The JSON object in a file, with ``{{query}}`` somewhere in it. Raises InvalidRequest."""
    try:
        body = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidRequest(f"the template {path} cannot be read: {error}") from error
    if not isinstance(body, dict) or QUERY not in json.dumps(body):
        raise InvalidRequest(f"{path} is no search body with {QUERY} where the question goes")
    return body


def filled(value: Any, query: str) -> Any:
    """A body with the question in every text that has ``{{query}}`` in it."""
    if isinstance(value, str):
        return value.replace(QUERY, query)
    if isinstance(value, list):
        return [filled(each, query) for each in value]
    return {name: filled(each, query) for name, each in value.items()} if isinstance(value, dict) else value
