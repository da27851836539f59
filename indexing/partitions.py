"""Cuts the items of a build into partitions, names each by what goes into it, and makes documents of one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass

import numpy as np

from indexing.chunking import CHUNKING_VERSION, ChunkSettings, chunk
from indexing.converters import CONVERTERS_VERSION
from indexing.embedding import embed
from indexing.formats.ocr import Recognise
from indexing.items import Item, convert_item
from indexing.ledger import Finished
from indexing.settings import BuildSettings
from indexing.sources import Rejected
from retrieval.collection import Part
from retrieval.errors import SourceUnreadable
from retrieval.types import Chunk, Document, Encoder, passage_text

__all__ = ["BuildSettings", "Maker", "id_hashes", "partitions", "superseded"]

LEDGER_VERSION = "1"
"""Changes with the files that a finished partition consists of."""


@dataclass(frozen=True, slots=True)
class Maker:
    """Makes partitions: how to convert, chunk and embed. ``key`` names a partition after all of it."""

    encoder: Encoder
    chunk: ChunkSettings
    batch_tokens: int
    recognise: Recognise | None

    def key(self, entries: Iterable[Item | Rejected]) -> str:
        """sha256 over everything that decides the content of the partition, 32 hex digits of it."""
        how = {
            "versions": [LEDGER_VERSION, CONVERTERS_VERSION, CHUNKING_VERSION],
            "chunk": asdict(self.chunk),
            "encoder": asdict(self.encoder.spec),
            "recognise": self.recognise is not None,
        }
        digest = hashlib.sha256(json.dumps(how, sort_keys=True).encode())
        for entry in entries:
            if isinstance(entry, Rejected):
                told: list[object] = ["rejected", entry.source, entry.reason]
            else:
                fields = asdict(entry.fields) if entry.fields is not None else None
                content = hashlib.sha256(entry.data).hexdigest()
                told = ["item", entry.name, entry.fallback_id, entry.format, fields, entry.links, content]
            digest.update(json.dumps(told).encode() + b"\n")
        return digest.hexdigest()[:32]

    def make(
        self,
        key: str,
        entries: Iterable[Item | Rejected],
        converted: Callable[[], None],
        embedded: Callable[[float], None],
    ) -> tuple[Finished, Part]:
        """Convert, chunk and embed. ``converted`` is called per item, ``embedded`` with the share done; both may raise.

        Of documents with one id the last is kept, and the others are set aside with that reason.
        """
        rejected: list[Rejected] = []
        made: dict[str, tuple[str, Document, list[Chunk]]] = {}
        items = 0
        for entry in entries:
            items += 1
            if isinstance(entry, Rejected):
                rejected.append(entry)
                continue
            converted()
            try:
                document, form = convert_item(entry, self.recognise)
            except SourceUnreadable as error:
                rejected.append(Rejected(entry.name, error.detail))
                continue
            before = made.pop(document.document_id, None)
            if before is not None:
                rejected.append(superseded(before[0], document.document_id))
            made[document.document_id] = (entry.name, document, chunk(form, self.chunk))
        texts = [
            passage_text(document.title, each.headings, each.context, document.text[each.start : each.end])
            for _, document, chunks in made.values()
            for each in chunks
        ]
        vectors = embed(
            self.encoder,
            texts,
            batch_tokens=self.batch_tokens,
            progress=lambda done: embedded(done / max(len(texts), 1)),
        )
        part = Part([document for _, document, _ in made.values()], [chunks for *_, chunks in made.values()], vectors)
        return Finished(key, items, tuple(made), len(texts), tuple(rejected)), part


def superseded(source: str, document_id: str) -> Rejected:
    return Rejected(source, f"another document of this build has the id {document_id!r}; the last one was kept")


def partitions(entries: Iterable[Item | Rejected], settings: BuildSettings) -> Iterator[list[Item | Rejected]]:
    """The entries in order, in lists that are closed by number or by size."""
    group: list[Item | Rejected] = []
    size = 0
    for entry in entries:
        group.append(entry)
        size += len(entry.data) if isinstance(entry, Item) else 0
        if len(group) >= settings.partition_documents or size >= settings.partition_bytes:
            yield group
            group, size = [], 0
    if group:
        yield group


def id_hashes(document_ids: Iterable[str]) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    """64-bit hashes, so that ten million ids can be compared in 80 MB."""
    digests = b"".join(hashlib.blake2b(each.encode(), digest_size=8).digest() for each in document_ids)
    return np.frombuffer(digests, np.uint64)
