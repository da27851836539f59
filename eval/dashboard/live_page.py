"""Page: a running service: ready or not, requests, times by stage, cache, what went without a stage."""

from __future__ import annotations

import streamlit as st

from eval.chart_rows import Bar
from eval.dashboard.parts import heading, html, note, show_chart, show_table
from eval.dashboard.source import Source
from eval.html import element, number
from eval.live_view import (
    ANSWERS,
    DEGRADED,
    RUNNING,
    Live,
    Sighting,
    cache_share,
    request_table,
    shares,
    since,
    stage_table,
)
from eval.plots import latency_by_stage
from eval.run_tables import Table

EVERY_S = 5.0

LAST = "live-last"
"""Where the session keeps its look before."""


def show(source: Source) -> None:
    heading("Service")
    if source.live is None:
        note("No service was named: riddle dashboard --url http://127.0.0.1:8080")
        return
    live = source.live

    def watched() -> None:
        _look(live)

    st.fragment(watched, run_every=EVERY_S)()


def _look(live: Live) -> None:
    seen = live.look()
    before = st.session_state.get(LAST)
    st.session_state[LAST] = seen
    html(element("p", f"{live.url} · {seen.detail}", class_="" if seen.ready else "bad"))
    if not seen.samples:
        return
    if isinstance(before, Sighting) and before.samples and seen.at > before.at:
        seconds = seen.at - before.at
        heading("Now", f"In the {seconds:.0f} seconds since the look before; looked at again every {EVERY_S:.0f} s.")
        show_table(request_table(since(before, seen), seconds))
    heading("Since the service was started")
    share = cache_share(seen.samples)
    running = sum(each.value for each in seen.samples if each.name == RUNNING)
    html(
        element("p", f"Cache hits: {'–' if share is None else f'{share:.1%}'} · answers being written: {running:.0f}"),
    )
    show_table(request_table(seen.samples))
    stages = stage_table(seen.samples)
    if stages:
        bars = [
            Bar(name.removesuffix(" ms"), str(row[0]), value)
            for row in stages.rows
            for name, value in zip(stages.columns, row, strict=True)
            if name in ("p50 ms", "p95 ms") and isinstance(value, float)
        ]
        show_chart(latency_by_stage(bars), "Milliseconds by stage")
        show_table(stages)
    for title, name, label in (("Answers", ANSWERS, "outcome"), ("Searches without a stage", DEGRADED, "stage")):
        if counted := shares(seen.samples, name, label):
            note(title)
            show_table(Table((label, "count"), tuple((each, number(int(count))) for each, count in counted.items())))
