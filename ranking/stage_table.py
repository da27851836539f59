"""What the stages said of one query's candidates, as a matrix: the common ground of blend, calibration and features."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval.types import Candidate

Floats = NDArray[np.float64]

BLENDED = ("lexical", "dense", "fused", "late", "ltr", "rerank")
"""Stages whose scores can be mixed, in the order of the funnel."""

_PROBABILITIES = frozenset(("rerank",))
"""Stages that hand out sigmoid(logit). The logit is taken back: probabilities crowd at 0 and 1."""

_MODELS = frozenset(("late", "ltr", "rerank"))
"""Stages that score what they are shown; the others find candidates themselves."""

_FLAT = 1e-9
"""A spread below this is none: the stage does not tell these candidates apart."""


FEW = 30
"""Candidates below which their own scores do not tell what is usual."""


@dataclass(frozen=True, slots=True)
class Scale:
    """Where values usually lie and how far they stray."""

    mean: float
    spread: float


@dataclass(frozen=True, slots=True)
class StageTable:
    """Scores of one query's candidates by stage, in the order in which the candidates came."""

    query: str
    names: tuple[str, ...]
    """Stages that saw at least one candidate, in the order of ``BLENDED``."""
    scores: Floats
    """``[candidates, stages]`` on each stage's own scale, rerankers as logits; NaN where a stage saw nothing."""

    def __post_init__(self) -> None:
        if self.scores.ndim != 2 or self.scores.shape[1] != len(self.names):
            raise ValueError(f"scores {self.scores.shape} do not fit the stages {self.names}")

    def __len__(self) -> int:
        return len(self.scores)

    def of(self, stage: str) -> Floats:
        """The column of one stage; all NaN when the stage saw nothing."""
        if stage in self.names:
            column: Floats = self.scores[:, self.names.index(stage)]
            return column
        return np.full(len(self), np.nan)

    def only(self, stages: Sequence[str]) -> StageTable:
        """The same candidates as if no other stage had run."""
        kept = [at for at, name in enumerate(self.names) if name in stages]
        return StageTable(self.query, tuple(self.names[at] for at in kept), self.scores[:, kept])

    def standard(self, stages: Sequence[str] = BLENDED, usual: Mapping[str, Scale] | None = None) -> Floats:
        """Each stage's scores less their mean, over their spread, among what it saw: ``[candidates, stages]``.

        What a channel did not find takes the lowest that it gave, for it leaves out what is worse. What a
        model was not shown, for want of time, takes the middle of what it gave: nothing is known of it,
        and whether it is worse is for the other stages to say. 0 throughout for a stage that saw
        nothing or cannot tell candidates apart.

        Among few candidates, as a filter or a small collection leaves, the best is not far above the mean
        however good it is. So as many as are missing to ``FEW`` are thought of as being there, with
        the scores that are ``usual`` of a stage's model among candidates; stages without a usual scale go without.
        """
        scales = usual or {}
        columns = [_standard(self.of(stage), scales.get(stage), middle=stage in _MODELS) for stage in stages]
        return np.stack(columns, axis=1)


def _standard(column: Floats, usual: Scale | None, *, middle: bool) -> Floats:
    seen = column[np.isfinite(column)]
    if not len(seen):
        return np.zeros(len(column))
    mean, variance = float(seen.mean()), float(seen.var())
    if usual is not None and len(seen) < FEW:
        share = len(seen) / FEW
        joined = share * mean + (1 - share) * usual.mean
        variance = share * (variance + (mean - joined) ** 2)
        variance += (1 - share) * (usual.spread**2 + (usual.mean - joined) ** 2)
        mean = joined
    spread = variance**0.5
    if spread < _FLAT:
        return np.zeros(len(column))
    unseen = np.median(seen) if middle else seen.min()
    standard: Floats = (np.where(np.isfinite(column), column, unseen) - mean) / spread
    return standard


def stage_table(query: str, stages: Iterable[Mapping[str, float]]) -> StageTable:
    """Gather what each candidate's stages scored; stages that cannot be mixed are left out."""
    rows = list(stages)
    names = tuple(name for name in BLENDED if any(name in row for row in rows))
    scores = np.array([[row.get(name, np.nan) for name in names] for row in rows], np.float64)
    scores = scores.reshape(len(rows), len(names))
    for column, name in enumerate(names):
        if name in _PROBABILITIES:
            scores[:, column] = logit(scores[:, column])
    return StageTable(query, names, scores)


def table_of(query: str, candidates: Iterable[Candidate]) -> StageTable:
    """The table of candidates as they are on their way through the funnel."""
    return stage_table(query, [{name: stage.score for name, stage in each.stages.items()} for each in candidates])


def logit(probability: Floats) -> Floats:
    """ln(p / (1 - p)), p kept off 0 and 1 by what float64 can tell; NaN stays."""
    kept = np.clip(probability, 1e-15, 1 - 1e-15)
    odds: Floats = np.log(kept) - np.log1p(-kept)
    return odds


def sigmoid(values: Floats) -> Floats:
    """1 / (1 + exp(-x)), without overflow."""
    found: Floats = 1 / (1 + np.exp(-np.clip(values, -60, 60)))
    return found
