"""The OpenAPI document, telling the limits that this very server is set to, and how a key is shown."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from services.examples import FILTERS
from services.gateway.plan import SearchLimits
from services.http import PROBLEM_TYPE
from services.middleware import GUARDED
from services.peers.limits import PeerSettings

KEYS: dict[str, dict[str, str]] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "an API key, once the server has any"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "the same"},
}


_VALUE: dict[str, Any] = {
    "anyOf": [
        {"type": "string"},
        {"type": "boolean"},
        {"type": "number", "minimum": -(2**63), "maximum": 2**63 - 1},
    ]
}


def _comparison(operators: list[str], value: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["type", "key", "value"],
        "additionalProperties": False,
        "properties": {
            "type": {"type": "string", "enum": operators},
            "key": {"type": "string", "minLength": 1},
            "value": value,
        },
    }


FILTER: dict[str, Any] = {
    "description": "A comparison of a metadata key with a value, or `and` or `or` over filters",
    "examples": [FILTERS],
    "oneOf": [
        _comparison(["eq", "ne", "gt", "gte", "lt", "lte"], _VALUE),
        _comparison(["in", "nin"], {"type": "array", "items": _VALUE}),
        {
            "type": "object",
            "required": ["type", "filters"],
            "additionalProperties": False,
            "properties": {
                "type": {"type": "string", "enum": ["and", "or"]},
                "filters": {"type": "array", "minItems": 1, "items": {"$ref": "#/components/schemas/Filter"}},
            },
        },
    ],
}
"""What `retrieval.filters` reads; a tree of trees is more than a model's fields can say."""


def limited_openapi(app: FastAPI, limits: SearchLimits, peers: PeerSettings) -> None:
    """Replace ``app.openapi`` by one that is true: settings as limits, problems as the only failures."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = get_openapi(
                title=app.title, version=app.version, description=app.description, routes=app.routes, tags=None
            )
            schemas = schema["components"]["schemas"]
            schemas["Filter"] = FILTER
            for name in ("SearchRequest", "AnswerRequest"):
                properties = schemas[name]["properties"]
                properties["filters"]["anyOf"] = [{"$ref": "#/components/schemas/Filter"}, {"type": "null"}]
                properties["query"]["maxLength"] = limits.max_query_chars
                _integer(properties["k"]).update(maximum=limits.max_k)
                properties["k"]["default"] = limits.default_k
                properties["collection"]["default"] = limits.default_collection
            _peers(schemas, limits, peers)
            for unused in ("HTTPValidationError", "ValidationError"):
                schemas.pop(unused, None)
            schema["components"]["securitySchemes"] = KEYS
            for path, operations in schema["paths"].items():
                for operation in operations.values():
                    _problems_only(operation["responses"])
                    if f"{path}/".startswith(GUARDED):
                        operation["security"] = [{name: []} for name in KEYS] + [{}]
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to change the document


def _peers(schemas: dict[str, Any], limits: SearchLimits, peers: PeerSettings) -> None:
    """The same for the interfaces of others, those of them that are served."""
    dify = schemas["DifyRequest"]["properties"]
    dify["query"]["maxLength"] = limits.max_query_chars
    schemas["RetrievalSetting"]["properties"]["top_k"]["maximum"] = limits.max_k
    for name, field in (("JinaRequest", "documents"), ("CohereRequest", "documents"), ("TeiRerankRequest", "texts")):
        if name in schemas:
            schemas[name]["properties"][field]["maxItems"] = peers.max_texts
    for name, field in (("TeiEmbedRequest", "inputs"), ("OpenAIRequest", "input")):
        if name in schemas:
            texts = {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": peers.max_texts}
            # Token ids are read so that they can be refused in words.
            schemas[name]["properties"][field]["anyOf"] = [{"type": "string"}, texts]


def _integer(field: dict[str, Any]) -> dict[str, Any]:
    """The integer half of ``integer | null``."""
    half: dict[str, Any] = next(half for half in field["anyOf"] if half.get("type") == "integer")
    return half


def _problems_only(responses: dict[str, Any]) -> None:
    """FastAPI writes its own validation error and ``application/json`` for models; ours are problems."""
    for status, response in responses.items():
        if status >= "400":
            response["content"] = {PROBLEM_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
