"""Keeps passages that say the same from filling the first places: maximal marginal relevance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from retrieval.analysis import analyse
from retrieval.types import Candidate, StageScore

Floats = NDArray[np.float32]

STAGE = "diversity"
"""The stage under which candidates carry how new they are."""

WINDOW = 100
"""Places that diversity may rearrange, whatever k is, so that pages fit together."""

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
    chosen, _ = _chosen(relevance, likeness, balance, k)
    taken = set(chosen)
    rest = [place for place in range(len(relevance)) if place not in taken]
    return chosen + sorted(rest, key=lambda place: -relevance[place])


def diversified(candidates: Sequence[Candidate], diversity: float, window: int = WINDOW) -> tuple[Candidate, ...]:
    """Candidates, best first, so rearranged that those among the first ``window`` which say the same make room.

    Maximal marginal relevance with a balance of 1 - ``diversity``. Relevance is the place, falling evenly: it means
    the same on every rung, where scores of one list can be on two scales. So a passage that is a copy of one
    above moves back by up to diversity / (1 - diversity) * ``window`` places, and one that is like nothing by none.
    Likeness is that of terms, titles and headings among them. Scores stay; those in the window get the stage
    ``diversity``: the place, and 1 less the likeness to the most alike above.
    """
    head = candidates[:window]
    if not 0 < diversity <= 1 or len(head) < 2:
        return tuple(candidates)
    likeness = by_terms([each.passage.full_text for each in head])
    chosen, alike = _chosen(range(len(head), 0, -1), likeness, 1 - diversity, None)
    placed = tuple(
        replace(head[at], stages={**head[at].stages, STAGE: StageScore(rank, 1 - near)})
        for rank, (at, near) in enumerate(zip(chosen, alike, strict=True), start=1)
    )
    return (*placed, *candidates[window:])


def _chosen(
    relevance: Sequence[float], likeness: Likeness, balance: float, k: int | None
) -> tuple[list[int], list[float]]:
    """The first ``k`` places by ``mmr``, and how alike each is to the most alike of those before it."""
    count = len(relevance)
    if not 0 <= balance <= 1:
        raise ValueError(f"the balance of relevance and diversity is from 0 to 1, not {balance}")
    worth = balance * _unit(np.asarray(relevance, np.float64))
    nearest = np.zeros(count)
    left = np.ones(count, bool)
    chosen: list[int] = []
    alikes: list[float] = []
    for _ in range(count if k is None else min(k, count)):
        gain = np.where(left, worth - (1 - balance) * nearest, -np.inf)
        at = int(np.argmax(gain))
        chosen.append(at)
        alikes.append(min(1.0, float(nearest[at])))
        left[at] = False
        alike = likeness(at)
        if alike.shape != (count,):
            raise ValueError(f"likeness {alike.shape} is not of one candidate to {count}")
        np.maximum(nearest, alike, out=nearest)
    return chosen, alikes


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
