"""A live block: documents in memory, changed while they are searched, until they are sealed into a segment."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from retrieval._native.late import LateQuery
from retrieval.analysis import Analysis
from retrieval.bitmap import Bitmap
from retrieval.changes import Upsert
from retrieval.filters import Fields, Scope
from retrieval.lexical_live import LiveLexical
from retrieval.metadata_live import LiveMetadata
from retrieval.segment import Part
from retrieval.token_codec import LateSpec
from retrieval.token_vectors import TokenCodes, joined
from retrieval.types import Document, Passage
from retrieval.vector_live import LiveVectors

CAPACITY = 8192
"""Passages after which a block is frozen. Searching a block is exact, and at this size under a millisecond."""


class LiveBlock:
    """Append-only, so that readers need no lock: each sees the first so many documents and passages.

    One writer at a time. ``first`` is the number of the first change that it holds, ``last`` of the last.
    """

    def __init__(
        self, first: int, dimension: int, analysis: Analysis, fields: Fields, capacity: int = CAPACITY
    ) -> None:
        self.first, self.last = first, first - 1
        self.capacity = max(capacity, 1)
        self.lexical = LiveLexical(analysis)
        self.vectors = LiveVectors(dimension, self.capacity)
        self.metadata = LiveMetadata(fields)
        self.changed: list[str] = []
        """Ids of documents that its changes replaced or removed, wherever those were."""
        self._marks: list[tuple[int, int]] = []
        self._rows: dict[str, int] = {}
        self._documents: list[Document] = []
        self._upserts: list[Upsert] = []
        self._first_passage = array("q", [0])
        self._document_of = array("q")

    @property
    def documents(self) -> int:
        return len(self._documents)

    @property
    def passages(self) -> int:
        return len(self._document_of)

    def mark(self, seq: int) -> None:
        """All changes of that number are in."""
        self._marks.append((seq, len(self.changed)))
        self.last = seq

    def changed_by(self, seq: int) -> int:
        """How many entries of ``changed`` are of changes up to that number."""
        place = bisect_right(self._marks, seq, key=lambda mark: mark[0])
        return self._marks[place - 1][1] if place else 0

    def has_room(self, passages: int) -> bool:
        return self.passages + passages <= self.capacity

    def take_vectors(self, changes: Sequence[Upsert]) -> None:
        """The vectors of documents that are appended next, in that order: at one go, since that is quicker."""
        vectors = [change.vectors for change in changes if len(change.chunks)]
        if vectors:
            self.vectors.append(np.concatenate(vectors))

    def append(self, change: Upsert) -> int:
        """Returns the document's row. The caller ``take_vectors`` before, and marks an older copy deleted."""
        row = len(self._documents)
        document = change.document
        self.metadata.append(document.metadata, document.acl)
        for chunk in change.chunks:
            text = document.text[chunk.start : chunk.end]
            self.lexical.append(document.title, chunk.headings, f"{chunk.context}\n{text}" if chunk.context else text)
            self._document_of.append(row)
        self._first_passage.append(len(self._document_of))
        self._upserts.append(change)
        self._documents.append(document)  # last: what is counted is whole
        self._rows[document.document_id] = row
        return row

    def row_of(self, document_id: str) -> int:
        """The row of its newest copy here, -1 when there is none."""
        return self._rows.get(document_id, -1)

    def document(self, row: int) -> Document:
        return self._documents[row]

    def passage_rows(self, document_rows: Sequence[int]) -> NDArray[np.int64]:
        """Rows of all passages of these documents."""
        firsts = self._first_passage
        rows = [row for each in document_rows for row in range(firsts[each], firsts[each + 1])]
        return np.array(rows, np.int64)

    def passages_of(self, documents: Bitmap, passages: int) -> Bitmap:
        """Which of the first ``passages`` passages belong to these documents."""
        return Bitmap.of_flags(documents.flags()[np.array(self._document_of[:passages], np.int64)])

    def admitted(self, scope: Scope, documents: int, passages: int) -> Bitmap | None:
        """Of the first ``passages`` passages those that ``scope`` admits, deletes not looked at; None for all."""
        found = self.metadata.admitted(scope, documents)
        return None if found is None else self.passages_of(found, passages)

    def read(self, rows: Sequence[int] | NDArray[np.int64]) -> list[Passage]:
        found = []
        for row in np.asarray(rows, np.int64).tolist():
            document_row = self._document_of[row]
            document = self._documents[document_row]
            chunk = self._upserts[document_row].chunks[row - self._first_passage[document_row]]
            found.append(
                Passage(
                    passage_id=f"{document.document_id}#{chunk.ordinal}",
                    document_id=document.document_id,
                    text=document.text[chunk.start : chunk.end],
                    offsets=(chunk.start, chunk.end),
                    title=document.title,
                    headings=chunk.headings,
                    page=chunk.page,
                    context=chunk.context,
                    source=document.source,
                    metadata=document.metadata,
                )
            )
        return found

    def passage_ids(self, rows: Sequence[int] | NDArray[np.int64]) -> list[str]:
        found = []
        for row in np.asarray(rows, np.int64).tolist():
            owner = self._document_of[row]
            chunk = self._upserts[owner].chunks[row - self._first_passage[owner]]
            found.append(f"{self._documents[owner].document_id}#{chunk.ordinal}")
        return found

    def part(self, document_rows: Sequence[int]) -> Part:
        """These documents whole, for writing them into a segment."""
        chosen = [self._upserts[row] for row in document_rows]
        vectors = [each.vectors for each in chosen if len(each.chunks)]
        return Part(
            [each.document for each in chosen],
            [each.chunks for each in chosen],
            np.concatenate(vectors) if vectors else np.empty((0, self.vectors.dimension), np.float32),
            _tokens(chosen),
        )

    def late(self, rows: NDArray[np.int64], query: LateQuery, spec: LateSpec) -> NDArray[np.float32]:
        """Late scores of these passages, NaN where tokens of that model and compression are not known."""
        parts: list[TokenCodes | None] = []
        for row in rows.tolist():
            owner = self._document_of[row]
            codes = self._upserts[owner].tokens
            parts.append(None if codes is None else codes.one(row - self._first_passage[owner]))
        return joined(spec, parts, [1] * len(parts)).scores(query)


def _tokens(changes: Sequence[Upsert]) -> TokenCodes | None:
    """The tokens of all their passages; those of another spec than the newest ones are not known."""
    known = [change.tokens for change in changes if change.tokens is not None]
    if not known:
        return None
    return joined(known[-1].spec, [change.tokens for change in changes], [len(change.chunks) for change in changes])
