"""What comparing two runs comes to: differences by metric, by query, in time, and in failures."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from eval.statistics import Ratio


@dataclass(frozen=True, slots=True)
class Change:
    """One query's value of a metric in both runs."""

    query_id: str
    text: str
    a: float
    b: float


@dataclass(frozen=True, slots=True)
class Difference:
    """One metric of one stage; differences are b - a, so that a loss is negative."""

    stage: str
    metric: str
    queries: int
    unscored: int
    """Queries left out because one of the runs has no value for them, such as a judgement that failed."""
    mean_a: float
    mean_b: float
    difference: float
    low: float
    high: float
    """Ends of the difference's interval, not corrected for the number of tests."""
    p: float
    corrected: float
    """p after Holm, over all differences of the comparison."""
    least: float
    """The least difference that these queries detect at this level, corrected, with the chance of 0.8."""
    wins: int
    losses: int
    ties: int
    lost: tuple[Change, ...] = ()
    """Queries with the greatest loss, and below with the greatest gain; the greatest first."""
    won: tuple[Change, ...] = ()
    unfit: str = ""
    """Why the metric is not believed; empty when it is."""

    @property
    def name(self) -> str:
        return f"{self.stage}:{self.metric}"


@dataclass(frozen=True, slots=True)
class Latency:
    """One stage's milliseconds over the queries that both runs timed under the same state of the cache."""

    stage: str
    queries: int
    p50_a: float
    p50_b: float
    p95_a: float
    p95_b: float
    p50: Ratio
    p95: Ratio
    paired: Ratio
    """The median of the queries' own ratios."""
    p: float


@dataclass(frozen=True, slots=True)
class Failures:
    """Requests of one part that brought an error; in the metrics they count 0."""

    part: str
    asked: int
    a: int
    b: int
    new: tuple[str, ...]
    """Queries that failed in b and not in a."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """All that two runs say of each other."""

    a: str
    b: str
    dataset: str
    level: float
    queries: int
    """That both asked."""
    differences: tuple[Difference, ...]
    latencies: tuple[Latency, ...]
    failures: tuple[Failures, ...]
    notes: tuple[str, ...]
    """What a reader must know: queries that one run lacks, other machines, searches that were degraded."""
    times_differ: str = ""
    """Why times of the two say nothing of the systems; empty when they may be compared."""

    def as_json(self) -> dict[str, Any]:
        """Plain values; what is infinite is null."""
        told: dict[str, Any] = _finite(asdict(self))
        return told


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
