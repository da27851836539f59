"""How documents and their passages lie on disk: Arrow columns, memory-mapped; a text is stored once."""

from __future__ import annotations

import json
from array import array
from collections.abc import Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from retrieval.columns import Columns, ColumnsWriter, ColumnType, Values
from retrieval.document_hashes import find, hash_of, hashes_of
from retrieval.errors import DocumentNotFound, InvalidRequest
from retrieval.types import Chunk, Document, Passage, Rows

_DOCUMENTS: dict[str, ColumnType] = {
    "id": "string",
    "title": "string",
    "text": "string",
    "source": "string",
    "metadata": "string",  # JSON
    "acl": "string",  # JSON, empty when everybody may see it
    "version": "int64",
    "first": "int64",  # row of its first passage
    "count": "int32",  # how many passages, in consecutive rows
}
_PASSAGES: dict[str, ColumnType] = {
    "document": "int64",  # row of its document
    "ordinal": "int32",
    "start": "int64",  # code points
    "end": "int64",
    "byte_start": "int64",  # the same stretch in the document's UTF-8
    "byte_end": "int64",
    "page": "int32",  # -1 when it has none
    "headings": "string",  # JSON
    "context": "string",
}
_NO_PAGE = -1
_BATCH_BYTES = 64 * 2**20
"""A batch is written above this much text; Arrow's strings hold 2 GB a batch."""

DOCUMENTS, PASSAGES, IDS, ID_ROWS = "documents.arrow", "passages.arrow", "ids.npy", "id_rows.npy"


def byte_spans(text: str, chunks: Sequence[Chunk]) -> list[tuple[int, int]]:
    """Where each chunk lies in ``text.encode()``; walks the text once."""
    if text.isascii():
        return [(chunk.start, chunk.end) for chunk in chunks]
    at: dict[int, int] = {}
    point = offset = 0
    for wanted in sorted({position for chunk in chunks for position in (chunk.start, chunk.end)}):
        offset += len(text[point:wanted].encode())
        point = wanted
        at[wanted] = offset
    return [(at[chunk.start], at[chunk.end]) for chunk in chunks]


class PassageWriter:
    """Writes documents with their passages, in order, into a folder."""

    def __init__(self, folder: Path, *, batch_bytes: int = _BATCH_BYTES) -> None:
        self._folder = folder
        self._batch_bytes = batch_bytes
        self._documents = ColumnsWriter(folder / DOCUMENTS, _DOCUMENTS)
        self._passages = ColumnsWriter(folder / PASSAGES, _PASSAGES)
        self._pending_bytes = 0
        self._hashes = array("Q")
        self.documents = 0
        self.passages = 0

    def add(self, document: Document, chunks: Sequence[Chunk]) -> None:
        """Raises InvalidRequest when a chunk lies outside its document or a text is no valid Unicode."""
        check_chunks(document, chunks)
        about = {
            "id": document.document_id,
            "title": document.title,
            "text": document.text,
            "source": document.source,
            "metadata": json.dumps(dict(document.metadata), ensure_ascii=False),
            "acl": json.dumps(document.acl, ensure_ascii=False) if document.acl else "",
            "version": document.version,
            "first": self.passages,
            "count": len(chunks),
        }
        headings = [json.dumps(chunk.headings, ensure_ascii=False) for chunk in chunks]
        strings = [value for value in about.values() if isinstance(value, str)]
        try:
            size = sum(len(part.encode()) for part in (*strings, *headings, *(chunk.context for chunk in chunks)))
        except UnicodeEncodeError as error:
            raise InvalidRequest(f"document {document.document_id!r} holds half a surrogate pair: {error}") from error
        self._documents.add(about)
        for chunk, path, (byte_start, byte_end) in zip(
            chunks, headings, byte_spans(document.text, chunks), strict=True
        ):
            self._passages.add(
                {
                    "document": self.documents,
                    "ordinal": chunk.ordinal,
                    "start": chunk.start,
                    "end": chunk.end,
                    "byte_start": byte_start,
                    "byte_end": byte_end,
                    "page": _NO_PAGE if chunk.page is None else chunk.page,
                    "headings": path,
                    "context": chunk.context,
                }
            )
        self._hashes.append(hash_of(document.document_id))
        self.documents += 1
        self.passages += len(chunks)
        self._pending_bytes += size + 100 * len(chunks)
        if self._pending_bytes > self._batch_bytes:
            self._documents.flush()
            self._passages.flush()
            self._pending_bytes = 0

    def __enter__(self) -> PassageWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._documents.abandon()
            self._passages.abandon()

    def close(self) -> None:
        """Write what is left and the table from ids to rows. Raises InvalidRequest when an id came twice."""
        self._documents.close()
        self._passages.close()
        hashes = np.frombuffer(self._hashes, np.uint64) if self._hashes else np.empty(0, np.uint64)
        order = np.argsort(hashes, kind="stable")
        ordered = hashes[order]
        for at in np.flatnonzero(ordered[1:] == ordered[:-1]):
            self._refuse_twins(order[at : at + 2])
        np.save(self._folder / IDS, ordered)
        np.save(self._folder / ID_ROWS, order.astype(np.int64))

    def _refuse_twins(self, rows: NDArray[np.int64]) -> None:
        first, second = Columns(self._folder / DOCUMENTS).at(rows).strings("id")
        if first == second:
            raise InvalidRequest(f"document id {first!r} occurs twice in one build")


def check_chunks(document: Document, chunks: Sequence[Chunk]) -> None:
    """Raises InvalidRequest for chunks that lie outside their document, or are out of order."""
    last = -1
    for chunk in chunks:
        if not 0 <= chunk.start <= chunk.end <= len(document.text) or chunk.ordinal <= last:
            raise InvalidRequest(
                f"chunk {chunk.ordinal} ({chunk.start}, {chunk.end}) of document {document.document_id!r} lies outside "
                f"its {len(document.text)} characters or is out of order"
            )
        last = chunk.ordinal


class Passages:
    """Reads what PassageWriter wrote. Thread-safe; nothing is loaded before it is asked for."""

    def __init__(self, folder: Path) -> None:
        self._documents = Columns(folder / DOCUMENTS)
        self._passages = Columns(folder / PASSAGES)
        self._ids: NDArray[np.uint64] = np.load(folder / IDS, mmap_mode="r")
        self._id_rows: NDArray[np.int64] = np.load(folder / ID_ROWS, mmap_mode="r")
        self.document_count = self._documents.rows
        self.passage_count = self._passages.rows

    def row_of(self, document_id: str) -> int:
        """The row of a document. Raises DocumentNotFound."""
        row = self.rows_of([document_id])[0]
        if row < 0:
            raise DocumentNotFound(f"no document has the id {document_id!r}")
        return row

    def rows_of(self, document_ids: Sequence[str], hashes: NDArray[np.uint64] | None = None) -> list[int]:
        """The row of each document, -1 where there is none; ``hashes`` are theirs, for who asks several segments."""
        wanted = hashes_of(document_ids) if hashes is None else hashes
        return find(self._ids, self._id_rows, document_ids, wanted, self.document_ids)

    def rows_shared_with(self, other: Passages) -> list[int]:
        """Rows of documents here whose ids ``other`` holds too."""
        fewer, more = (self, other) if self.document_count <= other.document_count else (other, self)
        alike = np.flatnonzero(np.isin(fewer._ids, more._ids))
        found: list[int] = []
        for start in range(0, len(alike), 4096):
            rows = fewer._id_rows[alike[start : start + 4096]]
            ids = fewer.document_ids(rows)
            theirs = more.rows_of(ids)
            pairs = zip(rows.tolist(), theirs, strict=True)
            found += [(row if fewer is self else their) for row, their in pairs if their >= 0]
        return found

    def versions(self, rows: Rows | Sequence[int]) -> list[int]:
        return self._documents.at(rows).numbers("version")

    @cached_property
    def document_of_passage(self) -> NDArray[np.int64]:
        """The document's row of every passage."""
        counts = self._documents.column("count")
        return np.repeat(np.arange(len(counts), dtype=np.int64), counts)

    @cached_property
    def one_passage_each(self) -> bool:
        """Whether passages and documents have the same rows."""
        return self._documents.every("count", 1)

    def document_ids(self, rows: Rows | Sequence[int]) -> list[str]:
        return self._documents.at(rows).strings("id")

    def documents(self, rows: Rows | Sequence[int]) -> list[Document]:
        """The documents of these rows, in the order asked."""
        values = self._documents.at(rows)
        columns = [values.strings(name) for name in ("id", "text", "title", "source", "metadata", "acl")]
        return [
            Document(document_id, text, title, source, json.loads(metadata), _acl(acl), version)
            for document_id, text, title, source, metadata, acl, version in zip(
                *columns, values.numbers("version"), strict=True
            )
        ]

    def texts(self, rows: Rows | Sequence[int]) -> list[str]:
        """Title and whole text of these documents, in the order asked."""
        values = self._documents.at(rows)
        return list(map("\n".join, zip(values.strings("title"), values.strings("text"), strict=True)))

    def passage_rows(self, document_rows: Rows | Sequence[int]) -> list[range]:
        """The rows of each document's passages."""
        values = self._documents.at(document_rows)
        firsts, counts = values.numbers("first"), values.numbers("count")
        return [range(first, first + count) for first, count in zip(firsts, counts, strict=True)]

    def chunks(self, rows: Rows | Sequence[int]) -> list[Chunk]:
        """The passages of these rows as the chunker cut them, in the order asked."""
        return _chunks(self._passages.at(rows))

    def passage_ids(self, rows: Rows | Sequence[int]) -> list[str]:
        """The ids of these passages, in the order asked."""
        values = self._passages.at(rows)
        documents = self._documents.at(values.numbers("document")).strings("id")
        return [f"{name}#{ordinal}" for name, ordinal in zip(documents, values.numbers("ordinal"), strict=True)]

    def passages(self, rows: Rows | Sequence[int]) -> list[Passage]:
        """The passages of these rows, in the order asked."""
        values = self._passages.at(rows)
        about = self._documents.at(values.numbers("document"))
        texts = about.slices("text", values.numbers("byte_start"), values.numbers("byte_end"))
        columns = [about.strings(name) for name in ("id", "title", "source", "metadata")]
        return [
            Passage(
                passage_id=f"{document_id}#{chunk.ordinal}",
                document_id=document_id,
                text=text,
                offsets=(chunk.start, chunk.end),
                title=title,
                headings=chunk.headings,
                page=chunk.page,
                context=chunk.context,
                source=source,
                metadata=json.loads(metadata),
            )
            for chunk, text, document_id, title, source, metadata in zip(_chunks(values), texts, *columns, strict=True)
        ]


def _chunks(values: Values) -> list[Chunk]:
    numbers = [values.numbers(name) for name in ("ordinal", "start", "end", "page")]
    strings = [values.strings(name) for name in ("headings", "context")]
    return [
        Chunk(ordinal, start, end, _headings(headings), None if page == _NO_PAGE else page, context)
        for ordinal, start, end, page, headings, context in zip(*numbers, *strings, strict=True)
    ]


def _acl(written: str) -> tuple[str, ...]:
    return tuple(json.loads(written)) if written else ()


@lru_cache(maxsize=4096)
def _headings(written: str) -> tuple[str, ...]:
    """Neighbouring passages share their heading paths."""
    return tuple(json.loads(written))
