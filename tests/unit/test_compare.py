"""Two runs are compared over the queries that both asked, query by query, and refused when they are not alike."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from eval.compare import compare, compare_results
from eval.results import Results, results_of
from retrieval.errors import InvalidRequest
from services.cli import run as riddle
from tests.simulated_runs import manifest, results, world, write

IDS = [f"q{number}" for number in range(40)]


def of(values: Mapping[str, list[float]], stage: str = "final", name: str = "run", **changed: object) -> Results:
    """A run of forty questions with these values of metrics."""
    return Results(
        name=name,
        manifest=manifest(name, **changed),
        questions={each: f"the words of {each}" for each in IDS},
        qrels={each: {"d": 1} for each in IDS},
        by_query={stage: {metric: dict(zip(IDS, told, strict=False)) for metric, told in values.items()}},
        times={},
    )


def test_a_run_does_not_differ_from_itself(tmp_path: Path) -> None:
    folder = write(results(world(50, 1), 2), tmp_path / "run")
    comparison = compare(folder, folder)
    assert len(comparison.differences) == 3
    assert {(each.p, each.corrected, each.difference, each.ties) for each in comparison.differences} == {(1, 1, 0, 50)}
    assert {(each.paired.low, each.paired.value, each.paired.high) for each in comparison.latencies} == {(1, 1, 1)}
    assert comparison.notes == ()


def test_what_is_read_from_a_folder_is_what_was_measured(tmp_path: Path) -> None:
    before = replace(results(world(30, 3), 4), failed={"search": frozenset({"q3", "q7"})})
    read = results_of(write(before, tmp_path / "run"))
    assert read.by_query == before.by_query
    assert read.failed == before.failed
    assert read.questions == before.questions
    assert set(before.questions) - set(read.times["client"]) == {"q3", "q7"}
    assert read.times["rerank"]["q5"] == before.times["rerank"]["q5"]


def test_a_difference_says_who_won_and_which_queries_moved_most() -> None:
    a = of({"nDCG@10": [0.5] * 40})
    b = of({"nDCG@10": [0.1, 0.3, 0.9, *[0.5] * 37]})
    (difference,) = compare_results(a, b, shown=2).differences
    assert (difference.wins, difference.losses, difference.ties) == (1, 2, 37)
    assert difference.difference == pytest.approx(-0.005)
    assert [(each.query_id, each.b) for each in difference.lost] == [("q0", 0.1), ("q1", 0.3)]
    assert [(each.query_id, each.text) for each in difference.won] == [("q2", "the words of q2")]
    assert difference.low < difference.difference < difference.high


def test_p_is_corrected_for_all_metrics_shown() -> None:
    loss = [0.4, 0.3] * 6 + [0.5] * 28
    a = of({"nDCG@10": [0.5] * 40, "R@20": [0.5] * 40, "RR@10": [0.5] * 40})
    b = of({"nDCG@10": loss, "R@20": [0.5] * 40, "RR@10": [0.5] * 40})
    three, one = compare_results(a, b).differences[0], compare_results(a, b, ["nDCG@10"]).differences[0]
    assert one.p == one.corrected == three.p == pytest.approx(2 / 2**12)
    assert three.corrected == pytest.approx(3 * one.p)
    assert three.least > one.least


def test_a_query_without_a_ranking_counts_zero() -> None:
    a = of({"nDCG@10": [1.0] * 40})
    b = of({"nDCG@10": [1.0] * 39})
    (difference,) = compare_results(a, b).differences
    assert difference.mean_b == pytest.approx(39 / 40)
    assert [each.query_id for each in difference.lost] == ["q39"]


def test_failures_are_told_with_the_queries_that_newly_failed() -> None:
    a = replace(of({"nDCG@10": [1.0] * 40}), failed={"search": frozenset({"q1"})})
    b = replace(of({"nDCG@10": [1.0] * 40}), failed={"search": frozenset({"q1", "q9", "q2"})})
    (failures,) = compare_results(a, b).failures
    assert (failures.part, failures.asked, failures.a, failures.b, failures.new) == ("search", 40, 1, 3, ("q2", "q9"))


def test_answers_that_no_judge_could_judge_are_left_out_and_counted() -> None:
    a = of({"faithfulness": [1.0] * 40}, "answer")
    b = of({"faithfulness": [0.5] * 30}, "answer")
    (difference,) = compare_results(a, b).differences
    assert (difference.queries, difference.unscored, difference.mean_b) == (30, 10, 0.5)


def test_queries_that_one_run_lacks_are_left_out_and_named() -> None:
    a, b = of({"nDCG@10": [1.0] * 40}, name="all"), of({"nDCG@10": [1.0] * 40}, name="some", dataset={"name": "s"})
    b = replace(b, questions={each: a.questions[each] for each in IDS[:25]})
    comparison = compare_results(a, b)
    assert comparison.queries == comparison.differences[0].queries == 25
    assert any("some lacks 15 queries of all, such as q25" in note for note in comparison.notes)
    assert any("the sets differ" in note for note in comparison.notes)


def test_stages_and_collections_that_are_not_the_same_are_noted() -> None:
    a = of({"nDCG@10": [1.0] * 40}, name="a", target={"documents": 1000})
    b = of({"nDCG@10": [1.0] * 40}, name="b", target={"documents": 2000})
    b = replace(b, by_query={**b.by_query, "dense": {"nDCG@10": {}}}, degraded=4)
    notes = "\n".join(compare_results(a, b).notes)
    assert "a has no dense; b has" in notes
    assert "4 searches or answers of b were degraded" in notes
    assert "1,000 documents, b 2,000" in notes


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"questions": {"x": "another"}}, "no query in common"),
        ({"questions": {each: f"{each}?" for each in IDS}}, "asks something else"),
        ({"qrels": {each: {"d": 2} for each in IDS}}, "judged differently"),
        ({"manifest": manifest("b", settings={"k": 10, "metrics": ["nDCG@10", "R@20"]})}, "same k"),
        ({"manifest": manifest("b", settings={"k": 100, "metrics": ["AP"]})}, "measured other metrics"),
    ],
)
def test_runs_that_are_not_alike_are_refused(changed: dict[str, object], why: str) -> None:
    a = of({"nDCG@10": [1.0] * 40})
    with pytest.raises(InvalidRequest, match=why):
        compare_results(a, replace(a, **changed))  # type: ignore[arg-type]


def test_other_metrics_are_no_hindrance_when_those_to_compare_are_named() -> None:
    a = of({"nDCG@10": [1.0] * 40, "AP": [1.0] * 40}, settings={"k": 100, "metrics": ["nDCG@10", "AP"]})
    b = of({"nDCG@10": [1.0] * 40}, settings={"k": 100, "metrics": ["nDCG@10"]})
    assert [each.name for each in compare_results(a, b, ["final:nDCG@10"]).differences] == ["final:nDCG@10"]
    with pytest.raises(InvalidRequest, match="not both runs have the metric AP; they have nDCG@10"):
        compare_results(a, b, ["AP"])


def test_an_unfinished_run_is_refused(tmp_path: Path) -> None:
    run = results(world(10, 5), 6)
    folder = write(replace(run, manifest=manifest("run", finished=False)), tmp_path / "run")
    with pytest.raises(InvalidRequest, match="is not finished"):
        compare(folder, folder)


def test_times_are_compared_where_the_cache_said_the_same() -> None:
    a = replace(
        of({"nDCG@10": [1.0] * 40}),
        times={"client": dict.fromkeys(IDS, 10.0)},
        caches=dict.fromkeys(IDS, "miss"),
    )
    b = replace(
        a,
        times={"client": dict.fromkeys(IDS, 1.0) | dict.fromkeys(IDS[:20], 15.0)},
        caches=dict.fromkeys(IDS, "hit") | dict.fromkeys(IDS[:20], "miss"),
    )
    (latency,) = compare_results(a, b).latencies
    assert (latency.queries, latency.p50_b) == (20, 15.0)
    assert latency.paired.value == pytest.approx(1.5)


def test_times_of_other_machines_say_nothing() -> None:
    a, b = of({"nDCG@10": [1.0] * 40}), of({"nDCG@10": [1.0] * 40}, machine="two")
    assert "other machines" in compare_results(a, b).times_differ
    settings = {"k": 100, "metrics": ["nDCG@10", "R@20"], "jobs": 4}
    assert "4" in compare_results(a, of({"nDCG@10": [1.0] * 40}, settings=settings)).times_differ
    assert compare_results(a, a).times_differ == ""


def test_metrics_of_a_judge_that_is_unfit_or_was_never_tried_are_marked(tmp_path: Path) -> None:
    run = of({name: [1.0] * 40 for name in ("faithfulness", "context_recall", "groundedness", "f1")}, "answer")
    folder, other = write(run, tmp_path / "run"), write(run, tmp_path / "other")
    judges = {
        "small": {"fit": False, "balanced_accuracy": 0.56, "metrics": ["faithfulness"]},
        "large": {"fit": True, "balanced_accuracy": 0.9, "metrics": ["context_recall"]},
        "new": {"fit": None, "balanced_accuracy": None, "metrics": ["groundedness"]},
    }
    folder.write_json("judges.json", judges)
    other.write_json("judges.json", {"another": judges["large"]})
    unfit = {each.metric: each.unfit for each in compare(folder, folder).differences}
    assert "unfit (balanced accuracy 0.56)" in unfit["faithfulness"]
    assert "not calibrated" in unfit["groundedness"]
    assert unfit["context_recall"] == unfit["f1"] == ""
    unfit = {each.metric: each.unfit for each in compare(folder, other).differences}
    assert "large judged run, and another" in unfit["context_recall"]


def test_a_comparison_is_plain_json() -> None:
    a = of({"nDCG@10": [1.0] * 3})
    a = replace(a, questions={each: each for each in IDS[:3]}, qrels={each: {"d": 1} for each in IDS[:3]})
    comparison = compare_results(a, a)
    assert comparison.differences[0].least == math.inf
    told = json.loads(json.dumps(comparison.as_json(), allow_nan=False))
    assert told["differences"][0]["least"] is None


def test_the_command_shows_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    at = world(60, 7)
    a = write(results(at, 8), tmp_path / "before")
    b = write(replace(results(at, 9, worse=0.9), failed={"search": frozenset({"q4"})}), tmp_path / "after")
    assert riddle(["eval", "compare", str(a.path), str(b.path), "--queries", "2"]) == 0
    shown = capsys.readouterr().out
    assert "before -> after: 60 questions of simulated" in shown
    assert "lost most in final:nDCG@10:" in shown
    assert "* p(all) below 0.05" in shown
    assert "failed (search), counted 0: 0 of 60 in A, 1 of 60 in B" not in shown
    assert "failed (search), counted 0: 0 of 60 in A, 1 in B" in shown
    assert "rerank" in shown
    assert riddle(["eval", "compare", str(a.path), str(b.path), "--json", "--metric", "nDCG@10"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [each["metric"] for each in told["differences"]] == ["nDCG@10"]


def test_the_command_says_what_is_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert riddle(["eval", "compare", str(tmp_path / "a"), str(tmp_path / "b")]) == 1
    assert "is no run" in capsys.readouterr().err
