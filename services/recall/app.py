"""The recall service: reads and writes collections for gateways, over HTTP."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from services.auth import Doorkeeper
from services.frame import INTERNAL_BODY_BYTES, Lifespan, framed_app, no_lifespan, read_body, wire_response
from services.hops import (
    CHANGES,
    COLLECTION,
    DOCUMENT,
    MADE,
    NAME,
    NEW_COLLECTION,
    RECALL_CALL,
    RECALLED,
    RIGHTS,
    VIEW,
    VIEWS,
    WRITTEN,
)
from services.ports import RecallPort
from services.telemetry import Telemetry


def create_app(
    recall: RecallPort, telemetry: Telemetry, *, lifespan: Lifespan = no_lifespan, door: Doorkeeper | None = None
) -> FastAPI:
    """``recall`` behind HTTP; what it raises leaves as a problem that the client turns back.

    It believes the rights that a gateway states, so none but gateways may come through ``door`` or its
    network. Whatever depends on rights is asked by POST, with them in the body.
    """
    app = framed_app(
        "Riddle recall",
        ready=recall.ready,
        telemetry=telemetry,
        body_limit=INTERNAL_BODY_BYTES,
        lifespan=lifespan,
        door=door,
    )
    _reading(app, recall, telemetry)
    _writing(app, recall)
    return app


def _reading(app: FastAPI, recall: RecallPort, telemetry: Telemetry) -> None:
    @app.post("/v1/recall")
    async def recall_(request: Request) -> Response:
        found = await recall.recall(await read_body(request, RECALL_CALL))
        for stage, milliseconds in found.timings_ms.items():
            telemetry.observe_stage(stage, milliseconds)
        return wire_response(RECALLED.dump_json(found))

    @app.post("/v1/collections")
    async def collections(request: Request) -> Response:
        return wire_response(VIEWS.dump_json(await recall.collections(await read_body(request, RIGHTS))))

    @app.get("/v1/collections/{collection}")
    async def describe(collection: str) -> Response:
        return wire_response(COLLECTION.dump_json(await recall.describe(collection)))

    @app.post("/v1/collections/{collection}")
    async def view(collection: str, request: Request) -> Response:
        return wire_response(VIEW.dump_json(await recall.view(collection, await read_body(request, RIGHTS))))

    @app.post("/v1/collections/{collection}/documents/{document_id:path}")
    async def document(collection: str, document_id: str, request: Request) -> Response:
        rights = await read_body(request, RIGHTS)
        return wire_response(DOCUMENT.dump_json(await recall.document(collection, document_id, rights)))


def _writing(app: FastAPI, recall: RecallPort) -> None:
    @app.post("/v1/collections/{collection}/changes")
    async def write(collection: str, request: Request) -> Response:
        changes = await read_body(request, CHANGES)
        return wire_response(WRITTEN.dump_json(await recall.write(collection, changes)))

    @app.put("/v1/collections/{collection}")
    async def create(collection: str, request: Request) -> Response:
        return wire_response(MADE.dump_json(await recall.create(collection, await read_body(request, NEW_COLLECTION))))

    @app.delete("/v1/collections/{collection}")
    async def drop(collection: str) -> Response:
        await recall.drop(collection)
        return wire_response("null")

    @app.put("/v1/aliases/{alias}")
    async def set_alias(alias: str, request: Request) -> Response:
        await recall.set_alias(alias, await read_body(request, NAME))
        return wire_response("null")

    @app.delete("/v1/aliases/{alias}")
    async def remove_alias(alias: str) -> Response:
        await recall.remove_alias(alias)
        return wire_response("null")
