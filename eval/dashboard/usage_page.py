"""Page: what users do: searches without a result, refusals, rewordings, clicks at rank, ratings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from eval.dashboard.parts import heading, note, show_chart, show_table
from eval.dashboard.source import Source
from eval.plots import by_day, clicks_at_rank
from eval.usage import Usage, usage
from eval.usage_rows import FEEDBACK_FOLDER, LOG_FOLDER, feedback_rows, query_rows
from eval.usage_tables import (
    click_bars,
    day_bars,
    failing_table,
    latency_table,
    rewording_table,
    summary_table,
    trouble_bars,
)


@dataclass(frozen=True, slots=True)
class Read:
    """The usage of one home folder, and the lines of it that could not be read."""

    usage: Usage
    unreadable: int


def show(source: Source) -> None:
    heading("Users", "What people searched and asked, from the query log, and what they thought of it, from feedback.")
    if source.home is None:
        note("No home folder was named: riddle dashboard --home DIR")
        return
    read: Read = _read(str(source.home), _stamp(source.home))
    if read.unreadable:
        note(f"{read.unreadable} lines of the log could not be read and are left out.")
    if not read.usage.days:
        note(f"Nobody has searched yet, or the log is off: there is no line in {source.home / LOG_FOLDER}.")
        return
    _shown(read.usage)


def _shown(found: Usage) -> None:
    left, right = st.columns(2)
    with left:
        show_chart(by_day(day_bars(found)), "Searches and answers by day")
        show_table(summary_table(found))
    with right:
        if bars := trouble_bars(found):
            show_chart(by_day(bars, "searches and answers"), "What went wrong, by day")
        if bars := click_bars(found):
            show_chart(clicks_at_rank(bars), "Clicks at rank")
        rank = found.clicks.mean_reciprocal_rank
        if rank is not None:
            note(f"Of searches that led to a click, the mean reciprocal rank of the best click is {rank:.2f}.")
    if failing := failing_table(found):
        heading("Queries that did not get what they wanted", "Most troubles first.")
        show_table(failing)
    if reworded := rewording_table(found):
        heading("Asked again in other words")
        show_table(reworded)
    heading("Times", "Milliseconds of whole searches, of the first words of answers, and of whole answers.")
    show_table(latency_table(found), most=60)
    if found.machines:
        note(f"{found.machines:,} lines of measurements count nowhere.")


def _stamp(home: Path) -> tuple[int, int]:
    """Changes with every line that is written: files and bytes of the log and the feedback."""
    files = [path.stat().st_size for name in (LOG_FOLDER, FEEDBACK_FOLDER) for path in (home / name).glob("*.jsonl")]
    return len(files), sum(files)


def _load(home: str, stamp: tuple[int, int]) -> Read:
    unreadable: list[str] = []
    found = usage(query_rows(Path(home), unreadable.append), feedback_rows(Path(home), unreadable.append))
    return Read(found, len(unreadable))


_read = st.cache_resource(_load, max_entries=2, show_spinner="Reading the log …")
