"""How documents and their passages lie on disk: Arrow columns, memory-mapped; a text is stored once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from retrieval.errors import DocumentNotFound, InvalidRequest
from retrieval.types import Chunk, Document, Passage, Rows

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
        ("page", pa.int32()),  # -1 when it has none
        ("headings", pa.string()),  # JSON
        ("context", pa.string()),
    ]
)
_NO_PAGE = -1
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

    def __init__(self, folder: Path, *, batch_bytes: int = _BATCH_BYTES) -> None:
        self._folder = folder
        self._batch_bytes = batch_bytes
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
                    "page": _NO_PAGE if chunk.page is None else chunk.page,
                    "headings": json.dumps(chunk.headings, ensure_ascii=False),
                    "context": chunk.context,
                }
            )
        self.documents += 1
        self.passages += len(chunks)
        self._pending_bytes += size + 100 * len(chunks)
        if self._pending_bytes > self._batch_bytes:
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
            self._refuse_twins(order[at : at + 2])
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

    def _refuse_twins(self, rows: NDArray[np.int64]) -> None:
        first, second = _Columns(self._folder / DOCUMENTS).strings("id", rows)
        if first == second:
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
    """One Arrow file, mapped. Strings are decoded straight from its buffers, many rows at a time: Arrow's own
    scalars cost twenty times as much, and a search reads 200 passages."""

    def __init__(self, path: Path) -> None:
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
        batches = [reader.get_batch(i) for i in range(reader.num_record_batches)]
        self._starts = np.cumsum([0] + [batch.num_rows for batch in batches])
        self.rows = int(self._starts[-1])
        self._strings: dict[str, list[tuple[NDArray[np.int32], memoryview]]] = {}
        self._numbers: dict[str, NDArray[Any]] = {}
        for field in reader.schema:
            columns = [batch.column(field.name) for batch in batches]
            if field.type == pa.string():
                self._strings[field.name] = [_string_buffers(column) for column in columns]
            else:  # no copy when there is one batch
                parts = [column.to_numpy() for column in columns]
                self._numbers[field.name] = parts[0] if len(parts) == 1 else np.concatenate([*parts, np.empty(0, int)])

    def numbers(self, name: str, rows: Rows) -> list[int]:
        values: list[int] = self._numbers[name][rows].tolist()
        return values

    def strings(self, name: str, rows: Rows) -> list[str]:
        return self.slices(name, rows, None, None)

    def slices(self, name: str, rows: Rows, start: Sequence[int] | None, end: Sequence[int] | None) -> list[str]:
        """Of each string the bytes from ``start`` to ``end``, decoded, without touching the rest of it."""
        decoded = [""] * len(rows)
        batches = np.searchsorted(self._starts, rows, side="right") - 1
        for batch in np.unique(batches).tolist():
            offsets, content = self._strings[name][batch]
            places = np.flatnonzero(batches == batch)
            local = rows[places] - self._starts[batch]
            bounds = zip(places.tolist(), offsets[local].tolist(), offsets[local + 1].tolist(), strict=True)
            for place, first, last in bounds:
                if start is not None and end is not None:
                    first, last = first + start[place], first + end[place]
                decoded[place] = str(content[first:last], "utf-8")
        return decoded


def _string_buffers(column: Any) -> tuple[NDArray[np.int32], memoryview]:
    _, offsets, content = column.buffers()
    return np.frombuffer(offsets, np.int32), memoryview(content if content is not None else b"")


class Passages:
    """Reads what PassageWriter wrote. Thread-safe; nothing is loaded before it is asked for."""

    def __init__(self, folder: Path) -> None:
        self._documents = _Columns(folder / DOCUMENTS)
        self._passages = _Columns(folder / PASSAGES)
        self._ids: NDArray[np.uint64] = np.load(folder / IDS, mmap_mode="r")
        self._id_rows: NDArray[np.int64] = np.load(folder / ID_ROWS, mmap_mode="r")
        self.document_count = self._documents.rows

    def row_of(self, document_id: str) -> int:
        """The row of a document, by bisection over hashed ids. Raises DocumentNotFound."""
        wanted = np.uint64(_hash(document_id))
        at = int(np.searchsorted(self._ids, wanted))
        while at < len(self._ids) and self._ids[at] == wanted:
            row = int(self._id_rows[at])
            if self.document_ids([row]) == [document_id]:
                return row
            at += 1
        raise DocumentNotFound(f"no document has the id {document_id!r}")

    def document_ids(self, rows: Rows | Sequence[int]) -> list[str]:
        return self._documents.strings("id", np.asarray(rows, np.int64))

    def documents(self, rows: Rows | Sequence[int]) -> list[Document]:
        """The documents of these rows, in the order asked."""
        wanted = np.asarray(rows, np.int64)
        names = ("id", "text", "title", "source", "metadata")
        columns = [self._documents.strings(name, wanted) for name in names]
        return [
            Document(document_id, text, title, source, json.loads(metadata))
            for document_id, text, title, source, metadata in zip(*columns, strict=True)
        ]

    def passage_rows(self, document_rows: Rows | Sequence[int]) -> list[range]:
        """The rows of each document's passages."""
        wanted = np.asarray(document_rows, np.int64)
        firsts, counts = self._documents.numbers("first", wanted), self._documents.numbers("count", wanted)
        return [range(first, first + count) for first, count in zip(firsts, counts, strict=True)]

    def chunks(self, rows: Rows | Sequence[int]) -> list[Chunk]:
        """The passages of these rows as the chunker cut them, in the order asked."""
        wanted = np.asarray(rows, np.int64)
        numbers = [self._passages.numbers(name, wanted) for name in ("ordinal", "start", "end", "page")]
        strings = [self._passages.strings(name, wanted) for name in ("headings", "context")]
        return [
            Chunk(ordinal, start, end, _headings(headings), None if page == _NO_PAGE else page, context)
            for ordinal, start, end, page, headings, context in zip(*numbers, *strings, strict=True)
        ]

    def passages(self, rows: Rows | Sequence[int]) -> list[Passage]:
        """The passages of these rows, in the order asked."""
        wanted = np.asarray(rows, np.int64)
        document_rows = np.asarray(self._passages.numbers("document", wanted), np.int64)
        starts, ends = (self._passages.numbers(name, wanted) for name in ("byte_start", "byte_end"))
        texts = self._documents.slices("text", document_rows, starts, ends)
        about = [self._documents.strings(name, document_rows) for name in ("id", "title", "source", "metadata")]
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
            for chunk, text, document_id, title, source, metadata in zip(
                self.chunks(wanted), texts, *about, strict=True
            )
        ]


@lru_cache(maxsize=4096)
def _headings(written: str) -> tuple[str, ...]:
    """Neighbouring passages share their heading paths."""
    return tuple(json.loads(written))
