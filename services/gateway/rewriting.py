"""What a chat model adds to a query before it is searched: asked for once, in time, and remembered."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from dataclasses import replace

from generation.engine import ChatModel
from generation.rewording import VERSION, How, reworded
from retrieval.errors import RiddleError, Unavailable
from services.cache import Cache
from services.ports import RecallRequest

log = logging.getLogger("riddle.rewriting")

STAGE = "rewrite"
_SHARE = 0.5
"""Of the time that a request has left."""


class Rewriting:
    """Asks ``model`` within ``within_ms``; at most ``most`` queries at once, the next are searched as they are.

    ``name`` tells models apart. What is written hangs on the query alone, so that it is kept for all callers.
    """

    def __init__(self, model: ChatModel, cache: Cache, *, name: str, within_ms: float, most: int) -> None:
        self._model, self._cache = model, cache
        self._name, self._within_ms, self._most = name, within_ms, most
        self._running = 0

    async def __call__(
        self, request: RecallRequest, how: How, left_ms: float | None
    ) -> tuple[RecallRequest, tuple[str, ...]]:
        """``request`` with what was written, and what is left out where that was not to be had.

        ``left_ms`` is the time that the whole search has left.
        """
        try:
            text = await self._written(request.query, how, left_ms)
        except (RiddleError, TimeoutError) as error:
            log.warning("searching a query as it is: %s", getattr(error, "detail", "the model took too long"))
            return request, (STAGE,)
        if how == "hyde":
            return replace(request, passages=(text,)), ()
        return replace(request, rewordings=(text,)), ()

    async def _written(self, query: str, how: How, left_ms: float | None) -> str:
        told = json.dumps(["rewording", VERSION, self._name, how, query], ensure_ascii=False)
        key = hashlib.sha256(told.encode()).hexdigest()
        kept = await self._cache.get(key)
        if kept is not None:
            return kept.decode(errors="replace")
        if self._running >= self._most:
            raise Unavailable("too many queries are being rewritten", stage=STAGE)
        self._running += 1
        try:
            within = self._within_ms if left_ms is None else min(self._within_ms, _SHARE * left_ms)
            async with asyncio.timeout(within / 1000):
                text = await reworded(self._model, query, how)
        finally:
            self._running -= 1
        await self._cache.put(key, text.encode())
        return text
