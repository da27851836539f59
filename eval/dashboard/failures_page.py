"""Page: what failed, and what was served without a stage, by kind."""

from __future__ import annotations

from eval.dashboard.parts import choose_runs, heading, note, show_chart, show_table
from eval.dashboard.source import Source
from eval.plots import failures_by_kind
from eval.run_tables import failure_table
from eval.run_views import failure_bars


def show(source: Source) -> None:
    heading("Failures", "Searches and answers that brought an error, searches without a stage, failed judgements.")
    runs = choose_runs(source, "failures")
    bars = failure_bars(runs)
    if not bars:
        if runs:
            note("Nothing failed in these runs.")
        return
    show_chart(failures_by_kind(bars), "Failures by kind")
    for run in runs:
        if rows := failure_table(run):
            note(run.name)
            show_table(rows)
