"""How the command line asks: a running server over HTTP, or the collections of a home folder in this process."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol, TypeVar
from urllib.parse import quote

import httpx
from pydantic import TypeAdapter, ValidationError

from generation.events import Citation, Delta, FinalAnswer
from retrieval.errors import GenerationFailed, Unavailable
from services.clients import error_of, problem_error
from services.gateway.answers import EVENT_STREAM, Answers
from services.gateway.search import Search
from services.ports import RecallPort, Rights
from services.wire import (
    AnswerRequest,
    FinalAnswerEvent,
    SearchRequest,
    SearchResponse,
    SearchResultsEvent,
    Wire,
    WireCitation,
)
from services.wire_collections import CollectionList, WireCollection, WireDocument

WireT = TypeVar("WireT", bound=Wire)


@dataclass(frozen=True, slots=True)
class Text:
    """The next piece of an answer."""

    text: str


AnswerEvent = SearchResultsEvent | Text | WireCitation | FinalAnswerEvent


class Asker(Protocol):
    """What `riddle search`, `ask`, `collections` and `mcp` need of a service. Raises RiddleError."""

    async def search(self, request: SearchRequest) -> SearchResponse: ...

    def ask(self, request: AnswerRequest) -> AsyncGenerator[AnswerEvent]: ...

    async def collections(self) -> CollectionList: ...

    async def collection(self, name: str) -> WireCollection: ...

    async def document(self, collection: str, document_id: str) -> WireDocument: ...

    async def delete(self, name: str) -> None: ...


class RemoteAsker:
    """A running server."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def search(self, request: SearchRequest) -> SearchResponse:
        reply = await self._call("POST", "/v1/search", request.model_dump_json())
        return _read(reply, SearchResponse)

    async def ask(self, request: AnswerRequest) -> AsyncGenerator[AnswerEvent]:
        headers = {"Accept": EVENT_STREAM, "Content-Type": "application/json"}
        try:
            async with self._http.stream(
                "POST", "/v1/answer", content=request.model_dump_json(), headers=headers
            ) as response:
                if not response.is_success:
                    await response.aread()
                    raise problem_error(response, "the server")
                name = "message"
                async for line in response.aiter_lines():
                    if line.startswith("event: "):
                        name = line.removeprefix("event: ")
                    elif line.startswith("data: "):
                        yield _event(name, line.removeprefix("data: "))
        except httpx.TransportError as error:
            raise self._away(error) from error

    async def collections(self) -> CollectionList:
        return _read(await self._call("GET", "/v1/collections"), CollectionList)

    async def collection(self, name: str) -> WireCollection:
        return _read(await self._call("GET", f"/v1/collections/{name}"), WireCollection)

    async def document(self, collection: str, document_id: str) -> WireDocument:
        path = f"/v1/collections/{quote(collection, safe='')}/documents/{quote(document_id)}"
        return _read(await self._call("GET", path), WireDocument)

    async def delete(self, name: str) -> None:
        await self._call("DELETE", f"/v1/collections/{name}")

    async def _call(self, method: str, path: str, body: str | None = None) -> httpx.Response:
        try:
            response = await self._http.request(
                method, path, content=body, headers={"Content-Type": "application/json"} if body else None
            )
        except httpx.TransportError as error:
            raise self._away(error) from error
        if not response.is_success:
            raise problem_error(response, "the server")
        return response

    def _away(self, error: httpx.TransportError) -> Unavailable:
        return Unavailable(
            f"no answer from {self._http.base_url} ({type(error).__name__}); is `riddle up` running there?"
        )


class LocalAsker:
    """The collections of a home folder, searched by the very objects that the gateway uses."""

    def __init__(
        self, search: Search, answers: Answers, recall: RecallPort, default: str, rights: Rights | None = None
    ) -> None:
        self._search = search
        self._answers = answers
        self._recall = recall
        self._default = default
        self._rights = rights or Rights()

    async def search(self, request: SearchRequest) -> SearchResponse:
        found = await self._search(request, self._rights)
        return found.response(explain=request.explain)

    async def ask(self, request: AnswerRequest) -> AsyncGenerator[AnswerEvent]:
        found = await self._search(request.as_search(), self._rights)
        yield found.event(explain=request.explain)
        async with aclosing(self._answers.events(request.query, found)) as events:
            async for event in events:
                match event:
                    case Delta(text):
                        yield Text(text)
                    case Citation():
                        yield WireCitation.of(event)
                    case FinalAnswer():
                        yield FinalAnswerEvent.of(event, found.timings_ms, found.degraded)

    async def collections(self) -> CollectionList:
        views = await self._recall.collections(self._rights)
        found = [WireCollection.of(view, whole=True) for view in views]
        return CollectionList(collections=found, default=self._default)

    async def collection(self, name: str) -> WireCollection:
        return WireCollection.of(await self._recall.view(name, self._rights), whole=True)

    async def document(self, collection: str, document_id: str) -> WireDocument:
        return WireDocument.of(await self._recall.document(collection, document_id, self._rights), whole=False)

    async def delete(self, name: str) -> None:
        await self._recall.drop(name)


def _event(name: str, data: str) -> AnswerEvent:
    """One server-sent event. Raises what an ``error`` event says, GenerationFailed for what is none of ours."""
    try:
        match name:
            case "search_results":
                return SearchResultsEvent.model_validate_json(data)
            case "message":
                return Text(_PIECE.validate_json(data)["delta"])
            case "citation":
                return WireCitation.model_validate_json(data)
            case "final_answer":
                return FinalAnswerEvent.model_validate_json(data)
    except (ValidationError, KeyError) as error:
        raise GenerationFailed(f"the server sent an event that cannot be read: {name}") from error
    raise error_of(data.encode(), GenerationFailed(f"the server sent an unknown event: {name}"))


def _read(response: httpx.Response, kind: type[WireT]) -> WireT:
    try:
        return kind.model_validate_json(response.content)
    except ValidationError as error:
        raise Unavailable(f"{response.url} answers as no Riddle of this version does") from error


_PIECE = TypeAdapter(dict[str, str])
