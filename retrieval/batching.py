"""Puts texts of like length together, so that little of a batch is padding."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.int64]
"""``[batch, length]``."""


def token_batches(lengths: Sequence[int], budget: int, most: int = 64) -> list[list[int]]:
    """Split positions into batches of like length, each at most ``budget`` tokens when padded to its longest.

    A text longer than the budget makes a batch of its own. No batch holds more than ``most`` texts.
    Batches come in the order of their foremost position, so that work cut short has done the head of
    the list first. Every position is in exactly one batch.
    """
    batches: list[list[int]] = []
    batch: list[int] = []
    for position in sorted(range(len(lengths)), key=lambda each: (lengths[each], each)):
        # Lengths ascend, so the newcomer is the longest.
        if batch and (len(batch) >= most or lengths[position] * (len(batch) + 1) > budget):
            batches.append(batch)
            batch = []
        batch.append(position)
    if batch:
        batches.append(batch)
    return sorted(batches, key=min)


def padded(rows: Sequence[Sequence[int]], fill: int = 0) -> Tokens:
    """Rows of token ids as one matrix, int64 ``[len(rows), longest]``, shorter ones filled up on the right."""
    matrix = np.full((len(rows), max((len(row) for row in rows), default=0)), fill, np.int64)
    for number, row in enumerate(rows):
        matrix[number, : len(row)] = row
    return matrix
