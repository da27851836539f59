"""`riddle mcp` as an agent starts it: the official SDK's client over the pipes of a real process."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, StdioServerParameters

from retrieval.store import CollectionStore
from retrieval.types import Document
from services.auth import KeyDoor
from services.bootstrap import collections_folder
from services.keys import key_ring
from tests.contract.conftest import put, write
from tests.fakes import DOCUMENTS
from tests.live import served
from tests.processes import ROOT
from tests.service.conftest import Gateway
from tests.service.test_processes import plain

pytestmark = pytest.mark.slow

RIDDLE = (sys.executable, "-m", "services.cli", "mcp")
PLAN = Document("plan.md", "The hidden plan of the server.", "Plan", acl=("group:eng",))


@asynccontextmanager
async def agent(*arguments: str, mode: str = "auto", **variables: str) -> AsyncIterator[Client]:
    command, *rest = RIDDLE
    process = StdioServerParameters(command=command, args=[*rest, *arguments], env=plain(**variables), cwd=ROOT)
    async with Client(process, mode=mode, read_timeout_seconds=120) as client:
        yield client


def told(result: Any) -> dict[str, Any]:
    assert not result.is_error, result.content
    said: dict[str, Any] = json.loads(result.content[0].text)
    return said


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_a_home_folder_is_searched_with_the_rights_of_the_key(tmp_path: Path, mode: str) -> None:
    write(CollectionStore(collections_folder(tmp_path)), documents=[*DOCUMENTS, PLAN])
    _, token = key_ring(tmp_path).create(["group:eng"])
    for variables, sees in (({"RIDDLE_KEY": token}, True), ({}, False)):
        async with agent("--home", str(tmp_path), mode=mode, **variables) as client:
            results = told(await client.call_tool("search", {"query": "hidden plan server"}))["results"]
            ids = [each["id"] for each in results]
            assert ("plan.md" in ids) is sees
            assert "guide/install.md" in ids
            assert (await client.call_tool("fetch", {"id": "plan.md"})).is_error is not sees
            whole = told(await client.call_tool("fetch", {"id": "guide/install.md"}))
            assert whole["text"] == DOCUMENTS[0].text
            assert whole["url"] == "riddle://docs/guide/install.md"


async def test_a_running_server_is_asked_with_the_key(tmp_path: Path) -> None:
    ring = key_ring(tmp_path)
    _, token = ring.create(["group:eng"])
    gateway = Gateway(door=KeyDoor(ring, exposed=True))
    await gateway.recall.write("docs", [put("plan.md", PLAN.text, acl=("group:eng",))])
    with served(gateway.app) as server:
        async with agent("--url", server.url, RIDDLE_KEY=token) as client:
            results = told(await client.call_tool("search", {"query": "hidden plan"}))["results"]
            assert results[0]["id"] == "plan.md"
            assert results[0]["url"] == f"{server.url}/v1/collections/docs/documents/plan.md"
            assert told(await client.call_tool("fetch", {"id": "plan.md"}))["text"] == PLAN.text
        async with agent("--url", server.url, RIDDLE_KEY="rk_nobody") as client:
            refused = await client.call_tool("search", {"query": "hidden plan"})
            assert refused.is_error


def test_a_key_that_is_none_of_the_homes_ends_it_with_one_line(tmp_path: Path) -> None:
    write(CollectionStore(collections_folder(tmp_path)))
    key_ring(tmp_path).create([])
    command = [*RIDDLE, "--home", str(tmp_path), "--key", "rk_nobody"]
    ended = subprocess.run(
        command,
        env=plain(),
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert ended.stderr.startswith("riddle: the key is none of those of")
