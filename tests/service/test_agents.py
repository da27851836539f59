"""Collections for agents: the official SDK's own client, in both generations of the protocol, over HTTP."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from retrieval.errors import Unavailable
from retrieval.types import Document
from services.agent_tools import AgentApp
from services.auth import KeyDoor
from services.frame import framed_app
from services.gateway.agents import add_agents
from services.keys import key_ring
from services.telemetry import Telemetry
from tests.contract.conftest import put
from tests.fakes import DOCUMENTS, FakeRecall
from tests.live import LiveServer, served
from tests.service.conftest import Gateway, OpenDoor

MODES = ("legacy", "auto")
WEB = Document("page", "A page of the web about gardens.", "Gardens", "https://example.org/gardens", {"lang": "en"})


@pytest.fixture
def gateway() -> Gateway:
    return Gateway(recall=FakeRecall({"docs": [*DOCUMENTS, WEB], "other": [Document("o", "Only gardens here.", "O")]}))


@pytest.fixture
def server(gateway: Gateway) -> Iterator[LiveServer]:
    with served(gateway.app) as running:
        yield running


@asynccontextmanager
async def agent(server: LiveServer, mode: str = "auto", path: str = "/mcp", token: str = "") -> AsyncIterator[Client]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with httpx2.AsyncClient(headers=headers, trust_env=False, timeout=60) as http:
        transport = streamable_http_client(f"{server.url}{path}", http_client=http)
        async with Client(transport, mode=mode) as client:
            yield client


def told(result: Any) -> dict[str, Any]:
    """What a tool said, which must be one text of JSON and the same as an object."""
    assert not result.is_error, result.content
    (content,) = result.content
    said: dict[str, Any] = json.loads(content.text)
    assert result.structured_content == said
    return said


@pytest.mark.parametrize("mode", MODES)
async def test_the_tools_are_search_and_fetch_as_connectors_ask_for_them(server: LiveServer, mode: str) -> None:
    async with agent(server, mode) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    assert sorted(tools) == ["fetch", "search"]
    assert tools["search"].input_schema["required"] == ["query"]
    assert tools["fetch"].input_schema["required"] == ["id"]
    assert all(tool.annotations and tool.annotations.read_only_hint for tool in tools.values())


@pytest.mark.parametrize("mode", MODES)
async def test_a_search_gives_documents_and_fetch_the_text_of_one(server: LiveServer, mode: str) -> None:
    async with agent(server, mode) as client:
        results = told(await client.call_tool("search", {"query": "search finds passages ranked results"}))["results"]
        first = results[0]
        assert (first["id"], first["title"]) == ("guide/search.md", "Search")
        assert first["text"] in DOCUMENTS[1].text
        assert first["url"] == f"{server.url}/v1/collections/docs/documents/guide/search.md"
        assert len({each["id"] for each in results}) == len(results)
        whole = told(await client.call_tool("fetch", {"id": first["id"]}))
    assert whole == {
        "id": "guide/search.md",
        "title": "Search",
        "text": DOCUMENTS[1].text,
        "url": first["url"],
        "metadata": {"source": "guide"},
    }
    assert httpx.get(first["url"], trust_env=False).json()["text"] == whole["text"]


async def test_what_came_from_the_web_is_cited_by_its_own_address(server: LiveServer) -> None:
    async with agent(server) as client:
        results = told(await client.call_tool("search", {"query": "gardens"}))["results"]
        assert results[0]["url"] == "https://example.org/gardens"
        assert told(await client.call_tool("fetch", {"id": "page"}))["metadata"]["lang"] == "en"


async def test_an_id_may_hold_whatever_ids_hold(server: LiveServer) -> None:
    async with agent(server) as client:
        whole = told(await client.call_tool("fetch", {"id": "faq?#1.md"}))
    assert whole["title"] == "Questions"
    assert httpx.get(whole["url"], trust_env=False).json()["document_id"] == "faq?#1.md"


async def test_the_path_names_the_collection(server: LiveServer) -> None:
    async with agent(server, path="/mcp/other") as client:
        assert [each["id"] for each in told(await client.call_tool("search", {"query": "gardens"}))["results"]] == ["o"]
    async with agent(server, path="/mcp/nowhere") as client:
        result = await client.call_tool("search", {"query": "gardens"})
    assert result.is_error
    assert "nowhere" in result.content[0].text  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("tool", "arguments", "says"),
    [
        ("search", {"query": "  "}, "query is missing"),
        ("search", {}, "query is missing"),
        ("search", {"query": "x" * 201}, "at most 200"),
        ("fetch", {"id": "nothing.md"}, "nothing.md"),
        ("erase", {"id": "page"}, "there is no tool 'erase'"),
    ],
)
async def test_what_went_wrong_is_told_to_the_model(
    server: LiveServer, tool: str, arguments: dict[str, Any], says: str
) -> None:
    async with agent(server) as client:
        result = await client.call_tool(tool, arguments)
    assert result.is_error
    assert says in result.content[0].text  # type: ignore[union-attr]


async def test_a_service_that_is_away_is_an_answer_and_not_a_crash(gateway: Gateway, server: LiveServer) -> None:
    gateway.recall.fail_with = Unavailable("recall is away", stage="recall")
    async with agent(server) as client:
        result = await client.call_tool("search", {"query": "gardens"})
    assert result.is_error
    assert result.content[0].text == "recall is away"  # type: ignore[union-attr]


@pytest.mark.parametrize("mode", MODES)
async def test_the_key_decides_what_an_agent_sees(tmp_path: Path, mode: str) -> None:
    ring = key_ring(tmp_path)
    tokens = {name: ring.create([name])[1] for name in ("group:eng", "group:sales")}
    gateway = Gateway(door=KeyDoor(ring, exposed=True))
    await gateway.recall.write("docs", [put("plan.md", "the hidden plan", acl=("group:eng",))])
    with served(gateway.app) as server:
        async with agent(server, mode, token=tokens["group:eng"]) as client:
            results = told(await client.call_tool("search", {"query": "hidden plan"}))["results"]
            assert [each["id"] for each in results] == ["plan.md"]
            assert told(await client.call_tool("fetch", {"id": "plan.md"}))["text"] == "the hidden plan"
        async with agent(server, mode, token=tokens["group:sales"]) as client:
            assert told(await client.call_tool("search", {"query": "hidden plan"}))["results"] == []
            assert (await client.call_tool("fetch", {"id": "plan.md"})).is_error
        refused = httpx.post(f"{server.url}/mcp", json={}, trust_env=False)
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"].startswith("Bearer")


async def test_a_long_document_is_cut_and_says_so() -> None:
    gateway = Gateway(recall=FakeRecall({"docs": [Document("long", "word " * 50_000, "Long")]}))
    with served(gateway.app) as server:
        async with agent(server) as client:
            whole = told(await client.call_tool("fetch", {"id": "long"}))
    assert len(whole["text"]) == whole["metadata"]["cut_at"] == 200_000


PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
ACCEPT = {"Accept": "application/json, text/event-stream"}


@pytest.mark.parametrize(
    ("host", "status"), [("127.0.0.1:8080", 200), ("localhost", 200), ("[::1]:1", 200), ("evil.example:8080", 403)]
)
def test_a_page_whose_name_was_made_to_point_here_is_refused(server: LiveServer, host: str, status: int) -> None:
    reply = httpx.post(f"{server.url}/mcp", json=PING, headers={**ACCEPT, "Host": host}, trust_env=False)
    assert reply.status_code == status


def test_who_shows_a_key_may_come_by_any_name(tmp_path: Path) -> None:
    ring = key_ring(tmp_path)
    _, token = ring.create([])
    headers = {**ACCEPT, "Host": "search.example.org", "Authorization": f"Bearer {token}"}
    with served(Gateway(door=KeyDoor(ring, exposed=False)).app) as server:
        assert httpx.post(f"{server.url}/mcp", json=PING, headers=headers, trust_env=False).status_code == 200


def test_searches_of_agents_are_counted_under_their_route(server: LiveServer) -> None:
    httpx.post(f"{server.url}/mcp", json=PING, headers=ACCEPT, trust_env=False)
    assert 'route="/mcp"' in httpx.get(f"{server.url}/metrics", trust_env=False).text


def test_there_is_no_stream_to_open_and_no_session_to_end(server: LiveServer) -> None:
    for method in ("GET", "DELETE"):
        headers = {"Accept": "text/event-stream"}
        assert httpx.request(method, f"{server.url}/mcp", headers=headers, trust_env=False).status_code == 405


def without_the_sdk() -> Any:
    raise ImportError("no module named mcp")


def test_without_the_extra_it_says_what_to_install() -> None:
    async def ready() -> dict[str, str]:
        return {}

    app = framed_app("agents", ready=ready, telemetry=Telemetry(), body_limit=1000, door=OpenDoor())
    add_agents(app, AgentApp(without_the_sdk))
    with served(app) as server:
        for _ in range(2):  # and goes on saying it
            reply = httpx.post(f"{server.url}/mcp", json=PING, headers=ACCEPT, trust_env=False)
            assert reply.status_code == 503
            assert "riddle-search[mcp]" in reply.json()["detail"]
