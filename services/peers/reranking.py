"""Rerank endpoints for clients of Jina, Cohere and text-embeddings-inference, over one reranker."""

from __future__ import annotations

import math
import uuid

from fastapi import APIRouter
from pydantic import TypeAdapter
from starlette.requests import Request
from starlette.responses import Response

from retrieval.errors import ModelNotFound
from services.frame import wire_response
from services.http import PROBLEM_RESPONSES
from services.leaving import unless_client_leaves
from services.peers.limits import PeerSettings
from services.peers.ports import ScoreCall, Scored, ScorePort, ServedModel
from services.peers.wire import (
    CohereMeta,
    CohereRequest,
    CohereResponse,
    CohereResult,
    CohereTokens,
    CohereUnits,
    CohereVersion,
    JinaRequest,
    JinaResponse,
    JinaResult,
    JinaUsage,
    TeiRank,
    TeiRerankRequest,
    TextDocument,
)

RERANK_PATHS = ("/v1/rerank", "/v2/rerank", "/rerank")

_UNIT = 100
"""Texts that Cohere bills as one search."""

_RANKS = TypeAdapter(list[TeiRank])


def rerank_router(scores: ScorePort, settings: PeerSettings) -> APIRouter:
    api = APIRouter(tags=["models"], responses=PROBLEM_RESPONSES)

    @api.post("/v1/rerank", summary="Rerank texts, as Jina does", response_model=JinaResponse)
    async def jina(body: JinaRequest, request: Request) -> Response:
        model = await named(scores, body.model)
        settings.check("documents", body.texts, body.query)
        scored = await unless_client_leaves(request, scores.score(ScoreCall(body.query, body.texts)))
        results = [
            JinaResult(
                index=at,
                relevance_score=score,
                document=TextDocument(text=body.texts[at]) if body.return_documents else None,
            )
            for at, score in ranked(scored)[: body.top_n]
        ]
        usage = JinaUsage(total_tokens=scored.tokens, prompt_tokens=scored.tokens)
        meta = _meta("1", scored)
        found = JinaResponse(id=str(uuid.uuid4()), model=model.name, usage=usage, results=results, meta=meta)
        return wire_response(found.model_dump_json(exclude_none=True))

    @api.post("/v2/rerank", summary="Rerank texts, as Cohere does", response_model=CohereResponse)
    async def cohere(body: CohereRequest, request: Request) -> Response:
        await named(scores, body.model)
        settings.check("documents", body.documents, body.query)
        call = ScoreCall(body.query, tuple(body.documents), text_tokens=body.max_tokens_per_doc)
        scored = await unless_client_leaves(request, scores.score(call))
        results = [CohereResult(index=at, relevance_score=score) for at, score in ranked(scored)[: body.top_n]]
        found = CohereResponse(id=str(uuid.uuid4()), results=results, meta=_meta("2", scored))
        return wire_response(found.model_dump_json())

    @api.post("/rerank", summary="Rerank texts, as text-embeddings-inference does", response_model=list[TeiRank])
    async def tei(body: TeiRerankRequest, request: Request) -> Response:
        settings.check("texts", body.texts, body.query)
        call = ScoreCall(body.query, tuple(body.texts), truncate=body.truncate is not False)
        scored = await unless_client_leaves(request, scores.score(call))
        ranks = [
            TeiRank(
                index=at,
                text=body.texts[at] if body.return_text else None,
                score=scored.logits[at] if body.raw_scores else score,
            )
            for at, score in ranked(scored)
        ]
        return wire_response(_RANKS.dump_json(ranks, exclude_none=True), {"X-Compute-Tokens": str(scored.tokens)})

    return api


async def named(scores: ScorePort, name: str | None) -> ServedModel:
    """The reranker, when it is the one that was asked for. Raises ModelNotFound."""
    return checked(await scores.model(), name)


def checked(model: ServedModel, name: str | None) -> ServedModel:
    """``model``, unless another was asked for. Raises ModelNotFound."""
    if name and not model.answers_to(name):
        raise ModelNotFound(f"the model `{name}` does not exist here; the {model.kind} is `{model.name}`")
    return model


def ranked(scored: Scored) -> list[tuple[int, float]]:
    """Places and scores from 0 to 1, best first; ties in the order the texts came."""
    order = sorted(range(len(scored.logits)), key=lambda at: -scored.logits[at])
    return [(at, probability(scored.logits[at])) for at in order]


def probability(logit: float) -> float:
    """The logistic function; what is far out would overflow unclipped."""
    return 1 / (1 + math.exp(-min(60.0, max(-60.0, logit))))


def _meta(version: str, scored: Scored) -> CohereMeta:
    return CohereMeta(
        api_version=CohereVersion(version=version),
        billed_units=CohereUnits(search_units=math.ceil(len(scored.logits) / _UNIT)),
        tokens=CohereTokens(input_tokens=scored.tokens),
    )
