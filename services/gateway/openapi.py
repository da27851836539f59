"""The OpenAPI document, telling the limits that this very server is set to."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from services.gateway.search import SearchLimits
from services.http import PROBLEM_TYPE


def limited_openapi(app: FastAPI, limits: SearchLimits) -> None:
    """Replace ``app.openapi`` by one that is true: settings as limits, problems as the only failures."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = get_openapi(
                title=app.title, version=app.version, description=app.description, routes=app.routes, tags=None
            )
            schemas = schema["components"]["schemas"]
            for name in ("SearchRequest", "AnswerRequest"):
                properties = schemas[name]["properties"]
                properties["query"]["maxLength"] = limits.max_query_chars
                _integer(properties["k"]).update(maximum=limits.max_k)
                properties["k"]["default"] = limits.default_k
                properties["collection"]["default"] = limits.default_collection
            for unused in ("HTTPValidationError", "ValidationError"):
                schemas.pop(unused, None)
            for path in schema["paths"].values():
                for operation in path.values():
                    _problems_only(operation["responses"])
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to change the document


def _integer(field: dict[str, Any]) -> dict[str, Any]:
    """The integer half of ``integer | null``."""
    half: dict[str, Any] = next(half for half in field["anyOf"] if half.get("type") == "integer")
    return half


def _problems_only(responses: dict[str, Any]) -> None:
    """FastAPI writes its own validation error and ``application/json`` for models; ours are problems."""
    for status, response in responses.items():
        if status >= "400":
            response["content"] = {PROBLEM_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
