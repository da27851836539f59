"""Tries a learned ranker on queries that it has not seen, and says whether its gain is one to build on."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eval.ltr_lists import JudgedList, as_lists
from eval.retrieval_metrics import evaluate_by_query
from eval.statistics import POWER, least_detectable, mean_intervals, sign_flip
from ranking.features import STAGES, FeatureSet
from ranking.ltr import LtrFile, LtrModel
from ranking.train.trees import Grown, TreeSettings, grow, importance
from retrieval.errors import InvalidRequest

Floats = NDArray[np.float64]

METRIC = "nDCG@10"
USUAL = TreeSettings()
FOLDS = 4
LEAST_QUERIES = 20
"""Fewer in a half are no trial."""


@dataclass(frozen=True, slots=True)
class Half:
    """One half of the queries under a model that was grown on the other half."""

    queries: int
    before: float
    after: float
    rounds: int
    """Trees of the model."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of it. Values are means of nDCG@10 over queries held out."""

    against: str
    """The order that the model is held against: a stage's."""
    queries: int
    before: float
    after: float
    low: float
    high: float
    """Ends of the interval of the gain, right ``1 - level`` of the time."""
    p: float
    """Of the paired randomisation test."""
    level: float
    least: float
    """The least gain that so many queries show with the chance of 0.8."""
    needed: int | None
    """Judged queries with which a gain of this size would show with that chance; None when there is no gain."""
    halves: tuple[Half, Half]
    others: Mapping[str, float]
    """nDCG@10 of other stages' orders over the same queries."""
    reason: str
    """Why the model is not to be adopted; empty when it is."""
    held_out: tuple[Floats, ...] = ()
    """Scores of each list's rows by the model that had not seen its query: these alone may a blend learn from."""

    @property
    def gain(self) -> float:
        return self.after - self.before

    @property
    def adopted(self) -> bool:
        return not self.reason

    def as_json(self) -> dict[str, Any]:
        """Plain values without the scores; what is infinite is null."""
        told = {**asdict(replace(self, held_out=())), "gain": self.gain, "adopted": self.adopted}
        del told["held_out"]
        return {name: None if value == math.inf else value for name, value in told.items()}


def trial(
    judged: Sequence[JudgedList],
    features: FeatureSet,
    columns: Sequence[str],
    *,
    against: str = "fused",
    settings: TreeSettings = USUAL,
    level: float = 0.05,
) -> Trial:
    """Grow a model on each half of the queries and measure it on the other.

    Halves are drawn by the digest of the query, so that they are the same on every machine and in every order.
    The gain is one to build on when it is positive in both halves and p over both together is below
    ``level``. ``features`` made the vectors, and ``columns`` are those that the trees may see. Raises InvalidRequest
    for too few queries.
    """
    first = np.array([_share(each.query, "half") < 0.5 for each in judged])
    for side in (first, ~first):
        queries = len({each.query for each, there in zip(judged, side, strict=True) if there})
        if queries < LEAST_QUERIES:
            raise InvalidRequest(
                f"{queries} queries with judgements in a half: at least {LEAST_QUERIES} are needed in each, "
                f"{2 * LEAST_QUERIES} in all, and to see a gain rather some hundred"
            )
    if against not in STAGES:
        raise InvalidRequest(f"{against!r} is no stage to be held against; those are {', '.join(STAGES)}")
    orders = {stage: stage_order(judged, features.names, stage) for stage in STAGES}
    if orders[against] is None:
        raise InvalidRequest(f"no list says what the stage {against} made of its candidates")
    scores: dict[int, Floats] = {}
    rounds = []
    for train_on in (first, ~first):
        some = [each for each, there in zip(judged, train_on, strict=True) if there]
        grown = grow_on(some, features, columns, settings)
        rounds.append(grown.rounds)
        model = LtrModel(model_file(grown, features, columns))
        scores |= {at: model.scores(judged[at].vectors) for at in np.flatnonzero(~train_on).tolist()}
    held_out = tuple(scores[at] for at in range(len(judged)))
    values = {stage: quality(judged, order) for stage, order in orders.items() if order is not None}
    return _told(judged, held_out, values, against, first, rounds, level)


def grow_on(
    judged: Sequence[JudgedList], features: FeatureSet, columns: Sequence[str], settings: TreeSettings
) -> Grown:
    """Grow trees on all of the queries, as many as parts held out ask for. Raises InvalidRequest for too few."""
    inputs = np.array([features.names.index(name) for name in columns], np.int64)
    folds = np.array([int(_share(each.query, "fold") * FOLDS) for each in judged], np.int64)
    return grow(as_lists(judged, inputs), folds, settings)


def model_file(
    grown: Grown, features: FeatureSet, columns: Sequence[str], card: Mapping[str, Any] | None = None
) -> LtrFile:
    """Trees as a model's file."""
    return LtrFile(features.version, features.fields_text, tuple(columns), grown.trees, card or {})


def quality(judged: Sequence[JudgedList], scores: Sequence[Floats]) -> dict[str, float]:
    """nDCG@10 by query, higher scores first, ties in the order of the rows.

    Lists of one query are averaged by their weights. A document stands where its best row does.
    """
    qrels, run = {}, {}
    for number, (each, found) in enumerate(zip(judged, scores, strict=True)):
        order = np.argsort(-found, kind="stable")
        places: dict[str, float] = {}
        for rank, at in enumerate(order.tolist()):
            places.setdefault(each.names[at], -float(rank))
        qrels[str(number)], run[str(number)] = dict(each.judged), places
    values = evaluate_by_query(qrels, run, [METRIC])[METRIC]
    sums: dict[str, list[float]] = {}
    for number, each in enumerate(judged):
        total = sums.setdefault(each.query, [0.0, 0.0])
        total[0] += each.weight * values[str(number)]
        total[1] += each.weight
    return {query: total / weight for query, (total, weight) in sums.items()}


def stage_order(judged: Sequence[JudgedList], names: Sequence[str], stage: str) -> list[Floats] | None:
    """Scores by which a stage orders each list's rows, what it did not see behind; None where it saw nothing at all."""
    column = list(names).index(f"{stage}.rank")
    ranks = [each.vectors[:, column].astype(np.float64) for each in judged]
    if not any(np.isfinite(each).any() for each in ranks):
        return None
    return [np.where(np.isfinite(each), -each, -math.inf) for each in ranks]


def queries_needed(differences: Floats, level: float, power: float = POWER) -> int | None:
    """How many queries like these show a mean difference like theirs at ``level`` with the chance ``power``.

    ((z(1 - level / 2) + z(power)) * s / mean)², the minimum detectable effect (Bloom, Evaluation Review,
    1995) solved for n. None when the mean is not above 0.
    """
    mean = float(differences.mean())
    if mean <= 0 or len(differences) < 2:
        return None
    normal = NormalDist()
    wanted = (normal.inv_cdf(1 - level / 2) + normal.inv_cdf(power)) * float(differences.std(ddof=1)) / mean
    return max(2, math.ceil(wanted**2))


def learned(
    judged: Sequence[JudgedList],
    features: FeatureSet,
    columns: Sequence[str],
    found: Trial,
    about: Mapping[str, Any],
    settings: TreeSettings = USUAL,
) -> LtrFile:
    """A model of all the queries, with the trial of its kind on its card; ``about`` says where the lists are from."""
    grown = grow_on(judged, features, columns, settings)
    card = {
        **about,
        "trial": found.as_json(),
        "lists": len(judged),
        "rows": sum(len(each.names) for each in judged),
        "trees": grown.rounds,
        "settings": asdict(settings),
        "importance": importance(grown.trees, columns),
    }
    return model_file(grown, features, columns, card)


def _told(
    judged: Sequence[JudgedList],
    held_out: tuple[Floats, ...],
    values: Mapping[str, Mapping[str, float]],
    against: str,
    first: NDArray[np.bool_],
    rounds: Sequence[int],
    level: float,
) -> Trial:
    after, before = quality(judged, held_out), values[against]
    queries = list(after)
    in_first = {each.query for each, there in zip(judged, first, strict=True) if there}
    old, new = (np.array([found[query] for query in queries]) for found in (before, after))
    side = np.array([query in in_first for query in queries])
    differences = new - old
    p = float(sign_flip(differences)[0])
    low, high = mean_intervals(differences, level)[0]
    # The first half is measured under the trees that the second grew, and the other way round.
    halves = [
        Half(int(part.sum()), float(old[part].mean()), float(new[part].mean()), grown)
        for part, grown in ((side, rounds[1]), (~side, rounds[0]))
    ]
    return Trial(
        against=against,
        queries=len(queries),
        before=float(old.mean()),
        after=float(new.mean()),
        low=float(low),
        high=float(high),
        p=p,
        level=level,
        least=least_detectable(differences, np.concatenate([old, new]), level),
        needed=queries_needed(differences, level),
        halves=(halves[0], halves[1]),
        others={stage: float(np.mean(list(found.values()))) for stage, found in values.items() if stage != against},
        reason="; ".join(_reasons(halves, float(differences.mean()), p, level)),
        held_out=held_out,
    )


def _reasons(halves: Sequence[Half], gain: float, p: float, level: float) -> Iterator[str]:
    for half in halves:
        if half.after <= half.before:
            yield f"of {half.queries} queries held out it gains none ({half.before:.4f} to {half.after:.4f})"
    if gain > 0 and p >= level:
        yield f"the gain of {gain:.4f} may be chance (p = {p:.3f})"


def _share(query: str, what: str) -> float:
    """A number in 0 to 1 that depends on the query alone."""
    digest = hashlib.sha256(f"{what} {query}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
