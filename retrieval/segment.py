"""A segment: an immutable folder that holds documents with their passages and every channel that searches them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from retrieval._native.late import LateQuery
from retrieval.analysis import Analysis
from retrieval.bitmap import Bitmap
from retrieval.errors import IndexUnreadable, InvalidRequest
from retrieval.filters import NO_FIELDS, Fields, Scope
from retrieval.lexical import Lexical
from retrieval.lexical_query import LexicalQuery
from retrieval.lexical_scoring import Statistics
from retrieval.lexical_writer import LexicalWriter
from retrieval.manifest import (
    FULL_CHECK_BYTES,
    CollectionSettings,
    SegmentManifest,
    check_files,
    list_files,
    read_segment_manifest,
    write_segment_manifest,
)
from retrieval.metadata import MetadataColumns
from retrieval.metadata_evaluation import BitmapCache
from retrieval.metadata_writer import MetadataWriter
from retrieval.passages import Passages, PassageWriter
from retrieval.token_codec import LateSpec
from retrieval.token_vectors import TokenCodes, TokenStore, TokenWriter, check_tokens
from retrieval.types import Chunk, Document, Hits, Passage, Vectors
from retrieval.vector_index import open_index
from retrieval.vector_spec import resolve
from retrieval.vector_writer import VectorWriter

METADATA, LEXICAL, VECTORS, LATE = "metadata", "lexical", "vectors", "late"

_SCOPES_BYTES = 256 * 2**20
"""Bitmaps of filters and rights over passages that a segment keeps."""


@dataclass(frozen=True, slots=True)
class Part:
    """Some documents, the chunks of each, and the vectors of all chunks in that order: float32 ``[chunks, d]``.

    ``tokens`` are those of all chunks, for late interaction; None where they are not known.
    """

    documents: Sequence[Document]
    chunks: Sequence[Sequence[Chunk]]
    vectors: Vectors
    tokens: TokenCodes | None = None


def check_part(part: Part, dimension: int) -> None:
    """Raises InvalidRequest when documents, chunks and vectors do not fit together."""
    count = sum(map(len, part.chunks))
    if len(part.documents) != len(part.chunks) or part.vectors.shape != (count, dimension):
        raise InvalidRequest(
            f"a part of {len(part.documents)} documents with {count} chunks needs vectors [{count}, {dimension}], "
            f"not {list(part.vectors.shape)}"
        )
    if not np.isfinite(part.vectors).all():
        raise InvalidRequest("a part holds a vector with a value that is not finite")
    if part.tokens is not None:
        check_tokens(part.tokens, count)


class SegmentWriter:
    """Writes documents into a new folder, in any number and bounded memory; ``finish`` builds what needs them all."""

    def __init__(
        self, folder: Path, dimension: int, settings: CollectionSettings, analysis: Analysis, *, workers: int = 1
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._dimension = folder, dimension
        self._columns = PassageWriter(folder)
        self._metadata = MetadataWriter(folder / METADATA, settings.fields)
        self._lexical = LexicalWriter(folder / LEXICAL, analysis, workers=workers)
        self._vectors = VectorWriter(folder / VECTORS, dimension, settings.vectors)
        self._tokens = None if settings.late is None else TokenWriter(folder / LATE, settings.late)

    @property
    def documents(self) -> int:
        return self._columns.documents

    @property
    def passages(self) -> int:
        return self._columns.passages

    def add(self, part: Part) -> None:
        """Raises InvalidRequest; the folder is of no use then."""
        check_part(part, self._dimension)
        for document, chunks in zip(part.documents, part.chunks, strict=True):
            self._columns.add(document, chunks)
            self._metadata.add(document.metadata, document.acl)
            for chunk in chunks:
                text = document.text[chunk.start : chunk.end]
                body = f"{chunk.context}\n{text}" if chunk.context else text
                self._lexical.add(document.title, chunk.headings, body, document.metadata, document.acl)
        self._vectors.add(np.ascontiguousarray(part.vectors, np.float32))
        if self._tokens is not None:
            self._tokens.add(part.tokens, len(part.vectors))

    def __enter__(self) -> SegmentWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lexical.__exit__(kind, error, trace)
        self._columns.__exit__(kind, error, trace)
        if self._tokens is not None:
            self._tokens.close()
        if kind is None:
            self._metadata.close()
            self._vectors.flush()
        else:
            self._metadata.abandon()
        self._vectors.abandon()


def finish_segment(
    folder: Path,
    documents: int,
    passages: int,
    dimension: int,
    settings: CollectionSettings,
    analysis: Analysis,
    *,
    threads: int = 1,
    progress: Callable[[int], None] | None = None,
) -> SegmentManifest:
    """Build the vector index of what a SegmentWriter left, and write the segment's manifest.

    Steps that a process before had finished are not done again.
    """
    choice = resolve(settings.vectors, passages, dimension, memory_bytes=settings.memory_bytes, recall=settings.recall)
    vectors = VectorWriter(folder / VECTORS, dimension, settings.vectors, keep=passages)
    vectors.close(choice.spec, threads=threads, progress=progress, recall=settings.recall)
    manifest = SegmentManifest(
        documents=documents,
        passages=passages,
        dimension=dimension,
        spec=choice.spec,
        why=choice.why,
        analysis=analysis.version,
        files=list_files(folder),
        late=settings.late,
    )
    write_segment_manifest(folder, manifest)
    return manifest


class Segment:
    """Searches and reads one segment. Immutable and thread-safe; its files may be unlinked meanwhile."""

    def __init__(
        self, folder: Path, analysis: Analysis, fields: Fields = NO_FIELDS, *, check_contents: bool = True
    ) -> None:
        """Raises IndexUnreadable when a file is missing, cut or damaged; what is in the files is checked up to
        FULL_CHECK_BYTES of them, unless they are known to be just written."""
        self.folder = folder
        self.manifest = read_segment_manifest(folder)
        self.documents, self.passages = self.manifest.documents, self.manifest.passages
        check_files(folder, self.manifest, full=check_contents and self.manifest.bytes <= FULL_CHECK_BYTES)
        try:
            self.columns = Passages(folder)
            self.metadata = MetadataColumns(folder / METADATA, fields)
            self.lexical = Lexical(folder / LEXICAL, analysis, fields)
            self.dense = open_index(folder / VECTORS)
            late = self.manifest.late
            self.tokens = None if late is None else TokenStore(folder / LATE, late, self.passages)
        except (OSError, ValueError) as error:
            raise IndexUnreadable(f"{folder} cannot be read ({error}): build the collection again") from error
        self._scopes = BitmapCache(_SCOPES_BYTES)

    @property
    def id(self) -> str:
        return self.folder.name

    def rows_of(self, document_ids: Sequence[str], hashes: NDArray[np.uint64] | None = None) -> list[int]:
        """The row of each document, -1 where there is none."""
        return self.columns.rows_of(document_ids, hashes)

    def admitted(self, scope: Scope) -> Bitmap | None:
        """The passages of documents that ``scope`` admits, deletes not looked at; None for all of them."""
        documents = self.metadata.admitted(scope)
        if documents is None or self.columns.one_passage_each:
            return documents
        return self._scopes.get(scope.key, lambda: self.passages_of(documents))

    def passages_of(self, documents: Bitmap) -> Bitmap:
        """The passages of a set of documents."""
        if self.columns.one_passage_each:
            return documents
        return Bitmap.of_flags(documents.flags()[self.columns.document_of_passage])

    def passage_rows(self, document_rows: Iterable[int]) -> NDArray[np.int64]:
        """Rows of all passages of these documents."""
        ranges = self.columns.passage_rows(list(document_rows))
        return np.concatenate([np.arange(r.start, r.stop, dtype=np.int64) for r in ranges] or [np.empty(0, np.int64)])

    def read(self, rows: NDArray[np.int64]) -> list[Passage]:
        return self.columns.passages(rows)

    def search_lexical(
        self, query: LexicalQuery, depth: int, statistics: Statistics, allowed: Bitmap | None, scope: Scope
    ) -> Hits:
        return self.lexical.search(query, depth, statistics=statistics, allowed=allowed, scope=scope)

    def late(self, rows: NDArray[np.int64], query: LateQuery, spec: LateSpec) -> NDArray[np.float32]:
        """Late scores of these passages, NaN where tokens of that model and compression are not known."""
        if self.tokens is None or self.tokens.spec != spec:
            return np.full(len(rows), np.nan, np.float32)
        return self.tokens.scores(rows, query)

    def part(self, document_rows: Sequence[int]) -> Part:
        """These documents whole, for writing them into another segment."""
        ranges = self.columns.passage_rows(document_rows)
        rows = self.passage_rows(document_rows)
        chunks = iter(self.columns.chunks(rows))
        return Part(
            self.columns.documents(document_rows),
            [[next(chunks) for _ in own] for own in ranges],
            self.dense.vectors(rows),
            None if self.tokens is None else self.tokens.codes(rows),
        )
