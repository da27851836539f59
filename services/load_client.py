"""Searches and answers of a running server as a load test sends them: many at once, every failure told by its kind."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx

from eval.load import Ask, Reply
from eval.usage_rows import MACHINES
from retrieval.errors import GenerationFailed
from services.clients import error_of, problem_error

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

EVENT_STREAM = "text/event-stream"


class HTTPSender:
    """The seam ``eval.load.Sender`` over a real socket: searches, or answers as they stream."""

    def __init__(self, http: httpx.AsyncClient, collection: str, *, answers: bool) -> None:
        self._http = http
        self._collection = collection
        self._answers = answers

    async def send(self, ask: Ask, first: Callable[[], None]) -> Reply:
        body = _body(ask, self._collection)
        try:
            return await (self._answer(body, first) if self._answers else self._search(body))
        except httpx.HTTPError as error:
            return Reply(type(error).__name__)
        except (ValueError, KeyError, TypeError):
            return Reply("a reply that no Riddle of this version sends")

    async def _search(self, body: bytes) -> Reply:
        response = await self._http.post("/v1/search", content=body)
        if not response.is_success:
            return Reply(_kind(response))
        found = response.json()
        return Reply("", found["timings_ms"], found["cache"], tuple(found["degraded"]))

    async def _answer(self, body: bytes, first: Callable[[], None]) -> Reply:
        async with self._http.stream("POST", "/v1/answer", content=body, headers={"Accept": EVENT_STREAM}) as response:
            if not response.is_success:
                await response.aread()
                return Reply(_kind(response))
            name = ""
            async for line in response.aiter_lines():
                if line.startswith("event:"):
                    name = line.removeprefix("event:").strip()
                elif line.startswith("data:"):
                    if name == "message":
                        first()
                    elif name in ("final_answer", "error"):
                        return _ended(name, line.removeprefix("data:"))
        return Reply("a stream that ended before its answer")


@asynccontextmanager
async def load_client(url: str, key: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client that opens as many connections as there are requests under way, and waits as long as it is let.

    Its requests belong to a session of measurements, which figures of use leave out.
    """
    headers = {"Content-Type": "application/json", "X-Riddle-Session": f"{MACHINES}-load-{secrets.token_hex(4)}"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=60)
    async with httpx.AsyncClient(
        base_url=url.rstrip("/"), headers=headers, timeout=None, limits=limits, trust_env=False
    ) as http:
        yield http


def _body(ask: Ask, collection: str) -> bytes:
    body: dict[str, Any] = {"query": ask.query, "collection": collection, "k": ask.k}
    if ask.rrf_k is not None:
        body["ranking"] = {"fusion": {"method": "rrf", "k": ask.rrf_k}}
    return json.dumps(body).encode()


def _kind(response: httpx.Response) -> str:
    """``429 overloaded``: the status, and the code of the problem where there is one."""
    code = problem_error(response, "the server").code
    return f"{response.status_code} {code}"


def _ended(event: str, data: str) -> Reply:
    if event == "error":
        return Reply(f"answer {error_of(data.encode(), GenerationFailed('an answer broke off')).code}")
    final: Mapping[str, Any] = json.loads(data)
    timings = final["timings_ms"]
    # An answer does not name the cache, but a search that was not looked up has recalled.
    cache = "miss" if "recall" in timings else "hit"
    return Reply("", timings, cache, tuple(final["degraded"]), bool(final["abstained"]))
