"""The finished steps of an unfinished build, on disk: named by what they were made from, whole or absent."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from indexing.duplicates import Signatures
from indexing.sources import Rejected
from retrieval.durable import disk_full_said_plainly, sync_file
from retrieval.token_codec import LateSpec
from retrieval.token_vectors import TokenCodes
from retrieval.types import Chunk, Document, Vectors

OpenFile = Callable[[Path, str], IO[bytes]]
"""Opens a file for writing or reading bytes; the seam through which tests fill the disk."""

ENTRY = np.dtype([("id", "<u8", 2), ("group", "<u8"), ("passages", "<u4"), ("given", "?")])
"""Of each document of a partition: 128 bits of its id's hash, 64 of its access list's, its passages, whether it
brought a vector."""

_DOCUMENTS, _INDEX, _SIGNATURES, _GIVEN, _SUMMARY = (
    "documents.jsonl", "index.npy", "signatures.npy", "given.npy", "summary.json"
)  # fmt: skip


def open_file(path: Path, mode: str) -> IO[bytes]:
    return path.open(mode)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A partition after its first step: converted and cut, not yet embedded.

    ``index`` has an ``ENTRY`` a document; ``given`` the vectors that documents brought, float32 ``[g, d]`` in
    order; ``signatures`` uint32 ``[128, documents]``, or ``[128, 0]`` where nobody asked for them; ``origins``
    what each document was read from, as ``Item.origin`` has it, and ``digests`` the digest of the item.
    """

    documents: list[Document]
    chunks: list[list[Chunk]]
    index: NDArray[Any]
    given: Vectors
    signatures: Signatures
    origins: list[str]
    digests: list[str]


@dataclass(frozen=True, slots=True)
class Finished:
    """What is known of a partition without reading it."""

    key: str
    items: int
    documents: int
    passages: int
    rejected: tuple[Rejected, ...] = field(repr=False)


class Ledger:
    """Partitions below one folder, a folder each, named by their key; in it the vectors, named by theirs.

    Written aside, flushed, renamed: a step that is there is whole. One writer at a time.
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
        summary["rejected"] = tuple(Rejected(**each) for each in summary["rejected"])
        return Finished(key=key, **summary)

    def write(self, finished: Finished, prepared: Prepared) -> None:
        """Put a partition on disk. Raises DiskFull; what was finished before stays."""
        with self._writing():
            aside = self._folder / f".aside-{finished.key}"
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir()
            try:
                self._write_files(aside, finished, prepared)
                sync_file(aside)
                final = self._folder / finished.key
                shutil.rmtree(final, ignore_errors=True)  # one without its summary, which find() took for absent
                aside.rename(final)
                sync_file(self._folder)
            except BaseException:
                shutil.rmtree(aside, ignore_errors=True)
                raise

    def read(self, key: str) -> Prepared:
        """A finished partition."""
        documents: list[Document] = []
        chunks: list[list[Chunk]] = []
        origins: list[str] = []
        digests: list[str] = []
        with self._open(self._folder / key / _DOCUMENTS, "rb") as file:
            for line in file:
                row = json.loads(line)
                chunks.append([_chunk(each) for each in row.pop("chunks")])
                origins.append(row.pop("origin"))
                digests.append(row.pop("digest"))
                documents.append(Document(**row | {"acl": tuple(row["acl"])}))
        index, given = self.index(key), self._array(key, _GIVEN)
        return Prepared(documents, chunks, index, given, self.signatures(key), origins, digests)

    def described(self, key: str) -> Iterator[tuple[str, str, str]]:
        """Of each document what it was read from, its id, and the digest of its item."""
        with self._open(self._folder / key / _DOCUMENTS, "rb") as file:
            for line in file:
                row = json.loads(line)
                yield row["origin"], row["document_id"], row["digest"]

    def ids(self, key: str, rows: NDArray[np.int64]) -> list[str]:
        """Ids of some documents of a partition, by their ascending rows."""
        wanted = set(rows.tolist())
        with self._open(self._folder / key / _DOCUMENTS, "rb") as file:
            lines = (line for row, line in enumerate(file) if row in wanted)
            return [str(json.loads(line)["document_id"]) for line in lines]

    def index(self, key: str) -> NDArray[Any]:
        """``ENTRY`` of each document."""
        return self._array(key, _INDEX)

    def signatures(self, key: str) -> Signatures:
        """uint32 ``[128, documents]``, mapped."""
        return np.load(self._folder / key / _SIGNATURES, "r", allow_pickle=False)  # type: ignore[no-any-return]

    def has_vectors(self, key: str, step: str) -> bool:
        return (self._folder / key / f"{step}.npy").exists()

    def vectors(self, key: str, step: str) -> Vectors:
        """The vectors that the step of that name has made: float32 ``[passages, d]``."""
        return self._array(key, f"{step}.npy")

    def tokens(self, key: str, step: str, spec: LateSpec) -> TokenCodes:
        """The token vectors that the step of that name has made."""
        counts = self._array(key, f"{step}-counts.npy")
        return TokenCodes(spec, counts, self._array(key, f"{step}.npy"))

    def write_tokens(self, key: str, step: str, codes: TokenCodes) -> None:
        """As ``write_vectors``; ``has_vectors`` tells of them once they are whole."""
        self.write_vectors(key, f"{step}-counts", codes.counts)
        self.write_vectors(key, step, codes.tokens)

    def write_vectors(self, key: str, step: str, vectors: NDArray[Any]) -> None:
        """Raises DiskFull; then there are none."""
        with self._writing():
            aside, final = self._folder / key / f".{step}", self._folder / key / f"{step}.npy"
            try:
                with self._written(aside) as file:
                    np.lib.format.write_array(file, vectors, allow_pickle=False)
                aside.replace(final)
                sync_file(final.parent)
            except BaseException:
                aside.unlink(missing_ok=True)
                raise

    def clear(self) -> None:
        """Remove every partition, finished or not, in one step: a half that a kill left would pass for a whole one."""
        aside = self._folder.with_name(f".{self._folder.name}.cleared")
        shutil.rmtree(aside, ignore_errors=True)
        with suppress(FileNotFoundError):
            self._folder.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)

    def keys(self) -> Iterator[str]:
        """Keys of the finished partitions."""
        if self._folder.is_dir():
            yield from sorted(path.name for path in self._folder.iterdir() if not path.name.startswith("."))

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with disk_full_said_plainly("the build's partitions", self._folder.parent):
            self._folder.mkdir(parents=True, exist_ok=True)
            yield

    def _array(self, key: str, name: str) -> NDArray[Any]:
        with self._open(self._folder / key / name, "rb") as file:
            return np.lib.format.read_array(file, allow_pickle=False)

    def _write_files(self, aside: Path, finished: Finished, prepared: Prepared) -> None:
        with self._written(aside / _DOCUMENTS) as file:
            for line in _lines(prepared):
                file.write(line)
        arrays = {_INDEX: prepared.index, _GIVEN: prepared.given, _SIGNATURES: prepared.signatures}
        for name, values in arrays.items():
            with self._written(aside / name) as file:
                np.lib.format.write_array(file, values, allow_pickle=False)
        summary = {
            "items": finished.items,
            "documents": finished.documents,
            "passages": finished.passages,
            "rejected": [asdict(each) for each in finished.rejected],
        }
        with self._written(aside / _SUMMARY) as file:
            file.write(json.dumps(summary, ensure_ascii=False).encode())

    @contextmanager
    def _written(self, path: Path) -> Iterator[IO[bytes]]:
        """A file that is on disk, and not only in a cache, once its block has ended well."""
        with self._open(path, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())


def _lines(prepared: Prepared) -> Iterator[bytes]:
    described: Sequence[tuple[Document, list[Chunk], str, str]] = list(
        zip(prepared.documents, prepared.chunks, prepared.origins, prepared.digests, strict=True)
    )
    for document, chunks, origin, digest in described:
        row = {
            "document_id": document.document_id,
            "text": document.text,
            "title": document.title,
            "source": document.source,
            "metadata": dict(document.metadata),
            "acl": document.acl,
            "version": document.version,
            "chunks": [list(_chunk_row(chunk)) for chunk in chunks],
            "origin": origin,
            "digest": digest,
        }
        yield json.dumps(row, ensure_ascii=False).encode() + b"\n"


def _chunk_row(chunk: Chunk) -> tuple[object, ...]:
    return (chunk.ordinal, chunk.start, chunk.end, chunk.headings, chunk.page, chunk.context)


def _chunk(row: list[Any]) -> Chunk:
    ordinal, start, end, headings, page, context = row
    return Chunk(ordinal, start, end, tuple(headings), page, context)
