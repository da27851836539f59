"""What models a server has, told as OpenAI and as text-embeddings-inference do, and whether they are there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Path
from starlette.requests import Request
from starlette.responses import Response

from retrieval.errors import ModelMissing, ModelNotFound, RiddleError, Unavailable
from services.frame import wire_response
from services.http import PROBLEM_RESPONSES, Problem, plain_problem, problem_response, request_id_of
from services.peers.limits import PeerSettings
from services.peers.ports import EmbedPort, ScorePort, ServedModel
from services.peers.wire import OpenAIModel, OpenAIModels, TeiInfo

Ready = Callable[[], Awaitable[Mapping[str, str]]]


def models_router(
    embed: EmbedPort | None, scores: ScorePort | None, settings: PeerSettings, ready: Ready, version: str
) -> APIRouter:
    """``ready`` names each part of the server and says ``ok`` or why not."""
    api = APIRouter(tags=["models"], responses=PROBLEM_RESPONSES)
    ports = [port for port in (embed, scores) if port is not None]

    @api.get("/v1/models", summary="The models, as OpenAI lists them", response_model=OpenAIModels)
    async def models() -> Response:
        found, _ = await _present(ports)
        listed = [each for model in found for each in _cards(model)]
        return wire_response(OpenAIModels(data=listed).model_dump_json())

    @api.get("/v1/models/{model:path}", summary="One model by any of its names", response_model=OpenAIModel)
    async def one(model: Annotated[str, Path(max_length=200)]) -> Response:
        found, away = await _present(ports)
        for each in found:
            if each.answers_to(model):
                return wire_response(_card(each, each.name).model_dump_json())
        if away is not None:  # it may be its model
            raise away
        raise ModelNotFound(f"the model `{model}` does not exist here; `GET /v1/models` lists those that do")

    @api.get("/info", summary="The model, as text-embeddings-inference tells of it", response_model=TeiInfo)
    async def info() -> Response:
        models, away = await _present(ports)
        if not models:
            raise away or ModelMissing("no model is here: `riddle doctor` says what is missing")
        return wire_response(_info(models, settings, version).model_dump_json())

    @api.get(
        "/health",
        summary="Whether the models are there, for clients of text-embeddings-inference",
        response_class=Response,
        responses={503: {"description": "A part is not there", "model": Problem}},
    )
    async def health(request: Request) -> Response:
        waiting = [f"{name}: {state}" for name, state in (await ready()).items() if state != "ok"]
        if not waiting:
            return Response(status_code=200)
        problem = plain_problem("unavailable", f"unhealthy: {'; '.join(waiting)}", request_id_of(request))
        return problem_response(problem.model_copy(update={"title": "Not ready"}), path=request.url.path)

    return api


async def _present(ports: list[EmbedPort | ScorePort]) -> tuple[list[ServedModel], Unavailable | None]:
    """The models that can be had now, and why one that there is cannot."""
    found, away = list[ServedModel](), None
    for port in ports:
        try:
            found.append(await port.model())
        except Unavailable as error:
            away = error
        except RiddleError:  # missing, or another server's: `riddle doctor` says why
            continue
    return found, away


def _cards(model: ServedModel) -> list[OpenAIModel]:
    return [_card(model, name) for name in (model.name, *model.shown)]


def _card(model: ServedModel, name: str) -> OpenAIModel:
    return OpenAIModel(id=name, created=model.created)


def _info(models: list[ServedModel], settings: PeerSettings, version: str) -> TeiInfo:
    first = models[0]
    labels: dict[str, Any] = {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}
    encodes = first.kind == "encoder"
    return TeiInfo(
        model_id=first.name,
        model_sha=first.fingerprint or None,
        model_dtype="float32",
        model_type={"embedding": {"pooling": first.pooling}} if encodes else {"reranker": labels},
        max_concurrent_requests=max(1, settings.queue_tokens // first.max_tokens),
        max_input_length=first.max_tokens,
        max_batch_tokens=settings.batch_tokens,
        max_batch_requests=settings.batches.batch_texts,
        max_client_batch_size=settings.max_texts,
        auto_truncate=True,
        tokenization_workers=2,
        version=version,
        reranker=models[1].name if len(models) > 1 else None,
    )
