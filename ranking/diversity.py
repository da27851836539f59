"""Keeps passages that say the same from filling the first places: maximal marginal relevance."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from retrieval.analysis import analyse

Floats = NDArray[np.float32]

Likeness = Callable[[int], Floats]
"""How alike one candidate is to each of all, about 0 to 1: ``[n]``. Only rows of chosen ones are asked for."""


def mmr(relevance: Sequence[float], likeness: Likeness, balance: float, k: int | None = None) -> list[int]:
    """The order of maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998), as places in ``relevance``.

    Next is always whoever has the most of balance * relevance - (1 - balance) * likeness to the most
    alike of those chosen. Relevance is laid on 0 to 1 first, best to worst, so that ``balance`` (the
    lambda of the paper; 1 keeps the order) means the same on every scale. Ties keep the order given.
    Only the first ``k`` places are chosen; the others follow by relevance. Raises ValueError for a
    ``balance`` outside 0 to 1 or sizes that differ.
    """
    count = len(relevance)
    if not 0 <= balance <= 1:
        raise ValueError(f"the balance of relevance and diversity is from 0 to 1, not {balance}")
    worth = balance * _unit(np.asarray(relevance, np.float64))
    nearest = np.zeros(count)
    left = np.ones(count, bool)
    chosen: list[int] = []
    for _ in range(count if k is None else min(k, count)):
        gain = np.where(left, worth - (1 - balance) * nearest, -np.inf)
        at = int(np.argmax(gain))
        chosen.append(at)
        left[at] = False
        alike = likeness(at)
        if alike.shape != (count,):
            raise ValueError(f"likeness {alike.shape} is not of one candidate to {count}")
        np.maximum(nearest, alike, out=nearest)
    rest = sorted(np.flatnonzero(left).tolist(), key=lambda place: -relevance[place])
    return chosen + rest


def _unit(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """From 0, the worst, to 1, the best; all 1 when they are equal."""
    if not len(values) or not (width := float(np.ptp(values))) > 0:
        return np.ones(len(values))
    scaled: NDArray[np.float64] = (values - values.min()) / width
    return scaled


def by_vectors(vectors: Floats) -> Likeness:
    """Likeness of passages: the cosines of their unit vectors ``[n, d]``, opposite ones counting 0."""

    def row(at: int) -> Floats:
        alike: Floats = np.maximum(vectors @ vectors[at], 0)
        return alike

    return row


def by_terms(texts: Sequence[str]) -> Likeness:
    """Likeness of texts: the cosines of their terms, each weighed 1 + ln(count), by ln(1 + n / df).

    Terms are those of the index's analysis, so that Chinese is compared too. Texts without any term are like nothing.
    """
    numbers: dict[str, int] = {}
    terms = [[numbers.setdefault(term, len(numbers)) for term in analyse(text)] for text in texts]
    rows = np.repeat(np.arange(len(texts)), [len(each) for each in terms])
    pairs, times = np.unique(
        rows * len(numbers) + np.array([number for each in terms for number in each], np.int64), return_counts=True
    )
    rows, columns = np.divmod(pairs, max(1, len(numbers)))
    held = np.bincount(columns, minlength=len(numbers))
    weights = (1 + np.log(times)) * np.log1p(len(texts) / held[columns])
    lengths = np.sqrt(np.bincount(rows, weights**2, minlength=len(texts)))
    # A term of a single text adds to that text's length alone: it needs no column.
    shared = np.flatnonzero(held > 1)
    places = np.full(len(numbers), -1)
    places[shared] = np.arange(len(shared))
    kept = places[columns] >= 0
    matrix = np.zeros((len(texts), len(shared)), np.float32)
    matrix[rows[kept], places[columns[kept]]] = weights[kept] / lengths[rows[kept]]

    def row(at: int) -> Floats:
        alike: Floats = matrix @ matrix[at]
        alike[at] = 1 if lengths[at] > 0 else 0
        return alike

    return row
