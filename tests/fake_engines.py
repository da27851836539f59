"""A chat model that says what it is told to, for tests of whatever stands around answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

from generation.engine import Message
from generation.events import Usage
from retrieval.errors import RiddleError


class FakeEngine:
    """Streams ``pieces`` with ``delay_s`` before each; then raises ``error`` when one is given.

    ``asked`` keeps every conversation it was given, ``sent`` counts the pieces handed out, and
    ``stopped`` counts the streams that their consumer left early.
    """

    def __init__(
        self,
        pieces: Sequence[str],
        *,
        delay_s: float = 0.0,
        error: RiddleError | None = None,
        name: str = "fake",
        languages: tuple[str, ...] = ("*",),
        prompt_tokens: int = 2000,
    ) -> None:
        self.name = name
        self.languages = languages
        self.prompt_tokens = prompt_tokens
        self.asked: list[tuple[Message, ...]] = []
        self.sent = 0
        self.stopped = 0
        self._pieces = tuple(pieces)
        self._delay_s = delay_s
        self._error = error

    def count(self, text: str) -> int:
        return len(text.split())

    async def stream(self, messages: Sequence[Message]) -> AsyncGenerator[str | Usage, None]:
        self.asked.append(tuple(messages))
        finished = False
        try:
            for piece in self._pieces:
                await asyncio.sleep(self._delay_s)
                self.sent += 1
                yield piece
            if self._error is not None:
                finished = True
                raise self._error
            yield Usage(sum(self.count(m.content) for m in messages), len(self._pieces))
            finished = True
        finally:
            if not finished:
                self.stopped += 1

    async def ready(self) -> str:
        return "ok"
