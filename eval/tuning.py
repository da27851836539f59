"""Whether what was learned from judgements is worth having: tried on the halves that it was not learned from."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from eval.retrieval_metrics import evaluate_by_query
from eval.stages import as_run, best_passages
from eval.statistics import Floats, holm, mean_intervals, sign_flip, t_quantile
from ranking.blend import WEIGHT_SPREAD, Blend, Judged, learn
from ranking.stage_table import BLENDED, StageTable
from retrieval.errors import InvalidRequest

METRIC = "nDCG@10"
HALVINGS = 5
"""Times that the queries are halved anew: a gain does not hang on one lucky cut."""
FEWEST = 20
"""Fewer queries than this decide nothing."""
WORTH = 0.02
"""A gain that users may notice; what is told of how many judgements it takes to see one."""
_LITTLE = 1e-6
SLOPE_SPREAD = 0.05
"""How freely the influence of signs is learned from one collection, where that is tried."""

DEFAULT, IN_FORCE, UNREAD, _ALONE = "default", "in force", "default without reading", " alone"
WEIGHTS, SIGNS = "learned weights", "learned with signs"
_CHANNELS = tuple(stage + _ALONE for stage in ("lexical", "dense", "fused"))
LEARNED = (WEIGHTS, SIGNS)


@dataclass(frozen=True, slots=True)
class Asked:
    """One judged query: what the stages said of its candidates, and the grades of documents."""

    query_id: str
    table: StageTable
    documents: tuple[str, ...]
    """The document of each candidate."""
    grades: Mapping[str, int]

    def judged(self, order: Sequence[int]) -> Judged:
        """For learning: each document by its first passage in ``order``, its grade divided by log2(1 + its rank there).

        Documents are what is judged and measured; that a document's other passages are right too is not
        known. What lies deep moves the metric little, and must not decide the weights: without the
        discount a few relevant documents far down did.
        """
        gains = np.full(len(self.documents), np.nan)
        seen: set[str] = set()
        for place in order:
            name = self.documents[place]
            if name not in seen:
                seen.add(name)
                gains[place] = max(0, self.grades.get(name, 0)) / math.log2(1 + len(seen))
        return Judged(self.table, gains)


@dataclass(frozen=True, slots=True)
class Trial:
    """One way to rank: its mean over queries it has not seen, and how that compares with the default."""

    name: str
    value: float
    gain: float
    low: float
    high: float
    """The ends of the gain's 95 % interval."""
    p: float
    """Of the paired test against the default; for learned ways corrected for their number."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was tried, what is adopted, and why."""

    metric: str
    queries: int
    trials: tuple[Trial, ...]
    adopted: str
    """The name of a learned trial; empty when all stays as it is."""
    reason: str
    blend: Blend
    """What is to be in force: learned from all queries when adopted, else what was in force."""
    needed: int | None
    """Judged queries at which the gain seen here, or one of ``WORTH``, would be seen four times in five."""


def decide(
    asked: Sequence[Asked],
    default: Blend,
    now: Blend | None = None,
    *,
    level: float = 0.05,
    spread: float = WEIGHT_SPREAD,
    seed: int = 0,
    metric: str = METRIC,
) -> Verdict:
    """Learn on halves, measure on the other halves, and adopt what beats the default by more than chance.

    What is learned begins at ``default`` and goes about ``spread`` from it. ``now`` is in force if it is
    another; it is shown, and stays when nothing is adopted, but is no yardstick: it may have been learned
    from these very queries. Raises InvalidRequest when no query has a relevant document.
    """
    asked = [each for each in asked if any(grade > 0 for grade in each.grades.values())]
    if not asked:
        raise InvalidRequest("no query has a document that was found relevant: there is nothing to learn from")
    judged = [each.judged(default.order(each.table)) for each in asked]
    values = {
        name: _measured(asked, [blend] * len(asked), metric) for name, blend in _fixed(asked, default, now).items()
    }
    learned = {WEIGHTS: lambda part: learn(part, default, weight_spread=spread)}
    if default.scales:
        learned[SIGNS] = lambda part: learn(part, default, weight_spread=spread, slope_spread=SLOPE_SPREAD)
    if len(asked) >= 2:
        values |= {name: _held_out(asked, judged, each, seed, metric) for name, each in learned.items()}
    trials = _trials(values)
    best = max((each for each in trials if each.name in LEARNED), key=lambda each: each.gain, default=None)
    adopted, reason = _adopted(best, len(asked), level)
    return Verdict(
        metric,
        len(asked),
        tuple(trials),
        adopted,
        reason,
        learned[adopted](judged) if adopted else now or default,
        None if best is None or adopted else needed(values[best.name] - values[DEFAULT], level),
    )


def look(asked: Sequence[Asked], default: Blend, now: Blend | None = None, *, metric: str = METRIC) -> Verdict:
    """Measure the ways that learn nothing, and adopt none: for questions that nobody asked and nobody judged.

    Sentences taken from their passages order the channels of a collection as people's questions do, on each of
    four sets. But they are no questions: a cross-encoder that was trained on such comes out too low, and weights
    learned from them did not carry to real ones. So they are shown, and nothing follows from them.
    """
    if not asked:
        raise InvalidRequest("there is no question to ask")
    ways = _fixed(asked, default, now)
    values = {name: _measured(asked, [blend] * len(asked), metric) for name, blend in ways.items()}
    trials = tuple(_trials(values))
    channels = [each for each in trials if each.name in _CHANNELS]
    best = max(channels, key=lambda each: each.value) if channels else trials[0]
    reason = f"no judgements; of the channels, {best.name} finds most of what the collection was asked about itself"
    return Verdict(metric, len(asked), trials, "", reason, now or default, None)


def needed(differences: Floats, level: float = 0.05, power: float = 0.8) -> int | None:
    """Judged queries for the mean seen here, or ``WORTH`` if less, to be found at ``level`` in ``power`` of cases.

    ((t(1 - level / 2) + t(power)) s / gain)^2, s being the spread of these differences; None when they do not differ.
    """
    spread = float(np.std(differences, ddof=1)) if len(differences) > 1 else 0.0
    if not spread > 0:
        return None
    gain = max(float(np.mean(differences)), WORTH)
    degrees = max(5, len(differences) - 1)
    reach = t_quantile(1 - level / 2, degrees) + t_quantile(power, degrees)
    return max(FEWEST, math.ceil((reach * spread / gain) ** 2))


def _fixed(asked: Sequence[Asked], default: Blend, now: Blend | None) -> dict[str, Blend]:
    """Ways that learn nothing; the first is what all are compared with."""
    ways = {DEFAULT: default}
    if now is not None and now != default:
        ways[IN_FORCE] = now
    for stage in BLENDED:
        if any(stage in each.table.names for each in asked):
            # What a stage did not see, or cannot tell apart, stands in fused order.
            ways[stage + _ALONE] = Blend({"fused": _LITTLE, stage: 1.0})
    if any("rerank" in each.table.names for each in asked):
        ways[UNREAD] = replace(default, weights={**default.weights, "rerank": 0.0}, slopes={})
    return ways


def _held_out(
    asked: Sequence[Asked],
    judged: Sequence[Judged],
    learned: Callable[[list[Judged]], Blend],
    seed: int,
    metric: str,
) -> Floats:
    """Each query's mean over blends learned from halves that it was not in."""
    values = np.zeros(len(asked))
    places = list(range(len(asked)))
    for number in range(HALVINGS):
        random.Random(f"{seed} {number}").shuffle(places)
        halves = places[::2], places[1::2]
        blends: list[Blend] = [Blend({})] * len(asked)
        for own, other in (halves, halves[::-1]):
            blend = learned([judged[place] for place in other])
            for place in own:
                blends[place] = blend
        values += _measured(asked, blends, metric)
    means: Floats = values / HALVINGS
    return means


def _measured(asked: Sequence[Asked], blends: Sequence[Blend], metric: str) -> Floats:
    """The metric of each query, its candidates in the order of its blend."""
    run = {
        each.query_id: as_run(best_passages((each.documents[place], 0.0) for place in blend.order(each.table)))
        for each, blend in zip(asked, blends, strict=True)
    }
    found = evaluate_by_query({each.query_id: dict(each.grades) for each in asked}, run, [metric])[metric]
    return np.array([found[each.query_id] for each in asked])


def _trials(values: Mapping[str, Floats]) -> list[Trial]:
    names = list(values)
    differences = np.array([values[name] - values[DEFAULT] for name in names])
    ps, ends = sign_flip(differences), mean_intervals(differences)
    learned = [at for at, name in enumerate(names) if name in LEARNED]
    for at, p in zip(learned, holm([float(ps[at]) for at in learned]), strict=True):
        ps[at] = p
    return [
        Trial(
            name,
            float(values[name].mean()),
            float(differences[at].mean()),
            float(ends[at, 0]),
            float(ends[at, 1]),
            float(ps[at]),
        )
        for at, name in enumerate(names)
    ]


def _adopted(best: Trial | None, queries: int, level: float) -> tuple[str, str]:
    if best is None or queries < FEWEST:
        return "", f"{queries} judged queries are too few to tell: at least {FEWEST} are needed"
    if best.gain <= 0:
        return "", "nothing learned from one half was better on the other"
    if best.p >= level or best.low <= 0:
        return "", (
            f"the gain of {best.gain:+.3f} may be chance: p {best.p:.3f}, interval {best.low:+.3f} to {best.high:+.3f}"
        )
    return best.name, f"the gain survives held-out halves: p {best.p:.3f}"
