"""The routes of the gateway: what callers may ask, and which part answers it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, FastAPI
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from services.cache import Cache
from services.examples import ANSWER_STREAM
from services.frame import Lifespan, Ready, framed_app, no_lifespan, wire_response
from services.gateway.answers import EVENT_STREAM, AnswerPort, Answers, ClientLeft, EventStream, unless_client_leaves
from services.gateway.files import page_router
from services.gateway.openapi import limited_openapi
from services.gateway.search import Search, SearchLimits
from services.http import PROBLEM_RESPONSES, STATUS, request_id_of
from services.ports import RankPort, RecallPort, Rights
from services.telemetry import Telemetry
from services.wire import (
    AnswerRequest,
    AnswerResponse,
    CollectionList,
    SearchRequest,
    SearchResponse,
    WireCollection,
    WireDocument,
)

JOBS_PATH = "/v1/jobs"

DESCRIPTION = (
    "Search a collection, or ask it a question. Every failure is an RFC 9457 problem whose `code` is "
    "stable; every response carries an `X-Request-ID`. Offsets and spans count Unicode code points."
)

Name = Annotated[str, Field(min_length=1, max_length=64, examples=["docs"])]


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """What the gateway needs to know beyond its collaborators."""

    search: SearchLimits
    max_body_bytes: int
    max_upload_bytes: int
    version: str


@dataclass(frozen=True, slots=True)
class Parts:
    """The collaborators of a gateway."""

    recall: RecallPort
    rank: RankPort
    answerer: AnswerPort
    cache: Cache
    telemetry: Telemetry
    jobs: APIRouter | None = None
    writer: Ready | None = None
    """Whether the model that writes answers here is loaded; None when there is none to wait for."""

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
        body_limits={JOBS_PATH: settings.max_upload_bytes},
        lifespan=lifespan,
        description=DESCRIPTION,
        version=settings.version,
    )
    app.add_exception_handler(ClientLeft, _client_left)
    search = Search(parts.recall, parts.rank, parts.cache, settings.search, parts.telemetry)
    app.include_router(_asking(search, Answers(parts.answerer, parts.telemetry)))
    app.include_router(_collections(parts.recall, settings.search.default_collection))
    if parts.jobs is not None:
        app.include_router(parts.jobs, responses=PROBLEM_RESPONSES)
    app.include_router(_problems())
    app.include_router(page_router())
    limited_openapi(app, settings.search)
    return app


def _asking(search: Search, answers: Answers) -> APIRouter:
    api = APIRouter(prefix="/v1", responses=PROBLEM_RESPONSES)

    @api.post("/search", tags=["search"], summary="Find passages", response_model=SearchResponse)
    async def search_(body: SearchRequest) -> Response:
        found = await search(body, Rights())
        return wire_response(found.response(explain=body.explain).model_dump_json())

    @api.post(
        "/answer",
        tags=["search"],
        summary="Answer a question, with citations; as a stream for `Accept: text/event-stream`",
        response_model=AnswerResponse,
        responses={200: {"content": {EVENT_STREAM: {"schema": {"type": "string"}, "example": ANSWER_STREAM}}}},
    )
    async def answer(body: AnswerRequest, request: Request) -> Response:
        answers.admit()
        found = await unless_client_leaves(request, search(body.as_search(), Rights()))
        if EVENT_STREAM in request.headers.get("accept", ""):
            request_id = request_id_of(request)
            return EventStream(answers.stream(body.query, found, explain=body.explain, request_id=request_id))
        whole = await unless_client_leaves(request, answers.whole(body.query, found, explain=body.explain))
        return wire_response(whole.model_dump_json())

    return api


def _collections(recall: RecallPort, default: str) -> APIRouter:
    api = APIRouter(prefix="/v1/collections", tags=["collections"], responses=PROBLEM_RESPONSES)

    @api.get("", summary="All collections", response_model=CollectionList)
    async def collections() -> Response:
        found = [WireCollection.of(info) for info in await recall.collections()]
        return wire_response(CollectionList(collections=found, default=default).model_dump_json())

    @api.get("/{collection}", summary="One collection", response_model=WireCollection)
    async def one(collection: Name) -> Response:
        return wire_response(WireCollection.of(await recall.describe(collection)).model_dump_json())

    @api.delete("/{collection}", summary="Remove a collection and its files", status_code=204)
    async def drop(collection: Name) -> Response:
        await recall.drop(collection)
        return Response(status_code=204)

    @api.get("/{collection}/documents/{document_id:path}", summary="One document", response_model=WireDocument)
    async def document(collection: Name, document_id: str) -> Response:
        return wire_response(WireDocument.of(await recall.document(collection, document_id)).model_dump_json())

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
