"""What the points of a sweep come to: quality, time and cost of each, those that no other beats, and which to take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eval.chart_rows import Choice
from eval.evaluate import ANSWER
from eval.results import results_of
from eval.runs import RunFolder, percentiles
from eval.statistics import holm, least_detectable, sign_flip
from eval.sweep import Point
from eval.targets import FINAL
from retrieval.errors import InvalidRequest

CLIENT = "client"
"""The stage of the timings that is a whole request as its caller saw it."""


@dataclass(frozen=True, slots=True)
class Prices:
    """What makes one number of machine time and tokens, in a currency of the caller's."""

    machine_hour: float = 1.0
    """With nothing else given, costs are hours of the machine."""
    prompt_million: float = 0.0
    completion_million: float = 0.0

    def __post_init__(self) -> None:
        if min(self.machine_hour, self.prompt_million, self.completion_million) < 0:
            raise InvalidRequest("a price must not be below 0")


@dataclass(frozen=True, slots=True)
class Measured:
    """One point. Times in milliseconds of whole requests; costs of a thousand questions."""

    point: Point
    quality: float
    values: Mapping[str, float]
    """By query."""
    p50_ms: float
    p95_ms: float
    machine_s: float
    """Seconds that a thousand questions take one after the other."""
    prompt_tokens: float
    completion_tokens: float
    cost: float
    index_s: float
    """What building the index took; 0 for a point that found it there."""


@dataclass(frozen=True, slots=True)
class Row:
    """One point as the frontier tells it."""

    name: str
    settings: Mapping[str, str]
    quality: float
    p50_ms: float
    p95_ms: float
    cost: float
    machine_s: float
    prompt_tokens: float
    completion_tokens: float
    index_s: float
    unbeaten: bool
    """No other point is as good in quality, p50, p95 and cost, and better in one of them."""
    behind: float
    """How far its quality is below the best point's."""
    p: float
    """That this is chance: paired randomisation test, corrected after Holm for the points."""
    as_good: bool
    """Its quality is not significantly below the best."""


@dataclass(frozen=True, slots=True)
class Frontier:
    """All finished points, the best in quality, and the cheapest of those that are not significantly worse."""

    metric: str
    level: float
    queries: int
    rows: tuple[Row, ...]
    best: str
    recommended: str
    least: float
    """The least difference from the best that these queries detect; what is smaller may have been given away."""

    def row(self, name: str) -> Row:
        return next(each for each in self.rows if each.name == name)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def choices(self) -> list[Choice]:
        """For the plot: quality against p95, and which are unbeaten in these two."""
        seen = [(each, (each.quality, -each.p95_ms)) for each in self.rows]
        return [
            Choice(_label(row), row.quality, row.p95_ms, row.cost, best=not any(_over(other, own) for _, other in seen))
            for row, own in seen
        ]


def measure(point: Point, folder: Path, metric: str, prices: Prices) -> Measured:
    """Read one point's run; ``metric`` is such as ``final:nDCG@10``. Raises InvalidRequest when the run lacks it."""
    run = results_of(RunFolder(folder))
    stage, _, name = metric.rpartition(":")
    stage = stage or FINAL
    values = run.by_query.get(stage, {}).get(name)
    if not values:
        there = [f"{stage}:{name}" for stage, named in run.by_query.items() for name in named]
        raise InvalidRequest(f"{folder.name} has no {stage}:{name}; it has {', '.join(there)}")
    if stage != ANSWER:
        values = {each: run.value(stage, name, each) or 0.0 for each in run.questions if each in run.qrels}
    whole = percentiles(list(run.times.get(f"{ANSWER}.{CLIENT}" if stage == ANSWER else CLIENT, {}).values()))
    if not whole:
        raise InvalidRequest(f"{folder.name} holds no times of whole requests, so no cost can be told")
    machine_s = float(whole["mean"])  # milliseconds of one question are seconds of a thousand
    prompt, completion = _tokens(RunFolder(folder), len(run.questions))
    cost = machine_s / 3600 * prices.machine_hour
    cost += (prompt * prices.prompt_million + completion * prices.completion_million) / 1e6
    return Measured(
        point=point,
        quality=sum(values.values()) / len(values),
        values=values,
        p50_ms=whole["p50"],
        p95_ms=whole["p95"],
        machine_s=machine_s,
        prompt_tokens=prompt,
        completion_tokens=completion,
        cost=cost,
        index_s=float(run.manifest.seconds.get("index", 0.0)),
    )


def frontier(points: Sequence[Measured], metric: str, level: float = 0.05) -> Frontier:
    """Weigh the points against each other.

    The best of many is best by luck too, so others are tested against it; of those whose loss is
    not significant the cheapest is recommended, the quicker at equal cost. Raises InvalidRequest without points, or
    when they share no query.
    """
    if not points:
        raise InvalidRequest("no point is finished, so there is nothing to choose from")
    queries = sorted(set.intersection(*(set(each.values) for each in points)))
    if not queries:
        raise InvalidRequest("the points have no query in common; they were run over other sets")
    values = np.array([[each.values[query] for query in queries] for each in points])
    best = max(range(len(points)), key=lambda place: (values[place].mean(), -points[place].cost))
    differences = values - values[best]
    others = [place for place in range(len(points)) if place != best]
    ps = dict(zip(others, holm(sign_flip(differences[others]).tolist()), strict=True)) if others else {}
    rows = tuple(
        _row(each, points, 0.0 - float(differences[place].mean()), ps.get(place, 1.0), level)
        for place, each in enumerate(points)
    )
    strict = level / max(1, len(others))
    least = [least_detectable(differences[place], values[[place, best]].ravel(), strict) for place in others]
    recommended = min((row for row in rows if row.as_good), key=lambda row: (row.cost, row.p50_ms, -row.quality))
    return Frontier(
        metric=metric,
        level=level,
        queries=len(queries),
        rows=rows,
        best=points[best].point.name,
        recommended=recommended.name,
        least=min(1.0, float(np.median(least))) if least else 0.0,
    )


def _row(each: Measured, points: Sequence[Measured], behind: float, p: float, level: float) -> Row:
    return Row(
        name=each.point.name,
        settings=dict(each.point.settings),
        quality=each.quality,
        p50_ms=each.p50_ms,
        p95_ms=each.p95_ms,
        cost=each.cost,
        machine_s=each.machine_s,
        prompt_tokens=each.prompt_tokens,
        completion_tokens=each.completion_tokens,
        index_s=each.index_s,
        unbeaten=not any(_over(_gains(other), _gains(each)) for other in points),
        behind=behind,
        p=p,
        as_good=behind <= 0 or p >= level,
    )


def _gains(each: Measured) -> tuple[float, ...]:
    return each.quality, -each.p50_ms, -each.p95_ms, -each.cost


def _over(one: Sequence[float], other: Sequence[float]) -> bool:
    """Pareto: as good in everything, and better in something; more is better."""
    return all(a >= b for a, b in zip(one, other, strict=True)) and tuple(one) != tuple(other)


def _label(row: Row) -> str:
    return ", ".join(f"{key} {value or 'none'}" for key, value in row.settings.items())


def _tokens(run: RunFolder, questions: int) -> tuple[float, float]:
    """Prompt and completion tokens of a thousand questions."""
    spent = [record.found.usage for record in run.answers() if record.found is not None]
    prompt, completion = (
        1000 * sum(usage.get(kind, 0) for usage in spent) / max(1, questions)
        for kind in ("prompt_tokens", "completion_tokens")
    )
    return prompt, completion
