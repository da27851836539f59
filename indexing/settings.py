"""How a build goes about its work; apart from the build itself, so that reading settings loads nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BuildSettings:
    """How a build divides its work, what it leaves out, and what it asks of an index before it publishes it."""

    partition_documents: int = 4096
    """Most documents of one partition; what a killed build may lose is one partition."""
    partition_bytes: int = 1 << 20
    """Bytes of sources, before conversion, after which a partition is closed."""
    batch_tokens: int = 8192
    """Estimated tokens, padding included, that the encoder gets at once."""
    near_duplicates: float = 0.0
    """Of documents at least this similar (0.85: a sentence in ten differs) the first is kept; 0 keeps all."""
    recall_gate: float = 0.9
    """Recall@10 of the vector index against exact search below which nothing is published; 0 does not ask."""
    threads: int = 1
    """Threads that build the vector index."""
    late: str = ""
    """Model of late interaction by which new collections get token vectors, ``answerai-colbert-small-v1``; empty for
    none, since it makes a build twice as long."""
    late_bits: int = 2
    """Bits a dimension, 2 or 4, in which token vectors are kept."""

    def __post_init__(self) -> None:
        for name in ("partition_documents", "partition_bytes", "batch_tokens", "threads"):
            if getattr(self, name) < 1:
                raise ValueError(f"build.{name} must be at least 1, not {getattr(self, name)}")
        if self.near_duplicates and not 0.5 <= self.near_duplicates <= 1:
            raise ValueError(f"build.near_duplicates must be 0 or from 0.5 to 1, not {self.near_duplicates}")
        if self.late_bits not in (2, 4):
            raise ValueError(f"build.late_bits must be 2 or 4, not {self.late_bits}")
        if not 0 <= self.recall_gate <= 1:
            raise ValueError(f"build.recall_gate must be from 0 to 1, not {self.recall_gate}")
