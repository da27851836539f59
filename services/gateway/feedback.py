"""`POST /v1/feedback`: what callers say of what they were served, held to what that request really served."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body
from pydantic import ConfigDict, Field, model_validator
from starlette.responses import Response

from eval.usage_rows import FeedbackKind, FeedbackRow, QueryRow, ServedPassage
from retrieval.errors import InvalidRequest, Overloaded, RequestNotFound
from services.auth import AnyCaller
from services.examples import FEEDBACK, FEEDBACK_TAKEN
from services.http import PROBLEM_RESPONSES
from services.query_log import QueryLog
from services.wire import Wire

FEEDBACK_PATH = "/v1/feedback"
MAX_FEEDBACK_BYTES = 16 << 10

Clock = Callable[[], float]

RequestId = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$", description="`X-Request-ID` of the response that this is about")
]
Id = Annotated[str, Field(min_length=1, max_length=2048)]
Rank = Annotated[
    int | None,
    Field(ge=1, le=1_000_000, description="the place at which it was shown, from 1; as it was served when left out"),
]
Comment = Annotated[str, Field(max_length=2000, description="in the person's own words")]


def _passage_or_document(schema: dict[str, Any]) -> None:
    """One of the two is needed, and an empty one is none: what the model checks, as the document says it."""
    schema["anyOf"] = [{"required": ["passage_id"]}, {"required": ["document_id"]}]
    for name in ("passage_id", "document_id"):
        schema["properties"][name].pop("default", None)


class _OnPassage(Wire):
    request_id: RequestId
    passage_id: Annotated[Id, Field(description="one of the passages that the request served")] = ""
    document_id: Annotated[Id, Field(description="instead: its document, of which the best passage is meant")] = ""
    rank: Rank = None
    comment: Comment = ""

    model_config = ConfigDict(json_schema_extra=_passage_or_document)

    @model_validator(mode="after")
    def _names_something(self) -> _OnPassage:
        if not self.passage_id and not self.document_id:
            raise ValueError("passage_id: say which passage, or document_id: which document")
        return self


class Click(_OnPassage):
    """Somebody opened a result."""

    kind: Literal["click"]


class Rating(_OnPassage):
    """Somebody found a result good or bad."""

    kind: Literal["rating"]
    value: Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False, description="-1 bad, 1 good, 0 takes it back")]


class Judgement(_OnPassage):
    """Somebody who knows says how relevant a result is."""

    kind: Literal["judgement"]
    value: Annotated[float, Field(ge=0, le=10, allow_inf_nan=False, description="the grade: 0 not relevant")]


class AnswerRating(Wire):
    """Somebody found an answer good or bad."""

    kind: Literal["answer"]
    request_id: RequestId
    value: Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False, description="-1 bad, 1 good, 0 takes it back")]
    comment: Comment = ""


Feedback = Annotated[Click | Rating | Judgement | AnswerRating, Field(discriminator="kind")]


class FeedbackTaken(Wire):
    """What was written down."""

    request_id: str
    kind: FeedbackKind
    passage_id: Annotated[str, Field(description="empty for an answer as a whole, as is `document_id`")]
    document_id: str
    rank: Annotated[int, Field(description="0 for an answer as a whole")]
    generation: Annotated[str, Field(description="the state of the collection that was searched then")]

    model_config = ConfigDict(json_schema_extra={"examples": [FEEDBACK_TAKEN]})


class Pace:
    """Lets each key tell ``rate`` things a second on average, ``burst`` at once."""

    def __init__(self, rate: float = 20.0, burst: int = 100, clock: Clock = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._left: dict[str, tuple[float, float]] = {}

    def admit(self, key: str) -> None:
        """Raises Overloaded."""
        now = self._clock()
        left, since = self._left.get(key, (float(self._burst), now))
        left = min(self._burst, left + (now - since) * self._rate)
        if left < 1:
            wait_ms = round((1 - left) / self._rate * 1000) + 1
            raise Overloaded("more feedback than this server takes from one key", retry_after_ms=wait_ms)
        self._left[key] = (left - 1, now)


def feedback_router(log: QueryLog | None, pace: Pace | None = None) -> APIRouter:
    """``log`` None: there is nothing that feedback could refer to, and all of it is refused."""
    api = APIRouter(prefix="/v1", tags=["search"], responses=PROBLEM_RESPONSES)
    pace = pace or Pace()

    @api.post(
        "/feedback",
        status_code=201,
        summary="Say of a result that it was opened, or how good it or an answer is",
        response_model=FeedbackTaken,
        response_description="It is on disk",
    )
    async def feedback(body: Annotated[Feedback, Body(examples=FEEDBACK)], caller: AnyCaller) -> Response:
        if log is None:
            raise RequestNotFound("this server keeps no log of requests (`log.enabled` is false), so it knows none")
        pace.admit(caller.key_id)
        row = feedback_row(body, await log.find(body.request_id, caller.key_id))
        await log.tell(row)
        taken = FeedbackTaken(
            request_id=row.request_id,
            kind=row.kind,
            passage_id=row.passage_id,
            document_id=row.document_id,
            rank=row.rank,
            generation=row.generation,
        )
        return Response(taken.model_dump_json(), 201, media_type="application/json")

    return api


def feedback_row(body: Click | Rating | Judgement | AnswerRating, request: QueryRow) -> FeedbackRow:
    """Feedback with what the request served. Raises InvalidRequest when it served no such thing."""
    place, shown = 0, ServedPassage("", "", 0.0, {})
    rank = None
    if isinstance(body, AnswerRating):
        if request.kind != "answer":
            raise InvalidRequest(f"request_id: {body.request_id} was a search, and no answer can be rated")
    else:
        place, shown = _served(body, request)
        rank = body.rank
    return FeedbackRow(
        time=datetime.now(UTC).isoformat(timespec="milliseconds"),
        request_id=request.request_id,
        session=request.session,
        kind=body.kind,
        query=request.query,
        collection=request.collection,
        generation=request.generation,
        pipeline=request.pipeline,
        passage_id=shown.passage_id,
        document_id=shown.document_id,
        rank=rank or place,
        value=None if isinstance(body, Click) else body.value,
        features=shown.features,
        served=tuple(each.passage_id for each in request.results),
        comment=body.comment,
        key=request.key,
    )


def _served(body: _OnPassage, request: QueryRow) -> tuple[int, ServedPassage]:
    """The passage that is meant, and its place in the list from 1."""
    for place, shown in enumerate(request.results, request.offset + 1):
        if body.passage_id in ("", shown.passage_id) and body.document_id in ("", shown.document_id):
            return place, shown
    named = f"passage_id: {body.passage_id!r}" if body.passage_id else f"document_id: {body.document_id!r}"
    also = f" of document {body.document_id!r}" if body.passage_id and body.document_id else ""
    raise InvalidRequest(f"{named}{also} is not among what {body.request_id} served")
