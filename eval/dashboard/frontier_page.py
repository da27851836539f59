"""Page: quality against latency and cost, over all configurations of a set of questions."""

from __future__ import annotations

import streamlit as st

from eval.dashboard.parts import heading, missing, note, show_chart, show_table
from eval.dashboard.source import Source, readable
from eval.plots import frontier
from eval.run_overview import Overview, choices
from eval.run_tables import Table

COST = "seconds a question"


def show(source: Source) -> None:
    heading("Frontier", "A point for each run; the joined ones are beaten by no other in both quality and latency.")
    rows = [row for row in readable(source) if row.value is not None and row.p95_ms is not None]
    if not rows:
        missing(source)
        return
    kinds = list(dict.fromkeys((row.dataset, row.metric) for row in rows))
    dataset, metric = st.selectbox(
        "Questions and metric", kinds, format_func=lambda kind: f"{kind[0]} · {kind[1]}", key="frontier"
    ) or kinds[0]  # fmt: skip
    shown = [row for row in rows if (row.dataset, row.metric) == (dataset, metric)]
    found = choices(shown)
    show_chart(frontier(found, metric, cost=COST), f"{len(found)} runs over {dataset}")
    note("The size of a point is what it cost: seconds of searching and answering for each question.")
    show_table(_listed(shown, {each.label for each in found if each.best}))


def _listed(rows: list[Overview], best: set[str]) -> Table:
    ordered = sorted(rows, key=lambda row: (row.name not in best, row.p95_ms or 0.0))
    return Table(
        ("run", "beaten", rows[0].metric, "p50 ms", "p95 ms", COST),
        tuple(
            (row.name, "no" if row.name in best else "yes", row.value, row.p50_ms, row.p95_ms, row.cost)
            for row in ordered
        ),
    )
