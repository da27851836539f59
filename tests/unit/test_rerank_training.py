"""Rerankers are trained on lists: they learn what lists teach, and a run that was stopped goes on where it was."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ranking.train.lists import part_of
from ranking.train.training import ADAPTER, JOURNAL
from tests.rerank_training import tiny_folder, tiny_plan, tiny_training


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("base"))


def losses(run: Path) -> dict[int, float]:
    rows = [json.loads(line) for line in (run / JOURNAL).read_text(encoding="utf-8").splitlines()]
    return {row["step"]: row["loss"] for row in rows if "loss" in row}


@pytest.mark.slow
def test_a_reranker_learns_the_order_of_its_lists(base: Path, tmp_path: Path) -> None:
    found = tiny_training(base, tiny_plan(60), tmp_path / "run")
    # Five passages in random order come to 0.59.
    assert found["mean"] > 0.7
    assert (tmp_path / "run" / ADAPTER).stat().st_size < 100_000


@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on_where_it_was(base: Path, tmp_path: Path) -> None:
    tiny_training(base, tiny_plan(12), tmp_path / "whole")
    tiny_training(base, tiny_plan(12), tmp_path / "stopped", stop_at=4)
    tiny_training(base, tiny_plan(12), tmp_path / "stopped")
    whole, stopped = losses(tmp_path / "whole"), losses(tmp_path / "stopped")
    assert whole
    assert stopped == pytest.approx(whole, rel=1e-4)


def test_a_fifth_of_the_questions_is_held_apart_by_name_alone() -> None:
    held = [part_of("scifact", str(number)) == "dev" for number in range(4000)]
    assert 0.18 < sum(held) / len(held) < 0.22
    assert part_of("scifact", "7") == part_of("scifact", "7")
