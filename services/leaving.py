"""What happens when a client closes its connection before its answer is ready: the work for it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

T = TypeVar("T")


class ClientLeft(Exception):
    """The client closed the connection before its answer was ready; there is nobody to tell."""


async def unless_client_leaves(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Carry out ``work``, and cancel it when the client goes. Raises ClientLeft then.

    For requests whose body has been read: what arrives after it is the news of its leaving.
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientLeft
        return working.result()
    finally:
        leaving.cancel()
        working.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


def add_leaving_handler(app: FastAPI) -> None:
    """A request whose client left ends with 499, nginx's custom: nobody reads it, and the log has it."""
    app.add_exception_handler(ClientLeft, _client_left)


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _client_left(_: Request, __: Exception) -> Response:
    return Response(status_code=499)
