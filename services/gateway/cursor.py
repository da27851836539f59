"""Where the next page begins: an opaque string bound to one request, one generation and one ranked window."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from retrieval.errors import Conflict, InvalidRequest
from retrieval.types import Candidate


@dataclass(frozen=True, slots=True)
class Cursor:
    """``question`` and ``window`` are digests, of the request without its page and of the order of all candidates.

    ``read`` is how many candidates the reranker read before its time was up, so that the next page is made
    of the same; None when nothing cut it short.
    """

    generation: str
    question: str
    window: str
    offset: int
    read: int | None

    def __str__(self) -> str:
        fields = [self.generation, self.question, self.window, self.offset, self.read]
        body = json.dumps(fields, separators=(",", ":")).encode()
        return base64.urlsafe_b64encode(_checksum(body) + body).rstrip(b"=").decode()


def read_cursor(text: str) -> Cursor:
    """Raises InvalidRequest for what is none of ours, or was cut or changed on the way."""
    refused = InvalidRequest("cursor: not one that this service gave out; use `next_cursor` as it came")
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise refused from error
    check, body = raw[:_CHECK_BYTES], raw[_CHECK_BYTES:]
    if check != _checksum(body):
        raise refused
    try:
        return Cursor(*_FIELDS.validate_json(body))
    except ValidationError as error:
        raise refused from error


def check_question(cursor: Cursor, question: str) -> None:
    """Raises InvalidRequest when the cursor came from another request."""
    if cursor.question != question:
        raise InvalidRequest("cursor: it belongs to another request; only k, budget_ms and explain may change")


def check_generation(cursor: Cursor, generation: str) -> None:
    """Raises Conflict when the collection has changed since."""
    if cursor.generation != generation:
        raise Conflict(
            f"the collection changed from {cursor.generation} to {generation} since the first page; "
            "search again without the cursor"
        )


def check_window(cursor: Cursor, window: str) -> None:
    """Raises Conflict when the same candidates did not come in the same order again."""
    if cursor.window != window:
        raise Conflict("the ranking came out differently than for the first page; search again without the cursor")


def question_digest(request: Mapping[str, object]) -> str:
    return _digest(json.dumps(request, sort_keys=True, ensure_ascii=False))


def window_digest(order: str, reordered: Sequence[Candidate]) -> str:
    """``order`` says how recall ordered all candidates, ``reordered`` are those that ranking may have moved."""
    return _digest("\n".join([order, *(candidate.passage.passage_id for candidate in reordered)]))


_CHECK_BYTES = 6
_FIELDS = TypeAdapter(tuple[str, str, str, Annotated[int, Field(gt=0)], Annotated[int, Field(ge=0)] | None])


def _checksum(body: bytes) -> bytes:
    return hashlib.sha256(b"riddle cursor 2" + body).digest()[:_CHECK_BYTES]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
