"""A collection's ranking settings: what they say, how they are kept, and that the defaults serve every rung."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ranking.blend import Blend
from ranking.calibration import Calibration
from ranking.stage_table import FEW, Scale, StageTable, stage_table
from ranking.tuned import Tuned, TunedShelf, as_rung, defaults, rung_of, tuned_file, write_tuned
from retrieval.errors import InvalidRequest, SettingsError

TUNED = Tuned(
    Blend({"dense": 1.0, "rerank": 1.0}),
    (Calibration("fused", 1.0, -2.0), Calibration("rerank", 2.0, -3.0), Calibration("rerank", 2.5, -3.0, model="abc")),
    {"dense small": Scale(0.6, 0.03), "rerank abc": Scale(-8.0, 3.0)},
    {"queries": 40},
)
TABLE = stage_table(
    "what is it",
    [
        {"lexical": 5.0, "dense": 0.7, "fused": 0.03, "late": 9.0, "rerank": 0.2},
        {"lexical": 4.0, "dense": 0.9, "fused": 0.02, "late": 8.0, "rerank": 0.9},
        {"dense": 0.5, "fused": 0.01, "late": 1.0},
    ],
)


def test_the_best_rung_that_ran_judges() -> None:
    assert rung_of(TABLE) == "rerank"
    assert [rung_of(as_rung(TABLE, rung)) for rung in ("rerank", "late", "fused")] == ["rerank", "late", "fused"]
    assert as_rung(TABLE, "fused").names == ("lexical", "dense", "fused")


def test_probabilities_fall_along_the_order() -> None:
    for rung in ("rerank", "late", "fused"):
        judged = defaults().judge(as_rung(TABLE, rung))
        along = judged.probabilities[list(judged.order)]
        assert (np.diff(along) <= 0).all()
        assert sorted(judged.order) == [0, 1, 2]
        assert ((along > 0) & (along < 1)).all()


def test_what_is_read_first_does_not_depend_on_what_was_read() -> None:
    order, _ = defaults().reading_order(TABLE)
    assert order == list(defaults().judge(as_rung(TABLE, "late")).order)
    turned = StageTable(TABLE.query, TABLE.names, TABLE.scores * [1, 1, 1, 1, -1])
    assert defaults().reading_order(turned)[0] == order


def test_a_lone_candidate_is_judged_by_what_is_usual_of_the_models() -> None:
    """As a filter leaves it: nothing beside it tells whether it is good."""
    models = {"dense": "small", "rerank": "abc"}

    def told(dense: float, rerank: float, models: dict[str, str]) -> float:
        return float(TUNED.judge(stage_table("q", [{"dense": dense, "rerank": rerank}]), models).probabilities[0])

    assert told(0.8, 0.99, models) > 0.5 > 0.1 > told(0.55, 0.001, models)
    assert told(0.8, 0.99, {}) == told(0.55, 0.001, {}), "of unknown models nothing is usual"


def test_among_many_what_is_usual_is_what_they_show() -> None:
    many = stage_table("q", [{"dense": 0.5 + at / 100, "rerank": 0.5 + at / 100} for at in range(FEW)])
    known = TUNED.judge(many, {"dense": "small", "rerank": "another"})
    assert known.probabilities.tolist() == TUNED.judge(many, {"rerank": "another"}).probabilities.tolist()


def test_what_is_usual_counts_for_less_the_more_candidates_there_are() -> None:
    far = {"dense": Scale(0.0, 0.01)}
    means = [
        float(stage_table("q", [{"dense": 0.5 + at / 100} for at in range(count)]).standard(("dense",), far).mean())
        for count in (1, 10, 20, FEW)
    ]
    assert means == sorted(means, reverse=True)
    assert means[-1] == pytest.approx(0)


def test_no_candidates_are_judged_too() -> None:
    assert defaults().judge(stage_table("q", [])).order == ()


def test_a_calibration_is_of_its_model_or_of_any_or_of_the_rung_below() -> None:
    assert TUNED.calibration("rerank", "abc").slope == 2.5
    assert TUNED.calibration("rerank", "another").slope == 2.0
    assert TUNED.calibration("late").rung == "fused"
    with pytest.raises(SettingsError, match="not whole"):
        Tuned(TUNED.blend, ()).calibration("fused")


def test_the_version_follows_what_decides_and_nothing_else() -> None:
    assert Tuned(TUNED.blend, TUNED.calibrations, TUNED.usual, {"queries": 41}).version == TUNED.version
    assert Tuned(Blend({"dense": 1.0}), TUNED.calibrations).version != TUNED.version
    assert Tuned(TUNED.blend, TUNED.calibrations).version != TUNED.version


def test_settings_are_in_force_as_soon_as_they_are_written(tmp_path: Path) -> None:
    shelf = TunedShelf(tmp_path)
    assert shelf.of("docs") is defaults()
    path = write_tuned(tmp_path, "docs", TUNED)
    assert shelf.of("docs") == TUNED
    assert shelf.of("docs") is shelf.of("docs")
    assert shelf.of("other") is defaults()
    path.unlink()
    assert shelf.of("docs") is defaults()


@pytest.mark.parametrize("told", ["", "{", "[]", '{"format": 9}', '{"format": 1, "blend": {}}'])
def test_settings_that_cannot_be_read_are_said_and_not_passed_over(tmp_path: Path, told: str) -> None:
    path = tuned_file(tmp_path, "docs")
    path.parent.mkdir(parents=True)
    path.write_text(told)
    with pytest.raises(SettingsError, match="riddle tune"):
        TunedShelf(tmp_path).of("docs")


def test_settings_of_another_format_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="format"):
        Tuned.from_json({**TUNED.as_json(), "format": 2})
    assert Tuned.from_json(json.loads(json.dumps(TUNED.as_json()))) == TUNED


def test_the_defaults_trust_no_single_stage_alone() -> None:
    """So that a stage that fails on a collection does not take the order with it."""
    weights = defaults().blend.weights
    ran = {stage: weights[stage] for stage in ("lexical", "dense", "fused", "rerank")}
    assert all(weight < 0.6 * sum(ran.values()) for weight in ran.values())


def test_a_stage_that_says_nothing_changes_no_order() -> None:
    flat = StageTable(TABLE.query, TABLE.names, TABLE.scores * [1, 1, 1, 0, 1])
    blend = Blend({"dense": 1.0, "late": 3.0})
    assert blend.order(flat) == blend.order(TABLE.only(("dense",)))
