"""Collections for agents at `/mcp`, under the rights of the key that they show."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import quote

from fastapi import FastAPI
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from services.agent_tools import (
    AgentApp,
    FoundDocument,
    Library,
    WholeDocument,
    agent_server,
    found_document,
    link_of,
    read_document,
)
from services.auth import caller_of, is_loopback
from services.frame import Lifespan
from services.gateway.names import possible
from services.gateway.recording import Recorder
from services.gateway.search import Search
from services.http import plain_problem, problem_response, request_id_of
from services.ports import RecallPort
from services.wire import SearchRequest
from services.wire_collections import WireDocument

PATHS = ("/mcp", "/mcp/{collection}")


class GatewayLibrary:
    """One caller's view of one collection."""

    def __init__(
        self, search: Search, recall: RecallPort, recorder: Recorder, collection: str, request: Request
    ) -> None:
        self._search = search
        self._recall = recall
        self._recorder = recorder
        self._collection = collection
        self._request = request

    async def search(self, query: str) -> list[FoundDocument]:
        caller = caller_of(self._request)
        body = SearchRequest(query=query, collection=self._collection, group_by="document")
        with self._recorder.asked("search", body, self._request, caller) as record:
            found = await self._search(body, caller.rights)
            record.searched(found)
        return [found_document(each, self._url(each.document_id, each.source)) for each in found.results(explain=False)]

    async def fetch(self, document_id: str) -> WholeDocument:
        found = await self._recall.document(self._collection, document_id, caller_of(self._request).rights)
        wire = WireDocument.of(found, whole=False)
        return read_document(wire, self._url(document_id, wire.source))

    def _url(self, document_id: str, source: str) -> str:
        path = f"v1/collections/{quote(self._collection)}/documents/{quote(document_id)}"
        return link_of(source, f"{self._request.base_url}{path}")


def agents_app(search: Search, recall: RecallPort, recorder: Recorder, *, default: str, version: str) -> AgentApp:
    """``default`` is the collection of `/mcp` itself."""

    def library_of(request: Request | None) -> Library:
        assert request is not None, "over HTTP there is always a request"
        collection = possible(request.path_params.get("collection", default))
        return GatewayLibrary(search, recall, recorder, collection, request)

    return AgentApp(lambda: agent_server(library_of, version))


def add_agents(app: FastAPI, agents: AgentApp) -> None:
    for path in PATHS:
        endpoint = _Endpoint(path, agents)
        # No state, so there is no stream to open by GET and no session to DELETE: 405, as the protocol has it.
        app.router.routes.append(Route(path, endpoint, methods=["POST"], include_in_schema=False))


@dataclass(frozen=True, slots=True)
class _Endpoint:
    """``app`` at a path, by which metrics count it: FastAPI says so of its own routes alone.

    Who is let in without a key must ask by a name of this machine: a page of the web whose own name was
    made to point here (DNS rebinding) sends that name, and no key would stop it.
    """

    path: str
    app: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["route"] = self
        request = Request(scope)
        if not caller_of(request).key_id and not is_loopback(request.url.hostname or ""):
            detail = "without a key this is for programs of this machine: ask 127.0.0.1 or localhost"
            refusal = problem_response(plain_problem("forbidden", detail, request_id_of(request)))
            await refusal(scope, receive, send)
            return
        await self.app(scope, receive, send)


def ending_with(agents: AgentApp, lifespan: Lifespan) -> Lifespan:
    """``lifespan``, at whose end the agents' connections are closed too."""

    @asynccontextmanager
    async def span(app: FastAPI) -> AsyncIterator[None]:
        async with lifespan(app):
            try:
                yield
            finally:
                await agents.aclose()

    return span
