"""What pages are made of: headings, tables, charts, and choosing among runs; text of documents is never markdown."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from eval.dashboard.source import Source, opened, readable
from eval.html import Markup, element, joined, table
from eval.plots import Chart
from eval.run_overview import Overview
from eval.run_tables import Table, Value
from eval.run_views import LoadedRun

STYLE = Markup(
    """<style>
.riddle{overflow-wrap:anywhere}.riddle p{margin:.3rem 0}
.riddle .wide{overflow-x:auto}
.riddle table{border-collapse:collapse;font-size:.86rem;font-variant-numeric:tabular-nums;width:auto}
.riddle th,.riddle td{padding:.25rem .55rem;border:0;border-bottom:1px solid;
border-color:color-mix(in srgb,currentColor 18%,transparent);
text-align:start;vertical-align:top;max-width:34rem;overflow-wrap:break-word}
.riddle th{opacity:.75;white-space:nowrap}.riddle .number{text-align:end;white-space:nowrap}
.riddle .note{opacity:.75;font-size:.88rem}.riddle .bad{color:#D55E00;font-weight:600}
.riddle .answer{white-space:pre-wrap;border-inline-start:3px solid #0072B2;padding-inline-start:.8rem}
.riddle mark{background:color-mix(in srgb,#E69F00 32%,transparent);color:inherit;border-radius:2px}
.riddle article{border:1px solid color-mix(in srgb,currentColor 18%,transparent);border-radius:8px;
padding:.5rem .8rem;margin:.5rem 0}
.riddle .grade{border-radius:1rem;padding:0 .5rem;font-size:.8rem;border:1px solid currentColor}
.riddle .right{background:color-mix(in srgb,#009E73 28%,transparent)}
</style>"""
)

HEIGHT = 360
"""Of a chart with its axes and its legend, in pixels."""

MOST_RUNS = 6
"""In one chart; colours are told apart so far."""


def html(*parts: object, class_: str = "") -> None:
    """Show HTML; whatever is not Markup is escaped."""
    st.html(joined((STYLE, element("div", *parts, class_=f"riddle {class_}".strip()))))


def note(words: str) -> None:
    html(element("p", words, class_="note"))


def heading(words: str, about: str = "") -> None:
    """Words of ours only: Streamlit reads them as markdown."""
    st.subheader(words, anchor=False)
    if about:
        note(about)


def show_table(rows: Table, most: int = 200, longest: int = 300) -> None:
    """A table to read."""
    html(table(rows, most, longest))


def show_grid(rows: Table, key: str) -> None:
    """A table to sort and search, for long lists."""
    columns = {name: [_short(value) for value in values] for name, values in rows.by_column().items()}
    st.dataframe(columns, hide_index=True, key=key)


def show_chart(chart: Chart, title: str) -> None:
    html(element("p", element("b", title)))
    # Streamlit fits axes and legend into the height as well; charts that grow with their bars know their own.
    st.altair_chart(chart, width="stretch", height=HEIGHT if isinstance(chart.height, int) else "content")


def choose_run(source: Source, label: str, key: str) -> Overview | None:
    """One of the runs, the newest unless another is chosen; None, having said so, when there is none."""
    rows = {row.name: row for row in readable(source)}
    if not rows:
        missing(source)
        return None
    name = st.selectbox(label, list(rows), key=key, bind="query-params")
    return rows.get(name)


def choose_other(source: Source, run: Overview, key: str) -> Overview | None:
    """A run over the same set to put beside ``run``, the one before it unless another is chosen; None for none."""
    rows = {row.name: row for row in readable(source) if row.dataset == run.dataset and row.name != run.name}
    earlier = next((name for name, row in rows.items() if row.created <= run.created), None)
    options = ["nothing", *rows]
    name = st.selectbox(
        "Beside", options, index=options.index(earlier) if earlier else 0, key=f"{key}-{run.name}",
        format_func=lambda each: "no other run" if each == "nothing" else each,
    )  # fmt: skip
    return rows.get(name)


def choose_runs(source: Source, key: str) -> list[LoadedRun]:
    """Runs over one set, the newest two unless others are chosen, oldest first; empty, having said so, for none."""
    rows = readable(source)
    if not rows:
        missing(source)
        return []
    sets = list(dict.fromkeys(row.dataset for row in rows))
    chosen_set = st.selectbox("Set of questions", sets, key=f"{key}-set") if len(sets) > 1 else sets[0]
    named = {row.name: row for row in rows if row.dataset == chosen_set}
    names = st.multiselect(
        "Runs", list(named), default=list(named)[:2], max_selections=MOST_RUNS, key=f"{key}-runs-{chosen_set}"
    )
    return [opened(named[name]) for name in sorted(names, key=lambda name: (named[name].created, name))]


def choose_metric(metrics: Sequence[str], key: str, first: str = "") -> str:
    index = metrics.index(first) if first in metrics else 0
    return str(st.selectbox("Metric", metrics, index=index, key=key))


def missing(source: Source) -> None:
    if source.runs is None:
        note("No folder of runs was named: riddle dashboard --runs DIR")
    else:
        note(f"There is no run in {source.runs}: riddle eval run --dataset DIR --out {source.runs}/NAME makes one")


def _short(value: Value) -> Value:
    return float(f"{value:.4g}") if isinstance(value, float) else value
