"""The finished partitions of an unfinished build, on disk: named by what they were made from, whole or absent."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from indexing.sources import Rejected
from retrieval.collection import Part
from retrieval.durable import disk_full_said_plainly, sync_file
from retrieval.types import Chunk, Document

OpenFile = Callable[[Path, str], IO[bytes]]
"""Opens a file for writing or reading bytes; the seam through which tests fill the disk."""

_DOCUMENTS, _VECTORS, _SUMMARY = "documents.jsonl", "vectors.npy", "summary.json"


def open_file(path: Path, mode: str) -> IO[bytes]:
    return path.open(mode)


@dataclass(frozen=True, slots=True)
class Finished:
    """What is known of a partition without reading it."""

    key: str
    items: int
    document_ids: tuple[str, ...]
    passages: int
    rejected: tuple[Rejected, ...]


class Ledger:
    """Partitions below one folder, a folder each, named by their key.

    Written aside, flushed, renamed: a partition that is there is whole. One writer at a time.
    """

    def __init__(self, folder: Path, opener: OpenFile = open_file) -> None:
        self._folder = folder
        self._open = opener

    def find(self, key: str) -> Finished | None:
        """The finished partition of that key, if there is one."""
        try:
            with self._open(self._folder / key / _SUMMARY, "rb") as file:
                summary = json.load(file)
        except (FileNotFoundError, ValueError):
            return None
        return Finished(
            key=key,
            items=summary["items"],
            document_ids=tuple(summary["document_ids"]),
            passages=summary["passages"],
            rejected=tuple(Rejected(**each) for each in summary["rejected"]),
        )

    def write(self, finished: Finished, part: Part) -> None:
        """Put a partition on disk. Raises DiskFull; what was finished before stays."""
        with disk_full_said_plainly("the build's partitions", self._folder.parent):
            self._folder.mkdir(parents=True, exist_ok=True)
            aside = self._folder / f".aside-{finished.key}"
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir()
            try:
                self._write_files(aside, finished, part)
                sync_file(aside)
                final = self._folder / finished.key
                shutil.rmtree(final, ignore_errors=True)  # one without its summary, which find() took for absent
                aside.rename(final)
                sync_file(self._folder)
            except BaseException:
                shutil.rmtree(aside, ignore_errors=True)
                raise

    def read(self, key: str) -> Part:
        """The documents, chunks and vectors of a finished partition."""
        folder = self._folder / key
        documents: list[Document] = []
        chunks: list[list[Chunk]] = []
        with self._open(folder / _DOCUMENTS, "rb") as file:
            for line in file:
                row = json.loads(line)
                chunks.append([_chunk(each) for each in row.pop("chunks")])
                documents.append(Document(**row))
        with self._open(folder / _VECTORS, "rb") as file:
            vectors = np.lib.format.read_array(file, allow_pickle=False)
        return Part(documents, chunks, vectors)

    def clear(self) -> None:
        """Remove every partition, finished or not."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def keys(self) -> Iterator[str]:
        """Keys of the finished partitions."""
        if self._folder.is_dir():
            yield from sorted(path.name for path in self._folder.iterdir() if not path.name.startswith("."))

    def _write_files(self, aside: Path, finished: Finished, part: Part) -> None:
        with self._written(aside / _DOCUMENTS) as file:
            for document, chunks in zip(part.documents, part.chunks, strict=True):
                row = _document_row(document) | {"chunks": [list(_chunk_row(chunk)) for chunk in chunks]}
                file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
        with self._written(aside / _VECTORS) as file:
            np.lib.format.write_array(file, part.vectors, allow_pickle=False)
        summary = {
            "items": finished.items,
            "document_ids": finished.document_ids,
            "passages": finished.passages,
            "rejected": [asdict(each) for each in finished.rejected],
        }
        with self._written(aside / _SUMMARY) as file:
            file.write(json.dumps(summary, ensure_ascii=False).encode())

    def _written(self, path: Path) -> _Flushed:
        return _Flushed(self._open(path, "wb"))


class _Flushed:
    """A file that is on disk, and not only in a cache, once its block has ended well."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def __enter__(self) -> IO[bytes]:
        return self._file

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._file:
            if kind is None:
                self._file.flush()
                os.fsync(self._file.fileno())


def _document_row(document: Document) -> dict[str, Any]:
    return {
        "document_id": document.document_id,
        "text": document.text,
        "title": document.title,
        "source": document.source,
        "metadata": dict(document.metadata),
    }


def _chunk_row(chunk: Chunk) -> tuple[object, ...]:
    return (chunk.ordinal, chunk.start, chunk.end, chunk.headings, chunk.page, chunk.context)


def _chunk(row: list[Any]) -> Chunk:
    ordinal, start, end, headings, page, context = row
    return Chunk(ordinal, start, end, tuple(headings), page, context)
