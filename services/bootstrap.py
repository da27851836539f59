"""The only wiring: settings in, applications out, in one process or each service alone."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from fastapi import APIRouter, FastAPI

from indexing.build import BuildSummary, Progress, build
from ranking.cross_encoder import open_reranker
from ranking.fields import numeric_fields
from ranking.pipeline import RankPipeline
from retrieval.errors import CollectionNotFound, SettingsError
from retrieval.models import find_model
from retrieval.store import CollectionStore
from services.auth import KeyDoor, is_loopback, token_door
from services.cache import open_cache
from services.calibration import calibration_key, opened_budget
from services.clients import RankClient, RecallClient, http_client
from services.embed.app import create_app as create_embed
from services.embedded import EmbeddedRecall
from services.embedded_rank import EmbeddedRank
from services.encoders import encoder_named
from services.gateway.app import GatewaySettings, Parts
from services.gateway.app import create_app as create_gateway
from services.gateway.ordering import Ordering
from services.gateway.plan import SearchLimits
from services.jobs.routes import router as jobs_router
from services.jobs.runner import JobRunner
from services.jobs.uploads import JobLimits
from services.keys import key_ring
from services.late import late_of_build, late_shelf
from services.life import Life
from services.loading import Deferred
from services.models import listed
from services.peers.opening import embed_port, score_port
from services.pool import Pool
from services.ports import RankPort, RecallPort
from services.preparing import Preparation
from services.query_log import QueryLog
from services.rank.app import create_app as create_rank
from services.recall.app import create_app as create_recall
from services.settings import Settings
from services.shelf import EncoderShelf
from services.spelling import Spelling
from services.telemetry import Telemetry
from services.writers import answerer_of, rewriting_of

Say = Callable[[str], None]
Ready = Callable[[], Awaitable[Mapping[str, str]]]


def collections_folder(home: Path) -> Path:
    return home / "collections"


def builds_folder(home: Path) -> Path:
    """Where builds keep what they have finished until it is published."""
    return home / "builds"


def gateway_app(settings: Settings, say: Say | None = None) -> FastAPI:
    """The gateway, with everything that the settings name no other service for held in this process.

    Nothing is loaded or connected before the application starts; then models load beside the
    requests. ``say`` hears what is missing, and ``ready`` once all is there.
    """
    life = Life()
    encoders = EncoderShelf(settings.models.encoder, lambda name: encoder_named(name, settings))
    recall = _recall_port(settings, encoders, life)
    rank = _rank_port(settings, life)
    answerer, writer = answerer_of(settings, life)
    cache = open_cache(
        settings.cache.redis_url, settings.cache.ttl_s, settings.cache.max_entries, settings.cache.timeout_ms
    )
    life.end.append(cache.aclose)
    door = KeyDoor(key_ring(settings.home), exposed=not is_loopback(settings.server.host))
    telemetry = Telemetry()
    log = _query_log(settings, telemetry, life)
    embed = embed_port(settings, lambda: encoders.wait(encoders.default), life, telemetry)
    scores = score_port(settings, life, telemetry)
    jobs = _jobs(settings, encoders)
    ordering, rewriting = ordering_of(settings), rewriting_of(settings, cache, life)
    parts = Parts(recall, rank, answerer, cache, telemetry, door, jobs, writer, log, embed, scores, ordering, rewriting)
    life.announce(parts.ready, say)
    return create_gateway(parts, gateway_settings(settings), lifespan=life.span)


def recall_app(settings: Settings, say: Say | None = None) -> FastAPI:
    """The recall service alone; the encoder is asked of the embed service when the settings name one."""
    life = Life()
    recall = _embedded_recall(
        settings, EncoderShelf(settings.models.encoder, lambda name: encoder_named(name, settings)), life
    )
    life.announce(recall.ready, say)
    return create_recall(recall, Telemetry(), lifespan=life.span, door=token_door(settings.services.token))


def rank_app(settings: Settings, say: Say | None = None) -> FastAPI:
    """The rank service alone."""
    life = Life()
    rank, telemetry = _embedded_rank(settings, life), Telemetry()
    life.announce(rank.ready, say)
    scores = score_port(local(settings), life, telemetry)
    door, release = token_door(settings.services.token), version("riddle-search")
    return create_rank(rank, telemetry, scores, settings.peers, version=release, lifespan=life.span, door=door)


def embed_app(settings: Settings, say: Say | None = None) -> FastAPI:
    """The embed service alone, with the encoder that the settings name."""
    if not settings.models.encoder:
        raise SettingsError("models.encoder is empty: name the model that `riddle serve embed` is to serve")
    life, alone, telemetry = Life(), local(settings), Telemetry()
    encoder = Deferred("encoder", lambda: encoder_named(settings.models.encoder, alone))
    embed = embed_port(alone, encoder.wait, life, telemetry)
    assert embed is not None
    life.begin.append(encoder.start)

    async def ready() -> Mapping[str, str]:
        return {"encoder": encoder.state}

    life.announce(ready, say)
    return create_embed(
        embed,
        lambda: encoder.get().spec,
        lambda: encoder.state,
        telemetry,
        settings.peers,
        version=version("riddle-search"),
        lifespan=life.span,
        door=token_door(settings.services.token),
    )


APPS: Mapping[str, Callable[[Settings, Say | None], FastAPI]] = {
    "gateway": gateway_app,
    "recall": recall_app,
    "rank": rank_app,
    "embed": embed_app,
}


def local(settings: Settings) -> Settings:
    """The same settings with no other service named."""
    return replace(settings, services=replace(settings.services, recall_url="", rank_url="", embed_url=""))


def _recall_port(settings: Settings, encoders: EncoderShelf, life: Life) -> RecallPort:
    if not settings.services.recall_url:
        return _embedded_recall(settings, encoders, life)
    chosen = settings.services
    client = RecallClient(http_client(chosen.recall_url, chosen.timeout_s, chosen.token), chosen.write_timeout_s)
    life.end.append(client.aclose)
    return client


def _embedded_recall(settings: Settings, encoders: EncoderShelf, life: Life) -> EmbeddedRecall:
    store = CollectionStore(collections_folder(settings.home))
    recall = EmbeddedRecall(
        store,
        encoders,
        settings.default_collection,
        Pool("recall", workers=2, queue=64),
        how=Preparation(settings.chunk, settings.build.batch_tokens),
        offered=_is_encoder,
        late=late_shelf(settings),
        spelling=Spelling(eager=settings.query.spelling != "off", least=settings.query.spelling_words),
    )
    life.begin.append(recall.start)
    life.end.append(recall.aclose)
    return recall


def _is_encoder(name: str) -> bool:
    """Whether a caller of the API may name this model: one that the registry lists."""
    entry = listed(name)
    return entry is not None and entry.kind == "encoder"


def _rank_port(settings: Settings, life: Life) -> RankPort:
    if not settings.services.rank_url:
        return _embedded_rank(settings, life)
    chosen = settings.services
    client = RankClient(http_client(chosen.rank_url, chosen.timeout_s, chosen.token))
    life.beside.append(client.watch)
    life.end.append(client.aclose)
    return client


def _embedded_rank(settings: Settings, life: Life) -> EmbeddedRank:
    # Without a plan one at a time: a reranker takes every core it may, and two at once take twice as long each. With
    # one, a second request reads half as deep at once rather than waiting for the first with its own time.
    workers = 2 if settings.rank.order == "blend" else 1
    rank = EmbeddedRank(lambda: rank_pipeline(settings), Pool("rerank", workers=workers, queue=16))
    life.begin.append(rank.start)
    life.end.append(rank.aclose)
    return rank


def ordering_of(settings: Settings) -> Ordering | None:
    """What the home folder says of how its collections are ranked; None where the reranker alone decides."""
    if settings.rank.order != "blend":
        return None
    return Ordering(settings.home, numeric_fields(settings.rank.fields_text), settings.models.reranker)


def rank_pipeline(settings: Settings) -> RankPipeline:
    if not settings.models.reranker:
        return RankPipeline(None, settings.rank)
    files = find_model(settings.models.reranker, settings.home)
    reranker = open_reranker(files, runtime=settings.models.runtime, threads=settings.models.threads)
    # The first run of a graph allocates and tunes; the first user should not wait for it.
    reranker.score("warm up", ["A passage of some words that stands for those to come. " * 6] * 8)
    if settings.rank.order != "blend":
        return RankPipeline(reranker, settings.rank)
    key = calibration_key(files.name, files.fingerprint, settings.models.threads)
    return RankPipeline(reranker, settings.rank, opened_budget(settings.home, key, reranker))


def _query_log(settings: Settings, telemetry: Telemetry, life: Life) -> QueryLog | None:
    if not settings.log.enabled:
        return None
    log = QueryLog(settings.home, settings.log, telemetry)
    life.beside.append(log.keep_tidy)
    life.end.append(log.aclose)
    return log


def _jobs(settings: Settings, encoders: EncoderShelf) -> APIRouter:
    """Builds over HTTP; the router starts and stops its runner with the application."""
    store = CollectionStore(collections_folder(settings.home))

    def run(
        paths: list[Path], collection: str, progress: Callable[[Progress], None], cancel: threading.Event
    ) -> BuildSummary:
        return build(
            paths,
            collection,
            store=store,
            encoder=encoders.wait(encoder_of(store, collection, settings)),
            work=builds_folder(settings.home),
            chunk=settings.chunk,
            settings=settings.build,
            late=late_of_build(store, collection, settings, replace=False),
            progress=progress,
            cancel=cancel,
        )

    runner = JobRunner(
        settings.home,
        run,
        limits=JobLimits(max_bytes=settings.jobs.max_upload_bytes),
        source_folder=Path(settings.jobs.sources) if settings.jobs.sources else None,
    )
    return jobs_router(runner)


def encoder_of(store: CollectionStore, collection: str, settings: Settings) -> str:
    """The encoder that a build of ``collection`` needs: its own if it exists, else the settings'."""
    try:
        return store.info(collection).encoder
    except CollectionNotFound:
        return settings.models.encoder


def gateway_settings(settings: Settings) -> GatewaySettings:
    server = settings.server
    limits = SearchLimits(
        default_collection=settings.default_collection,
        max_query_chars=server.max_query_chars,
        max_k=server.max_k,
        default_k=server.default_k,
        recall_depth=settings.recall.depth,
        rerank_depth=settings.rank.depth,
        rrf_k=settings.recall.rrf_k,
        weights=settings.recall.weights,
        fusion=settings.recall.fusion,
        normalisation=settings.recall.normalisation,
        diversity=settings.rank.diversity,
        calibrated=settings.rank.order == "blend",
        spelling=settings.query.spelling,
        rewrite=settings.query.rewrite if settings.generation.url else "off",
        rewrites=bool(settings.generation.url),
    )
    upload_room = settings.jobs.max_upload_bytes + (1 << 20)  # the parts' own headers
    return GatewaySettings(
        limits,
        server.max_body_bytes,
        upload_room,
        server.max_bulk_bytes,
        version("riddle-search"),
        settings.peers,
    )
