"""Calibrated probabilities: they keep what they promise, and never change an order within a query."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ranking.calibration import Calibration, calibration_error, fit_calibration, reliability
from ranking.query_signs import SIGNS, Scale
from ranking.stage_table import Floats, sigmoid
from retrieval.errors import InvalidRequest

SCALES = {name: Scale(0.0, 1.0) for name in SIGNS}


def drawn(seed: int, queries: int = 300) -> tuple[list[Floats], list[Floats], list[Floats]]:
    """Scores of a rung whose true probability is sigmoid(2 s - 3 + the query's first sign)."""
    rng = np.random.default_rng(seed)
    signs = [np.concatenate([rng.normal(size=1), np.zeros(len(SIGNS) - 1)]) for _ in range(queries)]
    scores = [rng.normal(size=30) for _ in range(queries)]
    relevant = [
        (rng.random(30) < sigmoid(2 * s - 3 + each[0])).astype(float) for s, each in zip(scores, signs, strict=True)
    ]
    return scores, relevant, signs


def test_probabilities_keep_what_they_promise_on_queries_held_out() -> None:
    found = fit_calibration("rerank", *drawn(1), SCALES)
    assert (found.slope, found.intercept, found.signs[SIGNS[0]]) == pytest.approx((2, -3, 1), abs=0.15)
    scores, relevant, signs = drawn(2)
    told = np.concatenate([found.probabilities(s, each) for s, each in zip(scores, signs, strict=True)])
    assert calibration_error(told, np.concatenate(relevant)) < 0.01
    for each in reliability(told, np.concatenate(relevant)):
        assert each.promised == pytest.approx(each.kept, abs=0.1 if each.count > 100 else 1)


def test_signs_make_better_probabilities_than_scores_alone() -> None:
    scores, relevant, signs = drawn(3)
    alone, with_signs = (
        fit_calibration("late", scores, relevant),
        fit_calibration("late", scores, relevant, signs, SCALES),
    )

    def surprise(told: list[Floats]) -> float:
        return -float(
            np.concatenate(
                [y * np.log(p) + (1 - y) * np.log(1 - p) for p, y in zip(told, relevant, strict=True)]
            ).mean()
        )

    assert surprise([with_signs.probabilities(s, each) for s, each in zip(scores, signs, strict=True)]) < surprise(
        [alone.probabilities(s) for s in scores]
    )


def test_within_a_query_the_order_stays() -> None:
    found = fit_calibration("ltr", *drawn(4), SCALES)
    scores = np.sort(np.random.default_rng(5).normal(size=50))
    assert (np.diff(found.probabilities(scores, np.ones(len(SIGNS)))) > 0).all()


def test_scores_that_mislead_still_give_probabilities_that_rise() -> None:
    scores = [np.arange(10.0)] * 20
    relevant = [np.arange(10) < 2] * 20
    found = fit_calibration("fused", scores, [each.astype(float) for each in relevant])
    assert found.slope > 0
    assert found.probabilities(scores[0]) == pytest.approx(np.full(10, 0.2), abs=0.02)


def test_a_perfect_split_is_not_certainty() -> None:
    found = fit_calibration("fused", [np.array([0.0, 1.0])] * 5, [np.array([0.0, 1.0])] * 5)
    assert 0.5 < found.probabilities(np.array([1.0]))[0] < 0.99


@pytest.mark.parametrize("relevant", [[], [np.zeros(3)], [np.ones(3)]])
def test_a_calibration_wants_both_kinds(relevant: list[Floats]) -> None:
    with pytest.raises(InvalidRequest, match="relevant"):
        fit_calibration("fused", [np.arange(3.0)] * len(relevant), relevant)


def test_error_and_bins_by_hand() -> None:
    told, kept = np.array([0.05, 0.15, 0.15, 0.95]), np.array([0.0, 0.0, 1.0, 1.0])
    assert [(each.count, round(each.promised, 2), each.kept) for each in reliability(told, kept)] == [
        (1, 0.05, 0.0), (2, 0.15, 0.5), (1, 0.95, 1.0)
    ]  # fmt: skip
    assert calibration_error(told, kept) == pytest.approx((0.05 + 2 * 0.35 + 0.05) / 4)
    assert calibration_error(np.empty(0), np.empty(0)) == 0


def test_a_calibration_is_read_back_as_it_was_written() -> None:
    found = Calibration("rerank", 1.5, -2.0, {"agreement": 0.5}, SCALES, "abc")
    again = Calibration.from_json(json.loads(json.dumps(found.as_json())))
    assert again == found
    assert again.version == found.version != Calibration("rerank", 1.5, -2.0).version


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"format": 1, "rung": "x"},
        {"format": 1, "rung": "x", "slope": -1, "intercept": 0, "signs": {}, "scales": {}, "model": ""},
    ],
)
def test_what_is_no_calibration_is_refused(told: dict[str, object]) -> None:
    with pytest.raises(InvalidRequest):
        Calibration.from_json(told)
