"""How hard an index must search to reach a recall: measured on its own vectors, against exact search over them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np

from retrieval.types import Hits, Rows, Vectors
from retrieval.vector_index import VectorIndex
from retrieval.vector_store import Store, best

E = TypeVar("E", bound=Mapping[str, int])

_SAMPLE, _SEED, _K = 300, 20240501, 10

_SURE = 1.28
"""Standard errors by which a measured recall must exceed the one that is asked for: in nine cases of ten the true one
does then too. Where some questions are missed altogether it is known less well than where a little of all is."""

_BLOCK = 16_384


def measured_recall(index: VectorIndex, *, sample: int, k: int = 10, seed: int) -> float:
    """Mean recall@k over ``sample`` stored vectors as queries, each without itself, against exact search over all.

    1.0 for an index of fewer than two vectors. Reads every stored vector once.
    """
    return Questions(index, sample=sample, k=k, seed=seed).recall(index)


def calibrated(index: VectorIndex, with_effort: Callable[[E], VectorIndex], ladder: Sequence[E], recall: float) -> E:
    """The first effort of ``ladder`` (cheapest first) at which recall@10 is surely ``recall``; else the last."""
    questions = Questions(index, sample=_SAMPLE, k=_K, seed=_SEED)
    return next((effort for effort in ladder if surely(questions.shares(with_effort(effort)), recall)), ladder[-1])


def surely(shares: Sequence[float], recall: float) -> bool:
    """Whether ``recall`` is reached, by the shares that were found of each question's answers."""
    if not len(shares):
        return True
    error = float(np.std(shares)) / len(shares) ** 0.5
    return bool(float(np.mean(shares)) - _SURE * error >= min(recall, 1.0))


class Questions:
    """Some stored vectors and the rows nearest to each, itself left out."""

    def __init__(self, index: VectorIndex, *, sample: int, k: int, seed: int) -> None:
        self._rows = np.sort(np.random.default_rng(seed).permutation(index.count)[:sample])
        self._k = max(0, min(k, index.count - 1))
        self._queries = index.vectors(self._rows)
        found = exact(index, self._queries, self._k + 1) if self._k else [Hits.empty()] * len(self._rows)
        self._truth = [_others(hits.rows, row, self._k) for hits, row in zip(found, self._rows.tolist(), strict=True)]

    def recall(self, index: VectorIndex) -> float:
        """The mean share of the nearest that ``index`` finds."""
        return float(np.mean(self.shares(index) or [1.0]))

    def shares(self, index: VectorIndex) -> list[float]:
        """For each question the share of its nearest that ``index`` finds; none without a neighbour to find."""
        if not self._k:
            return []
        asked = zip(self._rows.tolist(), self._queries, self._truth, strict=True)
        return [
            len(truth & _others(index.search(query, self._k + 1).rows, row, self._k)) / self._k
            for row, query, truth in asked
        ]


def exact(index: VectorIndex | Store, queries: Vectors, depth: int) -> list[Hits]:
    """For each query (float32 ``[q, d]``) the best ``depth`` rows by the stored vectors: matrix products by blocks."""
    tops = [Hits.empty() for _ in queries]
    for start in range(0, index.count, _BLOCK):
        block = index.vectors(slice(start, min(start + _BLOCK, index.count)))
        for at, scores in enumerate(queries @ block.T):
            kept = np.argpartition(-scores, depth - 1)[:depth] if len(scores) > depth else np.arange(len(scores))
            rows = np.concatenate([tops[at].rows, start + kept])
            tops[at] = best(rows, np.concatenate([tops[at].scores, scores[kept]]), depth)
    return tops


def _others(rows: Rows, row: int, k: int) -> set[int]:
    return set(rows[rows != row][:k].tolist())
