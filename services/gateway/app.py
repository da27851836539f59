"""The routes of the gateway: what callers may ask, and which part answers it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from fastapi import APIRouter, Depends, FastAPI
from starlette.requests import Request
from starlette.responses import Response

from services.auth import AnyCaller, Doorkeeper, writer_of
from services.cache import Cache
from services.examples import ANSWER_STREAM
from services.frame import Lifespan, Ready, framed_app, no_lifespan, wire_response
from services.gateway.answers import EVENT_STREAM, AnswerPort, Answers, ClientLeft, EventStream, unless_client_leaves
from services.gateway.collections import collections_router
from services.gateway.documents import BULK_PATH, DOCUMENT_PATH, documents_router
from services.gateway.feedback import FEEDBACK_PATH, MAX_FEEDBACK_BYTES, feedback_router
from services.gateway.files import page_router
from services.gateway.openapi import limited_openapi
from services.gateway.recording import Recorder
from services.gateway.search import Search, SearchLimits
from services.http import PROBLEM_RESPONSES, STATUS, request_id_of
from services.ports import RankPort, RecallPort
from services.query_log import QueryLog
from services.telemetry import Telemetry
from services.wire import AnswerRequest, AnswerResponse, SearchRequest, SearchResponse

JOBS_PATH = "/v1/jobs"

DESCRIPTION = (
    "Search a collection, or ask it a question. Every failure is an RFC 9457 problem whose `code` is "
    "stable; every response carries an `X-Request-ID`, which feedback refers to. Offsets and spans count Unicode code "
    "points. With an `X-Riddle-Session` of its own (up to 64 letters, digits, `.`, `_` and `-`) a client lets the "
    "query log tell which searches belong together; `X-Riddle-Log: off` leaves a request out of the log. Where "
    "feedback is taken, responses carry `X-Riddle-Feedback: on`."
)


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """What the gateway needs to know beyond its collaborators."""

    search: SearchLimits
    max_body_bytes: int
    max_upload_bytes: int
    max_bulk_bytes: int
    version: str


@dataclass(frozen=True, slots=True)
class Parts:
    """The collaborators of a gateway."""

    recall: RecallPort
    rank: RankPort
    answerer: AnswerPort
    cache: Cache
    telemetry: Telemetry
    door: Doorkeeper
    jobs: APIRouter | None = None
    writer: Ready | None = None
    """Whether the model that writes answers here is loaded; None when there is none to wait for."""
    log: QueryLog | None = None
    """Where requests are written down; None keeps none, and takes no feedback."""

    async def ready(self) -> Mapping[str, str]:
        """Part name to ``ok`` or to the reason why it is not ready."""
        found = await asyncio.gather(*(ask() for ask in (self.recall.ready, self.rank.ready, self.writer) if ask))
        return {name: state for parts in found for name, state in parts.items()}


def create_app(parts: Parts, settings: GatewaySettings, *, lifespan: Lifespan = no_lifespan) -> FastAPI:
    """The gateway over any implementation of the ports. Starts nothing; ``lifespan`` does."""
    app = framed_app(
        "Riddle",
        ready=parts.ready,
        telemetry=parts.telemetry,
        body_limit=settings.max_body_bytes,
        body_limits={
            JOBS_PATH: settings.max_upload_bytes,
            BULK_PATH: settings.max_bulk_bytes,
            DOCUMENT_PATH: settings.max_bulk_bytes,
            FEEDBACK_PATH: min(MAX_FEEDBACK_BYTES, settings.max_body_bytes),
        },
        door=parts.door,
        lifespan=lifespan,
        description=DESCRIPTION,
        version=settings.version,
    )
    app.add_exception_handler(ClientLeft, _client_left)
    search = Search(parts.recall, parts.rank, parts.cache, settings.search, parts.telemetry)
    recorder = Recorder(parts.log, parts.rank, settings.search)
    app.include_router(_asking(search, Answers(parts.answerer, parts.telemetry), recorder))
    app.include_router(feedback_router(parts.log))
    app.include_router(documents_router(parts.recall))
    app.include_router(collections_router(parts.recall, settings.search.default_collection))
    if parts.jobs is not None:
        # What a job reads and sets aside is named in it, so that following one needs as much as asking for one.
        app.include_router(parts.jobs, responses=PROBLEM_RESPONSES, dependencies=[Depends(writer_of)])
    app.include_router(_problems())
    app.include_router(page_router())
    limited_openapi(app, settings.search)
    return app


def _asking(search: Search, answers: Answers, recorder: Recorder) -> APIRouter:
    api = APIRouter(prefix="/v1", responses=PROBLEM_RESPONSES)

    @api.post("/search", tags=["search"], summary="Find passages", response_model=SearchResponse)
    async def search_(body: SearchRequest, request: Request, caller: AnyCaller) -> Response:
        with recorder.asked("search", body, request, caller) as record:
            found = await search(body, caller.rights)
            record.searched(found)
        return wire_response(found.response(explain=body.explain).model_dump_json(), record.headers)

    @api.post(
        "/answer",
        tags=["search"],
        summary="Answer a question, with citations; as a stream for `Accept: text/event-stream`",
        response_model=AnswerResponse,
        responses={200: {"content": {EVENT_STREAM: {"schema": {"type": "string"}, "example": ANSWER_STREAM}}}},
    )
    async def answer(body: AnswerRequest, request: Request, caller: AnyCaller) -> Response:
        with recorder.asked("answer", body.as_search(), request, caller) as record:
            answers.admit()
            found = await unless_client_leaves(request, search(body.as_search(), caller.rights))
            record.searched(found)
        how, heard = body.explain, record.answered
        if EVENT_STREAM in request.headers.get("accept", ""):
            request_id = request_id_of(request)
            events = answers.stream(body.query, found, explain=how, request_id=request_id, heard=heard)
            return EventStream(events, record.headers)
        whole = await unless_client_leaves(request, answers.whole(body.query, found, explain=how, heard=heard))
        return wire_response(whole.model_dump_json(), record.headers)

    return api


def _problems() -> APIRouter:
    api = APIRouter(include_in_schema=False)

    @api.get("/problems/{code}")
    async def problem(code: str) -> Response:
        """Where the ``type`` of a problem leads."""
        if code not in STATUS:
            return Response(f"No problem is called {code!r}.\n", 404, media_type="text/plain")
        return Response(f"{code}: sent with HTTP status {STATUS[code]}.\n", media_type="text/plain")

    return api


async def _client_left(_: Request, __: Exception) -> Response:
    # Nobody reads it; the status, nginx's custom, is for the log.
    return Response(status_code=499)
