"""A set of rows as packed bits: what filters, rights and deletes become, and what every channel is handed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval.types import Rows

_WORD = 8
"""Bits are padded with zeros to whole 64-bit words, so that counting and joining go by words."""


@dataclass(frozen=True, slots=True, eq=False)
class Bitmap:
    """Bit ``i`` is bit ``i & 7`` of byte ``i >> 3`` (the layout of faiss's IDSelectorBitmap). Not changed once made.

    ``bits`` is uint8, its size a multiple of 8; bits at and beyond ``length`` are 0.
    """

    bits: NDArray[np.uint8]
    length: int

    @classmethod
    def empty(cls, length: int) -> Bitmap:
        return cls(np.zeros(_bytes(length), np.uint8), length)

    @classmethod
    def full(cls, length: int) -> Bitmap:
        bits = np.full(_bytes(length), 255, np.uint8)
        _clear_tail(bits, length)
        return cls(bits, length)

    @classmethod
    def of_flags(cls, flags: NDArray[np.bool_]) -> Bitmap:
        """Row ``i`` is in the set when ``flags[i]``."""
        bits = np.zeros(_bytes(len(flags)), np.uint8)
        packed = np.packbits(flags, bitorder="little")
        bits[: len(packed)] = packed
        return cls(bits, len(flags))

    @classmethod
    def of_rows(cls, rows: Rows | NDArray[np.int32] | Sequence[int], length: int) -> Bitmap:
        """Rows in any order, repeats allowed."""
        wanted = np.asarray(rows, np.int64)
        if len(wanted) * 64 < length:  # few: set bits one by one
            bits = np.zeros(_bytes(length), np.uint8)
            np.bitwise_or.at(bits, wanted >> 3, (1 << (wanted & 7)).astype(np.uint8))
            return cls(bits, length)
        flags = np.zeros(length, np.bool_)
        flags[wanted] = True
        return cls.of_flags(flags)

    def __and__(self, other: Bitmap) -> Bitmap:
        self._same_length(other)
        return Bitmap((self._words & other._words).view(np.uint8), self.length)

    def __or__(self, other: Bitmap) -> Bitmap:
        self._same_length(other)
        return Bitmap((self._words | other._words).view(np.uint8), self.length)

    def minus(self, other: Bitmap) -> Bitmap:
        """What is here and not in ``other``."""
        self._same_length(other)
        return Bitmap((self._words & ~other._words).view(np.uint8), self.length)

    def inverted(self) -> Bitmap:
        bits = np.bitwise_not(self.bits)
        _clear_tail(bits, self.length)
        return Bitmap(bits, self.length)

    def with_rows(self, rows: Rows | Sequence[int]) -> Bitmap:
        """A copy that holds ``rows`` too."""
        wanted = np.asarray(rows, np.int64)
        bits = self.bits.copy()
        np.bitwise_or.at(bits, wanted >> 3, (1 << (wanted & 7)).astype(np.uint8))
        return Bitmap(bits, self.length)

    def resized(self, length: int) -> Bitmap:
        """The same rows in a set of another length; rows at and beyond it are dropped."""
        bits = np.zeros(_bytes(length), np.uint8)
        kept = min(len(bits), len(self.bits))
        bits[:kept] = self.bits[:kept]
        _clear_tail(bits, length)
        return Bitmap(bits, length)

    def count(self) -> int:
        return int(np.bitwise_count(self._words).sum(dtype=np.int64))

    def has(self, rows: Rows | Sequence[int]) -> NDArray[np.bool_]:
        """For each of ``rows`` whether it is in the set."""
        wanted = np.asarray(rows, np.int64)
        return np.asarray(self.bits[wanted >> 3] >> (wanted & 7).astype(np.uint8) & 1, np.bool_)

    def __contains__(self, row: int) -> bool:
        return bool(self.bits[row >> 3] >> (row & 7) & 1)

    def flags(self) -> NDArray[np.bool_]:
        """One bool a row."""
        return np.unpackbits(self.bits, count=self.length, bitorder="little").view(np.bool_)

    def rows(self) -> Rows:
        """All rows of the set, ascending. Where they are few, only the words that hold any are taken apart."""
        words = np.flatnonzero(self._words != 0)
        if 8 * len(words) > len(self._words):
            return np.flatnonzero(self.flags()).astype(np.int64)
        places = np.flatnonzero(np.unpackbits(self._words[words].view(np.uint8), bitorder="little").view(np.bool_))
        return np.asarray(words[places >> 6] * 64 + (places & 63), np.int64)

    @property
    def _words(self) -> NDArray[np.uint64]:
        return self.bits.view(np.uint64)

    def _same_length(self, other: Bitmap) -> None:
        if self.length != other.length:
            raise ValueError(f"bitmaps of {self.length} and {other.length} rows do not go together")


def _bytes(length: int) -> int:
    return -(-length // (8 * _WORD)) * _WORD


def _clear_tail(bits: NDArray[np.uint8], length: int) -> None:
    whole, rest = divmod(length, 8)
    if whole < len(bits):
        bits[whole] &= (1 << rest) - 1
        bits[whole + 1 :] = 0
