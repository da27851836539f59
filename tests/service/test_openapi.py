"""What the OpenAPI document promises, the gateway keeps: requests drawn from it by schemathesis, the same each time."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, assume, given, settings

from tests.live import LiveServer, Stage
from tests.service.conftest import Gateway

pytestmark = pytest.mark.slow  # the library alone takes seconds to import

OPERATIONS = (
    "POST /v1/search",
    "POST /v1/answer",
    "POST /v1/feedback",
    "GET /v1/collections",
    "GET /v1/collections/{collection}",
    "PUT /v1/collections/{collection}",
    "DELETE /v1/collections/{collection}",
    "POST /v1/collections/{collection}/_bulk",
    "GET /v1/collections/{collection}/documents/{document_id}",
    "PUT /v1/collections/{collection}/documents/{document_id}",
    "DELETE /v1/collections/{collection}/documents/{document_id}",
    "GET /v1/aliases",
    "PUT /v1/aliases/{alias}",
    "DELETE /v1/aliases/{alias}",
    "POST /v1/rerank",
    "POST /v2/rerank",
    "POST /rerank",
    "POST /v1/embeddings",
    "POST /embed",
    "POST /retrieval",
    "GET /v1/models",
    "GET /v1/models/{model}",
    "GET /info",
    "GET /health",
    "GET /livez",
    "GET /readyz",
    "GET /metrics",
)

BOUNDED = settings(
    max_examples=20, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)


@pytest.fixture
def operations(stage: tuple[Stage, LiveServer, object]) -> dict[str, Any]:
    on, server, _ = stage
    on.app = Gateway().app
    schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json", timeout=60)
    found = [result.ok() for result in schema.get_all_operations()]
    return {operation.label: operation for operation in found}


def test_these_are_all_the_operations(operations: dict[str, Any]) -> None:
    assert sorted(operations) == sorted(OPERATIONS)


def beyond_the_schema(case: Any) -> bool:
    """What no schema can say: a cursor must be one that was given out, one channel count, a size go with groups,
    a constant or a scale with its method of fusion, a threshold with scores that are probabilities, other words with a
    model that writes them.

    Nor to which lengths a model's vectors can be cut, and which values an operator of Dify's compares.
    """
    body = case.body if isinstance(case.body, dict) else {}
    ranking = body.get("ranking")
    fusion = ranking.get("fusion") if isinstance(ranking, dict) else None
    weights = fusion.get("weights") if isinstance(fusion, dict) else None
    silent = isinstance(weights, dict) and len(weights) == 2 and not any(weights.values())
    fusion = fusion if isinstance(fusion, dict) else {}
    method = fusion.get("method") or "rrf"
    belongs = {"k": "rrf", "normalisation": "weighted"}
    stray = any(fusion.get(name) is not None and method != of for name, of in belongs.items())
    sized = body.get("group_size") is not None and body.get("group_by") is None
    depends = any(body.get(name) is not None for name in ("cursor", "dimensions", "metadata_condition"))
    uncalibrated = isinstance(ranking, dict) and ranking.get("min_probability") is not None
    reading = body.get("understanding")
    modelless = isinstance(reading, dict) and reading.get("rewrite") not in (None, "off")
    return depends or silent or sized or stray or uncalibrated or modelless


DRAWN = [label for label in OPERATIONS if "_bulk" not in label]
"""All but the one whose body is lines, which no schema describes: test_documents.py sends those."""


@pytest.mark.parametrize("label", DRAWN)
def test_what_the_document_allows_is_answered_as_it_says(operations: dict[str, Any], label: str) -> None:
    @given(case=operations[label].as_strategy(generation_mode=schemathesis.GenerationMode.POSITIVE))
    @BOUNDED
    def answered(case: Any) -> None:
        assume(not beyond_the_schema(case))
        case.call_and_validate(timeout=60)

    answered()


@pytest.mark.parametrize("label", [label for label in DRAWN if "{" in label or label.startswith("POST")])
def test_what_the_document_forbids_is_refused_as_it_says(operations: dict[str, Any], label: str) -> None:
    @given(case=operations[label].as_strategy(generation_mode=schemathesis.GenerationMode.NEGATIVE))
    @BOUNDED
    def refused(case: Any) -> None:
        response = case.call(timeout=60)
        if response.status_code != 413:  # too large is a refusal too, before anybody looks what is in it
            case.validate_response(response)

    refused()
