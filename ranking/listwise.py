"""Fits a linear score that puts the relevant first, with a prior that few judgements cannot move."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_STEPS, _SWEEPS, _HALVINGS = 60, 200, 30
_CLOSE = 1e-7


def fit_listwise(
    features: Sequence[Floats], gains: Sequence[Floats], prior: Floats, spread: Floats, lowest: Floats
) -> Floats:
    """The weights ``[f]`` of greatest posterior, each at least ``lowest``; convex, so there is one answer.

    Minus the logarithm of the likelihood is ListNet's (Cao et al., ICML 2007): the cross entropy between
    a query's gains, divided by their sum, and the softmax of its scores ``features @ weights``. The
    prior is normal about ``prior`` with the deviations ``spread``, and stands for no query however
    many there are: with few judgements the weights stay where they were. ``features`` holds
    ``[candidates, f]`` of each query, ``gains`` their worth (grades, or clicks divided by the chance
    to be looked at; Ai et al., SIGIR 2018). Queries without a gain, or with nothing else, say nothing.
    """
    kept = [(x, y) for x, y in zip(features, gains, strict=True) if len(y) > 1 and y.sum() > 0 and y.min() >= 0]
    weights: Floats = np.maximum(prior, lowest)
    if not kept:
        return weights
    lists = _Lists(np.concatenate([x for x, _ in kept]), [y / y.sum() for _, y in kept])
    precision = 1 / spread**2

    def loss(at: Floats) -> float:
        return lists.loss(at) + float(precision @ (at - prior) ** 2) / 2

    before = loss(weights)
    for _ in range(_STEPS):
        slope, curve = lists.slope_and_curve(weights)
        slope += precision * (weights - prior)
        curve[np.diag_indices(len(prior))] += precision
        step = bounded_step(curve, slope, lowest - weights)
        after, factor = before, 1.0
        for _ in range(_HALVINGS):
            if (after := loss(weights + factor * step)) <= before:
                break
            factor /= 2
        weights = np.maximum(weights + factor * step, lowest)
        if before - after < _CLOSE * (1 + abs(before)):
            break
        before = after
    return weights


class _Lists:
    """All queries' candidates in one matrix, and where each query begins."""

    def __init__(self, matrix: Floats, targets: Sequence[Floats]) -> None:
        self._matrix = matrix
        self._target = np.concatenate(targets)
        sizes = np.array([len(each) for each in targets])
        self._begin = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        self._query = np.repeat(np.arange(len(sizes)), sizes)

    def loss(self, weights: Floats) -> float:
        scores, total = self._scored(weights)
        return float(total.sum() - self._target @ scores)

    def slope_and_curve(self, weights: Floats) -> tuple[Floats, Floats]:
        scores, total = self._scored(weights)
        chance = np.exp(scores - total[self._query])
        slope = self._matrix.T @ (chance - self._target)
        weighed = chance[:, None] * self._matrix
        means = np.add.reduceat(weighed, self._begin)
        return slope, self._matrix.T @ weighed - means.T @ means

    def _scored(self, weights: Floats) -> tuple[Floats, Floats]:
        """Scores, and for each query the logarithm of the sum of their exponentials."""
        scores = self._matrix @ weights
        top = np.maximum.reduceat(scores, self._begin)
        return scores, top + np.log(np.add.reduceat(np.exp(scores - top[self._query]), self._begin))


def bounded_step(curve: Floats, slope: Floats, lowest: Floats) -> Floats:
    """The step that minimises slope·d + d·curve·d / 2 with d at least ``lowest``, coordinate by coordinate."""
    step = np.zeros(len(slope))
    for _ in range(_SWEEPS):
        moved = 0.0
        for at in range(len(step)):
            if curve[at, at] <= 0:
                continue
            new = max(float(lowest[at]), float(step[at] - (slope[at] + curve[at] @ step) / curve[at, at]))
            moved = max(moved, abs(new - float(step[at])))
            step[at] = new
        if moved < _CLOSE:
            break
    return step
