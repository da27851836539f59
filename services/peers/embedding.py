"""Embedding endpoints for clients of OpenAI and of text-embeddings-inference, over one encoder."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np
import pydantic_core
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from retrieval.encoders import unit
from retrieval.errors import InvalidRequest
from retrieval.types import Role, Vectors
from services.frame import wire_response
from services.http import PROBLEM_RESPONSES
from services.leaving import unless_client_leaves
from services.peers.limits import PeerSettings
from services.peers.ports import EmbedCall, EmbedPort, ServedModel
from services.peers.reranking import checked
from services.peers.wire import OpenAIEmbeddings, OpenAIRequest, TeiEmbedRequest

EMBED_PATHS = ("/v1/embeddings", "/embed")

_ROLES: Mapping[str, Role] = {"query": "query", "passage": "passage", "document": "passage"}


def embed_router(embed: EmbedPort, settings: PeerSettings) -> APIRouter:
    api = APIRouter(tags=["models"], responses=PROBLEM_RESPONSES)

    @api.post("/v1/embeddings", summary="Encode texts, as OpenAI does", response_model=OpenAIEmbeddings)
    async def openai(body: OpenAIRequest, request: Request) -> Response:
        model = checked(await embed.model(), body.model)
        texts = texts_of(body)
        settings.check("input", texts)
        width = width_of(model, body.dimensions)
        call = EmbedCall(texts, _ROLES.get(body.input_type or ""), body.truncate)
        found = await unless_client_leaves(request, embed.embed(call))
        vectors = unit(found.vectors[:, :width])
        data = [
            {"object": "embedding", "embedding": each, "index": at}
            for at, each in enumerate(written(vectors, body.encoding_format))
        ]
        usage = {"prompt_tokens": found.tokens, "total_tokens": found.tokens}
        return _json({"object": "list", "data": data, "model": model.name, "usage": usage})

    @api.post("/embed", summary="Encode texts, as text-embeddings-inference does", response_model=list[list[float]])
    async def tei(body: TeiEmbedRequest, request: Request) -> Response:
        settings.check("inputs", body.texts)
        width = None if body.dimensions is None else width_of(await embed.model(), body.dimensions)
        call = EmbedCall(body.texts, body.prompt_name, truncate=body.truncate is not False)
        found = await unless_client_leaves(request, embed.embed(call))
        rows = found.vectors[:, :width]
        vectors = unit(rows) if body.normalize else rows
        return _json(vectors.tolist(), {"X-Compute-Tokens": str(found.tokens)})

    return api


def texts_of(body: OpenAIRequest) -> tuple[str, ...]:
    """Raises InvalidRequest for token ids, which are of OpenAI's vocabulary and mean other words here."""
    if isinstance(body.input, str):
        return (body.input,)
    texts = tuple(each for each in body.input if isinstance(each, str))
    if not texts or len(texts) != len(body.input):
        raise InvalidRequest(
            "input: send texts; token ids are of another model's vocabulary (LangChain's OpenAIEmbeddings sends "
            "texts with check_embedding_ctx_length=False)"
        )
    return texts


def width_of(model: ServedModel, dimensions: int | None) -> int:
    """How much of a vector is asked for. Raises InvalidRequest for a length that the model was not trained for."""
    if dimensions is None or dimensions == model.dimension or dimensions in model.dimensions:
        return dimensions or model.dimension
    shorter = "".join(f", or {each}" for each in sorted(model.dimensions, reverse=True) if each != model.dimension)
    raise InvalidRequest(
        f"dimensions: {model.name} gives {model.dimension}{shorter}, not {dimensions}: its vectors were not trained "
        "to be cut there"
    )


def written(vectors: Vectors, form: str) -> list[Any]:
    """The rows as JSON has them: numbers, or base64 of float32, little-endian."""
    if form == "float":
        return list(vectors.tolist())
    return [base64.b64encode(row.tobytes()).decode("ascii") for row in np.asarray(vectors, "<f4")]


def _json(value: Any, headers: Mapping[str, str] | None = None) -> Response:
    return wire_response(pydantic_core.to_json(value), headers)
