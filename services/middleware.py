"""What happens to every request before and after its route: an id, a log line, metrics, its key, a limit."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import time
import uuid
from collections.abc import Mapping
from contextvars import ContextVar

from fastapi import FastAPI
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from retrieval.errors import RiddleError
from services.auth import CALLER, Doorkeeper
from services.http import CHALLENGE, PROBLEM_TYPE, plain_problem, told
from services.telemetry import Telemetry

access = logging.getLogger("riddle.access")

REQUEST_ID: ContextVar[str] = ContextVar("riddle_request_id", default="")
"""The id of the request that this task works for, sent on to other services."""

GUARDED = ("/v1/", "/v2/", "/embed/", "/rerank/", "/info/", "/retrieval/", "/mcp/")
"""Where documents, and the models' time, are behind a door."""

LINGER_S = 2.0
LINGER_BYTES = 16 << 20
"""How long, and for how much, a refused client that goes on sending is listened to."""

_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class RequestContext:
    """Gives each request its id (``X-Request-ID``, the caller's own when it is well formed), logs and counts it."""

    def __init__(self, app: ASGIApp, telemetry: Telemetry) -> None:
        self.app = app
        self.telemetry = telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _ID.fullmatch(given) else f"r_{uuid.uuid4().hex[:16]}"
        scope.setdefault("state", {})["request_id"] = request_id
        token = REQUEST_ID.set(request_id)
        began = time.perf_counter()
        status = 500

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-ID"] = request_id
            await send(message)

        try:
            await self.app(scope, receive, send_with_id)
        finally:
            REQUEST_ID.reset(token)
            seconds = time.perf_counter() - began
            self.telemetry.observe_request(_route(scope), scope["method"], status, seconds)
            access.info(
                "%s %s %d %.1fms %s", scope["method"], _printable(scope["path"]), status, seconds * 1000, request_id
            )


def _route(scope: Scope) -> str:
    """The template of the route that answered, so that metrics have few labels whatever is asked."""
    path: object = getattr(scope.get("route"), "path", None)
    return path if isinstance(path, str) else "unmatched"


def _printable(path: str) -> str:
    return path.encode("unicode_escape").decode("ascii")[:200]


class Admission:
    """Lets nobody past under guarded paths whom the door does not know, before a byte of the body is read.

    Who was let in stands in the request's state, where `services.auth.caller_of` finds it.
    """

    def __init__(self, app: ASGIApp, door: Doorkeeper) -> None:
        self.app = app
        self.door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and f"{scope['path']}/".startswith(GUARDED):
            headers = {name.decode("latin-1").lower(): text.decode("latin-1") for name, text in scope["headers"]}
            try:
                scope.setdefault("state", {})[CALLER] = self.door.admit(headers)
            except RiddleError as error:
                await _send_problem(scope, receive, send, error.code, error.detail)
                return
        await self.app(scope, receive, send)


class BodyLimit:
    """Refuses a body over its limit while it streams in, before anything holds it whole.

    ``exceptions`` gives paths that have a limit of their own; in them ``*`` stands for one segment and
    ``**`` for any number. A declared length over the limit is refused unread; a chunked body as soon as
    it passes.
    """

    def __init__(self, app: ASGIApp, limit: int, exceptions: Mapping[str, int]) -> None:
        self.app = app
        self.limit = limit
        self.exceptions = [(_path_pattern(path), most) for path, most in exceptions.items()]

    def limit_of(self, path: str) -> int:
        """The limit that holds for a path, in bytes."""
        return next((most for pattern, most in self.exceptions if pattern.fullmatch(path.rstrip("/"))), self.limit)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        limit = self.limit_of(scope["path"])
        declared = Headers(scope=scope).get("content-length", "")
        if declared.isdecimal() and int(declared) > limit:
            await _refuse(scope, receive, send, limit)
            return
        read = 0
        started = refused = False

        async def counted() -> Message:
            nonlocal read, refused
            message = await receive()
            if message["type"] == "http.request":
                read += len(message.get("body", b""))
                if read > limit:
                    refused = True
                    if not started:
                        await _refuse(scope, receive, send, limit)
                    return {"type": "http.disconnect"}
            return message

        async def unless_refused(message: Message) -> None:
            nonlocal started
            if not refused:
                started = True
                await send(message)

        await self.app(scope, counted, unless_refused)


def _path_pattern(path: str) -> re.Pattern[str]:
    return re.compile(re.escape(path).replace(r"\*\*", ".+").replace(r"\*", "[^/]+"), re.DOTALL)


async def _refuse(scope: Scope, receive: Receive, send: Send, limit: int) -> None:
    detail = f"the body is over {limit:,} bytes; send less, or raise the server's limit"
    await _send_problem(scope, receive, send, "too_large", detail)


class SameSite:
    """Refuses what a page of another site makes a browser send to change something here.

    The service listens on the user's own machine, where any web page can reach it; browsers say of
    each request whether the page that sends it is of the same site, and other clients say nothing.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] not in _SAFE_METHODS:
            site = Headers(scope=scope).get("sec-fetch-site", "none")
            if site not in ("none", "same-origin"):
                await _send_problem(
                    scope, receive, send, "forbidden", "pages of another site may not change anything here"
                )
                return
        await self.app(scope, receive, send)


async def _send_problem(scope: Scope, receive: Receive, send: Send, code: str, detail: str) -> None:
    """Answer at once, then read on for a while and throw it away.

    A connection closed over bytes that nobody read is reset, and the client would lose the answer.
    """
    problem = plain_problem(code, detail, scope.get("state", {}).get("request_id", "-"))
    status, body = told(problem, scope["path"], Headers(scope=scope).get("authorization", ""))
    headers = [
        (b"content-type", PROBLEM_TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    if status == 401:
        headers.append((b"www-authenticate", CHALLENGE.encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": True})
    thrown_away = 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LINGER_S):
            while thrown_away < LINGER_BYTES:
                message = await receive()
                thrown_away += len(message.get("body", b""))
                if not message.get("more_body", False):
                    break
    await send({"type": "http.response.body", "body": b""})


def add_middleware(
    app: FastAPI,
    telemetry: Telemetry,
    limit: int,
    exceptions: Mapping[str, int] | None = None,
    door: Doorkeeper | None = None,
) -> None:
    """Wrap ``app``: context outermost, so that refusals too have an id, a log line and a count."""
    app.add_middleware(BodyLimit, limit=limit, exceptions=dict(exceptions or {}))
    if door is not None:
        app.add_middleware(Admission, door=door)
    app.add_middleware(SameSite)
    app.add_middleware(RequestContext, telemetry=telemetry)
