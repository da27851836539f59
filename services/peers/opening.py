"""Which models stand behind the interfaces of others: those that the settings name, here or at another service."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Literal, cast

from ranking.pairs import PairScorer, open_pair_scorer
from retrieval.encoders import OpenEncoder
from retrieval.errors import ModelNotFound
from retrieval.models import ModelFiles, find_model
from retrieval.types import Encoder
from services.batcher import Batch
from services.clients import http_client
from services.life import Life
from services.model_registry import listed
from services.peers.hops import EmbedClient, ScoreClient
from services.peers.limits import names
from services.peers.ports import EmbedPort, ScorePort, ServedModel
from services.peers.sharing import Observe, SharedEncoder, SharedReranker
from services.settings import Settings
from services.telemetry import Telemetry

_GRACE_S = 5.0
"""How much longer a gateway waits than the service that it asks, which says by itself that its time is over."""


def embed_port(
    settings: Settings, encoder: Callable[[], Encoder], life: Life, telemetry: Telemetry
) -> EmbedPort | None:
    """The embed service when the settings name one, else ``encoder``, which may wait for it; None without any."""
    if not settings.models.encoder:
        return None
    if settings.services.embed_url:
        http = http_client(settings.services.embed_url, settings.services.timeout_s, settings.services.token)
        client = EmbedClient(http, settings.peers.timeout_s + _GRACE_S)
        life.end.append(client.aclose)
        return client
    shared = SharedEncoder(lambda: _opened(encoder(), settings), settings.peers, _observed(telemetry))
    life.end.append(shared.aclose)
    return shared


def score_port(settings: Settings, life: Life, telemetry: Telemetry) -> ScorePort | None:
    """The rank service when the settings name one, else the reranker that they name; None without any."""
    if settings.services.rank_url:
        http = http_client(settings.services.rank_url, settings.services.timeout_s, settings.services.token)
        client = ScoreClient(http, settings.peers.timeout_s + _GRACE_S)
        life.end.append(client.aclose)
        return client
    if not settings.models.reranker:
        return None
    shared = SharedReranker(lambda: _scorer(settings), settings.peers, _observed(telemetry))
    life.end.append(shared.aclose)
    return shared


def _observed(telemetry: Telemetry) -> Observe:
    def observe(stage: str, batch: Batch) -> None:
        telemetry.observe_batch(stage, batch.callers, batch.tokens, batch.waited_ms)

    return observe


def _opened(encoder: Encoder, settings: Settings) -> tuple[OpenEncoder, ServedModel]:
    if not hasattr(encoder, "pooled"):
        raise ModelNotFound(
            f"the encoder {encoder.spec.name} is another server's: ask that for vectors, this one only asks it too"
        )
    files = find_model(settings.models.encoder, settings.home)
    return cast(OpenEncoder, encoder), served_model(files, "encoder", names(settings.peers.encoder_names))


def _scorer(settings: Settings) -> tuple[PairScorer, ServedModel]:
    files = find_model(settings.models.reranker, settings.home)
    scorer = open_pair_scorer(files, runtime=settings.models.runtime, threads=settings.models.threads)
    return scorer, served_model(files, "reranker", names(settings.peers.reranker_names))


def served_model(files: ModelFiles, kind: Literal["encoder", "reranker"], shown: tuple[str, ...]) -> ServedModel:
    """A model's card. It answers to its name, to what the registry calls it, and to ``shown``."""
    entry = listed(files.name)
    known = (entry.name, entry.hub, entry.hub.rpartition("/")[2], *entry.aliases) if entry else ()
    return ServedModel(
        name=files.name,
        kind=kind,
        max_tokens=files.max_tokens,
        aliases=tuple(name for name in known if name),
        shown=shown,
        dimension=files.dimension or 0,
        dimensions=_shorter(files.path),
        pooling=files.pooling,
        fingerprint=files.fingerprint,
        created=int(files.path.stat().st_mtime),
    )


def _shorter(folder: Path) -> tuple[int, ...]:
    """The lengths that vectors may be cut to, as makers of such models write them into config.json."""
    try:
        said = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        lengths = said.get("matryoshka_dimensions") or ()
        return tuple(each for each in lengths if isinstance(each, int) and each > 0)
    except (OSError, ValueError, AttributeError, TypeError):
        return ()
