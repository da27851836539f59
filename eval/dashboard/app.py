"""The whole dashboard: its pages, and where each is."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from eval.dashboard import (
    answers_page,
    failures_page,
    frontier_page,
    latency_page,
    live_page,
    quality_page,
    questions_page,
    runs_page,
    usage_page,
)
from eval.dashboard.source import Source

Page = Callable[[Source], None]

MEASURED: dict[str, Page] = {
    "Runs": runs_page.show,
    "Quality": quality_page.show,
    "Questions": questions_page.show,
    "Answers": answers_page.show,
    "Latency": latency_page.show,
    "Failures": failures_page.show,
    "Frontier": frontier_page.show,
}
SERVED: dict[str, Page] = {"Users": usage_page.show, "Service": live_page.show}


def show(source: Source) -> None:
    """Draw the page that the address names; called anew at each change."""
    st.set_page_config(page_title="Riddle", layout="wide")
    chosen = st.navigation(
        {
            "Measured": [_page(source, title, page) for title, page in MEASURED.items()],
            "In use": [_page(source, title, page) for title, page in SERVED.items()],
        }
    )
    chosen.run()


def _page(source: Source, title: str, page: Page) -> st.Page:
    def shown() -> None:
        page(source)

    return st.Page(shown, title=title, url_path=title.lower(), default=title == "Runs")
