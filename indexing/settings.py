"""How a build divides its work; apart from the build itself, so that reading settings loads nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BuildSettings:
    """How a build divides its work; none of it changes what is built."""

    partition_documents: int = 256
    """Most documents of one partition; what a killed build may lose is one partition."""
    partition_bytes: int = 1 << 20
    """Bytes of sources, before conversion, after which a partition is closed."""
    batch_tokens: int = 8192
    """Estimated tokens, padding included, that the encoder gets at once."""

    def __post_init__(self) -> None:
        for name in ("partition_documents", "partition_bytes", "batch_tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"build.{name} must be at least 1, not {getattr(self, name)}")
