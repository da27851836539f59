"""Reads the files of a plan one item at a time: a document's bytes, or a row as JSON with its number."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any, cast

from indexing.converted import Converted
from indexing.converters import Forced, convert_file
from indexing.crossrefs import Links
from indexing.decoding import encoding_of
from indexing.formats.ocr import Recognise
from indexing.records import FieldMap, check_fields, parse_row, to_document
from indexing.sources import MAX_FILE_BYTES, Rejected, SourceFile
from retrieval.errors import SourceUnreadable
from retrieval.types import Document

MAX_ROW_BYTES = 64 << 20
_SAMPLE_ROWS = 20
_SAMPLE_BYTES = 1 << 20
_READ_ERRORS = (OSError, EOFError, zlib.error)


@dataclass(frozen=True, slots=True)
class Item:
    """One document to be: ``data`` is a file's content, or a row as a JSON object when ``fields`` is set."""

    name: str
    """The file's name, with the row's number where it is one."""
    fallback_id: str
    data: bytes
    format: Forced | None = None
    fields: FieldMap | None = None
    links: Links = ()
    """Titles of what a reStructuredText page refers to."""
    acl: tuple[str, ...] = ()
    """Principals of the file; a row may name its own."""
    origin: str = ""
    """The file or page that it is, or is a row of, as its source calls that."""


def read_items(file: SourceFile) -> Iterator[Item | Rejected]:
    """The items of one file, in order; what cannot be read comes as Rejected in its place."""
    if file.kind == "document":
        yield _document(file)
        return
    rows = {"jsonl": _json_lines, "csv": _csv_rows, "parquet": _parquet_rows}[file.kind](file)
    try:
        first = list(islice(rows, _SAMPLE_ROWS))
        check_fields(list(_parsed(first)), file.fields)
        if not first:
            yield Rejected(file.name, "empty")
        yield from chain(first, rows)
    except SourceUnreadable as error:
        yield Rejected(file.name, error.detail)


def count_items(file: SourceFile) -> int:
    """How many items ``read_items`` will give, as near as a quick look can tell."""
    if file.kind == "document":
        return 1
    try:
        if file.kind == "parquet":
            import pyarrow.parquet

            return int(pyarrow.parquet.ParquetFile(file.path).metadata.num_rows)
        with _opened(file.path) as stream:
            newlines = sum(block.count(b"\n") for block in iter(lambda: stream.read(1 << 20), b""))
            return max(newlines - (file.kind == "csv"), 1)
    except (*_READ_ERRORS, ValueError):
        return 1


def convert_item(item: Item, recognise: Recognise | None = None) -> tuple[Document, Converted]:
    """The document that an item holds. Raises SourceUnreadable with the reason."""
    if item.fields is not None:
        return to_document(item.data, item.fallback_id, item.name, item.fields, item.format, item.acl)
    converted = convert_file(item.data, item.name, item.format, recognise, item.links)
    stem = Path(item.name).stem.replace("_", " ").replace("-", " ").strip()
    document = Document(
        document_id=item.fallback_id,
        text=converted.text,
        title=converted.title or stem,
        source=item.name,
        metadata=converted.metadata,
        acl=item.acl,
    )
    return document, converted


def _document(file: SourceFile) -> Item | Rejected:
    try:
        size = file.path.stat().st_size
        if size > MAX_FILE_BYTES:
            return Rejected(file.name, f"{size >> 20} MiB; the limit for a document is {MAX_FILE_BYTES >> 20} MiB")
        data = file.path.read_bytes()
        links = file.references.used_by(file.page, data) if file.references is not None else ()
        return Item(file.name, file.name, data, file.format, links=links, acl=file.acl, origin=file.name)
    except OSError as error:
        return Rejected(file.name, f"cannot be read ({error.strerror or error})")


def _parsed(rows: list[Item | Rejected]) -> Iterator[Mapping[str, Any]]:
    for row in rows:
        if isinstance(row, Item):
            try:
                yield parse_row(row.data)
            except SourceUnreadable:
                continue  # it will be set aside by its number when its turn comes


def _opened(path: Path) -> IO[bytes]:
    if path.name.lower().endswith(".gz"):
        return cast("IO[bytes]", gzip.open(path, "rb"))
    return path.open("rb")


def _json_lines(file: SourceFile) -> Iterator[Item | Rejected]:
    number = 0
    try:
        with _opened(file.path) as stream:
            lines = _utf8_lines(stream)
            for line in lines:
                number += 1
                name = f"{file.name} line {number}"
                if len(line) > MAX_ROW_BYTES:
                    yield Rejected(name, f"longer than {MAX_ROW_BYTES >> 20} MiB")
                elif line.strip():
                    yield Item(
                        name,
                        f"{file.name}:{number}",
                        line.strip(),
                        file.format,
                        file.fields,
                        acl=file.acl,
                        origin=file.name,
                    )
    except _READ_ERRORS as error:
        yield Rejected(file.name, f"cannot be read beyond line {number} ({error})")
    except UnicodeDecodeError as error:
        yield Rejected(file.name, f"broken text beyond line {number} ({error.reason})")


def _utf8_lines(stream: IO[bytes]) -> Iterator[bytes]:
    """Lines as UTF-8 bytes without a byte order mark; of a line over the limit only its beginning."""
    first = stream.readline(MAX_ROW_BYTES + 1)
    if first.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        rest = io.BufferedReader(_Prefixed(first, stream))
        for text in io.TextIOWrapper(rest, encoding="utf-16", newline="\n"):
            yield text.encode("utf-8", "surrogatepass")
        return
    line = first.removeprefix(codecs.BOM_UTF8)
    while line:
        yield line
        while len(line) > MAX_ROW_BYTES and not line.endswith(b"\n"):
            line = stream.readline(MAX_ROW_BYTES + 1)
        line = stream.readline(MAX_ROW_BYTES + 1)


class _Prefixed(io.RawIOBase):
    """A stream whose first bytes have been read already."""

    def __init__(self, first: bytes, rest: IO[bytes]) -> None:
        self._first = first
        self._rest = rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece = self._first[: len(buffer)] or self._rest.read(len(buffer))
        self._first = self._first[len(buffer) :]
        buffer[: len(piece)] = piece
        return len(piece)


def _csv_rows(file: SourceFile) -> Iterator[Item | Rejected]:
    number = 0
    csv.field_size_limit(MAX_ROW_BYTES)
    try:
        with _opened(file.path) as sample:
            head = sample.read(_SAMPLE_BYTES)
        encoding = encoding_of(head)
        with _opened(file.path) as stream:
            text = io.TextIOWrapper(stream, encoding=encoding, errors="surrogateescape", newline="")
            reader = csv.reader(text, delimiter=_delimiter(file.name, head.decode(encoding, "replace")))
            names = [name.strip() or f"column{place}" for place, name in enumerate(next(reader, []), 1)]
            while True:
                number += 1
                name = f"{file.name} row {number}"
                try:
                    cells = next(reader, None)
                except csv.Error as error:
                    yield Rejected(name, f"not CSV ({error})")
                    continue
                if cells is None:
                    return
                try:
                    data = json.dumps(dict(zip(names, cells, strict=False)), ensure_ascii=False).encode()
                except UnicodeEncodeError:
                    yield Rejected(name, f"not {encoding.upper()}")
                    continue
                if any(cells):
                    yield Item(
                        name, f"{file.name}:{number}", data, file.format, file.fields, acl=file.acl, origin=file.name
                    )
    except _READ_ERRORS as error:
        yield Rejected(file.name, f"cannot be read beyond row {max(number - 1, 0)} ({error})")


def _delimiter(name: str, head: str) -> str:
    """Tab for ``.tsv``, else what the first line has most of."""
    if name.lower().removesuffix(".gz").endswith(".tsv"):
        return "\t"
    first = head.partition("\n")[0]
    return max(",;\t|", key=lambda sign: (first.count(sign), sign == ","))


def _parquet_rows(file: SourceFile) -> Iterator[Item | Rejected]:
    import pyarrow
    import pyarrow.parquet

    number = 0
    try:
        with pyarrow.parquet.ParquetFile(file.path) as table:
            for batch in table.iter_batches(batch_size=512):
                for row in batch.to_pylist():
                    number += 1
                    data = json.dumps(row, ensure_ascii=False, default=_plain_value).encode("utf-8", "replace")
                    yield Item(
                        f"{file.name} row {number}",
                        f"{file.name}:{number}",
                        data,
                        file.format,
                        file.fields,
                        acl=file.acl,
                    )
    except (OSError, pyarrow.ArrowException) as error:
        reason = " ".join(str(error).split())[:200]
        yield Rejected(file.name, f"broken Parquet beyond row {number} ({reason})")


def _plain_value(value: Any) -> Any:
    """Dates, decimals and the like as text; bytes as text where they are."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
