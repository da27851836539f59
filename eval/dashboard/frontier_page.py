"""Page: quality against latency and cost, over the points of a sweep or over all runs of a set of questions."""

from __future__ import annotations

import streamlit as st

from eval.dashboard.parts import heading, missing, note, show_chart, show_table
from eval.dashboard.source import Source, readable
from eval.frontier import Frontier
from eval.plots import frontier
from eval.run_overview import Overview, choices
from eval.run_tables import Table
from eval.sweep_view import sweep_table, sweeps_in

COST = "seconds a question"


def show(source: Source) -> None:
    heading("Frontier", "A point for each configuration; no other beats the joined ones in both quality and latency.")
    runs: dict[str, list[Overview]] = {}
    for row in readable(source):
        if row.value is not None and row.p95_ms is not None:
            runs.setdefault(f"{row.dataset} · {row.queries:,} questions · {row.metric}", []).append(row)
    sweeps = {f"sweep {name}": found for name, found in sweeps_in(source.runs).items()} if source.runs else {}
    if not runs and not sweeps:
        missing(source)
        return
    chosen = str(st.selectbox("Configurations", [*sweeps, *runs], key="frontier"))
    if chosen in sweeps:
        _sweep(sweeps[chosen])
    else:
        _runs(chosen, runs[chosen])


def _sweep(found: Frontier) -> None:
    show_chart(frontier(found.choices(), found.metric), f"{len(found.rows)} points, {found.queries:,} questions")
    note(
        "The size of a point is the cost of a thousand questions. Recommended is the cheapest that is not "
        f"significantly worse than the best; a loss of less than {found.least:.3f} may have been missed."
    )
    show_table(sweep_table(found))


def _runs(title: str, rows: list[Overview]) -> None:
    found = choices(rows)
    show_chart(frontier(found, rows[0].metric, cost=COST), f"{len(found)} runs over {title}")
    note("The size of a point is what it cost: seconds of searching and answering for each question.")
    best = {each.label for each in found if each.best}
    ordered = sorted(rows, key=lambda row: (row.name not in best, row.p95_ms or 0.0))
    show_table(
        Table(
            ("run", "beaten", rows[0].metric, "p50 ms", "p95 ms", COST),
            tuple(
                (row.name, "no" if row.name in best else "yes", row.value, row.p50_ms, row.p95_ms, row.cost)
                for row in ordered
            ),
        )
    )
