"""Random orders of changes, changes of rights, merges and cached searches, each answer checked at its moment."""

from __future__ import annotations

from pathlib import Path

from eval.bench.interleave import run_interleavings


def test_no_answer_is_stale_or_shows_what_is_excluded(tmp_path: Path) -> None:
    report = run_interleavings(tmp_path, 400, seed=11)
    assert report.problems == []
    assert min(report.done[what] for what in ("search", "search from the cache", "put", "delete", "rights")) > 0
