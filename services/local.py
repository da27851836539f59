"""The service without a server: what one command of the terminal needs, over the collections of a home folder."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI

from generation.answer import Answerer
from retrieval.errors import RiddleError, Unauthorized
from retrieval.store import CollectionStore
from services.asking import LocalAsker
from services.auth import rights_of
from services.bootstrap import collections_folder, gateway_settings, ordering_of, rank_pipeline
from services.cache import NoCache
from services.embedded import EmbeddedRecall
from services.embedded_rank import EmbeddedRank
from services.encoders import encoder_named
from services.gateway.answers import Answers
from services.gateway.search import Search
from services.keys import key_ring
from services.late import late_shelf
from services.life import Life
from services.pool import Pool
from services.ports import Rights
from services.settings import Settings
from services.shelf import EncoderShelf
from services.spelling import Spelling
from services.telemetry import Telemetry
from services.writers import answerer_of, rewriting_of


@asynccontextmanager
async def local_asker(
    settings: Settings, *, collection: str = "", write: bool = False, key: str = "", at_once: int = 1
) -> AsyncIterator[LocalAsker]:
    """A service without a server, for one command: loads what the collection needs, and waits for it.

    A model that is missing is no error: the search goes without it and says so. ``write`` loads the
    model that writes answers too. Without ``collection`` nothing is loaded. ``key`` is one of the home's
    keys, whose rights are taken; without one what is public is seen. Raises Unauthorized for another.
    ``at_once`` is how many requests may be under way.
    """
    rights = _rights_of(key, settings)
    life = Life()
    encoders = EncoderShelf(settings.models.encoder, lambda name: encoder_named(name, settings))
    store = CollectionStore(collections_folder(settings.home))
    recall = EmbeddedRecall(
        store,
        encoders,
        settings.default_collection,
        Pool("recall", workers=1, queue=at_once),
        late=late_shelf(settings),
        spelling=Spelling(patient=True, least=settings.query.spelling_words),
    )
    rank = EmbeddedRank(lambda: rank_pipeline(settings), Pool("rerank", workers=1, queue=at_once))
    life.end += [recall.aclose, rank.aclose]
    if collection:
        name = (await recall.describe(collection)).encoder
        loads: list[Callable[[], object]] = [lambda: encoders.wait(name)] if name else []
        if settings.rank.order == "blend":  # else nothing asks for it
            loads.append(lambda: recall.load_late(collection))
        rank.start()
        for load in (*loads, rank.wait):
            with contextlib.suppress(RiddleError):
                await asyncio.to_thread(load)
    answerer = answerer_of(settings, life)[0] if write else Answerer((), settings.answer)
    telemetry = Telemetry()
    limits, cache = gateway_settings(settings).search, NoCache()
    rewriting = rewriting_of(settings, cache, life)
    search = Search(recall, rank, cache, limits, telemetry, ordering_of(settings), rewriting)
    async with life.span(FastAPI()):
        yield LocalAsker(
            search, Answers(answerer, telemetry, most=max(32, at_once)), recall, settings.default_collection, rights
        )


def _rights_of(token: str, settings: Settings) -> Rights:
    if not token:
        return Rights()
    key = key_ring(settings.home).find(token)
    if key is None:
        raise Unauthorized(f"the key is none of those of {settings.home}; `riddle keys list` shows them")
    return rights_of(key.principals)
