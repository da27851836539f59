"""One or several runs as one HTML page that needs nothing beside itself: what was measured, how it went, and why."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from eval.chart_rows import Bar
from eval.compare import compare
from eval.comparison import Comparison
from eval.evaluate import ANSWER
from eval.html import Markup, element, joined, page, table
from eval.load_view import load_dots, load_in, load_table, load_words
from eval.plots import (
    difference_by_query,
    failures_by_kind,
    latency_by_stage,
    latency_distribution,
    load_curve,
    quality_by_stage,
    svg,
)
from eval.question_views import moved_most, worst_questions
from eval.report_questions import questions
from eval.report_style import STYLE
from eval.run_overview import TOTALS, headline
from eval.run_tables import (
    Table,
    answer_table,
    difference_table,
    failure_table,
    judged_table,
    judges_table,
    latency_change_table,
    manifest_table,
    quality_table,
    timing_table,
    triad_table,
    worst_table,
)
from eval.run_views import (
    LoadedRun,
    difference_of,
    failure_bars,
    latency_samples,
    quality_bars,
    ranking_metrics,
    timings_of,
)
from eval.runs import RunFolder
from eval.targets import FINAL
from retrieval.errors import RiddleError

WORST = 20
"""Questions in the tables of the worst, and of those that changed most."""

Draw = Callable[[], object]
Section = tuple[str, str, list[Markup]]
"""Its place in the page, its heading, and what it holds."""


@dataclass(frozen=True, slots=True)
class Compared:
    """An earlier run against the one that the report is of; ``why`` says why they cannot be compared."""

    before: LoadedRun
    comparison: Comparison | None
    why: str = ""


def report(runs: Sequence[LoadedRun]) -> str:
    """The page. The last run is what the report is of, those before it are what it is compared with.

    Answers and questions are the last run's; charts of quality and latency show all. Raises Unavailable without the
    libraries that draw.
    """
    run, compared = runs[-1], [compared_with(before, runs[-1]) for before in runs[:-1]]
    sections: list[Section] = [
        ("measured", "What was measured", list(_measured(runs))),
        ("quality", "Quality by stage", list(_quality(runs))),
        *((f"against-{place}", f"Against {each.before.name}", list(_changes(each, run)))
          for place, each in enumerate(compared, 1)),
        ("latency", "Latency", list(_latency(runs))),
        ("load", "Load", list(_load(run))),
        ("answers", "Answers", list(_answers(runs))),
        ("worst", "Worst questions", list(_worst(run))),
        ("failures", "Failures", list(_failures(runs))),
        ("judges", "Judges", list(_judges(run))),
        ("questions", "All questions", list(questions(run, runs[0] if len(runs) > 1 else None))),
    ]  # fmt: skip
    held = [(place, heading, parts) for place, heading, parts in sections if parts]
    contents = element("nav", element("ul", *(_entry(place, heading) for place, heading, _ in held)))
    body = [
        element("h1", f"{run.name}: {run.manifest.dataset.get('name', '')}"),
        element("p", _summary(run), class_="note"),
        contents,
        *(element("section", element("h2", heading), *parts, id=place) for place, heading, parts in held),
    ]
    return page(f"Evaluation of {run.name}", STYLE, body)


def compared_with(before: LoadedRun, after: LoadedRun) -> Compared:
    """The comparison of two runs, or why there is none."""
    try:
        return Compared(before, compare(RunFolder(before.path), RunFolder(after.path)))
    except RiddleError as error:
        return Compared(before, None, error.detail)


def _entry(place: str, heading: str) -> Markup:
    return element("li", element("a", heading, href=f"#{place}"))


def _summary(run: LoadedRun) -> str:
    stage, metric = headline(run.metrics)
    value = f"{stage} {metric} {run.metrics[stage][metric]:.4f} · " if metric else ""
    state = "" if run.manifest.finished else " · not finished"
    return f"{value}{len(run.questions):,} questions · {sum(run.manifest.failures.values())} failed{state}"


def _measured(runs: Sequence[LoadedRun]) -> Iterator[Markup]:
    """Settings of the target that all runs share are behind a line that opens; those that differ are not."""
    facts = manifest_table(runs)
    apart = {row for row in facts.rows if str(row[0]).startswith("target.settings.") and len(set(row[1:])) == 1}
    yield table(Table(facts.columns, tuple(row for row in facts.rows if row not in apart)))
    if apart:
        shared = tuple((row[0], row[1]) for row in facts.rows if row in apart)
        what = "Settings of the target" if len(runs) == 1 else "Settings of the target that all share"
        yield element("details", element("summary", what), element("div", table(Table(("setting", "value"), shared))))


def _quality(runs: Sequence[LoadedRun]) -> Iterator[Markup]:
    metrics = ranking_metrics(runs)
    if not metrics:
        return
    yield element(
        "p",
        "Lexical and dense are the two channels of recall, fused is their combination, rerank holds what the "
        "cross-encoder read, and final is what the user sees. A question without an answer counts zero.",
        class_="note",
    )
    known = headline(runs[-1].metrics)[1]
    first = [known] if known in metrics else []
    shown = [*first, *(metric for metric in metrics if metric not in first)][:3]
    yield _plots(*((f"{metric} by stage", quality_by_stage(quality_bars(runs, metric), metric)) for metric in shown))
    yield table(quality_table(runs))


def _changes(compared: Compared, run: LoadedRun) -> Iterator[Markup]:
    comparison = compared.comparison
    if comparison is None:
        yield element("p", f"Not compared: {compared.why}", class_="bad")
        return
    yield element(
        "p",
        f"{comparison.queries:,} questions that both asked. p is of a paired randomisation test, corrected for the "
        f"number of metrics; at most {comparison.level:g} counts as a difference. Detectable is the least difference "
        "that so many questions find with a chance of 0.8.",
        class_="note",
    )
    yield from (element("p", each, class_="note") for each in comparison.notes)
    yield table(difference_table(comparison))
    stage, metric = headline(run.metrics)
    differences = difference_of(compared.before, run, stage, metric)
    if any(differences.values()):
        yield _plots((f"{stage} {metric} by question", difference_by_query(differences, metric)))
        yield element("h3", "Changed most")
        yield table(_changed(differences, compared.before, run, stage, metric))
    yield element("h3", "Times")
    if comparison.times_differ:
        yield element("p", f"Times are not compared: {comparison.times_differ}", class_="note")
    elif latencies := latency_change_table(comparison):
        yield table(latencies)


def _changed(differences: dict[str, float], before: LoadedRun, run: LoadedRun, stage: str, metric: str) -> Table:
    return Table(
        ("query", "question", "before", "after", "change"),
        tuple(
            (
                query_id,
                run.questions[query_id].text,
                before.by_query[stage][metric][query_id],
                run.by_query[stage][metric][query_id],
                differences[query_id],
            )
            for query_id in moved_most(differences, WORST)
        ),
    )


def _latency(runs: Sequence[LoadedRun]) -> Iterator[Markup]:
    samples = [(run.name, latency_samples(run)) for run in runs]
    whole = {name: next((each[stage] for stage in TOTALS if stage in each), []) for name, each in samples}
    if not any(whole.values()):
        return
    last = timings_of(runs[-1])
    bars = [Bar(q, stage, last[stage][q]) for q in ("p50", "p95") for stage in last if stage not in TOTALS]
    yield _plots(
        ("Whole requests", latency_distribution(whole)),
        (f"Stages of {runs[-1].name}", latency_by_stage(bars)),
    )
    for run in runs:
        if len(runs) > 1:
            yield element("h3", run.name)
        yield table(timing_table(run))


def _load(run: LoadedRun) -> Iterator[Markup]:
    found = load_in(run.load)
    if found is None:
        return
    yield element("p", load_words(found))
    yield from (element("p", each, class_="note") for each in found.notes)
    bound = found.bound.ms if found.bound else None
    yield _plots(("Latency by the rate of requests", load_curve(load_dots(found), bound)))
    yield table(load_table(found))


def _answers(runs: Sequence[LoadedRun]) -> Iterator[Markup]:
    run = runs[-1]
    if means := answer_table(runs):
        yield table(means)
    if run.answers:
        found = [record.found for record in run.answers.values() if record.found]
        tokens = [each.usage.get("completion_tokens", 0) for each in found]
        yield element(
            "p",
            f"{len(run.answers):,} questions: {sum(not each.abstained for each in found):,} answered, "
            f"{sum(each.abstained for each in found):,} refused for want of evidence, "
            f"{len(run.answers) - len(found):,} failed; {sum(len(each.citations) for each in found):,} citations, "
            f"{sum(tokens):,} tokens written.",
        )
    if triad := triad_table(run):
        yield table(triad)
    if judged := judged_table(run):
        yield element("h3", "Judged")
        yield element(
            "p",
            "Means are of the judgements that could be made; those that failed are counted beside them, with what the "
            "mean would be had all of them been 0, or 1. A judge that is unfit, or was not calibrated, gates nothing.",
            class_="note",
        )
        yield table(judged)


def _worst(run: LoadedRun) -> Iterator[Markup]:
    stage, metric = headline(run.metrics)
    worst = worst_questions(run, stage, metric, WORST)
    if stage not in (FINAL, ANSWER) or not worst:
        return
    yield element(
        "p",
        "The ranks are those of the first relevant document at each stage; a dash where a stage has none of them.",
        class_="note",
    )
    yield table(worst_table(run, worst, stage, metric))


def _failures(runs: Sequence[LoadedRun]) -> Iterator[Markup]:
    bars = failure_bars(runs)
    if not bars:
        yield element("p", "None.")
        return
    yield _plots(("Failures by kind", failures_by_kind(bars)))
    yield table(failure_table(runs[-1]))


def _judges(run: LoadedRun) -> Iterator[Markup]:
    if known := judges_table(run):
        yield element(
            "p", "A judge is fit when its balanced accuracy on known cases is at least 0.7 in every language.",
            class_="note",
        )  # fmt: skip
        yield table(known)


def _plots(*charts: tuple[str, object]) -> Markup:
    drawn = (element("figure", element("figcaption", title), Markup(svg(chart))) for title, chart in charts)
    return element("div", joined(drawn), class_="plots")
