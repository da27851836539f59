"""Routes that read and write single documents, and `_bulk`, which writes many."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from retrieval.changes import Outcome
from retrieval.errors import CollectionNotFound, Conflict, DocumentNotFound, InvalidRequest
from services.auth import AnyCaller, Writer
from services.examples import BULK
from services.frame import wire_response
from services.gateway.bulk import DocumentId, read_bulk, told
from services.gateway.names import Name
from services.http import PROBLEM_RESPONSES
from services.ports import NewCollection, Put, RecallPort, Remove, Written
from services.wire_collections import BulkResponse, DocumentBody, DocumentWritten, Version, WireDocument

BULK_PATH = "/v1/collections/*/_bulk"
DOCUMENT_PATH = "/v1/collections/*/documents/**"

NDJSON = "application/x-ndjson"
_BODY = {
    "requestBody": {
        "required": True,
        "content": {NDJSON: {"schema": {"type": "string"}, "example": BULK}},
    }
}

GivenVersion = Annotated[
    Version, Query(description="the document's own new version, greater than the stored one; 0 counts on")
]
IfVersion = Annotated[
    Version | None, Query(description="refuse unless this is the stored version; 0: unless there is none")
]


def documents_router(recall: RecallPort) -> APIRouter:
    api = APIRouter(prefix="/v1/collections", tags=["documents"], responses=PROBLEM_RESPONSES)
    _bulk(api, recall)
    _one(api, recall)
    return api


def _bulk(api: APIRouter, recall: RecallPort) -> None:
    @api.post(
        "/{collection}/_bulk",
        summary="Write many documents: NDJSON, each action beside its document; what is refused leaves the rest alone",
        response_model=BulkResponse,
        openapi_extra=_BODY,
    )
    async def bulk(collection: Name, request: Request, _: Writer) -> Response:
        began = time.monotonic()
        items = await asyncio.to_thread(read_bulk, await request.body())
        changes = [item.change for item in items if item.change is not None]
        written = await stored(recall, collection, changes) if changes else Written("", ())
        outcomes = iter(written.outcomes)
        answers = [told(item, None if item.change is None else next(outcomes)) for item in items]
        errors = any("error" in about for answer in answers for about in answer.values())
        took = round((time.monotonic() - began) * 1000)
        body = BulkResponse(took=took, errors=errors, items=answers, generation=written.generation)
        return wire_response(body.model_dump_json())


def _one(api: APIRouter, recall: RecallPort) -> None:
    path = "/{collection}/documents/{document_id:path}"

    @api.get(path, summary="One document", response_model=WireDocument)
    async def document(collection: Name, document_id: str, caller: AnyCaller) -> Response:
        found = await recall.document(collection, document_id, caller.rights)
        return wire_response(WireDocument.of(found, whole=caller.may_write).model_dump_json())

    @api.put(
        path,
        summary="Write one document in place of the one with its id",
        response_model=DocumentWritten,
        responses={201: {"description": "There was none before", "model": DocumentWritten}},
    )
    async def put(
        collection: Name,
        document_id: DocumentId,
        body: DocumentBody,
        _: Writer,
        version: GivenVersion = 0,
        if_version: IfVersion = None,
    ) -> Response:
        change = body.put(document_id, version, if_version)
        return _written(await stored(recall, collection, [change]))

    @api.delete(path, summary="Remove one document", response_model=DocumentWritten)
    async def delete(
        collection: Name, document_id: DocumentId, _: Writer, version: GivenVersion = 0, if_version: IfVersion = None
    ) -> Response:
        return _written(await stored(recall, collection, [Remove(document_id, version, if_version)]))


async def stored(recall: RecallPort, collection: str, changes: Sequence[Put | Remove]) -> Written:
    """Write a batch; one that brings a document makes the collection, by the server's settings, where there is none."""
    try:
        return await recall.write(collection, changes)
    except CollectionNotFound:
        if not any(isinstance(change, Put) for change in changes):
            raise
    await recall.create(collection, NewCollection())
    return await recall.write(collection, changes)


def _written(written: Written) -> Response:
    """The answer to a batch of one. Raises what its outcome stands for."""
    outcome = written.outcomes[0]
    if not outcome.accepted:
        raise _refusal(outcome)
    body = DocumentWritten(
        document_id=outcome.document_id, version=outcome.version, generation=written.generation
    ).model_dump_json()
    return Response(body, outcome.status, media_type="application/json")


def _refusal(outcome: Outcome) -> DocumentNotFound | Conflict | InvalidRequest:
    match outcome.status:
        case 404:
            return DocumentNotFound(f"no document has the id {outcome.document_id!r}")
        case 409:
            return Conflict(outcome.reason)
    return InvalidRequest(outcome.reason)
