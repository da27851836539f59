"""Trials of learned rankers: a real gain is adopted, noise is not, and the tool says what it could have seen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from eval.ltr_lists import as_lists, columns_of_run, judged_list, lists_of_run
from eval.ltr_trial import learned, quality, queries_needed, stage_order, trial
from eval.retrieval_metrics import evaluate
from ranking.features import FeatureSet, columns_without
from ranking.ltr import LtrModel
from retrieval.errors import InvalidRequest
from tests.learned import SMALL, candidate, judged_lists
from tests.runs import Made, write_run

FEATURES = FeatureSet()
COLUMNS = columns_without(FEATURES.names, ["rerank"])


def test_a_real_gain_is_adopted_and_the_model_orders_what_it_has_not_seen() -> None:
    judged = judged_lists(160)
    found = trial(judged, FEATURES, COLUMNS, settings=SMALL)
    assert found.adopted, found.reason
    assert found.gain > 0.05
    assert found.low < found.gain < found.high
    assert found.p < 0.05
    assert found.needed is not None
    assert all(half.after > half.before for half in found.halves)
    assert sum(half.queries for half in found.halves) == found.queries == 160
    assert len(found.held_out) == 160
    file = learned(judged, FEATURES, COLUMNS, found, {"collection": "docs"}, SMALL)
    unseen = judged_lists(60, seed=9)
    model = LtrModel(file)
    before, after = (
        float(np.mean(list(quality(unseen, order).values())))
        for order in (stage_order(unseen, FEATURES.names, "fused") or [], [model.scores(x.vectors) for x in unseen])
    )
    assert after > before
    assert file.card["trial"]["adopted"] is True
    assert file.card["collection"] == "docs"
    assert next(iter(file.card["importance"])).startswith("dense.")


def test_noise_is_not_adopted_and_the_reason_says_why() -> None:
    judged = judged_lists(120, signal=0.0)
    found = trial(judged, FEATURES, COLUMNS, settings=SMALL)
    assert not found.adopted
    assert "gains none" in found.reason or "chance" in found.reason
    assert found.as_json()["adopted"] is False


def test_noise_is_taken_for_a_gain_no_more_often_than_the_level_says() -> None:
    """Relevance that no column but the fused rank knows of; the trees can at best find that rank again."""
    adopted = [
        trial(
            judged_lists(60, signal=0.0, seed=seed, rows=8), FEATURES, COLUMNS, settings=replace(SMALL, rounds=8)
        ).adopted
        for seed in range(30)
    ]
    assert sum(adopted) <= 2


def test_halves_do_not_depend_on_the_order_of_the_lists() -> None:
    judged = judged_lists(80)
    one, other = (trial(each, FEATURES, COLUMNS, settings=SMALL) for each in (judged, judged[::-1]))
    assert [half.queries for half in one.halves] == [half.queries for half in other.halves]
    assert one.before == pytest.approx(other.before)


def test_too_few_queries_are_no_trial() -> None:
    with pytest.raises(InvalidRequest, match="at least 20"):
        trial(judged_lists(30), FEATURES, COLUMNS, settings=SMALL)


def test_a_stage_that_nobody_has_cannot_be_beaten() -> None:
    with pytest.raises(InvalidRequest, match="the stage late"):
        trial(judged_lists(80), FEATURES, COLUMNS, against="late", settings=SMALL)
    with pytest.raises(InvalidRequest, match="no stage"):
        trial(judged_lists(80), FEATURES, COLUMNS, against="final", settings=SMALL)


def test_quality_is_that_of_ir_measures_and_counts_what_no_candidate_brings() -> None:
    (each,) = judged_lists(1)
    lacking = replace(each, judged={**each.judged, "elsewhere": 1})
    scores = np.arange(len(each.names), 0.0, -1)
    run = {"q": {name: -float(rank) for rank, name in enumerate(each.names)}}
    for judged in (each, lacking):
        assert quality([judged], [scores])["q0"] == pytest.approx(
            evaluate({"q": dict(judged.judged)}, run, ["nDCG@10"])["nDCG@10"]
        )


def test_a_document_stands_where_its_best_passage_does() -> None:
    found = [candidate("x#0"), candidate("y#0"), candidate("x#1")]
    each = judged_list("q", "words", found, {"x": 1}, FEATURES)
    assert each.grades.tolist() == [1, 0, 1]
    assert quality([each], [np.array([0.0, 1.0, 2.0])])["q"] == 1.0


def test_lists_of_one_query_are_averaged_by_their_weights() -> None:
    one, other = judged_lists(2)
    same = [replace(one, weight=3.0), replace(other, query=one.query, weight=1.0)]
    best = [each.grades.astype(np.float64) for each in same]
    assert quality(same, [best[0], -best[1]])[one.query] == pytest.approx(0.75, abs=0.01)


def test_how_many_queries_a_gain_needs_follows_its_size() -> None:
    draw = np.random.default_rng(2)
    differences = draw.normal(0.02, 0.2, 400)
    needed = queries_needed(differences, 0.05)
    assert needed is not None
    exact = (2.8016 * differences.std(ddof=1) / differences.mean()) ** 2
    assert needed == pytest.approx(exact, abs=1.5)
    assert queries_needed(-differences, 0.05) is None


def test_a_run_folder_gives_lists_of_its_stages_and_no_words(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", Made(questions=60))
    lists = lists_of_run(run, FEATURES)
    columns = columns_of_run(FEATURES.names)
    assert len(lists) == 60
    inputs = np.array([FEATURES.names.index(name) for name in columns])
    table = as_lists(lists, inputs)
    assert np.isfinite(table.vectors[:, columns.index("lexical.rank")]).any()
    assert not [name for name in columns if name.startswith(("text.", "title.", "passage."))]
    found = trial(lists, FEATURES, columns, settings=SMALL)
    assert found.after >= found.before  # the reranker of the made run is better than the fused order


def test_a_run_without_judgements_is_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", Made(questions=6))
    (run.path / "qrels.trec").write_text("")
    with pytest.raises(InvalidRequest, match="judge"):
        lists_of_run(run, FEATURES)
