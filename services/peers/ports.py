"""The models that stand behind the interfaces of others: what may be asked of an encoder and of a reranker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

import numpy as np

from retrieval.types import Role, Vectors


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model as callers may know it."""

    name: str
    kind: Literal["encoder", "reranker"]
    max_tokens: int
    """The longest text, or pair of query and text, that it reads; special tokens included."""
    aliases: tuple[str, ...] = ()
    """Other names that it answers to; case does not matter."""
    shown: tuple[str, ...] = ()
    """Those of them that are listed beside its name: the ones that this server's owner gave it."""
    dimension: int = 0
    dimensions: tuple[int, ...] = ()
    """Shorter lengths that its vectors were trained to be cut to."""
    pooling: str = "none"
    fingerprint: str = ""
    created: int = 0
    """Seconds since 1970: when its files were put there."""

    def answers_to(self, name: str) -> bool:
        return name.lower() in {self.name.lower(), *map(str.lower, self.aliases), *map(str.lower, self.shown)}


@dataclass(frozen=True, slots=True)
class EmbedCall:
    """Texts to be encoded. Without a role no prefix is added; a text that is too long is refused or cut."""

    texts: tuple[str, ...]
    role: Role | None = None
    truncate: bool = False


@dataclass(frozen=True, slots=True)
class Embedded:
    """Rows as the model pools them, not normalised: float32, little-endian, of ``dimension`` numbers each."""

    __pydantic_config__: ClassVar[Any] = {"ser_json_bytes": "base64", "val_json_bytes": "base64"}

    rows: bytes
    dimension: int
    tokens: int
    """What the model read, special tokens included."""

    @property
    def vectors(self) -> Vectors:
        return np.frombuffer(self.rows, "<f4").reshape(-1, self.dimension)


@dataclass(frozen=True, slots=True)
class ScoreCall:
    """Texts to be scored for a query. ``text_tokens`` is the most that is read of each; None reads what fits."""

    query: str
    texts: tuple[str, ...]
    truncate: bool = True
    text_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Scored:
    """A relevance logit for each text, in order."""

    logits: tuple[float, ...]
    tokens: int
    """What the model read: the query as often as there are texts."""


class EmbedPort(Protocol):
    """An encoder that many callers share. Raises ModelMissing, ModelNotFound, and Unavailable when it is away."""

    async def model(self) -> ServedModel: ...

    async def embed(self, call: EmbedCall) -> Embedded:
        """Raises InvalidRequest for a text that is too long, TooLarge, and Overloaded when the queue is full."""
        ...


class ScorePort(Protocol):
    """A reranker that many callers share. Raises as EmbedPort does."""

    async def model(self) -> ServedModel: ...

    async def score(self, call: ScoreCall) -> Scored: ...
