"""What a run folder shows of a whole run: rows for tables and charts, the same in the dashboard and in the reports."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval.chart_rows import Bar, in_order
from eval.datasets import Qrels, Question
from eval.evaluate import ANSWER
from eval.runs import (
    BY_QUERY,
    JUDGES,
    LOAD,
    METRICS,
    TIMINGS,
    AnswerRecord,
    Judgement,
    Manifest,
    RunFolder,
    SearchRecord,
    percentiles,
)
from eval.targets import FINAL


@dataclass(frozen=True, slots=True)
class LoadedRun:
    """One run folder, read whole."""

    name: str
    path: Path
    manifest: Manifest
    questions: Mapping[str, Question]
    qrels: Qrels
    searches: Mapping[str, SearchRecord]
    answers: Mapping[str, AnswerRecord]
    judgements: tuple[Judgement, ...]
    metrics: Mapping[str, Mapping[str, float]]
    by_query: Mapping[str, Mapping[str, Mapping[str, float]]]
    timings: Mapping[str, Mapping[str, float]]
    load: Any = None
    judges: Any = None


@dataclass(frozen=True, slots=True)
class FailureRow:
    """Failures of one kind: which part of the run, the error's code, how many, and what the first one said."""

    part: str
    code: str
    count: int
    example: str

    @property
    def kind(self) -> str:
        return f"{self.part}: {self.code}"


@dataclass(frozen=True, slots=True)
class QuestionRow:
    """One question in the list of a run."""

    query_id: str
    text: str
    values: Mapping[str, float]
    """``final nDCG@10``, ``answer EM`` and such."""
    ms: float | None
    outcome: str
    """``found``, ``answered``, ``abstained``, or ``failed: CODE``."""


def load_run(folder: RunFolder, name: str = "") -> LoadedRun:
    """Raises InvalidRequest when the folder holds no run, IndexUnreadable when it is damaged."""
    return LoadedRun(
        name or folder.name,
        folder.path,
        folder.manifest(),
        folder.questions(),
        folder.qrels(),
        {record.query_id: record for record in folder.searches()},
        {record.query_id: record for record in folder.answers()},
        tuple(folder.judgements()),
        folder.json(METRICS) or {},
        folder.json(BY_QUERY) or {},
        folder.json(TIMINGS) or {},
        folder.json(LOAD),
        folder.json(JUDGES),
    )


def stages_of(metrics: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Stages of rankings, in the order of the funnel."""
    return [stage for stage in in_order(set(metrics)) if stage != ANSWER]


def ranking_metrics(runs: Iterable[LoadedRun]) -> list[str]:
    """Names of all metrics of rankings, in the order in which the runs have them."""
    return list(dict.fromkeys(name for run in runs for stage in stages_of(run.metrics) for name in run.metrics[stage]))


def quality_bars(runs: Iterable[LoadedRun], metric: str) -> list[Bar]:
    return [
        Bar(run.name, stage, run.metrics[stage][metric])
        for run in runs
        for stage in stages_of(run.metrics)
        if metric in run.metrics[stage]
    ]


def latency_samples(run: LoadedRun) -> dict[str, list[float]]:
    """Milliseconds by stage, as ``timings.json`` names them: those of answers behind ``answer.``."""
    samples: dict[str, list[float]] = {}
    parts: tuple[tuple[str, Iterable[SearchRecord | AnswerRecord]], ...] = (
        ("", run.searches.values()),
        (f"{ANSWER}.", run.answers.values()),
    )
    for prefix, records in parts:
        for record in records:
            for stage, ms in (record.found.timings_ms if record.found else {}).items():
                samples.setdefault(prefix + stage, []).append(ms)
    return samples


def timings_of(run: LoadedRun) -> dict[str, Mapping[str, float]]:
    """Percentiles by stage; of a run that was not scored yet, from its records."""
    return dict(run.timings) or {stage: percentiles(values) for stage, values in latency_samples(run).items()}


def failures_of(run: LoadedRun) -> list[FailureRow]:
    """What failed, and what was answered without a stage, the most frequent first."""
    counts: Counter[tuple[str, str]] = Counter()
    examples: dict[tuple[str, str], str] = {}
    for part, code, detail in _failures(run):
        counts[part, code] += 1
        examples.setdefault((part, code), detail)
    return [FailureRow(*kind, count, examples[kind]) for kind, count in counts.most_common()]


def failure_bars(runs: Iterable[LoadedRun]) -> list[Bar]:
    return [Bar(run.name, row.kind, row.count) for run in runs for row in failures_of(run)]


def question_rows(run: LoadedRun) -> list[QuestionRow]:
    """Every question in the order of the set."""
    measured = [
        (f"{stage} {metric}", values)
        for stage in (FINAL, ANSWER)
        for metric, values in run.by_query.get(stage, {}).items()
    ]
    return [
        QuestionRow(
            query_id,
            question.text,
            {name: values[query_id] for name, values in measured if query_id in values},
            _milliseconds(run, query_id),
            outcome_of(run, query_id),
        )
        for query_id, question in run.questions.items()
    ]


def outcome_of(run: LoadedRun, query_id: str) -> str:
    search, answer = run.searches.get(query_id), run.answers.get(query_id)
    failed = next((each.error for each in (search, answer) if each is not None and each.error is not None), None)
    if failed is not None:
        return f"failed: {failed.code}"
    if answer is not None and answer.found is not None:
        return "abstained" if answer.found.abstained else "answered"
    return "found" if search is not None else "not asked"


def difference_of(left: LoadedRun, right: LoadedRun, stage: str, metric: str) -> dict[str, float]:
    """What ``right`` has more than ``left`` at each question that both were judged on."""
    before, after = (run.by_query.get(stage, {}).get(metric, {}) for run in (left, right))
    return {query_id: after[query_id] - value for query_id, value in before.items() if query_id in after}


def _failures(run: LoadedRun) -> Iterator[tuple[str, str, str]]:
    parts: tuple[tuple[str, Iterable[SearchRecord | AnswerRecord]], ...] = (
        ("search", run.searches.values()),
        (ANSWER, run.answers.values()),
    )
    for part, records in parts:
        for record in records:
            if record.error is not None:
                yield part, record.error.code, record.error.detail
            for stage in record.found.degraded if record.found else ():
                yield part, f"without {stage}", f"{record.query_id} was served without {stage}"
    for each in run.judgements:
        if each.value is None:
            yield f"judge {each.metric}", "no judgement", each.error


def _milliseconds(run: LoadedRun, query_id: str) -> float | None:
    for record in (run.answers.get(query_id), run.searches.get(query_id)):
        if record is not None and record.found is not None:
            timings = record.found.timings_ms
            return next((timings[stage] for stage in ("client", "total") if stage in timings), None)
    return None
