"""A gateway over fakes, behind a real socket."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import httpx
import pytest
from fastapi import APIRouter

from services.auth import Caller, Doorkeeper
from services.batcher import Batch
from services.cache import Cache, MemoryCache
from services.gateway.app import GatewaySettings, Parts, create_app
from services.gateway.plan import SearchLimits
from services.peers.limits import PeerSettings
from services.query_log import QueryLog
from services.telemetry import Telemetry
from tests.fake_models import FakeEncoder, FakePairs
from tests.fakes import FakeAnswerer, FakeRank, FakeRecall
from tests.live import LiveServer, Stage, served
from tests.shared_models import PEERS, shared_encoder, shared_reranker

LIMITS = SearchLimits(
    default_collection="docs",
    max_query_chars=200,
    max_k=50,
    default_k=2,
    recall_depth=100,
    rerank_depth=20,
    rrf_k=60,
    weights={"lexical": 1.0, "dense": 1.0},
)
SETTINGS = GatewaySettings(
    LIMITS, max_body_bytes=10_000, max_upload_bytes=100_000, max_bulk_bytes=200_000, version="test"
)


class OpenDoor:
    """Lets everybody in as the server without keys does; ``caller`` says as whom."""

    def __init__(self) -> None:
        self.caller = Caller(may_write=True)

    def admit(self, headers: Mapping[str, str]) -> Caller:
        return self.caller


@dataclass
class Gateway:
    """The gateway under test, its fakes, and a client of it."""

    recall: FakeRecall = field(default_factory=FakeRecall)
    rank: FakeRank = field(default_factory=FakeRank)
    answerer: FakeAnswerer = field(default_factory=FakeAnswerer)
    cache: Cache = field(default_factory=lambda: MemoryCache(60, 100))
    telemetry: Telemetry = field(default_factory=Telemetry)
    door: Doorkeeper = field(default_factory=OpenDoor)
    jobs: APIRouter | None = None
    log: QueryLog | None = None

    encoder: FakeEncoder = field(default_factory=FakeEncoder)
    pairs: FakePairs = field(default_factory=FakePairs)
    peers: PeerSettings = field(default_factory=lambda: PEERS)

    def __post_init__(self) -> None:
        self.embed = shared_encoder(self.encoder, self.peers, self.batch)
        self.scores = shared_reranker(self.pairs, self.peers, self.batch)
        parts = Parts(
            self.recall,
            self.rank,
            self.answerer,
            self.cache,
            self.telemetry,
            self.door,
            self.jobs,
            log=self.log,
            embed=self.embed,
            scores=self.scores,
        )
        self.app = create_app(parts, replace(SETTINGS, peers=self.peers))

    def batch(self, stage: str, batch: Batch) -> None:
        self.telemetry.observe_batch(stage, batch.callers, batch.tokens, batch.waited_ms)


@dataclass
class Live:
    gateway: Gateway
    server: LiveServer
    http: httpx.Client

    def search(self, query: str, **fields: object) -> httpx.Response:
        return self.http.post("/v1/search", json={"query": query, **fields})


@pytest.fixture(scope="session")
def stage() -> Iterator[tuple[Stage, LiveServer, httpx.Client]]:
    """One server and one client of it for all tests; the application changes."""
    on = Stage()
    with served(on) as server, httpx.Client(base_url=server.url, timeout=60, trust_env=False) as http:
        yield on, server, http


@pytest.fixture
def live(stage: tuple[Stage, LiveServer, httpx.Client]) -> Live:
    on, server, http = stage
    gateway = Gateway()
    on.app = gateway.app
    return Live(gateway, server, http)
