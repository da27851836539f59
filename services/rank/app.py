"""The rank service: puts candidates in their final order for gateways, and texts for others, over HTTP."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from retrieval.types import Candidate, Ranked
from services.auth import Doorkeeper
from services.frame import INTERNAL_BODY_BYTES, Lifespan, framed_app, no_lifespan, read_body, wire_response
from services.hops import RANK_CALL, READ_CALL, Pipeline, rank_reply
from services.leaving import add_leaving_handler
from services.peers.hops import add_score_hops
from services.peers.limits import PeerSettings
from services.peers.listing import models_router
from services.peers.ports import ScorePort
from services.peers.reranking import rerank_router
from services.ports import RankPort
from services.telemetry import Telemetry


def create_app(
    rank: RankPort,
    telemetry: Telemetry,
    scores: ScorePort | None = None,
    settings: PeerSettings | None = None,
    *,
    version: str = "",
    lifespan: Lifespan = no_lifespan,
    door: Doorkeeper | None = None,
) -> FastAPI:
    """``rank`` behind HTTP; a full queue leaves as 429, and the gateway goes on with the fused order.

    With ``scores`` it serves the rerank endpoints of others too, for gateways and for whoever may ask.
    """
    app = framed_app(
        "Riddle rank",
        ready=rank.ready,
        telemetry=telemetry,
        body_limit=INTERNAL_BODY_BYTES,
        lifespan=lifespan,
        door=door,
    )

    add_leaving_handler(app)
    if scores is not None:
        limits = settings or PeerSettings()
        app.include_router(rerank_router(scores, limits))
        app.include_router(models_router(None, scores, limits, rank.ready, version))
        add_score_hops(app, scores)

    @app.post("/v1/rank")
    async def rank_(request: Request) -> Response:
        call = await read_body(request, RANK_CALL)
        ranked = await rank.rank(call.query, call.candidates, depth=call.depth, deadline_ms=call.deadline_ms)
        return replied(call.candidates, ranked)

    @app.post("/v1/read")
    async def read(request: Request) -> Response:
        call = await read_body(request, READ_CALL)
        ranked = await rank.read(
            call.query, call.candidates, depth=call.depth, whole=call.whole, deadline_ms=call.deadline_ms
        )
        return replied(call.candidates, ranked)

    def replied(candidates: Sequence[Candidate], ranked: Ranked) -> Response:
        for stage, milliseconds in ranked.timings_ms.items():
            telemetry.observe_stage(stage, milliseconds)
        return wire_response(rank_reply(rank.version, candidates, ranked).model_dump_json())

    @app.get("/v1/pipeline")
    async def pipeline() -> Response:
        return wire_response(Pipeline(version=rank.version).model_dump_json())

    return app
