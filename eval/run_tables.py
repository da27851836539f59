"""The tables of the dashboard and of the reports: names of columns, and rows of plain values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from eval.comparison import Comparison, Difference
from eval.evaluate import ANSWER
from eval.judged_run import triad
from eval.judges_view import judge_rows
from eval.judging import aggregate, by_judge_and_metric
from eval.question_views import QuestionView, best_rank, question_view
from eval.run_overview import dataset_name, target_name
from eval.run_views import (
    LoadedRun,
    failures_of,
    ranking_metrics,
    stages_of,
    timings_of,
)
from eval.targets import STAGES

Value = str | int | float | None
"""None where there is nothing to say."""

PERCENTILES = ("n", "p50", "p95", "p99", "mean")


@dataclass(frozen=True, slots=True)
class Table:
    """Rows as long as ``columns``."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]

    def __bool__(self) -> bool:
        return bool(self.rows)

    def by_column(self) -> dict[str, list[Value]]:
        return {name: [row[place] for row in self.rows] for place, name in enumerate(self.columns)}


def manifest_table(runs: Sequence[LoadedRun]) -> Table:
    """What was measured: a line for each fact, a column for each run; settings of the target below the rest."""
    facts = [_facts(run) for run in runs]
    names = dict.fromkeys(name for each in facts for name in each)
    return Table(
        ("", *(run.name for run in runs)),
        tuple((name, *(each.get(name) for each in facts)) for name in names),
    )


def quality_table(runs: Sequence[LoadedRun]) -> Table:
    """Each metric at each stage of each run; where relevance is won and lost."""
    metrics = ranking_metrics(runs)
    rows = [
        (run.name, stage, *(run.metrics[stage].get(metric) for metric in metrics))
        for run in runs
        for stage in stages_of(run.metrics)
    ]
    table = Table(("run", "stage", *metrics), tuple(rows))
    return table if len(runs) > 1 else without(table, "run")


def timing_table(run: LoadedRun) -> Table:
    """Milliseconds by stage of the service; ``client`` is the whole request as its caller waits for it."""
    timings = timings_of(run)
    return Table(
        ("stage", "n", "p50 ms", "p95 ms", "p99 ms", "mean ms"),
        tuple((stage, *(timings[stage].get(name) for name in PERCENTILES)) for stage in timings if timings[stage]),
    )


def answer_table(runs: Sequence[LoadedRun]) -> Table:
    """Means of all metrics of answers, a column for each run."""
    names = dict.fromkeys(name for run in runs for name in run.metrics.get(ANSWER, {}))
    rows = [(name, *(run.metrics.get(ANSWER, {}).get(name) for run in runs)) for name in names]
    return Table(("metric", *(run.name for run in runs)), tuple(rows))


def judged_table(run: LoadedRun) -> Table:
    """Judgements by metric and judge. Failed ones are counted beside the mean, with what they could do to it."""
    fit = {row.judge: row.said for row in judge_rows(run.judges)}
    rows = [
        (
            metric,
            judge,
            fit.get(judge, "not calibrated"),
            each.value,
            each.questions,
            each.failed,
            each.low,
            each.high,
            each.spread,
        )
        for judge, metric, made in by_judge_and_metric(run.judgements)
        for each in (aggregate(made),)
    ]
    return Table(
        ("metric", "judge", "judge is", "mean", "questions", "failed", "had failed been 0", "been 1", "spread"),
        tuple(rows),
    )


def triad_table(run: LoadedRun) -> Table:
    """The RAG triad by name, and the metric that stands for each of it."""
    found = triad(run.metrics.get(ANSWER, {}))
    return Table(("of the RAG triad", "measured as", "mean"), tuple((name, *each) for name, each in found.items()))


def judges_table(run: LoadedRun) -> Table:
    """How each judge did on statements whose support is known."""
    return Table(
        ("judge", "is", "language", "balanced accuracy", "95 % from", "to", "cases", "failed"),
        tuple(
            (row.judge, row.said, row.language, row.balanced_accuracy, row.low, row.high, row.n, row.failed)
            for row in judge_rows(run.judges)
        ),
    )


def failure_table(run: LoadedRun) -> Table:
    return Table(
        ("part", "kind", "count", "the first said"),
        tuple((row.part, row.code, row.count, row.example) for row in failures_of(run)),
    )


def difference_table(comparison: Comparison) -> Table:
    """What the second run has more, or less, of each metric, and whether that is more than chance."""
    return Table(
        ("stage", "metric", "before", "after", "change", "95 % from", "to", "p", "detectable", "won", "lost", "said"),
        tuple(
            (
                each.stage, each.metric, each.mean_a, each.mean_b, each.difference, each.low, each.high,
                each.corrected, each.least, each.wins, each.losses, _said(each, comparison.level),
            )
            for each in comparison.differences
        ),
    )  # fmt: skip


def latency_change_table(comparison: Comparison) -> Table:
    """Milliseconds of both runs by stage, and the ratio of the queries' own times."""
    return Table(
        ("stage", "queries", "p50 before", "p50 after", "p95 before", "p95 after", "times as long", "p"),
        tuple(
            (each.stage, each.queries, each.p50_a, each.p50_b, each.p95_a, each.p95_b, each.paired.value, each.p)
            for each in comparison.latencies
        ),
    )


def worst_table(run: LoadedRun, query_ids: Iterable[str], stage: str, metric: str) -> Table:
    """Questions with the rank of their first relevant document at each stage: where it was lost."""
    stages = [each for each in STAGES if each in run.metrics]
    values = run.by_query.get(stage, {}).get(metric, {})
    views = [question_view(run, query_id) for query_id in query_ids]
    return Table(
        ("query", "question", "outcome", metric, *(f"rank {each}" for each in stages)),
        tuple(
            (each.query_id, each.text, each.outcome, values.get(each.query_id), *(best_rank(each, s) for s in stages))
            for each in views
        ),
    )


def passage_table(view: QuestionView, other: str = "") -> Table:
    """Passages as they were shown, with the rank and score that each stage gave them."""
    stages = [each for each in STAGES if any(each in row.shown.stages for row in view.passages)]
    rows = [
        (
            row.rank, *((row.moved,) if other else ()), row.shown.document_id, row.grade, row.shown.score,
            *(_place(row.shown.stages.get(stage)) for stage in stages), row.shown.text,
        )
        for row in view.passages
    ]  # fmt: skip
    return Table(
        ("rank", *((f"against {other}",) if other else ()), "document", "grade", "score", *stages, "text"), tuple(rows)
    )


def wanted_table(view: QuestionView) -> Table:
    """Documents judged relevant, and where every stage has them."""
    stages = list(dict.fromkeys(stage for row in view.wanted for stage in STAGES if stage in row.ranks))
    stages.sort(key=STAGES.index)
    return Table(
        ("document", "grade", *stages),
        tuple((row.document_id, row.grade, *(row.ranks.get(stage) for stage in stages)) for row in view.wanted),
    )


def verdict_table(view: QuestionView) -> Table:
    """What judges said of this answer; where one failed, why."""
    return Table(
        ("metric", "judge", "repeat", "value", "failed because"),
        tuple((each.metric, each.judge, each.repeat, each.value, each.error or None) for each in view.judgements),
    )


def value_table(view: QuestionView) -> Table:
    """Every metric of the question at every stage."""
    return Table(
        ("stage", "metric", "value"),
        tuple((stage, metric, value) for stage, values in view.values.items() for metric, value in values.items()),
    )


def without(table: Table, column: str) -> Table:
    at = table.columns.index(column)
    return Table(
        (*table.columns[:at], *table.columns[at + 1 :]), tuple((*row[:at], *row[at + 1 :]) for row in table.rows)
    )


def _facts(run: LoadedRun) -> dict[str, str]:
    manifest = run.manifest
    facts: dict[str, str] = {
        "made": manifest.created,
        "finished": "yes" if manifest.finished else "no: run it again with the same arguments to go on",
        "questions": f"{len(run.questions)} of {dataset_name(manifest)}",
        "judged documents": f"{sum(len(grades) for grades in run.qrels.values()):,}",
        "target": target_name(manifest),
        "machine": manifest.machine,
        "version": " · ".join(filter(None, (manifest.version, manifest.commit))),
        "seconds": _words(manifest.seconds),
        "failures": _words(manifest.failures),
    }
    facts |= {
        f"dataset.{key}": _plain(value) for key, value in manifest.dataset.items() if key not in ("name", "split")
    }
    facts |= {f"asked.{key}": _plain(value) for key, value in manifest.settings.items() if key != "judges"}
    for key, value in manifest.target.items():
        told = value.items() if isinstance(value, Mapping) else [("", value)]
        facts |= {f"target.{key}.{name}".rstrip("."): _plain(each) for name, each in told}
    return facts


def _words(counts: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:,.4g}" for name, value in counts.items()) or "–"


def _plain(value: object) -> str:
    return ", ".join(str(each) for each in value) if isinstance(value, list | tuple) else str(value)


def _said(difference: Difference, level: float) -> str:
    if difference.unfit:
        return f"not believed: {difference.unfit}"
    if difference.corrected > level:
        return "no difference shown"
    return "better" if difference.difference > 0 else "worse"


def _place(stage: tuple[int, float] | None) -> str | None:
    return None if stage is None else f"{stage[0]} ({stage[1]:.4g})"
