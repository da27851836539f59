"""Makes an answer engine of any chat model: prompt in, cited text out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from generation.citations import CitationStream
from generation.engine import ChatModel
from generation.events import Citation, Delta, Usage
from generation.prompt import build_prompt
from retrieval.types import Candidate, Language


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
        prompt = await asyncio.to_thread(
            build_prompt, question, candidates, language, count=model.count, budget=model.prompt_tokens
        )
        cited = await asyncio.to_thread(CitationStream, prompt.passages)
        async with aclosing(model.stream(prompt.messages)) as pieces:
            async for piece in pieces:
                if isinstance(piece, Usage):
                    yield piece
                    continue
                for event in cited.feed(piece):
                    yield event
        for event in cited.close():
            yield event

    async def ready(self) -> str:
        return await self._model.ready()
