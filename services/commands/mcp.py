"""`riddle mcp`: a collection for an agent that starts this command and speaks to it over pipes."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import quote

import typer

from services.commands.common import Config, Debug, Home, fail, load_settings
from services.commands.search import ApiKey, Collection, Url, asker

if TYPE_CHECKING:
    from pathlib import Path

    from services.agent_tools import FoundDocument, WholeDocument
    from services.asking import Asker

_AT_ONCE = 8
"""Calls of one agent that may be under way; it asks several things at once."""


def register(app: typer.Typer) -> None:
    app.command()(mcp)


def mcp(
    collection: Collection = None,
    key: ApiKey = "",
    url: Url = "",
    home: Home = None,
    config: Config = None,
    debug: Debug = False,
) -> None:
    """Let an agent search a collection and read its documents: the Model Context Protocol over stdin and stdout.

    For programs that start their tools themselves; others find the same at /mcp of a running server. It
    sees what the key may see, and what is public without one.

    Example: riddle mcp --collection django
    """
    from services.agent_tools import MISSING

    if importlib.util.find_spec("mcp") is None:
        fail(MISSING)
    asyncio.run(_serve(collection, key, url, home, config))


async def _serve(collection: str | None, key: str, url: str, home: Path | None, config: Path | None) -> None:
    from importlib.metadata import version

    from services.agent_tools import agent_server, serve_over_pipes

    named = collection or load_settings(home, config).default_collection
    async with _asker(named, key, url, home, config) as service:
        library = AskerLibrary(service, named, url.rstrip("/"))
        await serve_over_pipes(agent_server(lambda _: library, version("riddle-search")))


@asynccontextmanager
async def _asker(collection: str, key: str, url: str, home: Path | None, config: Path | None) -> AsyncIterator[Asker]:
    if url:
        async with asker(url, home, config, collection, key=key) as service:
            yield service
        return
    from services.local import local_asker

    settings = load_settings(home, config)
    async with local_asker(settings, collection=collection, key=key, at_once=_AT_ONCE) as service:
        yield service


class AskerLibrary:
    """A Library over a running server, whose address is ``base``, or over the home folder."""

    def __init__(self, service: Asker, collection: str, base: str) -> None:
        self._service = service
        self._collection = collection
        self._base = base

    async def search(self, query: str) -> list[FoundDocument]:
        from services.agent_tools import found_document
        from services.wire import SearchRequest

        found = await self._service.search(SearchRequest(query=query, collection=self._collection, group_by="document"))
        return [found_document(each, self._url(each.document_id, each.source)) for each in found.results]

    async def fetch(self, document_id: str) -> WholeDocument:
        from services.agent_tools import read_document

        found = await self._service.document(self._collection, document_id)
        return read_document(found, self._url(document_id, found.source))

    def _url(self, document_id: str, source: str) -> str:
        from services.agent_tools import link_of

        place = f"{quote(self._collection)}/{quote(document_id)}"
        if not self._base:
            return link_of(source, f"riddle://{place}")
        return link_of(source, f"{self._base}/v1/collections/{place.replace('/', '/documents/', 1)}")
