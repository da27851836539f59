"""From a run folder's answers to judgements and what they come to: nothing asked twice, no failure averaged away."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import numpy as np

from eval.citation_scores import passage_text
from eval.judge import AWAY, JudgementFailed
from eval.runs import Judgement, RunFolder
from retrieval.errors import Unavailable

T = TypeVar("T")

MOST_AWAY = 10
"""After so many judgements in a row without a connection the judge counts as gone, and asking ends."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One answered question, as a judge sees it."""

    query_id: str
    question: str
    answer: str
    """Empty when the service refused to answer."""
    contexts: tuple[str, ...]
    """The passages that were shown, best first."""
    reference: str = ""
    """The first gold answer; empty when none is known."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What a metric cannot be measured without."""

    answer: bool = False
    contexts: bool = False
    reference: bool = False

    def met(self, sample: Sample) -> bool:
        return not (
            (self.answer and not sample.answer)
            or (self.contexts and not sample.contexts)
            or (self.reference and not sample.reference)
        )


METRICS: Mapping[str, Needs] = {
    "faithfulness": Needs(answer=True, contexts=True),
    "answer_relevancy": Needs(answer=True),
    "context_precision": Needs(contexts=True, reference=True),
    "context_recall": Needs(contexts=True, reference=True),
    "factual_correctness": Needs(answer=True, reference=True),
    "context_relevance": Needs(contexts=True),
}
"""What RAGAS measures by a judge."""

GROUNDING_METRICS = ("groundedness", "citation_recall", "citation_precision")
"""What the grounding model measures without one."""

TRIAD: Mapping[str, Sequence[str]] = {
    "context_relevance": ("context_relevance", "context_precision"),
    "groundedness": ("groundedness", "faithfulness"),
    "answer_relevance": ("answer_relevancy",),
}
"""The RAG triad as TruLens names it, and the metrics that stand for each of it, the first that was measured."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One judgement to be made."""

    sample: Sample
    metric: str
    repeat: int = 0


class Measure(Protocol):
    """Raises JudgementFailed."""

    def __call__(self, metric: str, sample: Sample) -> Awaitable[float]: ...


def samples_of(run: RunFolder) -> list[Sample]:
    """Every question that brought an answer or a refusal; one that brought an error has nothing to judge."""
    questions = run.questions()
    samples = []
    for record in run.answers():
        if record.found is not None:
            question, found = questions[record.query_id], record.found
            samples.append(
                Sample(
                    record.query_id,
                    question.text,
                    "" if found.abstained else found.answer.strip(),
                    tuple(passage_text(each) for each in found.shown),
                    question.answers[0] if question.answers else "",
                )
            )
    return samples


def asks(
    samples: Iterable[Sample], metrics: Sequence[str], judge: str, repeats: int, there: Iterable[Judgement]
) -> list[Ask]:
    """What is still to be judged, question by question; metrics that a sample does not allow are left out."""
    made = {(each.query_id, each.metric, each.repeat) for each in there if each.judge == judge}
    return [
        Ask(sample, metric, repeat)
        for sample in samples
        for metric in metrics
        for repeat in range(repeats)
        if METRICS[metric].met(sample) and (sample.query_id, metric, repeat) not in made
    ]


class Patience:
    """Ends the asking once a judge has gone away, so that not all the rest becomes failed judgements."""

    def __init__(self) -> None:
        self._away = 0

    def heard(self, error: str) -> None:
        """``error`` is the kind of failure, empty for an answer. Raises Unavailable when too many find no server."""
        self._away = self._away + 1 if error == AWAY else 0
        if self._away >= MOST_AWAY:
            raise Unavailable(
                f"the judge could not be reached {MOST_AWAY} times in a row; start it, and run this again"
            )


async def judge_all(
    wanted: Sequence[Ask], measure: Measure, judge: str, concurrency: int, keep: Callable[[Judgement], None]
) -> None:
    """Make every judgement, ``concurrency`` at once, and hand each to ``keep`` as it comes, failed ones too.

    Raises Unavailable once the judge has gone away; what was kept stays, and the next call takes it from there.
    """
    patience = Patience()

    async def make(ask: Ask) -> None:
        value, error = None, ""
        try:
            value = await measure(ask.metric, ask.sample)
        except JudgementFailed as failed:
            error = failed.kind
        patience.heard(error)
        keep(Judgement(ask.sample.query_id, ask.metric, judge, value, error, ask.repeat))

    await at_once(wanted, make, concurrency)


async def at_once(wanted: Sequence[T], do: Callable[[T], Awaitable[None]], concurrency: int) -> None:
    """``do`` each of ``wanted``, ``concurrency`` at a time. The first Unavailable ends the others and is raised."""
    waiting = iter(wanted)

    async def work() -> None:
        for each in waiting:
            await do(each)

    gone: list[BaseException] = []
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(concurrency, len(wanted))):
                group.create_task(work())
    except* Unavailable as errors:
        gone.extend(errors.exceptions)
    if gone:
        raise gone[0]


@dataclass(frozen=True, slots=True)
class Aggregate:
    """One metric of one judge over a run."""

    value: float | None
    """Mean over the questions that have a judgement, of the mean of their repeats; None without any."""
    questions: int
    n: int
    """Judgements that were asked for."""
    failed: int
    low: float | None
    """What ``value`` would be had every failed judgement been 0…"""
    high: float | None
    """…and had it been 1."""
    spread: float | None
    """Standard deviation of a question's repeats, pooled over questions; None without repeats."""
    errors: Mapping[str, int] = field(default_factory=dict)
    """Failed judgements by kind."""


def values_of(judgements: Iterable[Judgement]) -> dict[str, float]:
    """By question: the mean of the repeats that came. Of one metric and one judge."""
    repeats: dict[str, list[float]] = {}
    for each in judgements:
        if each.value is not None:
            repeats.setdefault(each.query_id, []).append(each.value)
    return {query_id: sum(values) / len(values) for query_id, values in repeats.items()}


def aggregate(judgements: Sequence[Judgement]) -> Aggregate:
    """Of one metric and one judge."""
    by_question: dict[str, list[float | None]] = {}
    for each in judgements:
        by_question.setdefault(each.query_id, []).append(each.value)
    values = values_of(judgements)
    came = [[value for value in repeats if value is not None] for repeats in by_question.values()]
    freedom = sum(len(repeats) - 1 for repeats in came if len(repeats) > 1)
    squares = sum(float(np.var(repeats)) * len(repeats) for repeats in came if len(repeats) > 1)
    return Aggregate(
        value=_mean(values.values()),
        questions=len(by_question),
        n=len(judgements),
        failed=sum(each.value is None for each in judgements),
        low=_mean(_filled(repeats, 0.0) for repeats in by_question.values()),
        high=_mean(_filled(repeats, 1.0) for repeats in by_question.values()),
        spread=math.sqrt(squares / freedom) if freedom else None,
        errors=dict(Counter(each.error for each in judgements if each.value is None)),
    )


def by_judge_and_metric(judgements: Iterable[Judgement]) -> Iterator[tuple[str, str, list[Judgement]]]:
    """``(judge, metric, judgements)``, in the order in which each was first met."""
    groups: dict[tuple[str, str], list[Judgement]] = {}
    for each in judgements:
        groups.setdefault((each.judge, each.metric), []).append(each)
    return ((judge, metric, made) for (judge, metric), made in groups.items())


def _filled(repeats: Sequence[float | None], failed: float) -> float:
    return sum(failed if value is None else value for value in repeats) / len(repeats)


def _mean(values: Iterable[float]) -> float | None:
    listed = list(values)
    return sum(listed) / len(listed) if listed else None
