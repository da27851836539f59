"""Page: quality by stage of several runs, and what changed between two of them."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from eval.dashboard.parts import choose_metric, choose_runs, heading, html, note, show_chart, show_table
from eval.dashboard.source import Source, compared
from eval.html import element
from eval.plots import difference_by_query, quality_by_stage
from eval.run_overview import headline, overview
from eval.run_tables import difference_table, latency_change_table, quality_table
from eval.run_views import LoadedRun, difference_of, quality_bars, ranking_metrics, stages_of
from eval.runs import RunFolder


def show(source: Source) -> None:
    heading("Quality by stage", "Where relevance is won and lost: from the channels of recall to what the user sees.")
    runs = choose_runs(source, "quality")
    metrics = ranking_metrics(runs)
    if not metrics:
        if runs:
            note("These runs have no judgements of documents.")
        return
    metric = choose_metric(metrics, "quality-metric", headline(runs[-1].metrics)[1])
    show_chart(quality_by_stage(quality_bars(runs, metric), metric), f"{metric} by stage")
    show_table(quality_table(runs))
    if len(runs) > 1:
        _changes(runs, metric)


def _changes(runs: Sequence[LoadedRun], metric: str) -> None:
    heading("What changed")
    by_name = {run.name: run for run in runs}
    left, right = st.columns(2)
    before = by_name[str(left.selectbox("From", list(by_name), index=len(runs) - 2, key="quality-from"))]
    after = by_name[str(right.selectbox("To", list(by_name), index=len(runs) - 1, key="quality-to"))]
    if before is after:
        note("Choose two runs.")
        return
    found = compared(*(overview(RunFolder(run.path), run.name) for run in (before, after)))
    if isinstance(found, str):
        html(element("p", f"Not compared: {found}", class_="bad"))
        return
    for each in found.notes:
        note(each)
    stages = [stage for stage in stages_of(after.metrics) if metric in after.metrics[stage]]
    stage = str(st.selectbox("Stage", stages, index=len(stages) - 1, key="quality-stage"))
    differences = difference_of(before, after, stage, metric)
    show_chart(difference_by_query(differences, metric), f"{stage} {metric}: {after.name} less {before.name}")
    note(
        "p is of a paired randomisation test, corrected for the number of metrics; 'detectable' is the least "
        "difference that so many questions find with a chance of 0.8."
    )
    show_table(difference_table(found))
    heading("Times")
    if found.times_differ:
        note(f"Times are not compared: {found.times_differ}")
    else:
        show_table(latency_change_table(found))
