"""The nouns that every layer shares: documents, passages, hits, candidates, and the seams between layers."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
"""A C-contiguous float32 matrix, one row a text, each row of unit L2 norm unless said otherwise."""

Rows = NDArray[np.int64]
"""Row numbers of passages inside one generation."""

Role = Literal["query", "passage"]
Language = Literal["en", "zh"]

JSONScalar = str | int | float | bool | None
Metadata = Mapping[str, JSONScalar | Sequence[JSONScalar]]


@dataclass(frozen=True, slots=True)
class Document:
    """One source document after conversion to plain text; offsets of passages count code points in ``text``."""

    document_id: str
    text: str
    title: str = ""
    source: str = ""
    """Where it came from, for people: a path relative to the source given, or a URL."""
    metadata: Metadata = field(default_factory=dict)
    acl: tuple[str, ...] = ()
    """Principals that may see it, such as ``group:eng``; empty when everybody may."""
    version: int = 0
    """Grows with each change; 0 for a document that is not stored yet and brings none of its own."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A stretch of one document, as the chunker cuts it.

    ``start`` and ``end`` are code point offsets into the document's text, end exclusive.
    ``context`` is text that belongs in front of the stretch though it stands elsewhere: the header
    of a table of which this is a later part. It is indexed and shown to models, and not quoted.
    """

    ordinal: int
    start: int
    end: int
    headings: tuple[str, ...] = ()
    page: int | None = None
    context: str = ""


@dataclass(frozen=True, slots=True)
class Passage:
    """A chunk with its text and what is known of its document; ``passage_id`` is ``<document_id>#<ordinal>``."""

    passage_id: str
    document_id: str
    text: str
    offsets: tuple[int, int]
    title: str = ""
    headings: tuple[str, ...] = ()
    page: int | None = None
    context: str = ""
    source: str = ""
    metadata: Metadata = field(default_factory=dict)

    @property
    def full_text(self) -> str:
        """What encoders, rerankers and answer models read: heading path, carried context, then the text."""
        return passage_text(self.title, self.headings, self.context, self.text)


def passage_text(title: str, headings: Sequence[str], context: str, text: str) -> str:
    """Compose the text that models see of a passage; the one place that decides it.

    A first heading that repeats the title is not written twice.
    """
    path = [part for part in ([title] if title else []) + list(headings) if part]
    if len(path) > 1 and path[0] == path[1]:
        path = path[1:]
    head = " > ".join(path)
    return "\n".join(part for part in (head, context, text) if part)


@dataclass(frozen=True, slots=True)
class Hits:
    """One channel's ranking, best first: ``rows`` int64 and ``scores`` float32 of equal length.

    Scores keep the channel's own scale. Ties are ordered by row, so that equal input gives equal
    output on every machine.
    """

    rows: Rows
    scores: NDArray[np.float32]

    def __post_init__(self) -> None:
        if self.rows.shape != self.scores.shape or self.rows.ndim != 1:
            raise ValueError(f"rows {self.rows.shape} and scores {self.scores.shape} must be equal, one-dimensional")

    def __len__(self) -> int:
        return len(self.rows)

    @classmethod
    def empty(cls) -> Hits:
        return cls(np.empty(0, np.int64), np.empty(0, np.float32))


@dataclass(frozen=True, slots=True)
class StageScore:
    """Where one stage put a passage: ``rank`` counts from 1, ``score`` is on the stage's own scale."""

    rank: int
    score: float


@dataclass(frozen=True, slots=True)
class Candidate:
    """A passage on its way through the funnel, with what each stage said of it.

    Stage names are ``lexical``, ``dense``, ``fused``, ``rerank``; a stage that did not see the
    passage has no entry. ``scored_by`` names the stage whose scale ``score`` is on.
    """

    passage: Passage
    score: float
    scored_by: str
    stages: Mapping[str, StageScore]
    vector: str = ""
    """What learned ranking knew of it, as ``ranking.features.stamped`` writes it; empty when nobody asked."""
    team: str = ""
    """The ranker that put it here, where two take turns (``ranking/interleaving.py``); else empty."""


@dataclass(frozen=True, slots=True)
class CollectionInfo:
    """What a reader may know of a collection: the generation now current, and what it holds."""

    name: str
    generation: str
    """``<name>@<number>``; changes with every publish, and is part of every cache key."""
    documents: int
    passages: int
    encoder: str
    """Name of the encoder that its vectors come from."""
    dimension: int
    bytes: int = 0
    created: str = ""
    """ISO 8601, UTC."""


@dataclass(frozen=True, slots=True)
class Correction:
    """A query with its misspelt words put right."""

    query: str
    words: tuple[tuple[str, str], ...]
    """Each as it was typed and as it was meant, in the order of the query."""


@dataclass(frozen=True, slots=True)
class Recalled:
    """What recall hands to ranking: fused candidates best first, of one generation."""

    info: CollectionInfo
    candidates: tuple[Candidate, ...]
    """All, or the first ones that were asked for."""
    timings_ms: Mapping[str, float]
    """``embed``, ``lexical``, ``dense``, ``fuse``, ``fetch``; channels overlap, so they do not add up."""
    degraded: tuple[str, ...] = ()
    """Channels that should have run and did not, such as ``dense``."""
    facets: Mapping[str, tuple[tuple[JSONScalar, int], ...]] = field(default_factory=dict)
    """For each key that was asked for, its values and how many admitted documents have each, most first."""
    more: int = 0
    """Candidates that follow these and were not fetched."""
    order: str = ""
    """A digest of the ids of all candidates in their order: tells whether another call found the same."""
    correction: Correction | None = None
    """What the query was taken to mean, where words of it are misspelt and that was asked for."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """What ranking hands back: the same candidates in the final order."""

    candidates: tuple[Candidate, ...]
    timings_ms: Mapping[str, float]
    degraded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EncoderSpec:
    """What must match between the encoder of an index and the encoder of a query."""

    name: str
    dimension: int
    max_tokens: int
    languages: tuple[str, ...]
    """ISO 639-1 codes that it was trained for; ``("*",)`` when it is meant for all."""
    query_prefix: str = ""
    passage_prefix: str = ""
    fingerprint: str = ""
    """sha256 (first 16 hex digits) of weights, prefixes and pooling; equal fingerprints give equal vectors."""


class Encoder(Protocol):
    """Turns texts into unit vectors. Thread-safe. One contract suite: tests/contract/test_encoders.py."""

    @property
    def spec(self) -> EncoderSpec: ...

    def encode(self, texts: Sequence[str], role: Role) -> Vectors:
        """Encode ``texts``, float32 ``[len(texts), dimension]``, unit rows, order kept.

        Prefixes are added here. Text beyond ``max_tokens`` is cut. An empty sequence gives ``[0, d]``.
        Raises Unavailable when a remote encoder does not answer.
        """
        ...


class Reranker(Protocol):
    """Scores query and passage pairs together. Thread-safe."""

    @property
    def name(self) -> str: ...

    @property
    def languages(self) -> tuple[str, ...]: ...

    def score(self, query: str, texts: Sequence[str], deadline: float | None = None) -> NDArray[np.float32]:
        """Relevance logits, float32, of the first ``m <= len(texts)`` texts, in order.

        ``deadline`` is a ``time.monotonic()`` instant; scoring goes in micro-batches and stops
        before the next one when it has passed, so ``m`` can be less than ``len(texts)``, even 0.
        """
        ...

    def score_round(
        self, query: str, texts: Sequence[str], deadline: float | None = None
    ) -> tuple[NDArray[np.float32], int]:
        """A logit for each text, float32, NaN where ``deadline`` came first; and how many tokens were read.

        A pair's score does not hang on the round in which it is read.
        """
        ...


class Clock:
    """Collects the milliseconds of named stages: ``with clock("lexical"): …`` then ``clock.ms``."""

    def __init__(self) -> None:
        self.ms: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.ms[stage] = round((time.perf_counter() - began) * 1000, 3)
