"""A small OpenAI-compatible server whose behaviour a test chooses, to be put behind a real socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse


@dataclass
class ChatScript:
    """What the server says, and what it has seen."""

    pieces: Sequence[str] = ("Hello", " there", ".")
    delay_s: float = 0.0
    status: int = 200
    raw: str | None = None
    """Sent instead of chunks."""
    ending: str = "data: [DONE]\n\n"
    models: Sequence[str] = ("served",)
    asked: list[dict[str, Any]] = field(default_factory=list)
    sent: int = 0
    left: int = 0
    """Streams that the client closed before their end."""


def chat_app(script: ChatScript) -> FastAPI:
    app = FastAPI()

    @app.get("/v1/models")
    async def models() -> Response:
        return JSONResponse({"object": "list", "data": [{"id": name} for name in script.models]})

    @app.post("/v1/chat/completions")
    async def complete(request: Request) -> Response:
        script.asked.append(await request.json())
        if script.status != 200:
            return JSONResponse({"error": {"message": "as the test wants it"}}, status_code=script.status)
        return StreamingResponse(_events(script), media_type="text/event-stream")

    return app


async def _events(script: ChatScript) -> AsyncIterator[str]:
    whole = False
    try:
        if script.raw is not None:
            yield script.raw
        for piece in () if script.raw is not None else script.pieces:
            script.sent += 1
            yield _chunk({"content": piece})
            await asyncio.sleep(script.delay_s)
        if script.raw is None:
            yield _chunk({}, finish_reason="stop") if script.ending else ""
            usage = {"prompt_tokens": 7, "completion_tokens": len(script.pieces)}
            yield f"data: {json.dumps({'choices': [], 'usage': usage})}\n\n" if script.ending else ""
        yield script.ending
        whole = True
    finally:
        script.left += not whole


def _chunk(delta: dict[str, str], finish_reason: str | None = None) -> str:
    return f"data: {json.dumps({'choices': [{'index': 0, 'delta': delta, 'finish_reason': finish_reason}]})}\n\n"
