"""What begins when an application starts, runs beside its requests, and ends with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI

from services.frame import Ready
from services.server import when_ready


@dataclass
class Life:
    """What begins with an application and ends with it, in the other order."""

    begin: list[Callable[[], None]] = field(default_factory=list)
    beside: list[Callable[[], Coroutine[Any, Any, None]]] = field(default_factory=list)
    end: list[Callable[[], Awaitable[None]]] = field(default_factory=list)

    @asynccontextmanager
    async def span(self, _: FastAPI) -> AsyncIterator[None]:
        for begin in self.begin:
            begin()
        tasks = [asyncio.create_task(work()) for work in self.beside]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for end in reversed(self.end):
                await end()

    def announce(self, ready: Ready, say: Callable[[str], None] | None) -> None:
        if say is not None:
            self.beside.append(lambda: when_ready(ready, say))
