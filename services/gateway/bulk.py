"""The lines of a `_bulk` body: an action, and its document after ``index`` and ``create``; bad ones stand alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError
from pydantic_core import from_json

from retrieval.changes import MAX_ID_BYTES, Outcome
from retrieval.errors import InvalidRequest
from services.http import field_errors
from services.ports import Put, Remove
from services.wire import Wire
from services.wire_collections import DocumentBody, Version

Action = Literal["index", "create", "delete"]
ACTIONS: tuple[Action, ...] = ("index", "create", "delete")

MAX_ITEMS = 10_000

DocumentId = Annotated[
    str,
    Field(
        min_length=1,
        max_length=MAX_ID_BYTES,
        pattern=r"^[^\x00-\x1f\x7f]+$",
        description=f"1 to {MAX_ID_BYTES} bytes of UTF-8 without control characters",
    ),
]


class Target(Wire):
    """What an action is about."""

    id: Annotated[DocumentId, Field(alias="_id")]
    version: Version = 0
    if_version: Version | None = None


@dataclass(frozen=True, slots=True)
class Item:
    """One action of a batch. ``line`` counts from 1; ``change`` is None where ``reason`` says what is wrong."""

    line: int
    action: Action
    document_id: str | None
    change: Put | Remove | None
    reason: str = ""


def read_bulk(body: bytes) -> list[Item]:
    """Every action of the body, in order; empty lines are passed over. Raises InvalidRequest for too many, or none.

    A line that is no action is an item of its own, together with the document that may follow it.
    """
    items = list(_items(_lines(body)))
    if not items:
        raise InvalidRequest(
            'the body holds no line: send an action such as {"index":{"_id":"d1"}} and its document, a line each'
        )
    return items


@dataclass(frozen=True, slots=True)
class _Line:
    number: int
    raw: bytes
    action: Action | None
    target: Any


def _lines(body: bytes) -> list[_Line]:
    found = []
    for number, raw in enumerate(body.split(b"\n"), start=1):
        if raw.strip():
            found.append(_Line(number, raw, *_action(raw)))
    if len(found) > 2 * MAX_ITEMS:
        raise InvalidRequest(f"the body holds {len(found):,} lines; send at most {MAX_ITEMS:,} documents at once")
    return found


def _action(raw: bytes) -> tuple[Action | None, Any]:
    """The action that a line is, and what it is about; a document's line is none."""
    if len(raw) > 4096:  # no action is this long, and a document need not be read twice
        return None, None
    try:
        told = from_json(raw)
    except ValueError:
        return None, None
    if isinstance(told, dict) and len(told) == 1:
        for action in ACTIONS:
            if isinstance(told.get(action), dict):
                return action, told[action]
    return None, None


def _items(lines: Sequence[_Line]) -> Iterator[Item]:
    at = 0
    while at < len(lines):
        line, following = lines[at], lines[at + 1] if at + 1 < len(lines) else None
        at += 1
        document = following if following is not None and following.action is None else None
        if line.action is None:
            yield Item(line.number, "index", None, None, _no_action(line))
            # Its document, if it has one, belongs to it; two lines that are no actions are not told apart further.
            at += document is not None
        elif line.action == "delete":
            yield _removal(line)
        elif document is None:
            yield Item(
                line.number, line.action, _id_of(line.target), None, "its document should follow on the next line"
            )
        else:
            at += 1
            yield _put(line, document)


def _removal(line: _Line) -> Item:
    try:
        target = Target.model_validate(line.target)
    except ValidationError as error:
        return Item(line.number, "delete", _id_of(line.target), None, _reason(error))
    return Item(line.number, "delete", target.id, Remove(target.id, target.version, target.if_version))


def _put(line: _Line, document: _Line) -> Item:
    assert line.action is not None
    try:
        target = Target.model_validate(line.target)
    except ValidationError as error:
        return Item(line.number, line.action, _id_of(line.target), None, _reason(error))
    try:
        body = DocumentBody.model_validate_json(document.raw)
    except ValidationError as error:
        return Item(document.number, line.action, target.id, None, _reason(error))
    if_version = 0 if line.action == "create" else target.if_version
    return Item(document.number, line.action, target.id, body.put(target.id, target.version, if_version))


def _no_action(line: _Line) -> str:
    try:
        from_json(line.raw)
    except ValueError as error:
        return f"not JSON: {error}"
    return 'not an action: write {"index":{"_id":"d1"}}, {"create":{"_id":"d1"}} or {"delete":{"_id":"d1"}}'


def _reason(error: ValidationError) -> str:
    found = field_errors(error.errors(include_url=False, include_input=False))
    return "; ".join(f"{each.field}: {each.message}" if each.field else each.message for each in found)


def _id_of(target: Any) -> str | None:
    """The id for the answer's sake, where there is one that can be shown."""
    found = target.get("_id") if isinstance(target, dict) else None
    return found[:MAX_ID_BYTES] if isinstance(found, str) else None


def told(item: Item, outcome: Outcome | None) -> dict[str, Any]:
    """What the answer says of one item: ``outcome`` as recall gave it, None for an item that never got there."""
    about: dict[str, Any] = {"_id": item.document_id}
    if outcome is None:
        about |= {"status": 422, "error": _problem("invalid_request", item, item.reason)}
    elif outcome.accepted:
        about |= {"status": outcome.status, "version": outcome.version}
    else:
        about |= {"status": outcome.status, "error": _problem(CODES[outcome.status], item, outcome.reason)}
    return {item.action: about}


CODES = {404: "document_not_found", 409: "conflict", 422: "invalid_request"}


def _problem(code: str, item: Item, reason: str) -> dict[str, Any]:
    return {"type": f"/problems/{code}", "code": code, "line": item.line, "detail": f"line {item.line}: {reason}"}
