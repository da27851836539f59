"""How documents and their passages lie on disk: Arrow columns, memory-mapped; a text is stored once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from retrieval.errors import DocumentNotFound, InvalidRequest
from retrieval.types import Chunk, Document, Metadata, Passage, Rows

_DOCUMENTS = pa.schema(
    [
        ("id", pa.string()),
        ("title", pa.string()),
        ("text", pa.string()),
        ("source", pa.string()),
        ("metadata", pa.string()),  # JSON
        ("first", pa.int64()),  # row of its first passage
        ("count", pa.int32()),  # how many passages, in consecutive rows
    ]
)
_PASSAGES = pa.schema(
    [
        ("document", pa.int64()),  # row of its document
        ("ordinal", pa.int32()),
        ("start", pa.int64()),  # code points
        ("end", pa.int64()),
        ("byte_start", pa.int64()),  # the same stretch in the document's UTF-8
        ("byte_end", pa.int64()),
        ("page", pa.int32()),  # null when it has none
        ("headings", pa.list_(pa.string())),
        ("context", pa.string()),
    ]
)
_BATCH_BYTES = 64 * 2**20
"""A batch is closed above this much text; Arrow's strings hold 2 GB a batch."""

DOCUMENTS, PASSAGES, IDS, ID_ROWS = "documents.arrow", "passages.arrow", "ids.npy", "id_rows.npy"


def _hash(document_id: str) -> int:
    return int.from_bytes(hashlib.blake2b(document_id.encode(), digest_size=8).digest(), "little")


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

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files = [pa.OSFile(str(folder / name), "wb") for name in (DOCUMENTS, PASSAGES)]
        self._writers = [
            pa.ipc.new_file(file, schema) for file, schema in zip(self._files, (_DOCUMENTS, _PASSAGES), strict=True)
        ]
        self._pending: tuple[list[dict[str, Any]], list[dict[str, Any]]] = ([], [])
        self._pending_bytes = 0
        self._hashes: list[int] = []
        self.documents = 0
        self.passages = 0

    def add(self, document: Document, chunks: Sequence[Chunk]) -> None:
        """Raises InvalidRequest when a chunk lies outside its document or the text is no valid Unicode."""
        _check_chunks(document, chunks)
        try:
            spans = byte_spans(document.text, chunks)
            size = len(document.text.encode())
            self._hashes.append(_hash(document.document_id))
        except UnicodeEncodeError as error:
            raise InvalidRequest(f"document {document.document_id!r} holds half a surrogate pair: {error}") from error
        documents, passages = self._pending
        documents.append(
            {
                "id": document.document_id,
                "title": document.title,
                "text": document.text,
                "source": document.source,
                "metadata": json.dumps(dict(document.metadata), ensure_ascii=False),
                "first": self.passages,
                "count": len(chunks),
            }
        )
        for chunk, (byte_start, byte_end) in zip(chunks, spans, strict=True):
            passages.append(
                {
                    "document": self.documents,
                    "ordinal": chunk.ordinal,
                    "start": chunk.start,
                    "end": chunk.end,
                    "byte_start": byte_start,
                    "byte_end": byte_end,
                    "page": chunk.page,
                    "headings": list(chunk.headings),
                    "context": chunk.context,
                }
            )
        self.documents += 1
        self.passages += len(chunks)
        self._pending_bytes += size + 100 * len(chunks)
        if self._pending_bytes > _BATCH_BYTES:
            self._write_pending()

    def __enter__(self) -> PassageWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._close_files()

    def close(self) -> None:
        """Write what is left and the table from ids to rows. Raises InvalidRequest when an id came twice."""
        self._write_pending()
        for writer in self._writers:
            writer.close()
        self._close_files()
        hashes = np.array(self._hashes, np.uint64)
        order = np.argsort(hashes, kind="stable")
        ordered = hashes[order]
        for at in np.flatnonzero(ordered[1:] == ordered[:-1]):
            self._refuse_twins(order[at], order[at + 1])
        np.save(self._folder / IDS, ordered)
        np.save(self._folder / ID_ROWS, order.astype(np.int64))

    def _close_files(self) -> None:
        for file in self._files:
            file.close()

    def _write_pending(self) -> None:
        for writer, rows, schema in zip(self._writers, self._pending, (_DOCUMENTS, _PASSAGES), strict=True):
            if rows:
                writer.write_batch(pa.RecordBatch.from_pylist(rows, schema=schema))
                rows.clear()
        self._pending_bytes = 0

    def _refuse_twins(self, a: int, b: int) -> None:
        ids = _Columns(self._folder / DOCUMENTS)
        if (first := ids.value("id", int(a))) == ids.value("id", int(b)):
            raise InvalidRequest(f"document id {first!r} occurs twice in one build")


def _check_chunks(document: Document, chunks: Sequence[Chunk]) -> None:
    last = -1
    for chunk in chunks:
        if not 0 <= chunk.start <= chunk.end <= len(document.text) or chunk.ordinal <= last:
            raise InvalidRequest(
                f"chunk {chunk.ordinal} ({chunk.start}, {chunk.end}) of document {document.document_id!r} lies outside "
                f"its {len(document.text)} characters or is out of order"
            )
        last = chunk.ordinal


class _Columns:
    """One Arrow file, mapped: values by row across its batches, without copying columns."""

    def __init__(self, path: Path) -> None:
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
        self._batches = [reader.get_batch(i) for i in range(reader.num_record_batches)]
        self._starts = np.cumsum([0] + [batch.num_rows for batch in self._batches])
        self.rows = int(self._starts[-1])
        self._columns: dict[str, list[Any]] = {
            name: [batch.column(name) for batch in self._batches] for name in reader.schema.names
        }

    def value(self, name: str, row: int) -> Any:
        batch = int(np.searchsorted(self._starts, row, side="right")) - 1
        return self._columns[name][batch][row - int(self._starts[batch])].as_py()

    def numbers(self, name: str) -> NDArray[Any]:
        """A whole column of integers without nulls; no copy when it is one batch."""
        parts = [column.to_numpy() for column in self._columns[name]]
        return parts[0] if len(parts) == 1 else np.concatenate(parts) if parts else np.empty(0, np.int64)

    def utf8(self, name: str, row: int, start: int, end: int) -> str:
        """Bytes ``start`` to ``end`` of a string, decoded, without touching the rest of it."""
        batch = int(np.searchsorted(self._starts, row, side="right")) - 1
        _, offsets, content = self._columns[name][batch].buffers()
        begin = int.from_bytes(offsets[4 * (row - int(self._starts[batch])) :][:4].to_pybytes(), "little")
        decoded: str = content.slice(begin + start, end - start).to_pybytes().decode()
        return decoded


class Passages:
    """Reads what PassageWriter wrote. Thread-safe; nothing is loaded before it is asked for."""

    def __init__(self, folder: Path) -> None:
        self._documents = _Columns(folder / DOCUMENTS)
        self._passages = _Columns(folder / PASSAGES)
        self._ids: NDArray[np.uint64] = np.load(folder / IDS, mmap_mode="r")
        self._id_rows: NDArray[np.int64] = np.load(folder / ID_ROWS, mmap_mode="r")
        self._document_of: NDArray[np.int64] = self._passages.numbers("document")

    def __len__(self) -> int:
        return self._passages.rows

    @property
    def documents(self) -> int:
        return self._documents.rows

    def passages(self, rows: Rows | Sequence[int]) -> list[Passage]:
        """The passages of these rows, in the order asked."""
        return [self._passage(int(row)) for row in rows]

    def document_rows(self, rows: Rows) -> Rows:
        """The row of the document of each passage row."""
        return self._document_of[rows]

    def row_of(self, document_id: str) -> int:
        """Raises DocumentNotFound."""
        wanted = _hash(document_id)
        at = int(np.searchsorted(self._ids, np.uint64(wanted)))
        while at < len(self._ids) and int(self._ids[at]) == wanted:
            row = int(self._id_rows[at])
            if self._documents.value("id", row) == document_id:
                return row
            at += 1
        raise DocumentNotFound(f"no document has the id {document_id!r}")

    def document(self, row: int) -> Document:
        value = self._documents.value
        return Document(
            document_id=value("id", row),
            text=value("text", row),
            title=value("title", row),
            source=value("source", row),
            metadata=json.loads(value("metadata", row)),
        )

    def document_id(self, row: int) -> str:
        document_id: str = self._documents.value("id", row)
        return document_id

    def passage_rows(self, document_row: int) -> range:
        first: int = self._documents.value("first", document_row)
        return range(first, first + self._documents.value("count", document_row))

    def chunk(self, row: int) -> Chunk:
        value = self._passages.value
        return Chunk(
            ordinal=value("ordinal", row),
            start=value("start", row),
            end=value("end", row),
            headings=tuple(value("headings", row)),
            page=value("page", row),
            context=value("context", row),
        )

    def document_batches(self, size: int = 256) -> Iterator[range]:
        for first in range(0, self.documents, size):
            yield range(first, min(first + size, self.documents))

    def _passage(self, row: int) -> Passage:
        chunk = self.chunk(row)
        document_row = int(self._document_of[row])
        about = self._documents.value
        document_id: str = about("id", document_row)
        metadata: Metadata = json.loads(about("metadata", document_row))
        begin, end = self._passages.value("byte_start", row), self._passages.value("byte_end", row)
        return Passage(
            passage_id=f"{document_id}#{chunk.ordinal}",
            document_id=document_id,
            text=self._documents.utf8("text", document_row, begin, end),
            offsets=(chunk.start, chunk.end),
            title=about("title", document_row),
            headings=chunk.headings,
            page=chunk.page,
            context=chunk.context,
            source=about("source", document_row),
            metadata=metadata,
        )
