"""A machine is measured, the cost kept by model, and a file that cannot be read costs a new measurement only."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ranking.budget import CostModel, estimated_tokens
from ranking.cross_encoder import PAIR_TOKENS
from services.calibration import FILE, SHAPES, calibration_key, measured, opened_budget, store, stored
from services.cli import run
from tests.requires import need


class Clockwork:
    """A reranker that takes a millisecond a call and a tenth of one a token, by its own clock."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls = 0

    def score_round(
        self, query: str, texts: Sequence[str], deadline: float | None = None
    ) -> tuple[NDArray[np.float32], int]:
        self.calls += 1
        tokens = sum(estimated_tokens(query, texts, PAIR_TOKENS))
        self.now += (1 + 0.1 * tokens) / 1000
        return np.zeros(len(texts), np.float32), tokens


def test_every_shape_is_timed_in_every_round() -> None:
    machine = Clockwork()
    samples = measured(machine, rounds=3, clock=lambda: machine.now)
    assert machine.calls == 4 * len(SHAPES)
    assert [sample.pairs for sample in samples] == [pairs for pairs, _ in SHAPES] * 3
    assert all(sample.ms == pytest.approx(1 + 0.1 * sample.tokens) for sample in samples)


def test_costs_are_kept_by_model(tmp_path: Path) -> None:
    home = tmp_path / "home"
    first, second = CostModel(1.0, 0.1, 0.03, ratios=(0.9, 1.1)), CostModel(2.0, 0.2, 0.06)
    key, other = calibration_key("a", "f00", 0), calibration_key("a", "f00", 1)
    assert stored(home, key) is None
    store(home, key, first)
    store(home, other, second)
    assert (stored(home, key), stored(home, other)) == (first, second)


@pytest.mark.parametrize("text", ["", "[]", '{"a:f00:0": 3}', '{"a:f00:0": {"fixed_ms": "many"}}'])
def test_a_file_that_cannot_be_read_is_as_none_and_is_written_anew(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text, encoding="utf-8")
    key = calibration_key("a", "f00", 0)
    assert stored(tmp_path, key) is None
    store(tmp_path, key, CostModel(1.0, 0.1, 0.03))
    assert stored(tmp_path, key) == CostModel(1.0, 0.1, 0.03)


def test_a_budget_measures_once_and_then_reads_what_it_measured(tmp_path: Path) -> None:
    key, machine = calibration_key("a", "f00", 0), Clockwork()
    first = opened_budget(tmp_path, key, machine)
    calls = machine.calls
    assert opened_budget(tmp_path, key, machine).model == first.model
    assert machine.calls == calls > 0
    (tmp_path / "file").write_text("", encoding="utf-8")
    assert opened_budget(tmp_path / "file" / "home", key, machine).model.token_ms >= 0


@pytest.mark.slow
def test_the_command_measures_the_real_reranker(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = tmp_path / "home"
    (home / "models").mkdir(parents=True)
    (home / "models" / "riddle-reranker-en").symlink_to(need.model("riddle-reranker-en"))
    assert run(["calibrate", "--rounds", "1", "--home", str(home), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["token_ms"] > 0
    assert said["pairs_of_64_tokens"]["50"] <= said["pairs_of_64_tokens"]["300"]
    (key,) = json.loads((home / FILE).read_text(encoding="utf-8"))
    assert stored(home, key) is not None
    assert run(["calibrate", "--rounds", "1", "--home", str(home)]) == 0
    assert "in 100 ms" in capsys.readouterr().out


def test_without_a_reranker_there_is_nothing_to_calibrate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "riddle.toml").write_text('[models]\nreranker = ""\n', encoding="utf-8")
    assert run(["calibrate", "--home", str(tmp_path)]) == 1
    assert "nothing to calibrate" in capsys.readouterr().err
