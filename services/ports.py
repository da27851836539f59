"""The seams between the gateway and what stands behind it, the same in one process and in many.

``services/embedded.py`` fills them with objects of this process, ``services/clients.py`` with HTTP
clients; tests/contract/test_ports.py holds both to one suite.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from retrieval.types import Candidate, CollectionInfo, Document, Ranked, Recalled


@dataclass(frozen=True, slots=True)
class Rights:
    """What a caller may see, taken from its token and from nothing else.

    ``principals`` is sorted, and part of every cache key. Without keys every caller is ``public``.
    """

    principals: tuple[str, ...] = ("public",)


@dataclass(frozen=True, slots=True)
class RecallRequest:
    """One query for recall. ``depth`` is how far each channel looks: constant, independent of the caller's k."""

    collection: str
    query: str
    rights: Rights = field(default_factory=Rights)
    depth: int = 100
    rrf_k: int = 60
    weights: Mapping[str, float] = field(default_factory=lambda: {"lexical": 1.0, "dense": 1.0})
    deadline_ms: float | None = None
    """Time left from now. A channel that cannot keep it is left out and named in ``degraded``; the
    lexical channel, the lowest rung, always runs."""


class RecallPort(Protocol):
    """Reads collections. Raises CollectionNotFound, Unavailable, IndexUnreadable."""

    async def collections(self) -> list[CollectionInfo]: ...

    async def describe(self, collection: str) -> CollectionInfo:
        """The generation now current; asked before every cache look-up, so it must be cheap."""
        ...

    async def recall(self, request: RecallRequest) -> Recalled: ...

    async def document(self, collection: str, document_id: str) -> Document:
        """Raises DocumentNotFound."""
        ...

    async def drop(self, collection: str) -> None:
        """Remove a collection and its files. Readers that hold a generation finish with it."""
        ...

    async def ready(self) -> Mapping[str, str]:
        """Part name to ``ok`` or to the reason why it is not ready."""
        ...


class RankPort(Protocol):
    """Orders candidates. Never raises for want of time: says so in ``degraded``. Raises Unavailable when gone."""

    @property
    def version(self) -> str:
        """Names the pipeline and its models; part of every cache key."""
        ...

    async def rank(
        self, query: str, candidates: Sequence[Candidate], *, depth: int, deadline_ms: float | None
    ) -> Ranked:
        """Rerank the first ``depth`` candidates; the rest keep their order behind them.

        ``deadline_ms`` is the time left from now, None for no limit.
        """
        ...

    async def ready(self) -> Mapping[str, str]: ...
