"""Any OpenAI-compatible server as a chat model: the request, and the stream of events that comes back."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from generation.engine import Message
from generation.events import Usage
from retrieval.errors import GenerationFailed, Overloaded, Unavailable

STAGE = "generation"


@dataclass(frozen=True, slots=True)
class ChatOptions:
    """What to ask of a server. ``model`` empty takes the first that it lists."""

    model: str = ""
    prompt_tokens: int = 2000
    max_tokens: int = 400
    temperature: float = 0.0
    languages: tuple[str, ...] = ("*",)


class ChatServer:
    """Streams chat completions over ``client``, whose base URL ends in ``/v1`` and which carries key and timeouts.

    The read timeout bounds the wait for the next piece, not the whole answer. The client stays the
    caller's: it is closed by whoever made it.
    """

    def __init__(self, client: httpx.AsyncClient, options: ChatOptions | None = None) -> None:
        self._client = client
        self._options = options or ChatOptions()
        self._model = self._options.model

    @property
    def name(self) -> str:
        return self._model or "remote"

    @property
    def languages(self) -> tuple[str, ...]:
        return self._options.languages

    @property
    def prompt_tokens(self) -> int:
        return self._options.prompt_tokens

    def count(self, text: str) -> int:
        """An estimate on the high side: three ASCII characters a token, one of any other."""
        other = sum(not character.isascii() for character in text)
        return other + math.ceil((len(text) - other) / 3)

    async def stream(self, messages: Sequence[Message]) -> AsyncGenerator[str | Usage, None]:
        """Pieces of the reply. Leaving early closes the connection, by which the server knows to stop."""
        body = {
            "model": await self._served_model(),
            "messages": [{"role": m.role, "content": m.content} for m in messages],
            "stream": True,
            "stream_options": {"include_usage": True},
            "temperature": self._options.temperature,
            "max_tokens": self._options.max_tokens,
        }
        finished = False
        try:
            async with self._client.stream("POST", "chat/completions", json=body) as response:
                if response.status_code != 200:
                    raise _refused(response, await response.aread())
                async for event in sse_data(response.aiter_lines()):
                    if event == "[DONE]":
                        finished = True
                        break
                    text, usage, ended = _chunk(event)
                    finished = finished or ended
                    if text:
                        yield text
                    if usage is not None:
                        yield usage
        except httpx.TransportError as error:
            raise _gone(self._client, error) from error
        if not finished:
            raise GenerationFailed("the generation server closed the stream before the answer ended", stage=STAGE)

    async def ready(self) -> str:
        try:
            await self._listed()
        except (Unavailable, Overloaded, GenerationFailed) as error:
            return error.detail
        return "ok"

    async def _served_model(self) -> str:
        if not self._model:
            listed = await self._listed()
            if not listed:
                raise Unavailable("the generation server lists no model; set RIDDLE_GENERATION_MODEL", stage=STAGE)
            self._model = listed[0]
        return self._model

    async def _listed(self) -> list[str]:
        try:
            response = await self._client.get("models")
        except httpx.TransportError as error:
            raise _gone(self._client, error) from error
        if response.status_code != 200:
            raise _refused(response, response.content)
        try:
            return [str(model["id"]) for model in response.json()["data"]]
        except (ValueError, KeyError, TypeError) as error:
            raise Unavailable(
                "the generation server's /models is not OpenAI's; its address should end in /v1", stage=STAGE
            ) from error


async def sse_data(lines: AsyncIterator[str]) -> AsyncIterator[str]:
    """The data of each server-sent event (WHATWG HTML, 9.2.6): ``data`` lines joined, all else left out."""
    data: list[str] = []
    async for line in lines:
        if not line:
            if data:
                yield "\n".join(data)
            data = []
        elif line.startswith("data:"):
            data.append(line[5:].removeprefix(" "))
    if data:
        yield "\n".join(data)


def _chunk(event: str) -> tuple[str, Usage | None, bool]:
    """Text, usage and whether the reply has ended, of one chunk; an error inside the stream is raised."""
    try:
        chunk = json.loads(event)
        if not isinstance(chunk, dict):
            raise TypeError(type(chunk).__name__)
        if "error" in chunk:
            raise GenerationFailed(f"the generation server reports: {_said(chunk)}", stage=STAGE)
        choice: Mapping[str, Any] = (chunk.get("choices") or [{}])[0]
        text = (choice.get("delta") or {}).get("content") or ""
        usage = chunk.get("usage")
        counted = Usage(int(usage["prompt_tokens"]), int(usage["completion_tokens"])) if usage else None
    except (ValueError, TypeError, AttributeError, KeyError, IndexError) as error:
        raise GenerationFailed(f"the generation server sent no valid chunk: {event[:200]!r}", stage=STAGE) from error
    return str(text), counted, choice.get("finish_reason") is not None


def _said(body: Mapping[str, Any]) -> str:
    error = body.get("error", body)
    return str(error.get("message", error) if isinstance(error, dict) else error)[:300]


def _refused(response: httpx.Response, content: bytes) -> Unavailable | Overloaded | GenerationFailed:
    try:
        said = _said(json.loads(content))
    except (ValueError, AttributeError):
        said = content[:200].decode("utf-8", "replace")
    detail = f"the generation server answered {response.status_code}: {said}"
    if response.status_code == 429:
        return Overloaded(detail, stage=STAGE, retry_after_ms=1000)
    if response.status_code >= 500:
        return Unavailable(detail, stage=STAGE)
    return GenerationFailed(detail, stage=STAGE)


def _gone(client: httpx.AsyncClient, error: httpx.TransportError) -> Unavailable | GenerationFailed:
    """Before the connection stands the server is unavailable; after that it failed."""
    reason = str(error) or type(error).__name__
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout):
        return Unavailable(f"no generation server at {client.base_url}: {reason}", stage=STAGE)
    return GenerationFailed(f"the generation server at {client.base_url} broke off: {reason}", stage=STAGE)
