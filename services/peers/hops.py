"""The shared models over HTTP: what a gateway asks of the embed and rank services, and how they answer."""

from __future__ import annotations

import time

import httpx
from fastapi import FastAPI
from pydantic import TypeAdapter
from starlette.requests import Request
from starlette.responses import Response

from services.clients import Hop
from services.frame import read_body, wire_response
from services.leaving import unless_client_leaves
from services.peers.ports import EmbedCall, Embedded, EmbedPort, ScoreCall, Scored, ScorePort, ServedModel

VECTORS, SCORES, MODEL = "/v1/vectors", "/v1/scores", "/v1/model"

_FRESH_S = 5.0

_EMBED_CALL = TypeAdapter(EmbedCall)
_EMBEDDED = TypeAdapter(Embedded)
_SCORE_CALL = TypeAdapter(ScoreCall)
_SCORED = TypeAdapter(Scored)
_MODEL = TypeAdapter(ServedModel)


def add_embed_hops(app: FastAPI, embed: EmbedPort) -> None:
    @app.post(VECTORS, include_in_schema=False)
    async def vectors(request: Request) -> Response:
        call = await read_body(request, _EMBED_CALL)
        return wire_response(_EMBEDDED.dump_json(await unless_client_leaves(request, embed.embed(call))))

    @app.get(MODEL, include_in_schema=False)
    async def model() -> Response:
        return wire_response(_MODEL.dump_json(await embed.model()))


def add_score_hops(app: FastAPI, scores: ScorePort) -> None:
    @app.post(SCORES, include_in_schema=False)
    async def score(request: Request) -> Response:
        call = await read_body(request, _SCORE_CALL)
        return wire_response(_SCORED.dump_json(await unless_client_leaves(request, scores.score(call))))

    @app.get(MODEL, include_in_schema=False)
    async def model() -> Response:
        return wire_response(_MODEL.dump_json(await scores.model()))


class _Card:
    """What a service says of its model, asked again after a while: it may have been started with another."""

    def __init__(self, hop: Hop, timeout_s: float) -> None:
        self._hop = hop
        self._timeout_s = timeout_s
        self._held: ServedModel | None = None
        self._until = 0.0

    async def get(self) -> ServedModel:
        if self._held is None or time.monotonic() >= self._until:
            self._held = await self._hop.call("GET", MODEL, _MODEL, timeout_s=self._timeout_s)
            self._until = time.monotonic() + _FRESH_S
        return self._held


class EmbedClient:
    """EmbedPort over HTTP. A caller that is cancelled closes its connection, and the service drops its texts."""

    def __init__(self, http: httpx.AsyncClient, timeout_s: float) -> None:
        self._hop = Hop(http, "embed")
        self._card = _Card(self._hop, timeout_s)
        self._timeout_s = timeout_s

    async def model(self) -> ServedModel:
        return await self._card.get()

    async def embed(self, call: EmbedCall) -> Embedded:
        body = _EMBED_CALL.dump_json(call)
        return await self._hop.call("POST", VECTORS, _EMBEDDED, body, timeout_s=self._timeout_s)

    async def aclose(self) -> None:
        await self._hop.aclose()


class ScoreClient:
    """ScorePort over HTTP."""

    def __init__(self, http: httpx.AsyncClient, timeout_s: float) -> None:
        self._hop = Hop(http, "rerank")
        self._card = _Card(self._hop, timeout_s)
        self._timeout_s = timeout_s

    async def model(self) -> ServedModel:
        return await self._card.get()

    async def score(self, call: ScoreCall) -> Scored:
        body = _SCORE_CALL.dump_json(call)
        return await self._hop.call("POST", SCORES, _SCORED, body, timeout_s=self._timeout_s)

    async def aclose(self) -> None:
        await self._hop.aclose()
