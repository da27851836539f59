"""`riddle eval sweep` with the real command and real weights: indexes shared, what is done kept, settings that load."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

import pytest

from eval.runs import RunFolder
from services.settings import environment, load
from tests.processes import program
from tests.requires import need

PATIENCE_S = 900.0


def command(out: Path, home: Path, *more: str) -> list[str]:
    told = [
        "eval",
        "sweep",
        "--dataset",
        str(need.data("adi")),
        "--limit",
        "12",
        "--home",
        str(home),
        "--out",
        str(out),
    ]
    return [sys.executable, "-m", "services.cli", *told, *more]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home of its own, with the models of the shared one."""
    models = need.home("all-minilm-l6-v2", "riddle-reranker-en") / "models"
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "models").symlink_to(models)
    (tmp_path / "home" / "riddle.toml").write_text('[models]\nencoder = "all-minilm-l6-v2"\n')
    return tmp_path / "home"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_sweep_that_is_stopped_goes_on_and_ends_in_settings_that_load(home: Path, tmp_path: Path) -> None:
    out, log = tmp_path / "sweep", tmp_path / "log"
    axes = ["--set", "chunk.target_tokens=100,200", "--set", "rank.depth=0,5"]
    with program("sweep", command(out, home, *axes), environment(), log) as stopped:
        stopped.wait_until(lambda: "finished" in stopped.said(), PATIENCE_S)
        assert stopped.stop(PATIENCE_S) not in (0, -signal.SIGKILL)
    whole = {path.parent for path in out.glob("*/manifest.json") if RunFolder(path.parent).manifest().finished}
    before = {path: (path / "searches.jsonl").stat().st_mtime_ns for path in whole}
    assert before

    with program("sweep", command(out, home, *axes, "--json"), environment(), log) as again:
        assert again.wait(PATIENCE_S) == 0, again.said()
    assert {path: (path / "searches.jsonl").stat().st_mtime_ns for path in whole} == before
    frontier = json.loads((out / "frontier.json").read_text())
    assert len(frontier["rows"]) == 4
    assert frontier["failed"] == {}
    assert all(row["quality"] > 0 and row["p50_ms"] > 0 for row in frontier["rows"])
    # Two ways of chunking are two indexes, each built once and searched by two points.
    collections = [RunFolder(out / row["name"]).manifest().target["collection"] for row in frontier["rows"]]
    assert len(set(collections)) == 2
    settings = load(out / "recommended.toml", {}).settings
    chosen = next(row["settings"] for row in frontier["rows"] if row["name"] == frontier["recommended"])
    assert settings.rank.depth == int(chosen["rank.depth"])
    assert settings.chunk.target_tokens == int(chosen["chunk.target_tokens"])
    assert "<svg" in (out / "frontier.svg").read_text()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_point_that_cannot_run_is_shown_and_stops_no_other(home: Path, tmp_path: Path) -> None:
    out, log = tmp_path / "sweep", tmp_path / "log"
    axes = ["--set", f"models.encoder=all-minilm-l6-v2,{tmp_path / 'no-such-model'}", "--set", "rank.depth=0"]
    with program("sweep", command(out, home, *axes), environment(), log) as swept:
        assert swept.wait(PATIENCE_S) == 1
        assert "FAILED models.encoder=" in swept.said()
        assert "no-such-model" in swept.said()
    assert len(json.loads((out / "frontier.json").read_text())["rows"]) == 1
