"""May it ship: whether a run lost quality or speed against another, or whether the set is too small to tell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from eval.compare import LEVEL, compare_results, compared_metrics, unfit
from eval.comparison import Comparison, Difference, Latency
from eval.evaluate import ANSWER
from eval.results import Results, results_of
from eval.runs import RunFolder
from eval.targets import FINAL
from retrieval.errors import InvalidRequest

PASSED, LOST, TOO_SMALL = "passed", "lost", "too small"
CODES: dict[str, int] = {PASSED: 0, LOST: 1, TOO_SMALL: 3}
"""Exit codes by outcome; 2 is wrong usage."""

RECALL_FROM = 10
"""Recall is gated at the smallest cut-off that is at least this: near what a user looks at."""


ANSWERS = ("f1",)
"""Metrics of answers that are gated beside those of judges: others are of few questions, or no matter of quality."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What a run may lose."""

    metrics: tuple[str, ...] = ()
    """Gated ones, such as ``final:nDCG@10``; by default nDCG@10 and recall of the final stage, and of answers F1 and
    what judges say that were found fit."""
    level: float = LEVEL
    """The chance at most to raise an alarm on quality though nothing changed."""
    least: float = 0.05
    """A set that cannot detect so small a loss with the chance 0.8 is too small to pass anything."""
    min_queries: int = 20
    latency_bound: float = 1.2
    """How many times the time of before a stage may take. Both runs want a machine that does nothing else: one that is
    shared makes an unchanged stage several times slower, which no test can tell from a change."""
    times: tuple[str, ...] | None = None
    """Stages whose times are gated; None for all, empty for none."""
    latency_floor_ms: float = 1.0
    """A stage whose median grew by less than this many milliseconds is let through: nobody can notice it."""
    failures: float = 0.01
    """How much the share of failed requests may grow."""

    def __post_init__(self) -> None:
        if not 0 < self.level < 1:
            raise InvalidRequest(f"the level must lie between 0 and 1, not {self.level}")
        if self.latency_bound < 1 or min(self.least, self.latency_floor_ms, self.failures) < 0:
            raise InvalidRequest("the latency bound must be at least 1, the other bounds at least 0")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gate says, and why."""

    outcome: Literal["passed", "lost", "too small"]
    reasons: tuple[str, ...]
    """One a line, for people; empty when it passed."""
    comparison: Comparison
    """Of the gated metrics only: p is corrected for these."""
    ungated: tuple[str, ...]
    """Metrics, and times, that gate nothing, with why."""

    @property
    def exit_code(self) -> int:
        return CODES[self.outcome]

    def as_json(self) -> dict[str, Any]:
        return {
            "outcome": self.outcome,
            "exit_code": self.exit_code,
            "reasons": list(self.reasons),
            "ungated": list(self.ungated),
            "comparison": self.comparison.as_json(),
        }


def gate(a: RunFolder, b: RunFolder, policy: Policy | None = None) -> Verdict:
    """Whether ``b`` may take the place of ``a``.

    A loss outweighs a set that is too small. A loss of quality is a difference below 0 whose p, two-sided and
    corrected for the gated metrics, is below the level: so an unchanged system is stopped for it at most in half as
    many cases. A loss of speed is a stage whose median ratio lies above the bound with its whole interval. Raises
    InvalidRequest when the runs cannot be compared, or when there is nothing to gate on.
    """
    return gate_results(results_of(a), results_of(b), policy or Policy())


def gate_results(a: Results, b: Results, policy: Policy) -> Verdict:
    """The same of runs that are read already."""
    doubtful = unfit(a, b)
    asked = policy.metrics or _usual(a, b)
    gated = [name for name in compared_metrics(a, b, asked) if name not in doubtful] if asked else []
    if not gated:
        raise InvalidRequest("there is no metric to gate on; name some of those that both runs have with --metric")
    comparison = compare_results(a, b, gated, policy.level)
    gating = comparison.differences
    losses = [*_lost_quality(gating, policy), *_lost_speed(comparison, policy), *_more_failures(comparison, policy)]
    doubts = list(_too_small(gating, policy))
    outcome: Literal["passed", "lost", "too small"] = "lost" if losses else "too small" if doubts else "passed"
    return Verdict(outcome, (*losses, *doubts), comparison, tuple(_ungated(comparison, doubtful, policy)))


def _usual(a: Results, b: Results) -> tuple[str, ...]:
    """The gated metrics when none are named, of those that both runs have."""

    def both(stage: str) -> list[str]:
        return [name for name in a.by_query.get(stage, {}) if name in b.by_query.get(stage, {})]

    cuts = sorted(int(name[2:]) for name in both(FINAL) if name.startswith("R@") and name[2:].isdigit())
    recall = [f"R@{cut}" for cut in cuts if cut >= RECALL_FROM][:1]
    final = [f"{FINAL}:{name}" for name in both(FINAL) if name in ("nDCG@10", *recall)]
    judged = {*a.judged, *b.judged, *ANSWERS}
    return (*final, *(f"{ANSWER}:{name}" for name in both(ANSWER) if name in judged))


def _lost_quality(differences: Sequence[Difference], policy: Policy) -> Iterator[str]:
    for each in differences:
        if each.difference < 0 and each.corrected < policy.level:
            yield (
                f"{each.name} fell by {-each.difference:.4f}, from {each.mean_a:.4f} to {each.mean_b:.4f} "
                f"(p {each.corrected:.4f}, {each.losses} queries lost, {each.wins} gained)"
            )


def _lost_speed(comparison: Comparison, policy: Policy) -> Iterator[str]:
    if comparison.times_differ:
        return
    for name in policy.times or ():
        if name not in {each.stage for each in comparison.latencies}:
            raise InvalidRequest(f"not both runs have times of {name}; they have {_stages(comparison)}")
    for each in comparison.latencies:
        if (policy.times is None or each.stage in policy.times) and _slower(each, policy):
            yield (
                f"{each.stage} takes {each.paired.value:.2f} times as long ({each.paired.low:.2f} to "
                f"{each.paired.high:.2f}, bound {policy.latency_bound:g}): p50 {each.p50_a:.1f} to {each.p50_b:.1f} ms"
            )


def _stages(comparison: Comparison) -> str:
    return ", ".join(each.stage for each in comparison.latencies) or "none in common"


def _slower(stage: Latency, policy: Policy) -> bool:
    return stage.paired.low > policy.latency_bound and stage.p50_b - stage.p50_a > policy.latency_floor_ms


def _more_failures(comparison: Comparison, policy: Policy) -> Iterator[str]:
    for each in comparison.failures:
        if each.b - each.a > policy.failures * each.asked:
            yield f"{each.b} of {each.asked} requests failed ({each.part}), {each.a} before; such as {each.new[0]}"


def _too_small(differences: Sequence[Difference], policy: Policy) -> Iterator[str]:
    for each in differences:
        if each.queries < policy.min_queries:
            yield f"{each.name} has {each.queries} queries, fewer than {policy.min_queries}"
        elif each.least > policy.least:
            yield (
                f"{each.name} over {each.queries} queries shows no loss below {each.least:.3f}, and {policy.least:g} "
                "is wanted: ask more questions, or name a larger --least"
            )


def _ungated(comparison: Comparison, doubtful: Mapping[str, str], policy: Policy) -> Iterator[str]:
    yield from (f"{name}: {why}" for name, why in sorted(doubtful.items()))
    if comparison.times_differ:
        yield f"times: {comparison.times_differ}"
    elif policy.times is not None:
        yield f"times of other stages than {', '.join(policy.times)}" if policy.times else "times"
