"""One generation of a collection, open for reading: immutable, thread-safe, whole even after it was replaced."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import IndexUnreadable, InvalidRequest
from retrieval.lexical import Lexical, parse_query
from retrieval.manifest import FULL_CHECK_BYTES, Manifest, check_encoder, check_files
from retrieval.passages import Passages
from retrieval.types import Chunk, CollectionInfo, Document, EncoderSpec, Hits, Passage, Rows, Vectors
from retrieval.vectors import open_index

LEXICAL, VECTORS = "lexical", "vectors.f32"

_EXPORTED_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class Part:
    """Some documents, the chunks of each, and the vectors of all chunks in that order: float32 ``[chunks, d]``."""

    documents: list[Document]
    chunks: list[list[Chunk]]
    vectors: Vectors


class Generation:
    """Searches and reads one generation. Its files may be unlinked meanwhile: they stay mapped."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        """Raises IndexUnreadable when a file is missing, cut or damaged."""
        self.info: CollectionInfo = manifest.info()
        self.encoder: EncoderSpec = manifest.encoder
        self._manifest = manifest
        check_files(folder, manifest, full=self.info.bytes <= FULL_CHECK_BYTES)
        try:
            self._passages = Passages(folder)
            self._vectors = _map_vectors(folder / VECTORS, manifest)
            self._lexical = Lexical(folder / LEXICAL)
            self._dense = open_index(manifest.vectors, self._vectors, folder)
        except (OSError, ValueError) as error:
            raise IndexUnreadable(f"{folder} cannot be read ({error}): build the collection again") from error

    def check_encoder(self, encoder: EncoderSpec) -> None:
        """Raises IndexUnreadable when this encoder's vectors cannot be compared with those here."""
        check_encoder(self._manifest, encoder)

    def lexical(self, query: str, depth: int) -> Hits:
        """BM25 over title, headings and body; rows that share no term with ``query`` are left out."""
        return self._lexical.search(parse_query(query, self._lexical.analysis), depth)

    def dense(self, vector: NDArray[np.float32], depth: int) -> Hits:
        """The nearest passages of a unit vector (float32 ``[d]``), scored by cosine."""
        if vector.shape != (self.info.dimension,):
            raise InvalidRequest(
                f"{self.info.name} holds {self.info.dimension}-d vectors, the query's is {vector.shape}"
            )
        return self._dense.search(np.ascontiguousarray(vector, np.float32), depth)

    def passages(self, rows: Rows | Sequence[int]) -> list[Passage]:
        """The passages of these rows, in the order asked."""
        return self._passages.passages(rows)

    def document(self, document_id: str) -> Document:
        """Raises DocumentNotFound."""
        return self._passages.documents([self._passages.row_of(document_id)])[0]

    def export_parts(self, exclude: frozenset[str] = frozenset()) -> Iterator[Part]:
        """All documents but those with an id in ``exclude``, some at a time, for writing into a next generation."""
        for first in range(0, self._passages.document_count, _EXPORTED_AT_ONCE):
            rows = range(first, min(first + _EXPORTED_AT_ONCE, self._passages.document_count))
            ids = self._passages.document_ids(rows)
            kept = [row for row, document_id in zip(rows, ids, strict=True) if document_id not in exclude]
            if not kept:
                continue
            passage_rows = self._passages.passage_rows(kept)
            wanted = np.array([row for rows_of_one in passage_rows for row in rows_of_one], np.int64)
            chunks = iter(self._passages.chunks(wanted))
            yield Part(
                documents=self._passages.documents(kept),
                chunks=[[next(chunks) for _ in rows_of_one] for rows_of_one in passage_rows],
                vectors=np.asarray(self._vectors[wanted]),
            )


def _map_vectors(path: Path, manifest: Manifest) -> Vectors:
    shape = (manifest.passages, manifest.encoder.dimension)
    if not manifest.passages:  # an empty file cannot be mapped
        return np.empty(shape, np.float32)
    return np.memmap(path, np.float32, "r", shape=shape)
