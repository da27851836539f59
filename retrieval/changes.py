"""Changes of single documents: what a caller asks for, what came of it, and how accepted ones lie in the log."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from typing import Any

import numpy as np

from retrieval.errors import IndexUnreadable, InvalidRequest
from retrieval.passages import check_chunks
from retrieval.token_codec import LateSpec
from retrieval.token_vectors import TokenCodes, check_tokens
from retrieval.types import Chunk, Document, Vectors

MAX_ID_BYTES = 512


@dataclass(frozen=True, slots=True)
class Upsert:
    """Put a document in place of the one with its id, if there is one.

    ``vectors`` is float32 ``[len(chunks), d]``, unit rows; ``tokens`` are those of the chunks, None where they are not
    known. A ``document.version`` above 0 is the caller's own
    and must be greater than the stored one; 0 takes the next number. ``if_version`` must equal
    the stored version, 0 meaning that there is no such document.
    """

    document: Document
    chunks: Sequence[Chunk]
    vectors: Vectors
    if_version: int | None = None
    tokens: TokenCodes | None = None

    @property
    def document_id(self) -> str:
        return self.document.document_id


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove a document. ``version`` and ``if_version`` as for Upsert."""

    document_id: str
    version: int = 0
    if_version: int | None = None


Change = Upsert | Delete


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one change: 201 created, 200 replaced or deleted, 404 nothing to delete, 409 another version."""

    document_id: str
    status: int
    version: int
    reason: str = ""

    @property
    def accepted(self) -> bool:
        return self.status in (200, 201)


def check(change: Change, dimension: int) -> None:
    """Raises InvalidRequest when a change cannot be stored as it is."""
    name = change.document_id
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise InvalidRequest(f"document id {name!r} holds half a surrogate pair") from None
    if not 0 < size <= MAX_ID_BYTES:
        raise InvalidRequest(f"a document id has 1 to {MAX_ID_BYTES} bytes of UTF-8, and {name[:80]!r} has {size}")
    if isinstance(change, Delete):
        return
    if not all(isinstance(principal, str) and principal for principal in change.document.acl):
        raise InvalidRequest(f"document {name!r} has an access list that is not made of non-empty text")
    for key, value in change.document.metadata.items():
        values = value if isinstance(value, list | tuple) else [value]
        if not all(each is None or isinstance(each, str | int | float | bool) for each in values):
            raise InvalidRequest(
                f"document {name!r}: metadata {key!r} must be text, number, boolean, or a list of them"
            )
    check_chunks(change.document, change.chunks)
    shape = (len(change.chunks), dimension)
    if change.vectors.shape != shape:
        raise InvalidRequest(
            f"document {name!r} has {shape[0]} passages and needs vectors {list(shape)}, "
            f"not {list(change.vectors.shape)}"
        )
    if not np.isfinite(change.vectors).all():
        raise InvalidRequest(f"document {name!r} holds a vector with a value that is not finite")
    if change.tokens is not None:
        check_tokens(change.tokens, len(change.chunks))


def outcome(change: Change, stored: int | None, buried: int) -> Outcome:
    """Decide a change by the stored version (None: no such document) and that of its last deletion (0: none known)."""
    document_id = change.document_id
    known = buried if stored is None else stored
    given = change.version if isinstance(change, Delete) else change.document.version
    if change.if_version is not None and change.if_version != (stored or 0):
        here = "there is no such document" if stored is None else f"the stored version is {stored}"
        return Outcome(document_id, 409, known, f"if_version {change.if_version}, and {here}")
    if given and given <= known:
        return Outcome(document_id, 409, known, f"version {given} is not greater than {known}")
    if isinstance(change, Delete) and stored is None:
        return Outcome(document_id, 404, known, "there is no such document")
    return Outcome(document_id, 201 if stored is None else 200, given or known + 1)


def encode(changes: Sequence[Change]) -> bytes:
    """Accepted changes with their final versions, as one record's payload."""
    rows: list[object] = []
    vectors: list[bytes] = []
    for change in changes:
        if isinstance(change, Delete):
            rows.append([change.document_id, change.version])
            continue
        document = change.document
        about = [document.document_id, document.version, document.text, document.title, document.source]
        chunks = [[c.ordinal, c.start, c.end, c.headings, c.page, c.context] for c in change.chunks]
        row = [*about, document.metadata, document.acl, chunks]
        vectors.append(np.ascontiguousarray(change.vectors, np.float32).tobytes())
        if change.tokens is not None:
            row.append([astuple(change.tokens.spec), change.tokens.counts.tolist()])
            vectors.append(np.ascontiguousarray(change.tokens.tokens).tobytes())
        rows.append(row)
    try:
        text = json.dumps(rows, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    except (UnicodeEncodeError, ValueError, TypeError) as error:
        raise InvalidRequest(f"a document cannot be stored: {error}") from error
    return b"".join((struct.pack("<I", len(text)), text, *vectors))


def decode(payload: bytes, dimension: int) -> list[Change]:
    """The changes of a record. Raises IndexUnreadable for what ``encode`` did not write."""
    try:
        (size,) = struct.unpack_from("<I", payload)
        rows = json.loads(payload[4 : 4 + size])
        at = 4 + size
        changes: list[Change] = []
        for row in rows:
            if len(row) == 2:
                changes.append(Delete(row[0], row[1]))
                continue
            document_id, version, text, title, source, metadata, acl, listed, *late = row
            chunks = [
                Chunk(o, start, end, tuple(heads), page, context) for o, start, end, heads, page, context in listed
            ]
            length = 4 * dimension * len(chunks)
            vectors = np.frombuffer(payload[at : at + length], np.float32).reshape(len(chunks), dimension)
            at += length
            tokens = _tokens(payload, at, *late[0]) if late else None
            at += 0 if tokens is None else tokens.tokens.nbytes
            document = Document(document_id, text, title, source, metadata, tuple(acl), version)
            changes.append(Upsert(document, chunks, vectors, tokens=tokens))
    except (struct.error, ValueError, TypeError) as error:
        raise IndexUnreadable(f"a change in the log cannot be read ({error})") from error
    return changes


def _tokens(payload: bytes, at: int, told: Sequence[Any], counts: Sequence[int]) -> TokenCodes:
    spec = LateSpec(*told)
    length = spec.width * sum(counts)
    tokens = np.frombuffer(payload[at : at + length], np.uint8).reshape(sum(counts), spec.width)
    return TokenCodes(spec, np.array(counts, np.int32), tokens)


def with_version(change: Change, version: int) -> Change:
    if isinstance(change, Delete):
        return replace(change, version=version)
    return replace(change, document=replace(change.document, version=version))
