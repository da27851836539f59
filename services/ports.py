"""The seams between the gateway and what stands behind it, the same in one process and in many.

``services/embedded.py`` fills them with objects of this process, ``services/clients.py`` with HTTP
clients; tests/contract/test_ports.py holds both to one suite.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from retrieval.changes import Outcome
from retrieval.filters import FieldType
from retrieval.fusion import FusionMethod, Normalisation
from retrieval.types import Candidate, CollectionInfo, Document, Ranked, Recalled
from services.query_settings import Spelling


@dataclass(frozen=True, slots=True)
class Rights:
    """What a caller may see, taken from its key and from nothing else.

    ``principals`` is sorted, and part of every cache key and cursor. Without keys every caller is ``public``.
    """

    principals: tuple[str, ...] = ("public",)


@dataclass(frozen=True, slots=True)
class RecallRequest:
    """One query for recall. ``depth`` is how far each channel looks: constant, independent of the caller's k."""

    collection: str
    query: str
    rights: Rights = field(default_factory=Rights)
    filters: Mapping[str, Any] | None = None
    """The filter tree as the caller wrote it; recall reads it, because the collection's fields decide its meaning."""
    facets: tuple[str, ...] = ()
    """Metadata keys whose values are to be counted among all documents that filters and rights admit."""
    depth: int = 100
    fusion: FusionMethod = "rrf"
    rrf_k: int = 60
    normalisation: Normalisation = "min-max"
    weights: Mapping[str, float] = field(default_factory=lambda: {"lexical": 1.0, "dense": 1.0})
    fetch: int | None = None
    """So many candidates, best first, are handed back with their passages; None for all."""
    late: bool = True
    """Whether candidates are to be compared by their token vectors, where the collection keeps them."""
    spelling: Spelling = "off"
    """Whether misspelt words are put right: ``on`` searches what was meant beside what was typed."""
    rewordings: tuple[str, ...] = ()
    """Texts that mean the same as ``query``, searched beside it."""
    passages: tuple[str, ...] = ()
    """Passages as an answer could read, for the dense channel."""
    deadline_ms: float | None = None
    """Time left from now. A channel that cannot keep it is left out and named in ``degraded``; the
    lexical channel, the lowest rung, always runs."""


@dataclass(frozen=True, slots=True)
class NewCollection:
    """How a collection is to be made; what is left empty, or None, follows the server's settings."""

    encoder: str = ""
    vectors: str = "auto"
    fields: Mapping[str, FieldType] = field(default_factory=dict)
    synonyms: tuple[tuple[str, ...], ...] = ()
    words: tuple[str, ...] = ()
    late: str | None = None
    """The model of late interaction that passages get token vectors by; empty for none."""


@dataclass(frozen=True, slots=True)
class CollectionView:
    """A collection as one caller may know it: ``info`` counts the documents and passages that its rights admit."""

    info: CollectionInfo
    vectors: str
    fields: Mapping[str, FieldType]
    aliases: tuple[str, ...]
    late: str = ""
    """The model that its token vectors come from; empty when it keeps none."""


@dataclass(frozen=True, slots=True)
class Put:
    """Store a document. Without ``vector`` recall cuts and encodes its text.

    ``vector`` is float32, little-endian, of any length but 0: the document is one passage then.
    ``document.version`` and ``if_version`` as in ``retrieval.changes.Upsert``.
    """

    __pydantic_config__: ClassVar[Any] = {"ser_json_bytes": "base64", "val_json_bytes": "base64"}

    document: Document
    vector: bytes | None = None
    if_version: int | None = None


@dataclass(frozen=True, slots=True)
class Remove:
    """Delete a document; versions as in ``retrieval.changes.Delete``."""

    document_id: str
    version: int = 0
    if_version: int | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """What came of a batch: an outcome for each change, in order, and the state that holds all of them.

    Beside the statuses of ``Outcome``, 422 says that the change itself cannot be stored.
    """

    generation: str
    outcomes: tuple[Outcome, ...]


class RecallPort(Protocol):
    """Reads and writes collections. Raises CollectionNotFound, Unavailable, IndexUnreadable.

    A name may be an alias, in every call that takes ``collection`` but ``create`` and ``drop``.
    """

    async def collections(self, rights: Rights) -> list[CollectionView]:
        """All collections by name, those too of which ``rights`` admit nothing."""
        ...

    async def view(self, collection: str, rights: Rights) -> CollectionView: ...

    async def describe(self, collection: str) -> CollectionInfo:
        """The state now current, counting every document; asked before every cache look-up, so it must be cheap."""
        ...

    async def recall(self, request: RecallRequest) -> Recalled:
        """Candidates that filters and rights admit, and no others. Raises InvalidRequest for a filter that is none."""
        ...

    async def document(self, collection: str, document_id: str, rights: Rights) -> Document:
        """Raises DocumentNotFound, the same whether it is not there or not for this caller."""
        ...

    async def write(self, collection: str, changes: Sequence[Put | Remove]) -> Written:
        """One durable batch, seen by the next search. A change that is refused leaves the others alone.

        Raises ModelMissing or Unavailable, with nothing written, when texts must be encoded and cannot be now.
        """
        ...

    async def create(self, collection: str, wanted: NewCollection) -> bool:
        """Make a collection; False when it is there already and was made alike.

        Raises Conflict when it was made otherwise, InvalidRequest, and what opening its encoder raises.
        """
        ...

    async def drop(self, collection: str) -> None:
        """Remove a collection and its files. Readers that hold a generation finish with it."""
        ...

    async def set_alias(self, alias: str, collection: str) -> None:
        """Let ``alias`` stand for ``collection`` from the next call on, whatever it stood for before."""
        ...

    async def remove_alias(self, alias: str) -> None:
        """Raises CollectionNotFound when there is no such alias."""
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

    async def read(
        self, query: str, candidates: Sequence[Candidate], *, depth: int, whole: bool, deadline_ms: float | None
    ) -> Ranked:
        """Give the foremost candidates the stage ``rerank``, and leave their order to the caller.

        They come in the order in which they are worth reading, with what speaks for them as their scores: reading
        ends at ``depth``, when the time is up, or when the rest is not expected to matter. ``whole`` reads ``depth``
        whether it matters or not. ``degraded`` says ``rerank`` when the time ended it.
        """
        ...

    async def ready(self) -> Mapping[str, str]: ...
