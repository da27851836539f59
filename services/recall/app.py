"""The recall service: reads collections for gateways, over HTTP."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from services.frame import INTERNAL_BODY_BYTES, Lifespan, framed_app, no_lifespan, read_body, wire_response
from services.hops import COLLECTION, COLLECTIONS, DOCUMENT, RECALL_CALL, RECALLED
from services.ports import RecallPort
from services.telemetry import Telemetry


def create_app(recall: RecallPort, telemetry: Telemetry, *, lifespan: Lifespan = no_lifespan) -> FastAPI:
    """``recall`` behind HTTP; what it raises leaves as a problem that the client turns back."""
    app = framed_app(
        "Riddle recall",
        ready=recall.ready,
        telemetry=telemetry,
        body_limit=INTERNAL_BODY_BYTES,
        lifespan=lifespan,
    )

    @app.post("/v1/recall")
    async def recall_(request: Request) -> Response:
        found = await recall.recall(await read_body(request, RECALL_CALL))
        for stage, milliseconds in found.timings_ms.items():
            telemetry.observe_stage(stage, milliseconds)
        return wire_response(RECALLED.dump_json(found))

    @app.get("/v1/collections")
    async def collections() -> Response:
        return wire_response(COLLECTIONS.dump_json(await recall.collections()))

    @app.get("/v1/collections/{collection}")
    async def describe(collection: str) -> Response:
        return wire_response(COLLECTION.dump_json(await recall.describe(collection)))

    @app.delete("/v1/collections/{collection}")
    async def drop(collection: str) -> Response:
        await recall.drop(collection)
        return wire_response("null")

    @app.get("/v1/collections/{collection}/documents/{document_id:path}")
    async def document(collection: str, document_id: str) -> Response:
        return wire_response(DOCUMENT.dump_json(await recall.document(collection, document_id)))

    return app
