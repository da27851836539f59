"""The routes of the gateway: what callers may ask, and which part answers it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from fastapi import APIRouter, Depends, FastAPI
from starlette.requests import Request
from starlette.responses import Response

from services.auth import AnyCaller, Doorkeeper, writer_of
from services.cache import Cache
from services.examples import ANSWER_STREAM
from services.frame import Lifespan, Ready, framed_app, no_lifespan, wire_response
from services.gateway.agents import add_agents, agents_app, ending_with
from services.gateway.answers import EVENT_STREAM, AnswerPort, Answers, EventStream
from services.gateway.collections import collections_router
from services.gateway.dify import dify_router
from services.gateway.documents import BULK_PATH, DOCUMENT_PATH, documents_router
from services.gateway.feedback import FEEDBACK_PATH, MAX_FEEDBACK_BYTES, feedback_router
from services.gateway.files import page_router
from services.gateway.openapi import limited_openapi
from services.gateway.ordering import Ordering
from services.gateway.plan import SearchLimits
from services.gateway.recording import Recorder
from services.gateway.rewriting import Rewriting
from services.gateway.search import Search
from services.http import PROBLEM_RESPONSES, STATUS, request_id_of
from services.leaving import add_leaving_handler, unless_client_leaves
from services.peers.embedding import EMBED_PATHS, embed_router
from services.peers.limits import PeerSettings
from services.peers.listing import models_router
from services.peers.ports import EmbedPort, ScorePort
from services.peers.reranking import RERANK_PATHS, rerank_router
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
    peers: PeerSettings = field(default_factory=PeerSettings)


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
    embed: EmbedPort | None = None
    """The encoder behind `/v1/embeddings` and `/embed`; None offers neither."""
    scores: ScorePort | None = None
    """The reranker behind the rerank endpoints; None offers none."""
    ordering: Ordering | None = None
    """How collections are ranked by all stages together; None leaves the order to the reranker."""
    rewriting: Rewriting | None = None
    """What a language model adds to queries; None where there is none."""

    async def ready(self) -> Mapping[str, str]:
        """Part name to ``ok`` or to the reason why it is not ready."""
        found = await asyncio.gather(*(ask() for ask in (self.recall.ready, self.rank.ready, self.writer) if ask))
        return {name: state for parts in found for name, state in parts.items()}


def create_app(parts: Parts, settings: GatewaySettings, *, lifespan: Lifespan = no_lifespan) -> FastAPI:
    """The gateway over any implementation of the ports. Starts nothing; ``lifespan`` does."""
    search = Search(
        parts.recall, parts.rank, parts.cache, settings.search, parts.telemetry, parts.ordering, parts.rewriting
    )
    recorder = Recorder(parts.log, parts.rank, settings.search)
    agents = agents_app(
        search,
        parts.recall,
        recorder,
        default=settings.search.default_collection,
        version=settings.version,
    )
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
            **dict.fromkeys((*EMBED_PATHS, *RERANK_PATHS), settings.peers.max_body_bytes),
        },
        door=parts.door,
        lifespan=ending_with(agents, lifespan),
        description=DESCRIPTION,
        version=settings.version,
    )
    add_leaving_handler(app)
    app.include_router(_asking(search, Answers(parts.answerer, parts.telemetry), recorder))
    app.include_router(feedback_router(parts.log))
    app.include_router(documents_router(parts.recall))
    app.include_router(collections_router(parts.recall, settings.search.default_collection))
    app.include_router(dify_router(search, parts.recall, recorder))
    _models(app, parts, settings)
    add_agents(app, agents)
    if parts.jobs is not None:
        # What a job reads and sets aside is named in it, so that following one needs as much as asking for one.
        app.include_router(parts.jobs, responses=PROBLEM_RESPONSES, dependencies=[Depends(writer_of)])
    app.include_router(_problems())
    app.include_router(page_router())
    limited_openapi(app, settings.search, settings.peers)
    return app


def _models(app: FastAPI, parts: Parts, settings: GatewaySettings) -> None:
    """The models as others' interfaces serve them."""
    if parts.embed is not None:
        app.include_router(embed_router(parts.embed, settings.peers))
    if parts.scores is not None:
        app.include_router(rerank_router(parts.scores, settings.peers))
    if parts.embed is not None or parts.scores is not None:
        app.include_router(models_router(parts.embed, parts.scores, settings.peers, parts.ready, settings.version))


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
