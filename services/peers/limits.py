"""How much the interfaces of others take: settings, with what each is for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from retrieval.errors import TooLarge
from services.batcher import BatchLimits


@dataclass(frozen=True, slots=True)
class PeerSettings:
    """What one request to `/v1/embeddings`, `/embed` and the rerank endpoints may hold, and how they share a model."""

    encoder_names: str = ""
    """Further names, with commas, that the encoder answers to, such as text-embedding-3-small."""
    reranker_names: str = ""
    """Further names, with commas, that the reranker answers to, such as rerank-v3.5."""
    max_texts: int = 2048
    """Most texts in one request."""
    max_chars: int = 4_000_000
    """Most code points in one request, all texts together."""
    max_body_bytes: int = 32 << 20
    """Largest request body, in bytes."""
    batch_tokens: int = 2048
    """Tokens that the model is given at once, of however many requests."""
    batch_wait_ms: float = 2.0
    """Longest that a request waits for others, while the model is idle and the last batch was shared."""
    queue_tokens: int = 262_144
    """Tokens that may wait for a model; beyond it requests are refused with 429."""
    timeout_s: float = 60.0
    """Seconds that a request may take, the wait for its turn among them."""

    def __post_init__(self) -> None:
        for name in ("max_texts", "max_chars", "max_body_bytes", "batch_tokens", "queue_tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"peers.{name} must be at least 1, not {getattr(self, name)}")
        if self.batch_wait_ms < 0 or self.timeout_s <= 0:
            raise ValueError("peers.batch_wait_ms cannot be negative, and peers.timeout_s must be above 0")

    @property
    def batches(self) -> BatchLimits:
        return BatchLimits(batch_tokens=self.batch_tokens, wait_ms=self.batch_wait_ms, queue_tokens=self.queue_tokens)

    def check(self, field: str, texts: Sequence[str], query: str = "") -> None:
        """Raises TooLarge, before anything is done with the texts."""
        if len(texts) > self.max_texts:
            raise TooLarge(
                f"{field}: {len(texts):,} texts, and at most {self.max_texts:,} are taken: send them in parts"
            )
        chars = len(query) + sum(map(len, texts))
        if chars > self.max_chars:
            raise TooLarge(
                f"{field}: {chars:,} characters, and at most {self.max_chars:,} are taken: send them in parts"
            )


def names(setting: str) -> tuple[str, ...]:
    """The names in a setting that lists them with commas."""
    return tuple(name for name in (part.strip() for part in setting.split(",")) if name)
