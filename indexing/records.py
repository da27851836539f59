"""Rows of JSONL, CSV and Parquet as documents: which field is the text, which the id, what becomes of the rest."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

from indexing.converted import Converted, clean, one_line
from indexing.converters import Forced, convert_text
from indexing.row_values import own_principals, own_vector, own_version
from retrieval.errors import InvalidRequest, SourceUnreadable
from retrieval.types import Document, JSONScalar

GUESSES: Mapping[str, tuple[str, ...]] = {
    "id": ("_id", "id", "doc_id", "docid", "document_id", "uid", "pid", "key"),
    "title": ("title", "name", "heading", "headline", "subject", "question"),
    "text": (
        "text",
        "body",
        "content",
        "contents",
        "passage",
        "abstract",
        "markdown",
        "document",
        "description",
        "answer",
    ),
    "url": ("url", "link", "href", "source_url", "permalink"),
}
"""Names looked for when a field is not mapped, best first, in any case."""

MAX_ID = 512
MAX_METADATA_CHARS = 2000
"""A longer value is content that was not asked for, and left out of the metadata."""


@dataclass(frozen=True, slots=True)
class FieldMap:
    """Which fields of a row to take; an empty tuple guesses. Several are joined, texts by a blank line.

    ``metadata`` names the fields to keep beside; None keeps every simple one. ``vector``, ``acl`` and
    ``version`` are taken from the first named field that a row has, and from none when the tuple is empty.
    """

    id: tuple[str, ...] = ()
    title: tuple[str, ...] = ()
    text: tuple[str, ...] = ()
    url: tuple[str, ...] = ()
    metadata: tuple[str, ...] | None = None
    vector: tuple[str, ...] = ("vector",)
    acl: tuple[str, ...] = ("acl",)
    version: tuple[str, ...] = ("version",)


_UNTOLD = FieldMap()
_MAY_BE_EMPTY = ("metadata", "vector", "acl", "version")


def parse_field_map(text: str) -> FieldMap:
    """Read ``text=body,title=name``; ``text=question+answer`` joins, ``vector=`` takes none. Raises InvalidRequest."""
    fields = FieldMap()
    for pair in filter(None, (piece.strip() for piece in text.split(","))):
        target, sign, names = pair.partition("=")
        target = target.strip().removeprefix("_")
        chosen = tuple(filter(None, (name.strip() for name in names.split("+"))))
        if not sign or target not in (*GUESSES, *_MAY_BE_EMPTY) or not (chosen or target in _MAY_BE_EMPTY):
            known = ", ".join((*GUESSES, *_MAY_BE_EMPTY))
            raise InvalidRequest(f"cannot read the mapping {pair!r}: write FIELD=COLUMN; FIELD is one of {known}")
        fields = replace(fields, **{target: chosen})
    return fields


def check_fields(rows: Sequence[Mapping[str, Any]], fields: FieldMap) -> None:
    """See in the first rows of a file whether it can be read at all. Raises SourceUnreadable saying what to map."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    if not rows:
        return
    for target in GUESSES:
        for wanted in getattr(fields, target):
            if not _find(names, wanted):
                near = get_close_matches(wanted, names, 1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise SourceUnreadable(f"no field {wanted!r}{hint} It has: {_listed(names)}")
    if not fields.text and not any(_guessed(row, "text") or _guessed(row, "title") for row in rows):
        raise SourceUnreadable(f"no field looks like the text; name it with --map text=FIELD. It has: {_listed(names)}")


def to_document(
    data: bytes, fallback_id: str, source: str, fields: FieldMap, forced: Forced | None, acl: tuple[str, ...] = ()
) -> tuple[Document, Converted]:
    """One row, as the bytes of a JSON object, as a document. Raises SourceUnreadable with the reason.

    ``acl`` is that of the file; a row that names principals of its own has those instead.
    """
    row = parse_row(data)
    used: set[str] = set()
    title = one_line(_joined(row, fields.title, "title", used, " "))
    text = _joined(row, fields.text, "text", used, "\n\n")
    if not text.strip():
        text, title_is_text = title, True
    else:
        title_is_text = False
    converted = convert_text(text, "plain" if title_is_text else forced)
    if not converted.text:
        raise SourceUnreadable("no text in it")
    document_id = _joined(row, fields.id, "id", used, "-").strip() or fallback_id
    if len(document_id) > MAX_ID:
        raise SourceUnreadable(f"an id of {len(document_id)} characters; the limit is {MAX_ID}")
    url = _joined(row, fields.url, "url", used, " ").strip()
    vector = own_vector(*_taken(row, fields.vector, used))
    own_acl = own_principals(*_taken(row, fields.acl, used))
    version = _version(row, fields, used)
    metadata = _metadata(row, fields, used) | ({"url": clean(url)} if url else {})
    document = Document(
        document_id=clean(document_id),
        text=converted.text,
        title=_unmarked(clean(title)) or converted.title,
        source=clean(url) or source,
        metadata=metadata,
        acl=own_acl or acl,
        version=version,
    )
    return document, converted if vector is None else replace(converted, vector=vector)


def parse_row(data: bytes) -> dict[str, Any]:
    """A row's object. Raises SourceUnreadable."""
    try:
        row = json.loads(data)
    except UnicodeDecodeError as error:
        raise SourceUnreadable(f"not UTF-8 (byte {error.start} of the line)") from error
    except (ValueError, RecursionError) as error:
        raise SourceUnreadable(f"not JSON ({error})") from error
    if not isinstance(row, dict):
        raise SourceUnreadable(f"not a JSON object but {type(row).__name__}")
    return row


def _unmarked(title: str) -> str:
    """A title without the roles that Sphinx projects write in theirs: ``:mod:`os` --- …``."""
    if ":`" not in title:
        return title
    from indexing.formats.rst_nodes import plain

    return one_line(plain(title)).replace(" --- ", " — ")


def _joined(row: Mapping[str, Any], names: tuple[str, ...], target: str, used: set[str], glue: str) -> str:
    """The text of the mapped fields, or of the first guess that has any; notes in ``used`` what it took."""
    if names:
        found = [name for name in (_find(row, wanted) for wanted in names) if name]
    else:
        found = list(filter(None, [_guessed(row, target)]))
    used.update(found)
    return glue.join(filter(None, (_as_text(row[name]) for name in found)))


def _guessed(row: Mapping[str, Any], target: str) -> str:
    lower = {name.lower(): name for name in row}
    for guess in GUESSES[target]:
        name = lower.get(guess)
        if name is not None and _as_text(row[name]).strip():
            return name
    return ""


def _find(names: Iterable[str], wanted: str) -> str:
    """The name as the row writes it: exactly, else in another case; empty when it is not there."""
    known = list(names)
    if wanted in known:
        return wanted
    return next((name for name in known if name.lower() == wanted.lower()), "")


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return "\n\n".join(value)
    return ""


def _taken(row: Mapping[str, Any], names: tuple[str, ...], used: set[str]) -> tuple[str, Any]:
    """Name and value of the first of these fields that holds something; notes in ``used`` what it took."""
    for wanted in names:
        name = _find(row, wanted)
        if name and row[name] is not None and row[name] != "":
            used.add(name)
            return name, row[name]
    return "", None


def _version(row: Mapping[str, Any], fields: FieldMap, used: set[str]) -> int:
    """Of fields that nobody named only a whole number is a version: "5.2" says of what the text tells."""
    taken: set[str] = set()
    name, value = _taken(row, fields.version, taken)
    if fields.version == _UNTOLD.version and (type(value) is not int or value < 1):
        return 0
    used |= taken
    return own_version(name, value)


def _metadata(row: Mapping[str, Any], fields: FieldMap, used: set[str]) -> dict[str, JSONScalar | list[JSONScalar]]:
    if fields.metadata is None:
        rest = {name: value for name, value in row.items() if name not in used}
    else:
        found = {wanted: _find(row, wanted) for wanted in fields.metadata}
        rest = {wanted: row[name] for wanted, name in found.items() if name}
    inner = rest.pop("metadata", None)
    if isinstance(inner, dict):
        rest |= inner
    kept: dict[str, JSONScalar | list[JSONScalar]] = {}
    for name, value in rest.items():
        scalars = value if isinstance(value, list) else [value]
        if all(each is None or isinstance(each, (str, int, float, bool)) for each in scalars):
            cleaned = [clean(each) if isinstance(each, str) else each for each in scalars]
            if value is not None and sum(len(str(each)) for each in cleaned) <= MAX_METADATA_CHARS:
                kept[clean(name)] = cleaned if isinstance(value, list) else cleaned[0]
    return kept


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:20])
    return f"{shown}, …" if len(names) > 20 else shown or "no fields"
