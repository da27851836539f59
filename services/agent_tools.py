"""What an agent may do with a collection over the Model Context Protocol: `search` it, and `fetch` a document.

The two tools have the names, arguments and results that ChatGPT's connectors and deep research ask for.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from retrieval.errors import InvalidRequest, RiddleError, Unavailable

if TYPE_CHECKING:
    from mcp.server.lowlevel import Server
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

    from services.wire import Result
    from services.wire_collections import WireDocument

MAX_TEXT = 200_000
"""Code points of a document that one `fetch` gives; `metadata.cut_at` says where it was cut."""

INSTRUCTIONS = (
    "Search a collection of documents, then fetch those that look right and answer from their text. Ask `search` "
    "in whole sentences or in the words that the documents use; `fetch` takes an `id` that `search` gave."
)


@dataclass(frozen=True, slots=True)
class FoundDocument:
    """One result of a search: a document by its best passage."""

    id: str
    title: str
    url: str
    text: str


@dataclass(frozen=True, slots=True)
class WholeDocument:
    """A document as an agent reads it."""

    id: str
    title: str
    text: str
    url: str
    metadata: Mapping[str, Any]


def link_of(source: str, otherwise: str) -> str:
    """Where a citation leads: the page that a document came from, or where this server gives it."""
    return source if source.startswith(("http://", "https://")) else otherwise


def found_document(result: Result, url: str) -> FoundDocument:
    return FoundDocument(result.document_id, result.title or result.document_id, url, result.text)


def read_document(document: WireDocument, url: str) -> WholeDocument:
    source = {"source": document.source} if document.source else {}
    title = document.title or document.document_id
    return WholeDocument(document.document_id, title, document.text, url, {**document.metadata, **source})


class Library(Protocol):
    """What the tools ask, with the rights of whoever is behind them. Raises RiddleError."""

    async def search(self, query: str) -> list[FoundDocument]: ...

    async def fetch(self, document_id: str) -> WholeDocument: ...


LibraryOf = Callable[[Request | None], Library]
"""The library that a request may use; there is no request where the tools are spoken to over pipes."""


def agent_server(library_of: LibraryOf, version: str) -> Server[Any]:
    """The tools as a server of the official SDK, which is imported here and nowhere else."""
    import mcp_types as types
    from mcp.server.lowlevel import Server

    tools = [types.Tool.model_validate(tool) for tool in TOOLS]

    async def list_tools(_: Any, __: Any) -> types.ListToolsResult:
        return types.ListToolsResult(tools=tools)

    async def call_tool(context: Any, called: types.CallToolRequestParams) -> types.CallToolResult:
        try:
            result = await _called(library_of(context.request), called.name, called.arguments or {})
        except RiddleError as error:
            # For the model to read: it can ask otherwise, or say what is the matter.
            return types.CallToolResult(content=[types.TextContent(type="text", text=error.detail)], is_error=True)
        text = json.dumps(result, ensure_ascii=False)
        return types.CallToolResult(content=[types.TextContent(type="text", text=text)], structured_content=result)

    return Server(
        "riddle",
        version=version,
        title="Riddle",
        instructions=INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )


async def serve_over_pipes(server: Server[Any]) -> None:
    """Speak to whoever started this process, until they close the pipe; nothing else may be printed meanwhile."""
    from mcp.server.stdio import stdio_server

    async with stdio_server() as (read, write):
        await server.run(read, write, server.create_initialization_options())


class AgentApp:
    """The tools over streamable HTTP, as an ASGI application. The SDK is loaded when somebody asks for it first.

    No state is kept between requests, so any process of several may answer each. Who may ask, and by
    which name of the host, is not looked at here.
    """

    def __init__(self, server: Callable[[], Server[Any]]) -> None:
        self._server = server
        self._running: asyncio.Task[None] | None = None
        self._manager: asyncio.Future[StreamableHTTPSessionManager] | None = None
        self._ends = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._manager is None:
            self._manager = asyncio.get_running_loop().create_future()
            self._running = asyncio.create_task(self._run(self._manager))
        manager = await asyncio.shield(self._manager)
        await manager.handle_request(scope, receive, send)

    async def aclose(self) -> None:
        self._ends.set()
        if self._running is not None:
            await asyncio.gather(self._running, return_exceptions=True)

    async def _run(self, told: asyncio.Future[StreamableHTTPSessionManager]) -> None:
        """A task of its own, for what the SDK opens must be closed by the task that opened it."""
        try:
            manager = await asyncio.to_thread(self._made)
            async with manager.run():
                told.set_result(manager)
                await self._ends.wait()
        except ImportError:
            self._manager = None
            told.set_exception(Unavailable(MISSING, stage="mcp"))

    def _made(self) -> StreamableHTTPSessionManager:
        from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

        return StreamableHTTPSessionManager(self._server(), json_response=True, stateless=True)


MISSING = "the Model Context Protocol needs its extra: pip install 'riddle-search[mcp]'"


async def _called(library: Library, tool: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    if tool == "search":
        found = await library.search(_argument(arguments, "query"))
        return {"results": [{"id": f.id, "title": f.title, "url": f.url, "text": f.text} for f in found]}
    if tool == "fetch":
        whole = await library.fetch(_argument(arguments, "id"))
        metadata = dict(whole.metadata) | ({"cut_at": MAX_TEXT} if len(whole.text) > MAX_TEXT else {})
        return {
            "id": whole.id,
            "title": whole.title,
            "text": whole.text[:MAX_TEXT],
            "url": whole.url,
            "metadata": metadata,
        }
    raise InvalidRequest(f"there is no tool {tool!r}: use search or fetch")


def _argument(arguments: Mapping[str, Any], name: str) -> str:
    given = arguments.get(name)
    if not isinstance(given, str) or not given.strip():
        raise InvalidRequest(f"{name} is missing: it is a text")
    return given


def _object(required: list[str], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required}


_TEXT = {"type": "string"}
_RESULT = _object(["id", "title", "url"], id=_TEXT, title=_TEXT, url=_TEXT, text=_TEXT)

TOOLS: tuple[dict[str, Any], ...] = (
    {
        "name": "search",
        "title": "Search the documents",
        "description": "Find the documents that fit a question best. Gives an id, a title, an address and the passage "
        "that fits, best first; `fetch` gives the whole document of an id.",
        "inputSchema": _object(["query"], query={**_TEXT, "description": "what to look for, in your own words"}),
        "outputSchema": _object(["results"], results={"type": "array", "items": _RESULT}),
        "annotations": {"readOnlyHint": True, "openWorldHint": False},
    },
    {
        "name": "fetch",
        "title": "Read a document",
        "description": "The whole text of one document, with its title, its address and its metadata.",
        "inputSchema": _object(["id"], id={**_TEXT, "description": "an id that `search` gave"}),
        "outputSchema": _object(
            ["id", "title", "text", "url"], id=_TEXT, title=_TEXT, text=_TEXT, url=_TEXT, metadata={"type": "object"}
        ),
        "annotations": {"readOnlyHint": True, "openWorldHint": False},
    },
)
