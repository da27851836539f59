"""Two runs over the same questions: what changed by stage and metric, by query, in time and in failures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from eval.comparison import Change, Comparison, Difference, Failures, Latency
from eval.evaluate import ANSWER
from eval.results import SEARCH, Results, results_of
from eval.runs import RunFolder, percentiles
from eval.statistics import compare_times, holm, least_detectable, mean_intervals, sign_flip, wins_losses_ties
from eval.targets import STAGES
from retrieval.errors import InvalidRequest

LEVEL = 0.05
LEAST_PAIRS = 6
"""Times of fewer queries in common are not compared: an interval of so few would pretend."""


def compare(
    a: RunFolder, b: RunFolder, metrics: Sequence[str] = (), level: float = LEVEL, shown: int = 5
) -> Comparison:
    """What changed from ``a`` to ``b``.

    ``metrics`` are names such as ``nDCG@10``, or ``final:nDCG@10`` for one stage; by default all of all stages.
    ``shown`` is how many losses and gains by query each difference keeps. Raises InvalidRequest when a run is not
    finished, or when the two are not of the same questions, judgements, k and metrics.
    """
    return compare_results(results_of(a), results_of(b), metrics, level, shown)


def compare_results(
    a: Results, b: Results, metrics: Sequence[str] = (), level: float = LEVEL, shown: int = 5
) -> Comparison:
    """The same of runs that are read already."""
    queries = _shared(a, b)
    _same_asking(a, b, chosen=bool(metrics))
    names = compared_metrics(a, b, metrics)
    return Comparison(
        a=a.name,
        b=b.name,
        dataset=str(a.manifest.dataset.get("name", "")),
        level=level,
        queries=len(queries),
        differences=_differences(a, b, queries, names, level, shown),
        latencies=tuple(_latencies(a, b, queries, level)),
        failures=tuple(_failures(a, b, queries)),
        notes=tuple(_notes(a, b)),
        times_differ=_times_differ(a, b),
    )


def _shared(a: Results, b: Results) -> list[str]:
    """The queries that both asked, in the order of a. Raises InvalidRequest when they are not the same questions."""
    shared = [query_id for query_id in a.questions if query_id in b.questions]
    if not shared:
        raise InvalidRequest(f"{a.name} and {b.name} have no query in common; compare runs over the same set")
    for query_id in shared:
        if a.questions[query_id] != b.questions[query_id]:
            raise InvalidRequest(f"query {query_id} asks something else in {a.name} and {b.name}; they are other sets")
        if a.qrels.get(query_id) != b.qrels.get(query_id):
            raise InvalidRequest(
                f"query {query_id} is judged differently in {a.name} and {b.name}; run both on the same judgements"
            )
    return shared


def _same_asking(a: Results, b: Results, *, chosen: bool) -> None:
    first, second = a.manifest.settings, b.manifest.settings
    if first.get("k") != second.get("k"):
        raise InvalidRequest(
            f"{a.name} asked for k = {first.get('k')} passages and {b.name} for {second.get('k')}; "
            "run both with the same k"
        )
    if not chosen and set(first.get("metrics", ())) != set(second.get("metrics", ())):
        raise InvalidRequest(
            f"{a.name} and {b.name} measured other metrics; name those to compare with --metric, or run both anew"
        )


def compared_metrics(a: Results, b: Results, metrics: Sequence[str]) -> list[str]:
    """``stage:metric`` of all that are named and both have. Raises InvalidRequest for a name that not both have."""
    both = _shared_metrics(a, b)
    for name in metrics:
        if not any(name in (metric, f"{stage}:{metric}") for stage, metric in both):
            known = ", ".join(dict.fromkeys(metric for _, metric in both))
            raise InvalidRequest(f"not both runs have the metric {name}; they have {known or 'none in common'}")
    return [f"{s}:{m}" for s, m in both if not metrics or m in metrics or f"{s}:{m}" in metrics]


def _shared_metrics(a: Results, b: Results) -> list[tuple[str, str]]:
    """Stage and metric of all that both have, in the order of the funnel."""
    stages = [stage for stage in a.by_query if stage in b.by_query]
    stages.sort(key=lambda stage: STAGES.index(stage) if stage in STAGES else len(STAGES))
    return [(stage, metric) for stage in stages for metric in a.by_query[stage] if metric in b.by_query[stage]]


def _differences(
    a: Results, b: Results, queries: Sequence[str], names: Sequence[str], level: float, shown: int
) -> tuple[Difference, ...]:
    """Every difference, each corrected for the number of them all."""
    found, doubts = [], unfit(a, b)
    for stage, metric in (name.split(":", 1) for name in names):
        asked = [each for each in queries if stage == ANSWER or each in a.qrels]
        changes = list(_changes(a, b, stage, metric, asked))
        if changes:
            found.append(
                (_Scored(stage, metric, len(asked) - len(changes), doubts.get(f"{stage}:{metric}", "")), changes)
            )
    made = [_difference(scored, changes, level, level / len(found), shown) for scored, changes in found]
    corrected = holm([each.p for each in made])
    return tuple(replace(each, corrected=p) for each, p in zip(made, corrected, strict=True))


def unfit(a: Results, b: Results) -> dict[str, str]:
    """``stage:metric`` of those whose differences are not to be believed, with why."""
    doubts: dict[str, str] = {}
    for metric in {**a.judged, **b.judged}:
        first, second = a.judged.get(metric), b.judged.get(metric)
        told = [each.doubt for each in (first, second) if each is not None and each.doubt]
        if first is not None and second is not None and first.judge != second.judge:
            told.append(f"{first.judge} judged {a.name}, and {second.judge} {b.name}")
        if told:
            doubts[f"{ANSWER}:{metric}"] = told[0]
    return doubts


class _Scored(NamedTuple):
    stage: str
    metric: str
    unscored: int
    unfit: str


def _changes(a: Results, b: Results, stage: str, metric: str, queries: Sequence[str]) -> Iterator[Change]:
    for query_id in queries:
        before, after = (run.value(stage, metric, query_id) for run in (a, b))
        if before is not None and after is not None:
            yield Change(query_id, a.questions[query_id], before, after)


def _difference(scored: _Scored, changes: Sequence[Change], level: float, strict: float, shown: int) -> Difference:
    """``strict`` is the level that the smallest p must be below when the tests are many."""
    before, after = np.array([(each.a, each.b) for each in changes]).T
    differences = after - before
    (low, high), p = mean_intervals(differences, level)[0], float(sign_flip(differences)[0])
    wins, losses, ties = wins_losses_ties(differences)
    by_loss = sorted(changes, key=lambda each: (each.b - each.a, each.query_id))
    by_gain = sorted(changes, key=lambda each: (each.a - each.b, each.query_id))
    return Difference(
        stage=scored.stage,
        metric=scored.metric,
        queries=len(changes),
        unscored=scored.unscored,
        mean_a=float(before.mean()),
        mean_b=float(after.mean()),
        difference=float(differences.mean()),
        low=float(low),
        high=float(high),
        p=p,
        corrected=p,
        least=least_detectable(differences, np.concatenate([before, after]), strict),
        wins=wins,
        losses=losses,
        ties=ties,
        lost=tuple(by_loss[: min(shown, losses)]),
        won=tuple(by_gain[: min(shown, wins)]),
        unfit=scored.unfit,
    )


def _latencies(a: Results, b: Results, queries: Sequence[str], level: float) -> Iterator[Latency]:
    for stage in (stage for stage in a.times if stage in b.times):
        first, second = a.times[stage], b.times[stage]
        pairs = [each for each in queries if each in first and each in second]
        if not stage.startswith(f"{ANSWER}."):
            pairs = [each for each in pairs if a.caches.get(each) == b.caches.get(each)]
        if len(pairs) < LEAST_PAIRS:
            continue
        before, after = [first[each] for each in pairs], [second[each] for each in pairs]
        told, points_a, points_b = compare_times(before, after, level), percentiles(before), percentiles(after)
        yield Latency(
            stage=stage,
            queries=len(pairs),
            p50_a=points_a["p50"],
            p50_b=points_b["p50"],
            p95_a=points_a["p95"],
            p95_b=points_b["p95"],
            p50=told.p50,
            p95=told.p95,
            paired=told.paired,
            p=told.p,
        )


def _failures(a: Results, b: Results, queries: Sequence[str]) -> Iterator[Failures]:
    asked = frozenset(queries)
    for part in (SEARCH, ANSWER):
        if part == ANSWER and not (a.answered and b.answered):
            continue
        first, second = (run.failed.get(part, frozenset()) & asked for run in (a, b))
        yield Failures(part, len(queries), len(first), len(second), tuple(sorted(second - first)))


def _notes(a: Results, b: Results) -> Iterator[str]:
    for here, there in ((a, b), (b, a)):
        missing = [each for each in there.questions if each not in here.questions]
        if missing:
            yield f"{here.name} lacks {len(missing)} queries of {there.name}, such as {missing[0]}; they are left out"
        lacking = sorted(set(there.by_query) - set(here.by_query))
        if lacking:
            yield f"{here.name} has no {', '.join(lacking)}; {there.name} has"
        if here.degraded:
            yield f"{here.degraded} searches or answers of {here.name} were degraded"
    first, second = a.manifest, b.manifest
    if first.dataset.get("fingerprint") != second.dataset.get("fingerprint"):
        yield "the sets differ as a whole; the queries that both asked have the same words and judgements"
    documents = [run.target.get("documents") for run in (first, second)]
    if None not in documents and documents[0] != documents[1]:
        yield f"{a.name} searched {documents[0]:,} documents, {b.name} {documents[1]:,}: not the same task"


def _times_differ(a: Results, b: Results) -> str:
    if a.manifest.machine != b.manifest.machine:
        return f"they were measured on other machines: {a.manifest.machine}; {b.manifest.machine}"
    jobs = [run.manifest.settings.get("jobs", 1) for run in (a, b)]
    if jobs[0] != jobs[1]:
        return f"{a.name} asked {jobs[0]} questions at once, {b.name} {jobs[1]}"
    return ""
