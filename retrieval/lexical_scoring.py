"""BM25 as tantivy works it out, over fields with weights: the formula, its constants, and what a field counts."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

FIELDS: Final[Mapping[str, float]] = {"title": 0.4, "headings": 0.4, "body": 1.0}
"""Fields and their weights. The body holds title and headings too, so that a passage is found by words of
which one stands in its heading and one in its text; the weights of the other two come on top."""

BODY: Final = "body"
K1, B = 1.2, 0.75

Key = TypeVar("Key")


@dataclass(frozen=True, slots=True)
class Statistics:
    """What BM25 must know of all that is searched; added up over the parts of a snapshot, so that scores compare.

    ``frequencies`` count the passages that hold a term, by field and term; ``lengths`` count each field's terms.
    """

    documents: int = 0
    frequencies: Mapping[tuple[str, str], int] = field(default_factory=dict)
    lengths: Mapping[str, int] = field(default_factory=dict)

    def __add__(self, other: Statistics) -> Statistics:
        return Statistics(
            self.documents + other.documents,
            _summed(self.frequencies, other.frequencies),
            _summed(self.lengths, other.lengths),
        )

    def idf(self, field: str, term: str) -> float:
        """0 for a term that no passage holds, else as ``inverse_frequency`` has it."""
        frequency = self.frequencies.get((field, term), 0)
        return inverse_frequency(self.documents, frequency) if frequency else 0.0

    def mean_length(self, field: str) -> float:
        """Terms a passage has in ``field`` on average; 0 when nothing is there."""
        return self.lengths.get(field, 0) / self.documents if self.documents else 0.0


def inverse_frequency(documents: int, frequency: int) -> float:
    """Robertson's and Sparck Jones' weight plus one inside the logarithm, so that it is never negative (Lucene)."""
    return math.log1p((documents - frequency + 0.5) / (frequency + 0.5))


def length_code(length: int) -> int:
    """The byte in which tantivy keeps a field's length: of what is over 24, four bits (as Lucene's SmallFloat)."""
    return bisect_right(_STEPS, length) - 1


def saturations(mean_length: float) -> NDArray[np.float32]:
    """k1 (1 - b + b length / mean) for each of the 256 length codes: what is added to a term's count below the line."""
    return (K1 * (1 - B + B * LENGTHS / (mean_length or 1.0))).astype(np.float32)


def _lengths() -> NDArray[np.int64]:
    """The length that each code stands for: 24 whole numbers, then steps that double every eight codes."""
    coded = [code if code < 8 else (code & 7 | 8) << (code >> 3) - 1 for code in range(256 - 24)]
    return np.array([*range(24), *(24 + length for length in coded)], np.int64)


def _summed(one: Mapping[Key, int], other: Mapping[Key, int]) -> dict[Key, int]:
    return {key: one.get(key, 0) + other.get(key, 0) for key in one.keys() | other.keys()}


LENGTHS: Final = _lengths()
_STEPS: Final = LENGTHS.tolist()
