"""When the evidence is said not to carry an answer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from generation.abstain import Evidence, Thresholds, coverage, evidence, load_thresholds
from retrieval.types import StageScore
from tests.passages import candidates


def test_the_reranker_is_believed_before_the_encoder_and_the_encoder_before_the_words() -> None:
    by_words = candidates("a ship", scored_by="fused")
    dense = [replace(c, stages={**c.stages, "dense": StageScore(1, 0.7)}) for c in by_words]
    reranked = [replace(c, stages={**c.stages, "rerank": StageScore(1, 0.9)}) for c in dense]
    assert evidence("ship", by_words, "en").scale == "coverage"
    assert evidence("ship", dense, "en") == Evidence("en", "dense", 0.7)
    found = evidence("ship", reranked, "en")
    assert found.scale == "rerank"
    assert found.value == pytest.approx(2.197, abs=1e-3)


def test_the_best_candidate_decides_wherever_it_stands() -> None:
    found = evidence("ship", candidates("a", "b", scored_by="rerank", scores=[0.1, 0.5]), "en")
    assert found.value == pytest.approx(0.0)


def test_certain_probabilities_stay_finite() -> None:
    for score in (0.0, 1.0):
        assert abs(evidence("q", candidates("a", scored_by="rerank", scores=[score]), "en").value) < 25


def test_coverage_is_the_share_of_the_question_that_one_passage_holds() -> None:
    assert coverage("When did the ship sink?", candidates("The ship did sink in May.")) == 1
    assert coverage("When did the ship sink?", candidates("Bananas.")) == 0
    split = coverage("ship sink banana", candidates("A ship.", "To sink.", "A banana."))
    assert 0 < split < 0.5


def test_coverage_of_a_question_of_function_words_is_zero() -> None:
    assert coverage("what is it?", candidates("It is what it is.")) == 0


def test_question_words_do_not_count_in_chinese() -> None:
    assert coverage("长江有多长？", candidates("长江全长约6300公里。")) > coverage(
        "长江有多长？", candidates("黄河在北方。")
    )
    assert coverage("什么是长江？", candidates("长江在南方。")) == 1


def test_a_scale_without_threshold_always_carries() -> None:
    thresholds = Thresholds({("en", "rerank"): 1.0})
    assert thresholds.carry(Evidence("en", "dense", -1.0))
    assert thresholds.carry(Evidence("en", "rerank", 1.0))
    assert not thresholds.carry(Evidence("en", "rerank", 0.99))


def test_thresholds_are_read_from_their_file(tmp_path: Path) -> None:
    file = tmp_path / "abstention.toml"
    file.write_text('date = "2025-01-01"\n[en.rerank]\nthreshold = 0.5\nbalanced_accuracy = 0.9\n', encoding="utf-8")
    assert load_thresholds(file).least == {("en", "rerank"): 0.5}


def test_the_thresholds_that_ship_cover_every_scale_that_the_defaults_use() -> None:
    least = load_thresholds().least
    assert {("en", "rerank"), ("en", "dense"), ("en", "coverage"), ("zh", "coverage")} <= set(least)
