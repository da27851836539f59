"""The embed service: one encoder over HTTP, for recall, for builds elsewhere, and for whoever asks for vectors."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fastapi import FastAPI
from pydantic import TypeAdapter
from starlette.responses import Response

from retrieval.types import EncoderSpec
from services.auth import Doorkeeper
from services.frame import INTERNAL_BODY_BYTES, Lifespan, framed_app, no_lifespan, wire_response
from services.leaving import add_leaving_handler
from services.peers.embedding import embed_router
from services.peers.hops import add_embed_hops
from services.peers.limits import PeerSettings
from services.peers.listing import models_router
from services.peers.ports import EmbedPort
from services.telemetry import Telemetry

SPEC = TypeAdapter(EncoderSpec)


def create_app(
    embed: EmbedPort,
    spec: Callable[[], EncoderSpec],
    state: Callable[[], str],
    telemetry: Telemetry,
    settings: PeerSettings,
    *,
    version: str = "",
    lifespan: Lifespan = no_lifespan,
    door: Doorkeeper | None = None,
) -> FastAPI:
    """``spec`` tells of the encoder or raises why it is not there yet; ``state`` says the same in words."""

    async def ready() -> Mapping[str, str]:
        return {"encoder": state()}

    app = framed_app(
        "Riddle embed", ready=ready, telemetry=telemetry, body_limit=INTERNAL_BODY_BYTES, lifespan=lifespan, door=door
    )
    add_leaving_handler(app)
    app.include_router(embed_router(embed, settings))
    app.include_router(models_router(embed, None, settings, ready, version))
    add_embed_hops(app, embed)

    @app.get("/v1/spec")
    async def spec_() -> Response:
        return wire_response(SPEC.dump_json(spec()))

    return app
