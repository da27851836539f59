"""What a dashboard looks at, and reading it once for all who look."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from eval.compare import compare
from eval.comparison import Comparison
from eval.live_view import Live
from eval.run_overview import Overview, overviews
from eval.run_views import LoadedRun, load_run
from eval.runs import RunFolder
from retrieval.errors import RiddleError

HELD = 8
"""Runs kept in memory; one of 500 questions takes some 100 MB while it is read."""


@dataclass(frozen=True, slots=True)
class Source:
    """What the command line named; None where it named nothing."""

    runs: Path | None = None
    home: Path | None = None
    live: Live | None = None


def runs_of(source: Source) -> list[Overview]:
    """All runs, oldest first, damaged ones among them."""
    return overviews(source.runs) if source.runs is not None and source.runs.is_dir() else []


def readable(source: Source) -> list[Overview]:
    """Runs that can be read, the newest first."""
    return [row for row in reversed(runs_of(source)) if not row.problem]


def opened(row: Overview) -> LoadedRun:
    """The whole run; read again once a file of it changed. Raises IndexUnreadable when it is damaged."""
    run: LoadedRun = _opened(str(row.path), row.name, _stamp(row.path))
    return run


def compared(before: Overview, after: Overview) -> Comparison | str:
    """The comparison of two runs, or why there is none."""
    found: Comparison | str = _compared(str(before.path), str(after.path), _stamp(before.path), _stamp(after.path))
    return found


def _stamp(folder: Path) -> int:
    return max(path.stat().st_mtime_ns for path in folder.iterdir())


def _load(path: str, name: str, stamp: int) -> LoadedRun:
    return load_run(RunFolder(Path(path)), name)


def _compare(before: str, after: str, first_stamp: int, second_stamp: int) -> Comparison | str:
    try:
        return compare(RunFolder(Path(before)), RunFolder(Path(after)))
    except RiddleError as error:
        return error.detail


_opened = st.cache_resource(_load, max_entries=HELD, show_spinner="Reading the run …")
_compared = st.cache_resource(_compare, max_entries=HELD, show_spinner="Comparing …")
