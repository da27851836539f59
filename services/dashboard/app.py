"""What Streamlit runs for `riddle dashboard`: reads its arguments and draws the page that the address names."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from eval.dashboard.app import show
from eval.dashboard.source import Source


def source_of(arguments: Sequence[str]) -> Source:
    """What the command was told to look at."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path)
    parser.add_argument("--home", type=Path)
    parser.add_argument("--url", default="")
    chosen = parser.parse_args(arguments)
    live = None
    if chosen.url:
        import httpx

        from services.live_metrics import WatchedService

        live = WatchedService(httpx.Client(base_url=chosen.url, trust_env=False))
    return Source(chosen.runs, chosen.home, live)


if __name__ == "__main__":
    show(source_of(sys.argv[1:]))
