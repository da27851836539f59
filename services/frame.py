"""What every service has, whatever it does: health, metrics, problems, request ids, an orderly start and end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypeVar

from fastapi import FastAPI
from pydantic import TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from retrieval.errors import BadSyntax, InvalidRequest
from services.auth import Doorkeeper
from services.http import Problem, add_problem_handlers, field_errors, plain_problem, problem_response, request_id_of
from services.middleware import add_middleware
from services.telemetry import CONTENT_TYPE, Telemetry
from services.wire import Readiness

T = TypeVar("T")

Ready = Callable[[], Awaitable[Mapping[str, str]]]
Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]

INTERNAL_BODY_BYTES = 64 << 20
"""Limit between our own services, where two hundred long passages may travel at once."""


@asynccontextmanager
async def no_lifespan(_: FastAPI) -> AsyncIterator[None]:
    yield


def framed_app(
    title: str,
    *,
    ready: Ready,
    telemetry: Telemetry,
    body_limit: int,
    body_limits: Mapping[str, int] | None = None,
    door: Doorkeeper | None = None,
    lifespan: Lifespan = no_lifespan,
    description: str = "",
    version: str = "",
) -> FastAPI:
    """An application without routes of its own yet.

    ``ready`` names each part and says ``ok`` or why not; ``body_limits`` gives paths with another limit;
    ``door`` says who may ask for what lies under /v1.
    """
    app = FastAPI(
        title=title,
        description=description,
        version=version or "1",
        lifespan=lifespan,
        redoc_url=None,
        docs_url=None,
        openapi_url="/openapi.json",
    )
    add_problem_handlers(app)
    add_middleware(app, telemetry, body_limit, body_limits, door)

    @app.get("/livez", tags=["operations"], summary="The process runs", response_class=Response)
    async def livez() -> Response:
        return Response("ok\n", media_type="text/plain")

    @app.get(
        "/readyz",
        tags=["operations"],
        summary="Models and index are there: it can answer",
        response_model=Readiness,
        responses={503: {"description": "A part is not ready; `parts` says which and why", "model": Problem}},
    )
    async def readyz(request: Request) -> Response:
        return readiness(await ready(), request_id_of(request))

    @app.get("/metrics", tags=["operations"], summary="Metrics for Prometheus", response_class=Response)
    async def metrics() -> Response:
        return Response(telemetry.render(), media_type=CONTENT_TYPE)

    return app


def readiness(parts: Mapping[str, str], request_id: str) -> Response:
    """200 with the parts when all are ``ok``, else a 503 whose detail names those that are not."""
    if all(state == "ok" for state in parts.values()):
        return wire_response(Readiness(parts=dict(parts)).model_dump_json())
    waiting = "; ".join(f"{name}: {state}" for name, state in parts.items() if state != "ok")
    problem = plain_problem("unavailable", f"not ready: {waiting}", request_id)
    return problem_response(problem.model_copy(update={"parts": dict(parts), "title": "Not ready", "retryable": True}))


def wire_response(body: str | bytes, headers: Mapping[str, str] | None = None) -> Response:
    """JSON that a model has written; not validated a second time."""
    return Response(body, headers=headers, media_type="application/json")


async def read_body(request: Request, adapter: TypeAdapter[T]) -> T:
    """The body as ``adapter`` reads it, between our own services. Raises BadSyntax or InvalidRequest."""
    try:
        return adapter.validate_json(await request.body())
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        if found[0]["type"] == "json_invalid":
            raise BadSyntax(f"the body is not valid JSON: {found[0]['msg']}") from error
        raise InvalidRequest("; ".join(f"{each.field}: {each.message}" for each in field_errors(found))) from error
