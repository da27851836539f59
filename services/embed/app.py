"""The embed service: one encoder over HTTP, for recall and for builds elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated

import numpy as np
from fastapi import FastAPI
from pydantic import Field, TypeAdapter
from starlette.requests import Request
from starlette.responses import Response

from retrieval.errors import Unavailable
from retrieval.types import Encoder, EncoderSpec, Role
from services.auth import Doorkeeper
from services.frame import INTERNAL_BODY_BYTES, Lifespan, framed_app, no_lifespan, read_body, wire_response
from services.pool import Pool
from services.telemetry import Telemetry
from services.wire import Wire

SPEC = TypeAdapter(EncoderSpec)


class EmbedCall(Wire):
    """text-embeddings-inference's request, so that its clients fit; ``prompt_name`` is the role."""

    inputs: Annotated[list[str], Field(max_length=1024)]
    normalize: bool = True
    truncate: bool = True
    prompt_name: Role = "passage"


CALL = TypeAdapter(EmbedCall)


def create_app(
    encoder: Callable[[], Encoder],
    state: Callable[[], str],
    pool: Pool,
    telemetry: Telemetry,
    *,
    lifespan: Lifespan = no_lifespan,
    door: Doorkeeper | None = None,
) -> FastAPI:
    """``encoder`` gives the encoder or raises why it is not there yet; ``state`` says the same in words."""

    async def ready() -> Mapping[str, str]:
        return {"encoder": state()}

    app = framed_app(
        "Riddle embed", ready=ready, telemetry=telemetry, body_limit=INTERNAL_BODY_BYTES, lifespan=lifespan, door=door
    )

    @app.post("/embed")
    async def embed(request: Request) -> Response:
        call = await read_body(request, CALL)
        found = encoder()
        vectors = await pool.run(lambda: found.encode(call.inputs, call.prompt_name))
        if not np.isfinite(vectors).all():
            raise Unavailable("the encoder gave a vector that is not finite", stage="embed")
        return wire_response(_VECTORS.dump_json(vectors.tolist()))

    @app.get("/v1/spec")
    async def spec() -> Response:
        return wire_response(SPEC.dump_json(encoder().spec))

    return app


_VECTORS = TypeAdapter(list[list[float]])
