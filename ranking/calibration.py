"""Turns the score of any rung into the probability that a passage is relevant, so that thresholds mean one thing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ranking.listwise import bounded_step
from ranking.query_signs import SIGNS, scaled
from ranking.stage_table import Floats, Scale, sigmoid
from retrieval.errors import InvalidRequest

FORMAT = 1

RUNGS = ("rerank", "student", "late", "ltr", "fused")
"""The ladder, best first."""

_RIDGE = 1.0
"""Observations' worth of doubt about each coefficient."""
_STEPS = 50
_LEAST_SLOPE = 1e-3
"""A higher score never means a lower probability."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """One rung's map from score to probability: sigmoid(slope * score + signs · deviations + intercept).

    Platt's (1999) two numbers, and one for each sign of the query: a blend's score says how candidates
    of one query compare, and the signs say whether any of them is likely to be good. Within a query it
    rises with the score, so it changes no order.
    """

    rung: str
    slope: float
    intercept: float
    signs: Mapping[str, float] = field(default_factory=dict)
    scales: Mapping[str, Scale] = field(default_factory=dict)
    """Of all ``SIGNS`` when there are coefficients of signs."""
    model: str = ""
    """Fingerprint of what gave the scores; a calibration of another model's is not used. Empty fits any."""

    def __post_init__(self) -> None:
        if not self.slope > 0:
            raise InvalidRequest(f"the calibration of {self.rung} must rise with the score, not by {self.slope}")
        if self.signs and set(SIGNS) - set(self.scales):
            raise InvalidRequest(f"the calibration of {self.rung} needs the scales of {', '.join(SIGNS)}")

    @property
    def version(self) -> str:
        """Eight hex digits that differ whenever any probability would."""
        return hashlib.sha256(json.dumps(self.as_json(), sort_keys=True).encode()).hexdigest()[:8]

    def probabilities(self, scores: Floats, signs: Floats | None = None) -> Floats:
        """Of one query's candidates; ``signs`` are ``query_signs`` of it, left out for scores of no query's list."""
        return sigmoid(self.slope * scores + self.intercept + self._shift(signs))

    def _shift(self, signs: Floats | None) -> float:
        if signs is None or not self.signs:
            return 0.0
        return float(np.array([self.signs.get(name, 0.0) for name in SIGNS]) @ scaled(signs, self.scales))

    def as_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "rung": self.rung,
            "slope": self.slope,
            "intercept": self.intercept,
            "signs": dict(self.signs),
            "scales": {sign: [scale.mean, scale.spread] for sign, scale in self.scales.items()},
            "model": self.model,
        }

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Calibration:
        """Raises InvalidRequest for what is no calibration, or one of another format."""
        if told.get("format") != FORMAT:
            raise InvalidRequest(f"a calibration of format {told.get('format')!r}, and this version reads {FORMAT}")
        try:
            return cls(
                str(told["rung"]),
                float(told["slope"]),
                float(told["intercept"]),
                {str(sign): float(value) for sign, value in told["signs"].items()},
                {str(sign): Scale(float(mean), float(spread)) for sign, (mean, spread) in told["scales"].items()},
                str(told["model"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InvalidRequest(f"this is no calibration: {error!r}") from error


def fit_calibration(
    rung: str,
    scores: Sequence[Floats],
    relevant: Sequence[Floats],
    signs: Sequence[Floats] | None = None,
    scales: Mapping[str, Scale] | None = None,
    model: str = "",
) -> Calibration:
    """Logistic regression of 0 and 1 on score, and signs if given, with a light ridge.

    ``scores`` and ``relevant`` are arrays a query. Candidates that nobody judged count as not
    relevant, so the probabilities are of being judged relevant: a lower bound. Raises InvalidRequest
    without a relevant and an irrelevant candidate.
    """
    kept = [at for at in range(len(scores)) if len(scores[at])]
    target = np.concatenate([relevant[at] for at in kept]).astype(np.float64) if kept else np.empty(0)
    if not 0 < target.sum() < len(target):
        raise InvalidRequest("a calibration needs candidates that are relevant and candidates that are not")
    columns = [np.concatenate([scores[at] for at in kept]), np.ones(len(target))]
    usual = scales or {}
    if signs is not None:
        sizes = [len(scores[at]) for at in kept]
        rows = np.array([scaled(signs[at], usual) for at in kept])
        columns += list(np.repeat(rows, sizes, axis=0).T)
    found = _logistic(np.stack(columns, axis=1), target)
    return Calibration(
        rung,
        float(found[0]),
        float(found[1]),
        dict(zip(SIGNS, map(float, found[2:]), strict=True)) if signs is not None else {},
        usual if signs is not None else {},
        model,
    )


def _logistic(matrix: Floats, target: Floats) -> Floats:
    """Coefficients by Newton's method; the first, the slope, stays above 0, and the second, the intercept, is free."""
    ridge = np.full(matrix.shape[1], _RIDGE)
    ridge[1] = 0.0
    found = np.zeros(matrix.shape[1])
    found[0], found[1] = 1.0, np.log(target.mean() / (1 - target.mean()))
    best = _doubt(matrix, target, ridge, found)
    lowest = np.full(len(found), -np.inf)
    lowest[0] = _LEAST_SLOPE
    for _ in range(_STEPS):
        chance = sigmoid(matrix @ found)
        slope = matrix.T @ (chance - target) + ridge * found
        curve = (matrix * (chance * (1 - chance))[:, None]).T @ matrix + np.diag(ridge + 1e-9)
        step, before = bounded_step(curve, slope, lowest - found), best
        for halving in range(30):
            tried = np.maximum(found + step / 2**halving, lowest)
            if (best := _doubt(matrix, target, ridge, tried)) <= before:
                found = tried
                break
        if before - best < 1e-9 * (1 + abs(before)):
            break
    return found


def _doubt(matrix: Floats, target: Floats, ridge: Floats, at: Floats) -> float:
    """Minus the logarithm of the posterior."""
    raw = matrix @ at
    return float(np.logaddexp(0, raw).sum() - target @ raw + ridge @ at**2 / 2)


@dataclass(frozen=True, slots=True)
class Bin:
    """Candidates of like probability: how many, what was promised of them, and what was kept."""

    count: int
    promised: float
    kept: float


def reliability(probabilities: Floats, relevant: Floats, bins: int = 10) -> list[Bin]:
    """The reliability diagram's points, in ``bins`` of equal width; empty ones are left out."""
    places = np.minimum((probabilities * bins).astype(int), bins - 1)
    return [
        Bin(int(inside.sum()), float(probabilities[inside].mean()), float(relevant[inside].mean()))
        for at in range(bins)
        if (inside := places == at).any()
    ]


def calibration_error(probabilities: Floats, relevant: Floats, bins: int = 10) -> float:
    """Expected calibration error (Naeini et al., AAAI 2015): mean of |promised - kept|, by candidates. 0 for none."""
    total = max(1, len(probabilities))
    return (
        sum(each.count * abs(each.promised - each.kept) for each in reliability(probabilities, relevant, bins)) / total
    )
