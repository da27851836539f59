"""What a document that comes by itself needs before it can be stored: clean text, passages, their vectors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from indexing.chunking import ChunkSettings, chunk
from indexing.converters import convert_text
from indexing.embedding import embed, embed_tokens
from retrieval.changes import Change, Delete, Outcome, Upsert, check
from retrieval.errors import InvalidRequest
from retrieval.filters import Fields, check_metadata
from retrieval.late_encoder import LateEncoder
from retrieval.token_vectors import TokenCodes
from retrieval.types import Chunk, Document, Encoder, Vectors, passage_text
from services.ports import Put, Remove


@dataclass(frozen=True, slots=True)
class Preparation:
    """How documents are cut and encoded."""

    chunk: ChunkSettings = field(default_factory=ChunkSettings)
    batch_tokens: int = 8192


@dataclass(frozen=True, slots=True)
class _Cut:
    """A document with its passages, and their vectors when it brought one."""

    document: Document
    chunks: Sequence[Chunk]
    vectors: Vectors | None
    if_version: int | None

    def texts(self) -> Iterator[str]:
        for each in self.chunks:
            text = self.document.text[each.start : each.end]
            yield passage_text(self.document.title, each.headings, each.context, text)


def prepared(
    changes: Sequence[Put | Remove],
    dimension: int,
    fields: Fields,
    encoder: Callable[[], Encoder],
    how: Preparation,
    late: Callable[[], LateEncoder] | None = None,
) -> list[Change | Outcome]:
    """For each change what is to be stored, or the outcome (422) of one that cannot be.

    ``encoder`` is called once, and only when a document comes without a vector; what it raises goes through,
    before anything was stored. Texts of all documents are encoded together, those of like length side by side.
    With ``late``, called when a document comes at all, passages get token vectors too.
    """
    cut = [_cut(change, dimension, fields, how.chunk) for change in changes]
    waiting = [each for each in cut if isinstance(each, _Cut) and each.vectors is None]
    texts = [text for each in waiting for text in each.texts()]
    vectors: Vectors = np.empty((0, dimension), np.float32)
    if texts:
        vectors = embed(encoder(), texts, batch_tokens=how.batch_tokens)
    tokens = _tokens([each for each in cut if isinstance(each, _Cut)], late, how)
    taken = iter(np.split(vectors, np.cumsum([len(each.chunks) for each in waiting])))
    done: list[Change | Outcome] = []
    for each in cut:
        if isinstance(each, _Cut):
            own = next(taken) if each.vectors is None else each.vectors
            upsert = Upsert(each.document, each.chunks, own, each.if_version, next(tokens))
            done.append(_checked(upsert, dimension))
        else:
            done.append(each if isinstance(each, Outcome) else _checked(each, dimension))
    return done


def _tokens(
    cut: Sequence[_Cut], late: Callable[[], LateEncoder] | None, how: Preparation
) -> Iterator[TokenCodes | None]:
    """Of each document its passages' tokens, those of all encoded together."""
    if late is None or not cut:
        return iter([None] * len(cut))
    codes = embed_tokens(late(), [text for each in cut for text in each.texts()], batch_tokens=how.batch_tokens)
    return iter(codes.split([len(each.chunks) for each in cut]))


def _cut(change: Put | Remove, dimension: int, fields: Fields, settings: ChunkSettings) -> _Cut | Delete | Outcome:
    if isinstance(change, Remove):
        return Delete(change.document_id, change.version, change.if_version)
    given = change.document
    try:
        check_metadata(given.metadata, fields)
        form = convert_text(given.text, "plain")
        if not form.text:
            raise InvalidRequest("text: nothing is left of it without its control characters")
        document = replace(given, text=form.text)
        if change.vector is None:
            return _Cut(document, chunk(form, settings), None, change.if_version)
        return _Cut(document, [Chunk(0, 0, len(form.text))], _unit(change.vector, dimension), change.if_version)
    except InvalidRequest as error:
        return _refused(given.document_id, error)


def _unit(vector: bytes, dimension: int) -> Vectors:
    """The vector at length 1, float32 ``[1, dimension]``. Raises InvalidRequest for one that has no direction."""
    row = np.frombuffer(vector, "<f4").astype(np.float64)
    if len(row) != dimension:
        raise InvalidRequest(f"vector: {len(row)} numbers, and the collection's vectors have {dimension}")
    length = float(np.linalg.norm(row))
    if not np.isfinite(length) or length == 0:
        raise InvalidRequest("vector: not a finite vector that points anywhere")
    return np.asarray(row / length, np.float32)[None, :]


def _checked(change: Change, dimension: int) -> Change | Outcome:
    try:
        check(change, dimension)
    except InvalidRequest as error:
        return _refused(change.document_id, error)
    return change


def _refused(document_id: str, error: InvalidRequest) -> Outcome:
    return Outcome(document_id, 422, 0, error.detail)
