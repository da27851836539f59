"""Dify's external knowledge API: a collection as a knowledge base, under the rights of the key that Dify was given."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from retrieval.errors import InvalidRequest
from retrieval.filters import NO_FIELDS, Fields, FieldType
from retrieval.metadata_values import instant
from retrieval.types import Candidate
from services.auth import AnyCaller
from services.frame import wire_response
from services.gateway.names import possible
from services.gateway.recording import Recorder
from services.gateway.search import Search
from services.http import PROBLEM_RESPONSES
from services.peers.wire import Peer
from services.ports import RecallPort, Rights
from services.wire import Query, Result, SearchRequest, WireMetadata

Filter = dict[str, Any]
Value = str | bool | int | float


class RetrievalSetting(Peer):
    top_k: Annotated[int, Field(ge=1, description="so many passages at most")]
    score_threshold: Annotated[
        float | None, Field(ge=0, le=1, description="leave out what scores less; 0 leaves out nothing")
    ] = 0.0


class Condition(Peer):
    name: str | Annotated[list[str], Field(min_length=1)]
    comparison_operator: Annotated[str, Field(json_schema_extra=lambda schema: schema.update(enum=operators()))]
    value: Value | list[Value] | None = None


class MetadataCondition(Peer):
    logical_operator: Literal["and", "or"] = "and"
    conditions: list[Condition] | None = None


class DifyRequest(Peer):
    knowledge_id: Annotated[str, Field(description="the collection")]
    query: Query
    retrieval_setting: RetrievalSetting
    metadata_condition: MetadataCondition | None = None

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "knowledge_id": "docs",
                    "query": "How do I install it?",
                    "retrieval_setting": {"top_k": 5, "score_threshold": 0.0},
                }
            ]
        }
    )


class DifyRecord(Peer):
    content: str
    score: float
    title: str
    metadata: WireMetadata


class DifyRecords(Peer):
    records: list[DifyRecord]


def dify_router(search: Search, recall: RecallPort, recorder: Recorder) -> APIRouter:
    api = APIRouter(tags=["search"], responses=PROBLEM_RESPONSES)

    @api.post(
        "/retrieval", summary="Find passages, as Dify asks an external knowledge base", response_model=DifyRecords
    )
    async def retrieval(body: DifyRequest, request: Request, caller: AnyCaller) -> Response:
        asked = search_of(body, await _fields(recall, body, caller.rights))
        with recorder.asked("search", asked, request, caller) as record:
            found = await search(asked, caller.rights)
            record.searched(found)
        least = body.retrieval_setting.score_threshold or 0.0
        kept = [each for each in found.page.candidates if _reaches(each, least)]
        records = [_record(Result.of(each, explain=False)) for each in kept]
        return wire_response(DifyRecords(records=records).model_dump_json(), record.headers)

    return api


async def _fields(recall: RecallPort, body: DifyRequest, rights: Rights) -> Fields:
    """The types that the collection declares, where a condition's meaning depends on them."""
    conditions = (body.metadata_condition and body.metadata_condition.conditions) or []
    if all(_operator(each) != "not empty" for each in conditions):
        return NO_FIELDS
    return (await recall.view(possible(body.knowledge_id), rights)).fields


def search_of(body: DifyRequest, fields: Fields = NO_FIELDS) -> SearchRequest:
    """The search that is asked for; ``fields`` are the collection's declared ones.

    Raises CollectionNotFound, InvalidRequest.
    """
    return SearchRequest(
        query=body.query,
        collection=possible(body.knowledge_id),
        k=body.retrieval_setting.top_k,
        filters=filter_of(body.metadata_condition, fields),
    )


def filter_of(condition: MetadataCondition | None, fields: Fields = NO_FIELDS) -> Filter | None:
    """Our filter tree for Dify's conditions; None when there are none. Raises InvalidRequest."""
    if condition is None or not condition.conditions:
        return None
    filters = [
        _translated(each, fields, f"metadata_condition.conditions[{at}]")
        for at, each in enumerate(condition.conditions)
    ]
    return _joined(condition.logical_operator, filters)


def operators() -> list[str]:
    """What can be looked up."""
    return [*_OPERATORS, "not empty"]


def _operator(condition: Condition) -> str:
    return condition.comparison_operator.strip().lower()


def _translated(condition: Condition, fields: Fields, place: str) -> Filter:
    """A condition on several names is met when it is for one of them; one that denies, when it is for all."""
    names = [condition.name] if isinstance(condition.name, str) else condition.name
    operator = _operator(condition)
    if operator == "not empty":
        return _joined("or", [_present(name, fields) for name in names])
    translate = _OPERATORS.get(operator)
    if translate is None:
        raise InvalidRequest(
            f"{place}.comparison_operator: {condition.comparison_operator!r} cannot be looked up; there are "
            f"{', '.join(operators())}"
        )
    denies = operator in ("is not", "≠", "not in")
    return _joined("and" if denies else "or", [translate(name, condition.value, f"{place}.value") for name in names])


def _joined(how: str, filters: list[Filter]) -> Filter:
    return filters[0] if len(filters) == 1 else {"type": how, "filters": filters}


Translate = Callable[[str, object, str], Filter]


def _compared(kind: str, read: Callable[[object, str], Value]) -> Translate:
    return lambda name, value, place: {"type": kind, "key": name, "value": read(value, place)}


def _among(kind: str) -> Translate:
    return lambda name, value, place: {"type": kind, "key": name, "value": _listed(value, place)}


def _present(name: str, fields: Fields) -> Filter:
    """Any value of the declared type; of any type where none is declared."""
    declared = fields.get(name)
    some = [each for kind, values in _ANY.items() if declared in (None, kind) for each in values]
    if declared is None:  # a date is a text there
        some = [each for each in some if each not in _ANY["date"]]
    return _joined("or", [{"type": kind, "key": name, "value": value} for kind, value in some])


_ANY: Mapping[FieldType, Sequence[tuple[str, object]]] = {
    "keyword": [("gte", "")],
    "number": [("gte", 0), ("lt", 0)],
    "date": [("gte", "1970-01-01"), ("lt", "1970-01-01")],
    "boolean": [("in", [True, False])],
}


def _as_given(value: object, place: str) -> Value:
    if not isinstance(value, Value):
        raise InvalidRequest(f"{place}: one text, number or truth value")
    return value


def _number(value: object, place: str) -> Value:
    """A number, which Dify may send as text."""
    if isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            pass
        try:
            value = float(value)
        except ValueError:
            value = None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InvalidRequest(f"{place}: a number, which this operator compares with")
    return value


def _date(value: object, place: str) -> Value:
    """An ISO 8601 date, or seconds where the metadata holds such."""
    if isinstance(value, str) and instant(value) is not None:
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    raise InvalidRequest(f"{place}: a date such as 2024-05-31 or 2024-05-31T10:00:00Z, or a number")


def _listed(value: object, place: str) -> list[Value]:
    if isinstance(value, str):
        return [part for part in (each.strip() for each in value.split(",")) if part]
    if isinstance(value, Sequence):
        return [_as_given(each, place) for each in value]
    raise InvalidRequest(f"{place}: a list, or texts with commas")


_OPERATORS: Mapping[str, Translate] = {
    "is": _compared("eq", _as_given),
    "is not": _compared("ne", _as_given),
    "in": _among("in"),
    "not in": _among("nin"),
    "=": _compared("eq", _number),
    "≠": _compared("ne", _number),
    ">": _compared("gt", _number),
    "<": _compared("lt", _number),
    "≥": _compared("gte", _number),
    "≤": _compared("lte", _number),
    "before": _compared("lt", _date),
    "after": _compared("gt", _date),
}
"""Those of Dify that our index can look up; parts of texts and the absence of a key are none of them."""


def _reaches(candidate: Candidate, least: float) -> bool:
    """Whether a result is worth ``least``, a probability. One that has none, for nothing judged it, is let through:
    a sum of reciprocal ranks is far below any threshold, and with the reranker gone nothing would be left."""
    fused = candidate.stages.get("fused")
    unjudged = candidate.scored_by == "fused" and fused is not None and candidate.score == fused.score
    return unjudged or candidate.score >= least


def _record(result: Result) -> DifyRecord:
    content = f"{result.context}\n{result.text}" if result.context else result.text
    about: WireMetadata = {"document_id": result.document_id, "passage_id": result.passage_id, "source": result.source}
    return DifyRecord(
        content=content,
        score=result.score,
        title=result.title or result.document_id,
        metadata={**about, **result.metadata},
    )
