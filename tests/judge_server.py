"""An OpenAI-compatible server that judges as a test says: it answers in the JSON shape that the request asks for."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

Verdict = Callable[[str, str], int]
"""``(statement, context)`` to 0 or 1."""


def holds(statement: str, context: str) -> int:
    """A judge that is always right where support means that the context says the statement word for word."""
    return int(statement.strip(" .。") in context)


@dataclass
class JudgeScript:
    """How the server behaves, and what it has been asked."""

    verdict: Verdict = holds
    status: int = 200
    body: str | None = None
    """Sent as the whole HTTP body."""
    said: str | None = None
    """The model's words, whatever was asked; ``{}`` in it is put in the place of what it would have said."""
    finish: str = "stop"
    refusal: str | None = None
    hangs: bool = False
    models: tuple[str, ...] = ("judge",)
    alter: Callable[[dict[str, Any]], dict[str, Any]] = lambda answer: answer
    """Spoils an answer of the right shape."""
    asked: list[dict[str, Any]] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    running: int = 0
    most_running: int = 0


def judge_app(script: JudgeScript) -> FastAPI:
    app = FastAPI()

    @app.get("/v1/models")
    async def models() -> Response:
        listed = [{"id": name, "object": "model", "created": 0, "owned_by": "test"} for name in script.models]
        return JSONResponse({"object": "list", "data": listed})

    @app.post("/v1/chat/completions")
    async def complete(request: Request) -> Response:
        asked = await request.json()
        script.asked.append(asked)
        script.headers.append(dict(request.headers))
        script.running += 1
        script.most_running = max(script.most_running, script.running)
        try:
            while script.hangs and not await request.is_disconnected():
                await asyncio.sleep(0.01)
            await asyncio.sleep(0)
        finally:
            script.running -= 1
        if script.status != 200:
            return JSONResponse({"error": {"message": "as the test wants it"}}, status_code=script.status)
        if script.body is not None:
            return Response(script.body, media_type="application/json")
        return JSONResponse(_completion(script, asked))

    return app


def _completion(script: JudgeScript, asked: Mapping[str, Any]) -> dict[str, Any]:
    right = json.dumps(script.alter(_answer(script.verdict, asked["messages"][-1]["content"])), ensure_ascii=False)
    text = right if script.said is None else script.said.replace("{}", right)
    message = {"role": "assistant", "content": text, "refusal": script.refusal}
    choice = {"index": 0, "message": message, "finish_reason": script.finish, "logprobs": None}
    return {"id": "c", "object": "chat.completion", "created": 0, "model": asked["model"], "choices": [choice]}


def _answer(verdict: Verdict, prompt: str) -> dict[str, Any]:
    """What RAGAS' prompts ask for, told apart by the schema that stands in each."""
    given = json.loads(prompt.rpartition("input: ")[2].rpartition("Output:")[0])
    shape = re.search(r'"title": "(\w+Output)"', prompt)
    assert shape is not None, prompt
    match shape.group(1):
        case "StatementGeneratorOutput":
            return {"statements": _sentences(given["answer"])}
        case "ClaimDecompositionOutput":
            return {"claims": _sentences(given["response"])}
        case "NLIStatementOutput":
            said = [(each, verdict(each, given["context"])) for each in given["statements"]]
            return {"statements": [{"statement": s, "reason": "because", "verdict": v} for s, v in said]}
        case "ContextRecallOutput":
            said = [(each, verdict(each, given["context"])) for each in _sentences(given["answer"])]
            return {"classifications": [{"statement": s, "reason": "because", "attributed": v} for s, v in said]}
        case "ContextPrecisionOutput":
            return {"reason": "because", "verdict": verdict(given["answer"], given["context"])}
        case "ContextRelevanceOutput":
            return {"rating": 2 * verdict(given["user_input"].rstrip("?"), given["context"])}
        case "AnswerRelevanceOutput":
            return {"question": f"What about {given['response']}", "noncommittal": 0}
    raise AssertionError(shape.group(1))


def _sentences(text: str) -> list[str]:
    return [each.strip() for each in re.split(r"(?<=[.。])", text) if each.strip()]
