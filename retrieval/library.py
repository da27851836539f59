"""A collection for scripts and notebooks: plain documents in, passages out, without a server.

>>> import tempfile
>>> from retrieval import Collection
>>> folder = tempfile.TemporaryDirectory()
>>> books = Collection.create(f"{folder.name}/books")
>>> books.upsert([
...     {"id": "whale", "text": "A captain hunts a white whale.", "metadata": {"year": 1851}},
...     {"id": "road", "text": "Two friends drive across a continent.", "metadata": {"year": 1957}},
... ])
2
>>> [hit.document_id for hit in books.search("white whale")]
['whale']
>>> books.search("whale", filters={"type": "gte", "key": "year", "value": 1900})
[]
>>> books.upsert({"id": "road", "text": "A whale of a trip."})
1
>>> [hit.document_id for hit in books.search("whale")]
['road', 'whale']
>>> books["road"].version, len(books), "whale" in books
(2, 2, True)
>>> books.delete("whale")
1
>>> [hit.text for hit in books.search("whale")]
['A whale of a trip.']
>>> folder.cleanup()
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from retrieval.changes import Delete, Outcome, Upsert
from retrieval.errors import Conflict, DocumentNotFound, InvalidRequest
from retrieval.filters import Scope, parse_filter
from retrieval.late_encoder import LateEncoder
from retrieval.maintenance import BACKGROUND
from retrieval.manifest import CollectionSettings
from retrieval.metadata_values import Scalar
from retrieval.recall import recall
from retrieval.snapshot import Snapshot
from retrieval.store import CollectionStore
from retrieval.token_vectors import TokenCodes
from retrieval.types import (
    Candidate,
    Chunk,
    CollectionInfo,
    Document,
    Encoder,
    EncoderSpec,
    Metadata,
    Vectors,
    passage_text,
)

WORDS_ALONE = EncoderSpec("", 1, 1, ("*",))
"""What a collection without an encoder is built with: one number a passage, which nothing searches."""

Chunker = Callable[[Document], Sequence[Chunk]]
_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage that was found. ``score`` is on the scale of reciprocal rank fusion."""

    document_id: str
    passage_id: str
    text: str
    score: float
    title: str
    metadata: Metadata
    offsets: tuple[int, int]


def whole(document: Document) -> Sequence[Chunk]:
    """The document as one passage: what is done when no chunker is given."""
    return [Chunk(0, 0, len(document.text))]


class Collection:
    """A collection of passages in a folder, searched by words and, with an encoder, by meaning.

    Changes are durable when a call returns and found by the next search, also by that of another process that has
    the folder open; `riddle up --home H` serves it when the folder is ``H/collections/NAME``. Thread-safe.
    ``encoder`` is anything with the Encoder protocol (retrieval/types.py), such as what
    ``retrieval.encoders.open_encoder`` opens; ``chunker`` cuts documents into passages, by default none. With
    ``late``, what ``retrieval.late_encoder.open_late`` opens, passages get token vectors, which ``snapshot().late`` and
    a server that blends its stages compare; a collection that was created with them takes documents without it too.
    """

    def __init__(
        self,
        path: str | Path,
        encoder: Encoder | None = None,
        *,
        late: LateEncoder | None = None,
        chunker: Chunker = whole,
    ) -> None:
        """Open what ``create`` made. Raises CollectionNotFound; IndexUnreadable, for another encoder too;
        InvalidRequest for another ``late``."""
        folder = Path(path)
        self._store = CollectionStore(folder.parent, BACKGROUND)
        self._name, self._encoder, self._late, self._chunker = folder.name, encoder, late, chunker
        self._collection = self._store.open(folder.name)
        if encoder is not None:
            self.snapshot().check_encoder(encoder.spec)
        elif self._collection.encoder.name:
            raise InvalidRequest(f"{path} holds vectors of {self._collection.encoder.name}: open it with that encoder")
        if late is not None and late.spec != self._collection.settings.late:
            raise InvalidRequest(f"{path} was not made for the token vectors of {late.spec.model}")

    @classmethod
    def create(
        cls,
        path: str | Path,
        encoder: Encoder | None = None,
        *,
        late: LateEncoder | None = None,
        settings: CollectionSettings | None = None,
        chunker: Chunker = whole,
    ) -> Collection:
        """A new, empty collection. Raises Conflict when there is one, InvalidRequest for a bad name or settings."""
        folder = Path(path)
        spec = WORDS_ALONE if encoder is None else encoder.spec
        settings = settings or CollectionSettings()
        if late is not None:
            settings = replace(settings, late=late.spec)
        CollectionStore(folder.parent, BACKGROUND).create(folder.name, settings, spec)
        return cls(folder, encoder, late=late, chunker=chunker)

    @property
    def info(self) -> CollectionInfo:
        """Counts, encoder, and ``generation``, which changes with every change."""
        return self._collection.info()

    def snapshot(self) -> Snapshot:
        """The state that the next search reads; it stays as it is. For rankings of single channels, and more."""
        return self._collection.snapshot()

    def upsert(self, documents: Document | Mapping[str, Any] | Iterable[Document | Mapping[str, Any]]) -> int:
        """Put documents in place of those with their ids; returns how many.

        A mapping has ``id`` and ``text``, and may have ``title``, ``source``, ``metadata``, ``acl``, ``version`` (which
        must grow) and ``vector`` (for a single passage). Written in batches of 256, each durable as a whole.
        Raises InvalidRequest for a document that is not one, Conflict when a version is not greater than the stored.
        """
        listed = iter([documents] if isinstance(documents, Document | Mapping) else documents)
        count = 0
        while batch := list(islice(listed, _AT_ONCE)):
            outcomes = self._collection.write(self._upserts([_read(each) for each in batch]))
            _raise_conflicts(outcomes)
            count += len(outcomes)
        return count

    def delete(self, document_ids: str | Iterable[str]) -> int:
        """Remove documents; returns how many were there."""
        ids = [document_ids] if isinstance(document_ids, str) else list(document_ids)
        return sum(outcome.accepted for outcome in self._collection.write([Delete(each) for each in ids]))

    def search(
        self,
        query: str,
        k: int = 10,
        *,
        filters: Mapping[str, Any] | None = None,
        principals: Iterable[str] | None = None,
        per_document: int | None = None,
    ) -> list[Hit]:
        """The best ``k`` passages by words and meaning, of documents that pass ``filters`` (the API's tree).

        ``principals`` restrict it to what they may see, which None does not; ``per_document`` to so many passages
        of each.
        """
        scope = self._scope(filters, principals)
        fetch = k if per_document is None else None
        found = recall(self.snapshot(), self._encoder, query, scope=scope, depth=max(100, 2 * k), fetch=fetch)
        taken: dict[str, int] = {}
        hits: list[Hit] = []
        for candidate in found.candidates:
            name = candidate.passage.document_id
            taken[name] = taken.get(name, 0) + 1
            if per_document is None or taken[name] <= per_document:
                hits.append(_hit(candidate))
        return hits[:k]

    def facets(
        self, *keys: str, filters: Mapping[str, Any] | None = None, limit: int = 20
    ) -> dict[str, list[tuple[Scalar, int]]]:
        """How many documents have each of a key's commonest values."""
        return self.snapshot().facets(keys, self._scope(filters, None), limit)

    def __getitem__(self, document_id: str) -> Document:
        try:
            return self.snapshot().document(document_id)
        except DocumentNotFound as error:
            raise KeyError(document_id) from error

    def __contains__(self, document_id: object) -> bool:
        return isinstance(document_id, str) and self.snapshot().find([document_id])[0] is not None

    def __len__(self) -> int:
        return self.info.documents

    def __repr__(self) -> str:
        info = self.info
        return f"Collection({info.name!r}, {info.documents:,} documents, {info.passages:,} passages)"

    def close(self) -> None:
        """Wait for what goes on in this process beside the searches; nothing is lost without it."""
        self._store.close()

    def _scope(self, filters: Mapping[str, Any] | None, principals: Iterable[str] | None) -> Scope:
        wanted = None if filters is None else parse_filter(filters, self._collection.settings.fields)
        return Scope(wanted, None if principals is None else frozenset(principals))

    def _upserts(self, rows: Sequence[tuple[Document, Vectors | None]]) -> list[Upsert]:
        chunks = [self._chunker(document) for document, _ in rows]
        texts = [
            [
                passage_text(document.title, chunk.headings, chunk.context, document.text[chunk.start : chunk.end])
                for chunk in own
            ]
            for (document, _), own in zip(rows, chunks, strict=True)
        ]
        wanting = [own for (_, vector), own in zip(rows, texts, strict=True) if vector is None]
        encoded = iter(self._vectors([text for own in wanting for text in own]))
        tokens = self._tokens(texts)
        upserts = []
        for (document, vector), own, codes in zip(rows, chunks, tokens, strict=True):
            if vector is None:
                empty = np.empty((0, self._collection.encoder.dimension), np.float32)
                vector = np.array([next(encoded) for _ in own], np.float32) if own else empty
            upserts.append(Upsert(document, own, vector, tokens=codes))
        return upserts

    def _tokens(self, texts: Sequence[Sequence[str]]) -> Sequence[TokenCodes | None]:
        """Those of each document's passages."""
        if self._late is None:
            return [None] * len(texts)
        return self._late.encode([text for own in texts for text in own]).split([len(own) for own in texts])

    def _vectors(self, texts: Sequence[str]) -> Vectors:
        if self._encoder is None:
            return np.ones((len(texts), 1), np.float32)
        return self._encoder.encode(texts, "passage")


def _read(given: Document | Mapping[str, Any]) -> tuple[Document, Vectors | None]:
    if isinstance(given, Document):
        return given, None
    known = {"id", "text", "title", "source", "metadata", "acl", "version", "vector"}
    unknown = sorted(set(given) - known)
    if unknown or not isinstance(given.get("id"), str) or not isinstance(given.get("text"), str):
        raise InvalidRequest(
            f"a document has `id` and `text`, and may have {', '.join(sorted(known - {'id', 'text'}))}"
            + (f"; not {unknown[0]!r}: put it under `metadata`" if unknown else "; both must be text")
        )
    document = Document(
        given["id"],
        given["text"],
        title=given.get("title", ""),
        source=given.get("source", ""),
        metadata=dict(given.get("metadata") or {}),
        acl=tuple(given.get("acl") or ()),
        version=given.get("version", 0),
    )
    vector = given.get("vector")
    return document, None if vector is None else np.asarray(vector, np.float32)[None, :]


def _raise_conflicts(outcomes: Sequence[Outcome]) -> None:
    for outcome in outcomes:
        if not outcome.accepted:
            raise Conflict(f"document {outcome.document_id!r}: {outcome.reason}; the others of its batch were written")


def _hit(candidate: Candidate) -> Hit:
    passage = candidate.passage
    return Hit(
        passage.document_id,
        passage.passage_id,
        passage.text,
        candidate.score,
        passage.title,
        passage.metadata,
        passage.offsets,
    )
