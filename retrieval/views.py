"""Segments and live blocks as a search sees them: so much of each, without what is deleted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval._native.late import LateQuery
from retrieval.bitmap import Bitmap
from retrieval.filters import Scope
from retrieval.lexical_query import LexicalQuery
from retrieval.lexical_scoring import Statistics
from retrieval.live import LiveBlock
from retrieval.metadata_facets import FacetCounts
from retrieval.segment import Part, Segment
from retrieval.token_codec import LateSpec
from retrieval.types import Document, Hits, Passage, Rows


@dataclass(frozen=True, slots=True)
class SegmentView:
    """A segment and its deleted documents, with their passages."""

    segment: Segment
    deleted: Bitmap
    deleted_passages: Bitmap
    dead: int
    """How many documents are deleted."""
    dead_passages: int

    @classmethod
    def of(cls, segment: Segment, deleted: Bitmap) -> SegmentView:
        passages = segment.passages_of(deleted) if deleted.count() else Bitmap.empty(segment.passages)
        return cls(segment, deleted, passages, deleted.count(), passages.count())

    @property
    def documents(self) -> int:
        return self.segment.documents

    @property
    def passages(self) -> int:
        return self.segment.passages

    def without(self, rows: Sequence[int]) -> SegmentView:
        """The same with these documents deleted too; none of them is yet, none comes twice."""
        if not rows:
            return self
        passages = self.segment.passage_rows(rows)
        return SegmentView(
            self.segment,
            self.deleted.with_rows(rows),
            self.deleted_passages.with_rows(passages),
            self.dead + len(rows),
            self.dead_passages + len(passages),
        )

    def joined(self, deleted: Bitmap) -> SegmentView:
        """The same with these documents deleted too, whether they are already or not."""
        return self.without(deleted.minus(self.deleted).rows().tolist())

    def allowed(self, scope: Scope) -> Bitmap | None:
        found = self.segment.admitted(scope)
        if not self.dead_passages:
            return found
        return self.deleted_passages.inverted() if found is None else found.minus(self.deleted_passages)

    def admitted_documents(self, scope: Scope) -> Bitmap:
        found = self.segment.metadata.admitted(scope)
        return self.deleted.inverted() if found is None else found.minus(self.deleted)

    def lexical(self, query: LexicalQuery, depth: int, statistics: Statistics, scope: Scope) -> Hits:
        return self.segment.search_lexical(query, depth, statistics, self.allowed(scope), scope)

    def statistics(self, query: LexicalQuery) -> Statistics:
        return self.segment.lexical.statistics(query)

    def dense(self, vector: NDArray[np.float32], depth: int, scope: Scope) -> Hits:
        return self.segment.dense.search(vector, depth, allowed=self.allowed(scope))

    def late(self, rows: Rows, query: LateQuery, spec: LateSpec) -> NDArray[np.float32]:
        return self.segment.late(rows, query, spec)

    def read(self, rows: NDArray[np.int64]) -> list[Passage]:
        return self.segment.read(rows)

    def texts(self, rows: NDArray[np.int64]) -> list[str]:
        """Title and text of documents."""
        return self.segment.columns.texts(rows)

    def passage_ids(self, rows: NDArray[np.int64]) -> list[str]:
        return self.segment.columns.passage_ids(rows)

    def facets(self, keys: Sequence[str], scope: Scope) -> Mapping[str, FacetCounts]:
        return self.segment.metadata.facets(keys, self.admitted_documents(scope))

    def part(self, rows: Sequence[int]) -> Part:
        return self.segment.part(rows)

    def document(self, row: int) -> Document:
        return self.segment.columns.documents([row])[0]

    def version(self, row: int) -> int:
        return self.segment.columns.versions([row])[0]

    def identities(self, rows: Rows) -> list[tuple[str, int]]:
        columns = self.segment.columns
        return list(zip(columns.document_ids(rows), columns.versions(rows), strict=True))


@dataclass(frozen=True, slots=True)
class BlockView:
    """The first so many documents and passages of a live block, and which of them are deleted.

    ``deleted`` and ``deleted_passages`` are as long as the block had room for when they were made, or longer.
    """

    block: LiveBlock
    documents: int
    passages: int
    deleted: Bitmap
    deleted_passages: Bitmap
    dead: int = 0
    dead_passages: int = 0

    @classmethod
    def empty(cls, block: LiveBlock) -> BlockView:
        return cls(block, 0, 0, Bitmap.empty(0), Bitmap.empty(block.capacity))

    def grown(self) -> BlockView:
        """With all that the block holds now."""
        documents, passages = self.block.documents, self.block.passages
        deleted, deleted_passages = self.deleted, self.deleted_passages
        if documents > deleted.length:
            deleted = deleted.resized(max(2 * deleted.length, documents, 1024))
        if passages > deleted_passages.length:
            deleted_passages = deleted_passages.resized(2 * passages)
        return BlockView(self.block, documents, passages, deleted, deleted_passages, self.dead, self.dead_passages)

    def without(self, rows: Sequence[int]) -> BlockView:
        """The same with these documents deleted too; none of them is yet, none comes twice."""
        if not rows:
            return self
        passages = self.block.passage_rows(rows)
        return BlockView(
            self.block,
            self.documents,
            self.passages,
            self.deleted.with_rows(rows),
            self.deleted_passages.with_rows(passages),
            self.dead + len(rows),
            self.dead_passages + len(passages),
        )

    def allowed(self, scope: Scope) -> Bitmap | None:
        found = self.block.admitted(scope, self.documents, self.passages)
        if not self.dead_passages:
            return found
        deleted = self.deleted_passages.resized(self.passages)
        return deleted.inverted() if found is None else found.minus(deleted)

    def admitted_documents(self, scope: Scope) -> Bitmap:
        found = self.block.metadata.admitted(scope, self.documents)
        deleted = self.deleted.resized(self.documents)
        return deleted.inverted() if found is None else found.minus(deleted)

    def lexical(self, query: LexicalQuery, depth: int, statistics: Statistics, scope: Scope) -> Hits:
        return self.block.lexical.search(
            query, depth, rows=self.passages, statistics=statistics, allowed=self.allowed(scope)
        )

    def statistics(self, query: LexicalQuery) -> Statistics:
        return self.block.lexical.statistics(query, self.passages)

    def dense(self, vector: NDArray[np.float32], depth: int, scope: Scope) -> Hits:
        return self.block.vectors.search(vector, depth, rows=self.passages, allowed=self.allowed(scope))

    def late(self, rows: Rows, query: LateQuery, spec: LateSpec) -> NDArray[np.float32]:
        return self.block.late(rows, query, spec)

    def read(self, rows: NDArray[np.int64]) -> list[Passage]:
        return self.block.read(rows)

    def texts(self, rows: NDArray[np.int64]) -> list[str]:
        """Title and text of documents."""
        found = [self.block.document(row) for row in rows.tolist()]
        return [f"{document.title}\n{document.text}" for document in found]

    def passage_ids(self, rows: NDArray[np.int64]) -> list[str]:
        return self.block.passage_ids(rows)

    def facets(self, keys: Sequence[str], scope: Scope) -> Mapping[str, FacetCounts]:
        return self.block.metadata.facets(keys, self.admitted_documents(scope), self.documents)

    def part(self, rows: Sequence[int]) -> Part:
        return self.block.part(rows)

    def document(self, row: int) -> Document:
        return self.block.document(row)

    def version(self, row: int) -> int:
        return self.block.document(row).version

    def identities(self, rows: Rows) -> list[tuple[str, int]]:
        found = [self.block.document(row) for row in rows.tolist()]
        return [(document.document_id, document.version) for document in found]


View = SegmentView | BlockView
