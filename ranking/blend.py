"""How far each stage is trusted, by collection and by query: mixes what the stages said into one score."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ranking.listwise import fit_listwise
from ranking.query_signs import SIGNS, query_signs, scaled
from ranking.stage_table import BLENDED, Floats, Scale, StageTable
from retrieval.errors import InvalidRequest

FORMAT = 1

WEIGHT_SPREAD = 0.2
"""How far judgements of one collection may take a stage's weight from where it was: a prior's deviation."""
SLOPE_SPREAD = 0.1
"""The same of how much a sign changes a weight."""


@dataclass(frozen=True, slots=True)
class Blend:
    """A non-negative weight for each stage's standardised score, moved by what the query shows.

    A stage's weight is ``weights[stage]`` plus ``slopes[stage][sign]`` times the sign's deviation from
    the usual, and never below 0. Stages that did not run add nothing, so that one blend serves every rung.
    """

    weights: Mapping[str, float]
    slopes: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    scales: Mapping[str, Scale] = field(default_factory=dict)
    """Of all ``SIGNS`` when there are slopes."""

    def __post_init__(self) -> None:
        unknown = (set(self.weights) | set(self.slopes)) - set(BLENDED)
        if unknown or any(not weight >= 0 for weight in self.weights.values()):
            raise InvalidRequest(
                f"a blend weighs {', '.join(BLENDED)}, each at least 0, not {dict(self.weights)} {sorted(unknown)}"
            )
        if self.slopes and set(SIGNS) - set(self.scales):
            raise InvalidRequest(f"a blend with slopes needs the scales of {', '.join(SIGNS)}")

    @property
    def version(self) -> str:
        """Eight hex digits that differ whenever any score would."""
        return hashlib.sha256(json.dumps(self.as_json(), sort_keys=True).encode()).hexdigest()[:8]

    def trust(self, table: StageTable) -> Floats:
        """The weight of each of ``BLENDED`` on this query; 0 for stages that did not run."""
        ran = np.array([stage in table.names for stage in BLENDED])
        moved = self._slopes() @ scaled(query_signs(table), self.scales) if self.slopes else 0.0
        weights: Floats = np.where(ran, np.maximum(self._weights() + moved, 0), 0.0)
        return weights

    def scores(self, table: StageTable, usual: Mapping[str, Scale] | None = None) -> Floats:
        """One score a candidate, higher first. ``usual`` is what ``StageTable.standard`` takes."""
        mixed: Floats = table.standard(usual=usual) @ self.trust(table)
        return mixed

    def order(self, table: StageTable) -> list[int]:
        """Places in the table, best first; ties as they came."""
        places: list[int] = np.argsort(-self.scores(table), kind="stable").tolist()
        return places

    def as_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "weights": dict(self.weights),
            "slopes": {stage: dict(signs) for stage, signs in self.slopes.items()},
            "scales": {sign: [scale.mean, scale.spread] for sign, scale in self.scales.items()},
        }

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Blend:
        """Raises InvalidRequest for what is no blend, or one of another format."""
        if told.get("format") != FORMAT:
            raise InvalidRequest(f"a blend of format {told.get('format')!r}, and this version reads {FORMAT}")
        try:
            return cls(
                {str(stage): float(weight) for stage, weight in told["weights"].items()},
                {
                    str(stage): {str(sign): float(slope) for sign, slope in signs.items()}
                    for stage, signs in told["slopes"].items()
                },
                {str(sign): Scale(float(mean), float(spread)) for sign, (mean, spread) in told["scales"].items()},
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InvalidRequest(f"this is no blend: {error!r}") from error

    def _weights(self) -> Floats:
        return np.array([self.weights.get(stage, 0.0) for stage in BLENDED])

    def _slopes(self) -> Floats:
        """``[stages, signs]``."""
        return np.array([[self.slopes.get(stage, {}).get(sign, 0.0) for sign in SIGNS] for stage in BLENDED])


@dataclass(frozen=True, slots=True)
class Judged:
    """One query's candidates with what they were found to be worth."""

    table: StageTable
    gains: Floats
    """Of each candidate: its grade, or its clicks divided by the chance that it was looked at; 0 for the rest.

    NaN for one that is not to be compared, such as another passage of a document that counts once.
    """


def learn(
    judged: Sequence[Judged],
    prior: Blend,
    *,
    weight_spread: float = WEIGHT_SPREAD,
    slope_spread: float = 0.0,
) -> Blend:
    """The blend that puts what is worth something first, no further from ``prior`` than the judgements carry it.

    Only weights of stages that ran for one of these queries move. ``slope_spread`` of 0 keeps the
    slopes as they are. Found by ``fit_listwise``; the same judgements give the same blend.
    """
    ran = [stage for stage in BLENDED if any(stage in each.table.names for each in judged)]
    columns = [BLENDED.index(stage) for stage in ran]
    moves = bool(slope_spread and prior.scales)
    features, gains = [], []
    for each in judged:
        compared = np.isfinite(each.gains)
        standard = each.table.standard()[compared]
        signs = scaled(query_signs(each.table), prior.scales) if prior.scales else np.zeros(len(SIGNS))
        parts = [standard[:, columns]]
        if moves:
            parts += [standard[:, columns] * sign for sign in signs]
        # Slopes that stay are part of the score all the same: one more column, of weight 1.
        else:
            parts.append((standard @ (prior._slopes() @ signs))[:, None])
        features.append(np.concatenate(parts, axis=1))
        gains.append(each.gains[compared])
    start, spread, lowest = _prior(prior, columns, weight_spread, slope_spread if moves else 0.0)
    found = fit_listwise(features, gains, start, spread, lowest)
    weights = {**prior.weights, **{stage: float(found[at]) for at, stage in enumerate(ran)}}
    slopes = prior.slopes
    if moves:
        table = found[len(ran) :].reshape(len(SIGNS), len(ran))
        slopes = {
            **prior.slopes,
            **{stage: dict(zip(SIGNS, map(float, table[:, at]), strict=True)) for at, stage in enumerate(ran)},
        }
    return Blend(weights, slopes, prior.scales)


_FIXED = 1e-6
"""A prior's deviation that nothing moves."""


def _prior(
    prior: Blend, columns: Sequence[int], weight_spread: float, slope_spread: float
) -> tuple[Floats, Floats, Floats]:
    """Where each coefficient begins, how far it may go, and its least value."""
    weights = prior._weights()[list(columns)]
    if slope_spread:
        rest = prior._slopes()[list(columns)].T.ravel()
        spread = np.full(len(rest), slope_spread)
    else:
        rest, spread = np.ones(1), np.full(1, _FIXED)
    return (
        np.concatenate([weights, rest]),
        np.concatenate([np.full(len(weights), weight_spread), spread]),
        np.concatenate([np.zeros(len(weights)), np.full(len(rest), -np.inf)]),
    )


def usual_scales(tables: Sequence[StageTable]) -> dict[str, Scale]:
    """Mean and deviation of each sign over these queries; a sign that none shows does not stray."""
    signs = np.array([query_signs(table) for table in tables]).reshape(len(tables), len(SIGNS))
    found = {}
    for at, name in enumerate(SIGNS):
        known = signs[np.isfinite(signs[:, at]), at]
        mean, spread = (float(known.mean()), float(known.std())) if len(known) else (0.0, 1.0)
        found[name] = Scale(round(mean, 4), round(max(spread, 1e-3), 4))
    return found
