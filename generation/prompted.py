"""Makes an answer engine of any chat model: prompt in, cited text out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from generation.citations import CitationStream
from generation.engine import ChatModel
from generation.events import Citation, Delta, Usage
from generation.prompt import BRIEF_BUDGET, build_brief_prompt, build_prompt
from retrieval.types import Candidate, Language

STOPS = ("\nQuestion:", "\n问题：", "\n<passage", "\n</passage")
"""Where a small model has finished and goes on to write the next turn of the conversation itself."""


class Prompted:
    """Writes with a chat model; every citation is ``closest``: nobody has checked what the model says."""

    def __init__(self, model: ChatModel) -> None:
        self._model = model

    @property
    def name(self) -> str:
        return self._model.name

    @property
    def languages(self) -> tuple[str, ...]:
        return self._model.languages

    async def write(
        self, question: str, candidates: Sequence[Candidate], language: Language
    ) -> AsyncGenerator[Delta | Citation | Usage, None]:
        model = self._model
        build = build_brief_prompt if model.prompt_tokens <= BRIEF_BUDGET else build_prompt
        prompt = await asyncio.to_thread(
            build, question, candidates, language, count=model.count, budget=model.prompt_tokens
        )
        cited = await asyncio.to_thread(CitationStream, prompt.passages)
        until = Until(STOPS)
        async with aclosing(model.stream(prompt.messages)) as pieces:
            async for piece in pieces:
                if isinstance(piece, Usage):
                    yield piece
                    continue
                for event in cited.feed(until.feed(piece)):
                    yield event
                if until.reached:
                    break
        for event in cited.feed(until.rest()):
            yield event
        for event in cited.close():
            yield event

    async def ready(self) -> str:
        return await self._model.ready()


class Until:
    """Passes text on until one of ``stops`` occurs in it, wherever the pieces are cut."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self.reached = False

    def feed(self, piece: str) -> str:
        """What can be passed on now; the end of the text that may begin a stop is held back."""
        if self.reached:
            return ""
        text = self._held + piece
        found = [position for stop in self._stops if (position := text.find(stop)) >= 0]
        self.reached = bool(found)
        kept = min(found) if found else len(text) - self._ambiguous(text)
        self._held = "" if found else text[kept:]
        return text[:kept]

    def rest(self) -> str:
        """What was held back, once the text has ended without a stop."""
        rest, self._held = self._held, ""
        return rest

    def _ambiguous(self, text: str) -> int:
        """Length of the longest end of ``text`` that begins a stop."""
        longest = max(map(len, self._stops), default=0)
        lengths = range(min(len(text), longest), 0, -1)
        return next((n for n in lengths if any(stop.startswith(text[-n:]) for stop in self._stops)), 0)
