"""Fake models behind the interfaces of others: shared in this process, as the services share real ones."""

from __future__ import annotations

from services.batcher import Batch
from services.peers.limits import PeerSettings
from services.peers.ports import ServedModel
from services.peers.sharing import Observe, SharedEncoder, SharedReranker
from tests.fake_models import FakeEncoder, FakePairs

PEERS = PeerSettings(max_texts=20, max_chars=5000, max_body_bytes=50_000, batch_wait_ms=0.0)

ENCODER = ServedModel(
    "fake-encoder",
    "encoder",
    512,
    aliases=("org/Fake-Encoder",),
    shown=("text-embedding-3-small",),
    dimension=64,
    dimensions=(16,),
    pooling="mean",
    created=1_700_000_000,
)
RERANKER = ServedModel("fake-reranker", "reranker", 64, aliases=("org/fake-reranker",), shown=("rerank-v3.5",))


def ignored(stage: str, batch: Batch) -> None:
    """For those who count no batches."""


def shared_encoder(
    encoder: FakeEncoder | None = None, settings: PeerSettings = PEERS, observe: Observe = ignored
) -> SharedEncoder:
    held = encoder or FakeEncoder()
    return SharedEncoder(lambda: (held, ENCODER), settings, observe)


def shared_reranker(
    pairs: FakePairs | None = None, settings: PeerSettings = PEERS, observe: Observe = ignored
) -> SharedReranker:
    held = pairs or FakePairs()
    return SharedReranker(lambda: (held, RERANKER), settings, observe)
