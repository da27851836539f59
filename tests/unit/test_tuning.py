"""Tuning: a gain is adopted only when it survives the halves that it was not learned from."""

from __future__ import annotations

import numpy as np
import pytest

from eval.tuning import DEFAULT, FEWEST, IN_FORCE, SIGNS, UNREAD, WEIGHTS, WORTH, Asked, decide, look, needed
from ranking.blend import Blend
from ranking.query_signs import SIGNS as NAMES
from ranking.stage_table import Scale, StageTable
from retrieval.errors import InvalidRequest

DEFAULTS = Blend({"lexical": 0.5, "dense": 0.5, "fused": 0.5, "rerank": 0.5})


def asked(queries: int, good: str | None, strength: float = 3.0, seed: int = 0) -> list[Asked]:
    """Queries with one relevant document each, which the stage ``good`` knows of; with None no stage does."""
    rng = np.random.default_rng(seed)
    names = ("lexical", "dense", "fused", "rerank")
    found = []
    for number in range(queries):
        scores = rng.normal(size=(30, len(names)))
        right = int(rng.integers(30))
        if good:
            scores[right, names.index(good)] += strength
        documents = tuple(f"d{place}" for place in range(30))
        found.append(Asked(f"q{number}", StageTable("a question", names, scores), documents, {f"d{right}": 1}))
    return found


def test_a_stage_that_serves_this_collection_comes_to_decide() -> None:
    verdict = decide(asked(80, "dense"), DEFAULTS)
    assert verdict.adopted in (WEIGHTS, SIGNS)
    tried = {each.name: each for each in verdict.trials}
    assert tried[WEIGHTS].gain > 0.05
    assert tried[WEIGHTS].low > 0
    assert tried[WEIGHTS].p < 0.05
    assert verdict.blend.weights["dense"] > DEFAULTS.weights["dense"]
    assert verdict.needed is None


def test_what_no_stage_knows_is_not_learned() -> None:
    verdict = decide(asked(80, None), DEFAULTS)
    assert verdict.adopted == ""
    assert verdict.blend == DEFAULTS
    assert verdict.needed is not None
    assert verdict.needed > 80


def test_chance_is_adopted_no_more_often_than_the_level_says() -> None:
    adopted = [bool(decide(asked(30, None, seed=seed), DEFAULTS).adopted) for seed in range(15)]
    assert sum(adopted) <= 2


def test_too_few_judgements_decide_nothing_whatever_they_say() -> None:
    verdict = decide(asked(FEWEST - 1, "dense", 6.0), DEFAULTS)
    assert verdict.adopted == ""
    assert "too few" in verdict.reason


def test_all_ways_are_shown_and_the_default_is_what_they_are_compared_with() -> None:
    verdict = decide(asked(40, "rerank"), DEFAULTS, Blend({"rerank": 1.0}))
    tried = {each.name: each for each in verdict.trials}
    alone = {f"{stage} alone" for stage in ("lexical", "dense", "fused", "rerank")}
    assert set(tried) == {DEFAULT, IN_FORCE, UNREAD, WEIGHTS, *alone}
    assert tried[UNREAD].gain < 0
    assert (tried[DEFAULT].gain, tried[DEFAULT].p) == (0, 1)
    assert tried["rerank alone"].gain > 0 > tried["fused alone"].gain
    assert tried[IN_FORCE].value == pytest.approx(tried["rerank alone"].value, abs=0.02)


def test_what_is_in_force_stays_when_nothing_is_adopted() -> None:
    now = Blend({"dense": 1.0})
    verdict = decide(asked(40, None, seed=1), DEFAULTS, now)
    assert (verdict.adopted, verdict.blend) == ("", now)


def test_signs_are_tried_where_the_default_knows_their_scale() -> None:
    scaled = Blend(DEFAULTS.weights, {}, {name: Scale(0.0, 1.0) for name in NAMES})
    assert SIGNS in {each.name for each in decide(asked(30, "dense"), scaled).trials}


def test_the_same_judgements_give_the_same_verdict() -> None:
    assert decide(asked(30, "dense"), DEFAULTS) == decide(asked(30, "dense"), DEFAULTS)


def test_queries_without_a_relevant_document_say_nothing() -> None:
    some = asked(30, "dense")
    none = [Asked("other", each.table, each.documents, {"d1": 0}) for each in some[:1]]
    assert decide([*some, *none], DEFAULTS).queries == 30
    with pytest.raises(InvalidRequest, match="nothing to learn"):
        decide(none, DEFAULTS)


def test_a_document_counts_once_at_its_best_passage() -> None:
    table = StageTable("q", ("dense",), np.array([[0.1], [0.9], [0.8], [0.7]]))
    each = Asked("q", table, ("right", "wrong", "wrong", "right"), {"right": 1})
    assert decide([each], DEFAULTS).trials[0].value == pytest.approx(1 / np.log2(3))


def test_questions_that_nobody_judged_show_the_best_channel_and_move_nothing() -> None:
    verdict = look(asked(60, "dense"), DEFAULTS)
    assert (verdict.adopted, verdict.blend) == ("", DEFAULTS)
    assert "dense alone" in verdict.reason
    assert {WEIGHTS, SIGNS}.isdisjoint(each.name for each in verdict.trials)
    with pytest.raises(InvalidRequest, match="no question"):
        look([], DEFAULTS)


def test_as_many_queries_are_needed_as_the_formula_says() -> None:
    rng = np.random.default_rng(3)
    differences = rng.normal(0.03, 0.2, 100)
    differences += 0.03 - differences.mean()
    expected = ((1.984 + 0.845) * differences.std(ddof=1) / 0.03) ** 2
    assert needed(differences) == pytest.approx(expected, rel=0.02)
    still = differences - 0.03
    assert needed(still) == pytest.approx(expected * (0.03 / WORTH) ** 2, rel=0.02)
    assert needed(np.zeros(50)) is None
