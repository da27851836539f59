"""Which model writes answers: a server elsewhere, one in this process, or none, and then sentences are quoted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import httpx

from generation.answer import Answerer
from generation.chat import ChatOptions, ChatServer
from generation.embedded import EmbeddedModel
from generation.engine import ChatModel
from retrieval.errors import ModelMissing
from retrieval.models import find_model
from services.cache import Cache
from services.frame import Ready
from services.gateway.rewriting import Rewriting
from services.life import Life
from services.loading import Deferred
from services.settings import Settings

REWRITE_TOKENS = 200
"""Of a query in other words, or of a passage as an answer could be."""


def answerer_of(settings: Settings, life: Life) -> tuple[Answerer, Ready]:
    """The answerer, and whether its own model is loaded; a server elsewhere is nobody's readiness."""
    models: list[ChatModel] = []
    state: Callable[[], str] = lambda: "ok"  # noqa: E731
    if settings.generation.url:
        models.append(chat_server(settings, life))
    elif settings.models.generator:
        try:
            embedded = EmbeddedModel(find_model(settings.models.generator, settings.home))
        except ModelMissing:
            # Answers are quoted then; `riddle doctor` names the model that is missing.
            pass
        else:
            models.append(embedded)
            state = _warmed(embedded, life)

    async def ready() -> Mapping[str, str]:
        return {"generator": state()}

    return Answerer(models, settings.answer), ready


def chat_server(settings: Settings, life: Life, max_tokens: int = 400) -> ChatServer:
    """The server that the settings name; its connections are closed when ``life`` ends."""
    chosen = settings.generation
    client = httpx.AsyncClient(
        base_url=chosen.url.rstrip("/") + "/",
        headers={"Authorization": f"Bearer {chosen.api_key}"} if chosen.api_key else {},
        timeout=httpx.Timeout(chosen.timeout_s, connect=min(chosen.timeout_s, 2.0)),
    )
    life.end.append(client.aclose)
    return ChatServer(client, ChatOptions(model=chosen.model, max_tokens=max_tokens))


def rewriting_of(settings: Settings, cache: Cache, life: Life) -> Rewriting | None:
    """What that server adds to queries; None where no server is named."""
    chosen, limits = settings.generation, settings.query
    if not chosen.url:
        return None
    server = chat_server(settings, life, max_tokens=REWRITE_TOKENS)
    name = f"{chosen.url} {chosen.model}"
    return Rewriting(server, cache, name=name, within_ms=limits.rewrite_ms, most=limits.rewrites)


def _warmed(model: EmbeddedModel, life: Life) -> Callable[[], str]:
    def warm() -> bool:
        model.warm_up()
        return True

    async def close() -> None:
        await asyncio.to_thread(model.close)

    loading = Deferred("generator", warm)
    life.begin.append(loading.start)
    life.end.append(close)
    # A model that cannot be loaded leaves the quoted answer, which is always ready.
    return lambda: "loading" if loading.state == "loading" else "ok"
