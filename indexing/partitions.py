"""Cuts the items of a build into partitions, names each by what goes into it, and carries out the steps of one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from indexing.chunking import CHUNKING_VERSION, ChunkSettings, chunk
from indexing.converted import Converted
from indexing.converters import CONVERTERS_VERSION
from indexing.duplicates import SLOTS, signatures, signatures_version
from indexing.embedding import embed, embed_tokens
from indexing.formats.ocr import Recognise
from indexing.items import Item, convert_item
from indexing.ledger import ENTRY, Finished, Prepared
from indexing.records import FieldMap
from indexing.settings import BuildSettings
from indexing.sources import Rejected
from retrieval.errors import SourceUnreadable
from retrieval.late_encoder import LateEncoder
from retrieval.token_vectors import TokenCodes
from retrieval.types import Chunk, Document, Encoder, Vectors, passage_text

__all__ = ["BuildSettings", "Maker", "id_hashes", "partitions"]

LEDGER_VERSION = "2"
"""Changes with the files that a finished partition consists of."""

Entry = Item | Rejected


@dataclass(frozen=True, slots=True)
class _Made:
    origin: str
    digest: str
    document: Document
    chunks: list[Chunk]
    vector: NDArray[np.float32] | None


@dataclass(frozen=True, slots=True)
class Maker:
    """The steps of a partition, and what each is named after: everything that decides what it makes."""

    encoder: Encoder
    chunk: ChunkSettings
    batch_tokens: int
    recognise: Recognise | None
    compare: bool = False
    """Whether documents get signatures, by which near-duplicates are found."""
    late: LateEncoder | None = None
    """What passages get token vectors by, if they do."""

    def how(self) -> str:
        """sha256 over all that decides what an item becomes, its content apart, 32 hex digits of it."""
        told = {
            "versions": [LEDGER_VERSION, CONVERTERS_VERSION, CHUNKING_VERSION],
            "chunk": asdict(self.chunk),
            "dimension": self.encoder.spec.dimension,
            "recognise": self.recognise is not None,
            "signatures": signatures_version() if self.compare else None,
        }
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:32]

    def key(self, entries: Iterable[Entry]) -> str:
        """The name of the first step of a partition, 32 hex digits."""
        digest = hashlib.sha256(self.how().encode())
        for entry in entries:
            named = [entry.source] if isinstance(entry, Rejected) else [entry.name, entry.fallback_id, entry.origin]
            digest.update(json.dumps([*named, item_digest(entry)]).encode() + b"\n")
        return digest.hexdigest()[:32]

    def prepare(self, key: str, entries: Iterable[Entry], converted: Callable[[], None]) -> tuple[Finished, Prepared]:
        """The first step: convert and cut. ``converted`` is called per item, and may raise to stop."""
        rejected: list[Rejected] = []
        made: list[_Made] = []
        items = 0
        for entry in entries:
            items += 1
            converted()
            try:
                made.append(self._made(entry))
            except SourceUnreadable as error:
                rejected.append(entry if isinstance(entry, Rejected) else Rejected(entry.name, error.detail))
        prepared = self._prepared(made)
        passages = int(prepared.index["passages"].sum())
        return Finished(key, items, len(made), passages, tuple(rejected)), prepared

    def step(self, kept: NDArray[np.bool_]) -> str:
        """The name of the second step: of the encoder, and of which documents it is to embed."""
        told = json.dumps(asdict(self.encoder.spec), sort_keys=True).encode() + np.packbits(kept).tobytes()
        return f"vectors-{hashlib.sha256(told).hexdigest()[:16]}"

    def vectors(self, prepared: Prepared, kept: NDArray[np.bool_], progress: Callable[[float], None]) -> Vectors:
        """The second step: vectors of the passages of the documents ``kept``, float32 ``[passages, d]``.

        A document that brought its vector has that one. ``progress`` is called with the share that
        is done, and may raise to stop. Raises what the encoder raises.
        """
        index = prepared.index[kept]
        given = np.repeat(index["given"], index["passages"])
        texts = _texts(prepared, kept & ~prepared.index["given"])
        vectors: Vectors = np.empty((len(given), self.encoder.spec.dimension), np.float32)
        vectors[given] = prepared.given[kept[prepared.index["given"]]]
        vectors[~given] = embed(
            self.encoder,
            texts,
            batch_tokens=self.batch_tokens,
            progress=lambda done: progress(done / max(len(texts), 1)),
        )
        return vectors

    def late_step(self, kept: NDArray[np.bool_]) -> str:
        """The name of the step that makes token vectors; of no use without ``late``."""
        told = json.dumps(None if self.late is None else asdict(self.late.spec), sort_keys=True).encode()
        return f"tokens-{hashlib.sha256(told + np.packbits(kept).tobytes()).hexdigest()[:16]}"

    def tokens(
        self, late: LateEncoder, prepared: Prepared, kept: NDArray[np.bool_], progress: Callable[[float], None]
    ) -> TokenCodes:
        """Token vectors of the passages of the documents ``kept``, those too that brought a vector of their own."""
        texts = _texts(prepared, kept)
        share = 1 / max(len(texts), 1)
        return embed_tokens(late, texts, batch_tokens=self.batch_tokens, progress=lambda done: progress(done * share))

    def _made(self, entry: Entry) -> _Made:
        if isinstance(entry, Rejected):
            raise SourceUnreadable(entry.reason)
        document, form = convert_item(entry, self.recognise)
        chunks = chunk(form, self.chunk) if form.vector is None else [self._whole(form)]
        return _Made(entry.origin, item_digest(entry), document, chunks, form.vector)

    def _whole(self, form: Converted) -> Chunk:
        """The only chunk of a document that brought its vector. Raises SourceUnreadable for one that does not fit."""
        spec = self.encoder.spec
        if form.vector is not None and form.vector.shape != (spec.dimension,):
            raise SourceUnreadable(
                f"its vector has {len(form.vector)} dimensions, and those of the encoder {spec.name} have "
                f"{spec.dimension}; leave it out with --map vector= to have the text encoded"
            )
        return Chunk(0, 0, len(form.text))

    def _prepared(self, made: Sequence[_Made]) -> Prepared:
        documents = [each.document for each in made]
        index = np.zeros(len(made), ENTRY)
        index["id"] = id_hashes(document.document_id for document in documents)
        index["group"] = _hashes(("\n".join(document.acl) for document in documents), 8)[:, 0]
        index["passages"] = [len(each.chunks) for each in made]
        index["given"] = [each.vector is not None for each in made]
        given = [each.vector for each in made if each.vector is not None]
        return Prepared(
            documents=documents,
            chunks=[each.chunks for each in made],
            index=index,
            given=np.stack(given) if given else np.empty((0, self.encoder.spec.dimension), np.float32),
            signatures=signatures([each.text for each in documents]) if self.compare else _NONE,
            origins=[each.origin for each in made],
            digests=[each.digest for each in made],
        )


_NONE = np.empty((SLOTS, 0), np.uint32)


def _texts(prepared: Prepared, wanted: NDArray[np.bool_]) -> list[str]:
    """What models read of the passages of these documents."""
    return [
        passage_text(document.title, each.headings, each.context, document.text[each.start : each.end])
        for document, chunks, want in zip(prepared.documents, prepared.chunks, wanted, strict=True)
        if want
        for each in chunks
    ]


def item_digest(entry: Entry) -> str:
    """sha256 over what decides what becomes of an item, its name and place apart, 32 hex digits of it.

    A row keeps its digest when rows before it come and go.
    """
    if isinstance(entry, Rejected):
        told: list[object] = ["rejected", entry.reason]
    else:
        content = hashlib.sha256(entry.data).hexdigest()
        told = ["item", entry.format, _told(entry.fields), entry.links, entry.acl, content]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:32]


@lru_cache(maxsize=64)
def _told(fields: FieldMap | None) -> str:
    """Telling a mapping takes longer than digesting a row, and all rows of a file have the same."""
    return "" if fields is None else json.dumps(asdict(fields))


def partitions(entries: Iterable[Entry], settings: BuildSettings) -> Iterator[list[Entry]]:
    """The entries in order, in lists that are closed by number or by size."""
    group: list[Entry] = []
    size = 0
    for entry in entries:
        group.append(entry)
        size += len(entry.data) if isinstance(entry, Item) else 0
        if len(group) >= settings.partition_documents or size >= settings.partition_bytes:
            yield group
            group, size = [], 0
    if group:
        yield group


def id_hashes(document_ids: Iterable[str]) -> NDArray[np.uint64]:
    """128-bit hashes, uint64 ``[ids, 2]``: ten million ids in 160 MB, and equal only where the ids are."""
    return _hashes(document_ids, 16)


def _hashes(texts: Iterable[str], size: int) -> NDArray[np.uint64]:
    digests = b"".join(hashlib.blake2b(text.encode(), digest_size=size).digest() for text in texts)
    return np.frombuffer(digests, np.uint64).reshape(-1, size // 8)
