"""Page: how long requests and their stages took, and how that goes under load."""

from __future__ import annotations

import streamlit as st

from eval.dashboard.parts import choose_runs, heading, note, show_chart, show_table
from eval.dashboard.source import Source
from eval.load_view import load_dots, load_in, load_table, load_words
from eval.plots import latency_distribution, load_curve
from eval.run_overview import TOTALS
from eval.run_tables import timing_table
from eval.run_views import LoadedRun, latency_samples


def show(source: Source) -> None:
    heading("Latency", "Times as the service took them; 'client' is the whole request as its caller waits for it.")
    runs = choose_runs(source, "latency")
    for run in runs:
        _load(run)
    samples = {run.name: latency_samples(run) for run in runs}
    stages = list(dict.fromkeys(stage for each in samples.values() for stage in each))
    if not stages:
        if runs and not any(run.load for run in runs):
            note("Nothing was timed in these runs.")
        return
    whole = next((stage for stage in TOTALS if stage in stages), stages[0])
    stage = str(st.selectbox("Stage", stages, index=stages.index(whole), key="latency-stage"))
    timed = {name: each[stage] for name, each in samples.items() if stage in each}
    show_chart(latency_distribution(timed), f"Share of requests by time: {stage}")
    for run in runs:
        heading("Stages of a run")
        note(run.name)
        show_chart(
            latency_distribution({stage: values for stage, values in samples[run.name].items() if stage not in TOTALS}),
            "Share of requests by time, each stage",
        )
        show_table(timing_table(run))


def _load(run: LoadedRun) -> None:
    found = load_in(run.load)
    if found is None:
        return
    heading("Load")
    note(f"{run.name}: {load_words(found)}")
    for each in found.notes:
        note(each)
    show_chart(load_curve(load_dots(found), found.bound.ms if found.bound else None), "Latency by the rate of requests")
    show_table(load_table(found))
