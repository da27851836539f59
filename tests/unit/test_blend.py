"""The blend: what is learned, how far little evidence moves it, and that it is safe without any."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ranking.blend import Blend, Judged, learn, usual_scales
from ranking.listwise import fit_listwise
from ranking.query_signs import SIGNS, query_signs, scaled
from ranking.stage_table import BLENDED, FEW, Floats, Scale, StageTable, stage_table
from retrieval.errors import InvalidRequest

SCALES = {name: Scale(0.0, 1.0) for name in SIGNS}


def table(seed: int, good: str = "dense", count: int = 40) -> tuple[StageTable, Floats]:
    """Candidates of which one is relevant: ``good`` says so, the other stages say nothing."""
    rng = np.random.default_rng(seed)
    gains = np.zeros(count)
    gains[rng.integers(count)] = 1
    scores = {stage: rng.normal(size=count) for stage in ("lexical", "dense", "rerank")}
    scores[good] = scores[good] + 3 * gains
    names = ("lexical", "dense", "rerank")
    return StageTable(f"question {seed}", names, np.stack([scores[name] for name in names], axis=1)), gains


def judged(queries: int, good: str = "dense", first: int = 0) -> list[Judged]:
    return [Judged(*table(seed, good)) for seed in range(first, first + queries)]


def first_places(blend: Blend, lists: list[Judged]) -> float:
    return float(np.mean([each.gains[blend.order(each.table)[0]] for each in lists]))


START = Blend({"lexical": 0.5, "dense": 0.5, "rerank": 0.5})


@pytest.mark.parametrize("good", ["lexical", "dense", "rerank"])
def test_the_stage_that_knows_comes_to_decide(good: str) -> None:
    learned = learn(judged(200, good), START)
    assert max(learned.weights, key=lambda stage: learned.weights[stage]) == good
    held_out = judged(200, good, first=1000)
    assert first_places(learned, held_out) > first_places(START, held_out) + 0.1


def test_without_judgements_nothing_moves() -> None:
    assert learn([], START).weights == START.weights
    nothing_found = [Judged(table(1)[0], np.zeros(40))]
    assert learn(nothing_found, START).weights == pytest.approx(START.weights)


def test_few_judgements_move_less_than_many() -> None:
    moved = [abs(learn(judged(queries), START).weights["dense"] - 0.5) for queries in (2, 20, 200)]
    assert moved[0] < moved[1] < moved[2]


def test_the_order_of_judgements_does_not_matter() -> None:
    one = learn(judged(30), START)
    other = learn(judged(30)[::-1], START)
    assert one.weights == pytest.approx(other.weights, abs=1e-5)


def test_a_stage_that_misleads_is_left_out_and_never_turned_round() -> None:
    lists = [
        Judged(StageTable("q", each.table.names, each.table.scores * [1, 1, -1]), each.gains)
        for each in judged(300, "rerank")
    ]
    assert learn(lists, START, weight_spread=2.0).weights["rerank"] == 0


def test_a_sign_that_tells_when_a_stage_serves_moves_its_weight() -> None:
    """The cross-encoder serves long queries only: as many words as there are candidates found by both channels."""
    lists = []
    for seed in range(200):
        long = seed % 2 == 0
        found, gains = table(seed, "rerank" if long else "dense")
        lists.append(Judged(StageTable("word " * (20 if long else 1), found.names, found.scores), gains))
    start = Blend(START.weights, {}, usual_scales([each.table for each in lists]))
    learned = learn(lists, start, slope_spread=0.5)
    assert learned.slopes["rerank"]["length"] > 0.1
    assert learned.slopes["dense"]["length"] < -0.1
    assert first_places(learned, lists) > first_places(learn(lists, start), lists)


@given(st.integers(0, 500), st.floats(0.01, 100), st.floats(-50, 50))
@settings(max_examples=40)
def test_a_stage_may_change_its_scale_and_no_score_changes(seed: int, factor: float, shift: float) -> None:
    found, _ = table(seed)
    changed = StageTable(found.query, found.names, found.scores * [factor, 1, 1] + [shift, 0, 0])
    assert START.scores(changed) == pytest.approx(START.scores(found), abs=1e-6)


def test_stages_that_did_not_run_add_nothing() -> None:
    blend = Blend({"dense": 1.0, "rerank": 5.0})
    found = stage_table("q", [{"dense": 0.9}, {"dense": 0.4}])
    assert blend.order(found) == [0, 1]
    assert blend.trust(found).tolist() == [1.0 if stage == "dense" else 0.0 for stage in BLENDED]


def test_one_candidate_and_none_are_ordered_too() -> None:
    assert START.order(stage_table("q", [{"dense": 0.9}])) == [0]
    assert START.order(stage_table("q", [])) == []


def test_what_a_channel_did_not_find_counts_as_its_last_hit() -> None:
    found = stage_table("q", [{"lexical": 3.0, "dense": 0.5}, {"lexical": 1.0, "dense": 0.4}, {"dense": 0.6}])
    standard = found.standard(("lexical", "dense"))
    assert standard[2, 0] == standard[1, 0] == -1
    assert standard[:, 1].mean() == pytest.approx(0)


def test_what_a_model_was_not_shown_counts_as_the_middle_of_what_it_saw() -> None:
    found = stage_table("q", [{"rerank": p} for p in (0.9, 0.5, 0.1)] + [{"fused": 0.1}])
    assert found.standard(("rerank",))[3, 0] == pytest.approx(0)


def test_probabilities_of_the_reranker_are_taken_back_to_logits() -> None:
    found = stage_table("q", [{"rerank": 0.5}, {"rerank": 1 / (1 + np.exp(-3.0))}, {"rerank": 1.0}])
    assert found.of("rerank")[:2] == pytest.approx([0, 3])
    assert np.isfinite(found.of("rerank")).all()


def test_a_blend_is_read_back_as_it_was_written() -> None:
    blend = Blend({"dense": 0.4, "late": 1.0}, {"dense": {"length": -0.2}}, SCALES)
    again = Blend.from_json(json.loads(json.dumps(blend.as_json())))
    assert again == blend
    assert again.version == blend.version
    assert Blend({"dense": 0.41, "late": 1.0}, blend.slopes, SCALES).version != blend.version


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"format": 2, "weights": {}},
        {"format": 1},
        {"format": 1, "weights": {"dense": "much"}, "slopes": {}, "scales": {}},
    ],
)
def test_what_is_no_blend_is_refused(told: dict[str, object]) -> None:
    with pytest.raises(InvalidRequest):
        Blend.from_json(told)


@pytest.mark.parametrize("weights", [{"dense": -1.0}, {"dense": float("nan")}, {"magic": 1.0}])
def test_weights_that_mean_nothing_are_refused(weights: dict[str, float]) -> None:
    with pytest.raises(InvalidRequest, match="a blend weighs"):
        Blend(weights)


def test_slopes_want_the_scales_of_their_signs() -> None:
    with pytest.raises(InvalidRequest, match="scales"):
        Blend({"dense": 1.0}, {"dense": {"length": 1.0}})


def test_signs_are_what_they_say() -> None:
    rows = [
        {"lexical": 10.0 - at, "dense": 0.9 - at / 100, "fused": 0.5 - at / 100, "rerank": 0.9 - at / 100}
        for at in range(FEW)
    ]
    signs = dict(zip(SIGNS, query_signs(stage_table("two words", rows)), strict=True))
    assert signs["agreement"] == 1
    assert signs["rerank_agreement"] == pytest.approx(1)
    assert signs["rerank_sure"] == pytest.approx(0.9)
    assert signs["length"] == pytest.approx(np.log2(3))
    assert signs["lexical_peak"] == pytest.approx((FEW - 1) / 2 / np.std(np.arange(FEW)))


def test_few_candidates_show_no_signs_that_compare_them() -> None:
    few = [{"lexical": 10.0 - at, "dense": 0.9 - at / 100, "fused": 0.5 - at / 100, "rerank": 0.9} for at in range(5)]
    signs = dict(zip(SIGNS, query_signs(stage_table("two words", few)), strict=True))
    assert {name for name, sign in signs.items() if np.isfinite(sign)} == {"rerank_sure", "length"}


def test_a_sign_that_is_not_known_changes_nothing() -> None:
    signs = query_signs(stage_table("q", [{"lexical": 1.0}]))
    assert np.isnan(signs[:5]).all()
    assert scaled(signs, SCALES)[:5].tolist() == [0] * 5


def test_the_fit_is_where_the_slope_of_the_posterior_vanishes() -> None:
    rng = np.random.default_rng(7)
    features = [rng.normal(size=(20, 3)) for _ in range(50)]
    gains = [np.eye(20)[int(np.argmax(x @ [1.0, 0.5, 0.0] + rng.gumbel(size=20)))] for x in features]
    prior, spread, lowest = np.zeros(3), np.full(3, 10.0), np.full(3, -np.inf)
    found = fit_listwise(features, gains, prior, spread, lowest)

    def loss(at: Floats) -> float:
        each = [np.log(np.exp(x @ at).sum()) - y @ x @ at for x, y in zip(features, gains, strict=True)]
        return float(sum(each) + (at**2).sum() / 200)

    for at in range(3):
        for shift in (-0.01, 0.01):
            assert loss(found) < loss(found + shift * np.eye(3)[at])
    assert found == pytest.approx([1.0, 0.5, 0.0], abs=0.4)
