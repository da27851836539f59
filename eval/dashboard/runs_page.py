"""Page: all runs, and how quality went over time."""

from __future__ import annotations

import streamlit as st

from eval.dashboard.parts import heading, html, missing, show_chart, show_grid
from eval.dashboard.source import Source, runs_of
from eval.html import element
from eval.plots import quality_over_time
from eval.run_overview import Overview, quality_dots
from eval.run_tables import Table

ANSWERS = ("exact_match", "f1", "groundedness")
"""Metrics of answers that the list has room for."""


def show(source: Source) -> None:
    rows = runs_of(source)
    heading("Runs", "Every run folder, the newest first; the value is of what the user sees.")
    for row in rows:
        if row.problem:
            html(element("p", f"{row.name} cannot be read: {row.problem}", class_="bad"))
    good = [row for row in reversed(rows) if not row.problem]
    if not good:
        missing(source)
        return
    show_grid(_listed(good), "runs")
    heading("Quality over time")
    metrics = list(dict.fromkeys(row.metric for row in good if row.metric))
    if not metrics:
        return
    metric = metrics[0] if len(metrics) == 1 else str(st.selectbox("Metric", metrics, key="time-metric"))
    shown = [row for row in good if row.metric == metric]
    show_chart(quality_over_time(quality_dots(shown), metric), f"{metric} of {len(shown)} runs")


def _listed(rows: list[Overview]) -> Table:
    answered = [name for name in ANSWERS if any(name in row.answers for row in rows)]
    return Table(
        ("run", "made", "questions of", "asked", "metric", "value", *answered, "p50 ms", "p95 ms", "failed", "state",
         "target", "commit"),
        tuple(
            (
                row.name, row.created[:16].replace("T", " "), row.dataset, row.queries, row.metric, row.value,
                *(row.answers.get(name) for name in answered), row.p50_ms, row.p95_ms, row.failures,
                "finished" if row.finished else "not finished", row.target, row.commit,
            )
            for row in rows
        ),
    )  # fmt: skip
