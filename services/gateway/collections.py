"""Routes of collections and their aliases."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from services.auth import AnyCaller, Caller, Writer
from services.frame import wire_response
from services.gateway.names import Name
from services.http import PROBLEM_RESPONSES
from services.ports import CollectionView, RecallPort
from services.wire_collections import Aliases, AliasRequest, CollectionList, CollectionRequest, WireCollection


def collections_router(recall: RecallPort, default: str) -> APIRouter:
    api = APIRouter(tags=["collections"], responses=PROBLEM_RESPONSES)
    _collections(api, recall, default)
    _aliases(api, recall)
    return api


def _collections(api: APIRouter, recall: RecallPort, default: str) -> None:
    @api.get(
        "/v1/collections", summary="All collections in which this key may see anything", response_model=CollectionList
    )
    async def collections(caller: AnyCaller) -> Response:
        views = await _listed(recall, caller)
        found = [WireCollection.of(view, whole=caller.may_write) for view in views]
        return wire_response(CollectionList(collections=found, default=default).model_dump_json())

    @api.get("/v1/collections/{collection}", summary="One collection", response_model=WireCollection)
    async def one(collection: Name, caller: AnyCaller) -> Response:
        view = await recall.view(collection, caller.rights)
        return wire_response(WireCollection.of(view, whole=caller.may_write).model_dump_json())

    @api.put(
        "/v1/collections/{collection}",
        summary="Make a collection; one that is there and was made alike is left as it is",
        response_model=WireCollection,
        responses={201: {"description": "It was made", "model": WireCollection}},
    )
    async def create(collection: Name, body: CollectionRequest, caller: Writer) -> Response:
        made = await recall.create(collection, body.wanted())
        view = await recall.view(collection, caller.rights)
        answer = WireCollection.of(view, whole=True).model_dump_json()
        return Response(answer, 201 if made else 200, media_type="application/json")

    @api.delete("/v1/collections/{collection}", summary="Remove a collection and its files", status_code=204)
    async def drop(collection: Name, _: Writer) -> Response:
        await recall.drop(collection)
        return Response(status_code=204)


def _aliases(api: APIRouter, recall: RecallPort) -> None:
    @api.get("/v1/aliases", summary="Aliases of the collections that are listed", response_model=Aliases)
    async def aliases(caller: AnyCaller) -> Response:
        views = await _listed(recall, caller)
        found = {alias: view.info.name for view in views for alias in view.aliases}
        return wire_response(Aliases(aliases=dict(sorted(found.items()))).model_dump_json())

    @api.put("/v1/aliases/{alias}", summary="Let a name stand for a collection from now on", response_model=Aliases)
    async def set_alias(alias: Name, body: AliasRequest, _: Writer) -> Response:
        await recall.set_alias(alias, body.collection)
        return wire_response(Aliases(aliases={alias: body.collection}).model_dump_json())

    @api.delete("/v1/aliases/{alias}", summary="Remove an alias; its collection stays", status_code=204)
    async def remove_alias(alias: Name, _: Writer) -> Response:
        await recall.remove_alias(alias)
        return Response(status_code=204)


async def _listed(recall: RecallPort, caller: Caller) -> list[CollectionView]:
    """A key that may not write is told of no collection that holds nothing for it: the name alone may say too much."""
    views = await recall.collections(caller.rights)
    return [view for view in views if caller.may_write or view.info.documents]
