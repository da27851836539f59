"""What Streamlit runs for `riddle dashboard`: reads its arguments and draws the page that the address names."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from eval.dashboard.app import show
from eval.dashboard.source import Source
from services.live_metrics import WatchedService


def source_of(arguments: Sequence[str]) -> Source:
    """What the command was told to look at."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path)
    parser.add_argument("--home", type=Path)
    parser.add_argument("--url", default="")
    chosen = parser.parse_args(arguments)
    return Source(chosen.runs, chosen.home, _watched(chosen.url.rstrip("/")) if chosen.url else None)


def _watched(url: str) -> WatchedService:
    import httpx

    return WatchedService(url, lambda: httpx.Client(base_url=url, trust_env=False))


if __name__ == "__main__":
    show(source_of(sys.argv[1:]))
