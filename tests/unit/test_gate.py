"""The gate stops what lost quality or speed, lets pass what did not, and says when it cannot tell."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from eval.gate import LOST, PASSED, TOO_SMALL, Policy, gate, gate_results
from eval.results import Results
from retrieval.errors import InvalidRequest
from services.cli import run as riddle
from tests.simulated_runs import manifest, results, world, write
from tests.unit.test_compare import IDS, of

AT = world(120, 1)
CALM = Policy(least=0.2)


def binary(lost: int, metric: str = "nDCG@10") -> Results:
    """Forty questions, of which the first so many found nothing."""
    return of({metric: [0.0] * lost + [1.0] * (40 - lost)})


def test_an_unchanged_run_passes() -> None:
    run = results(AT, 2)
    verdict = gate_results(run, run, CALM)
    assert (verdict.outcome, verdict.exit_code, verdict.reasons) == (PASSED, 0, ())
    assert [each.name for each in verdict.comparison.differences] == ["final:nDCG@10", "final:R@20"]


def test_a_significant_loss_stops_and_an_equal_gain_does_not() -> None:
    assert gate_results(binary(0), binary(8), CALM).outcome == LOST
    assert gate_results(binary(8), binary(0), CALM).outcome == PASSED


def test_a_loss_that_may_be_chance_passes() -> None:
    a, b = of({"nDCG@10": [1.0] * 20 + [0.0] * 20}), of({"nDCG@10": [1.0] * 15 + [0.0] * 20 + [1.0] * 5})
    worse = replace(b, by_query={"final": {"nDCG@10": {**b.by_query["final"]["nDCG@10"], "q39": 0.0}}})
    assert gate_results(a, worse, Policy(least=1.0)).outcome == PASSED


def test_a_set_that_shows_only_great_losses_is_too_small() -> None:
    verdict = gate_results(binary(0), binary(0), Policy())
    assert (verdict.outcome, verdict.exit_code) == (TOO_SMALL, 3)
    assert "shows no loss below 0.150" in verdict.reasons[0]


def test_few_questions_are_too_small_whatever_they_show() -> None:
    run = results(world(15, 3), 4)
    assert "15 queries, fewer than 20" in gate_results(run, run, CALM).reasons[0]


def test_a_significant_loss_outweighs_a_set_that_is_too_small() -> None:
    verdict = gate_results(binary(0), binary(8), Policy())
    assert (verdict.outcome, verdict.exit_code) == (LOST, 1)
    assert len(verdict.reasons) == 2


def test_a_slower_stage_stops_and_is_named() -> None:
    verdict = gate_results(results(AT, 5, drift=0.001), results(AT, 6, slower={"rerank": 1.5}, drift=0.001), CALM)
    assert verdict.outcome == LOST
    assert any(reason.startswith("rerank takes 1.") for reason in verdict.reasons)
    assert not any(reason.startswith("lexical") for reason in verdict.reasons)


def test_a_stage_that_nobody_can_feel_may_double() -> None:
    assert gate_results(results(AT, 7), results(AT, 7, slower={"fuse": 2.0}), CALM).outcome == PASSED
    sharp = Policy(least=0.2, latency_floor_ms=0.0)
    assert gate_results(results(AT, 7), results(AT, 7, slower={"fuse": 2.0}), sharp).outcome == LOST


def test_the_bound_on_latency_is_the_callers() -> None:
    slower = results(AT, 8, slower={"rerank": 1.4})
    assert gate_results(results(AT, 8), slower, Policy(least=0.2, latency_bound=1.5)).outcome == PASSED
    assert gate_results(results(AT, 8), slower, Policy(least=0.2, latency_bound=1.3)).outcome == LOST


def test_the_stages_whose_times_are_gated_are_the_callers() -> None:
    before, slower = results(AT, 8), results(AT, 8, slower={"rerank": 3.0})
    assert gate_results(before, slower, Policy(least=0.2, times=("lexical", "dense"))).outcome == PASSED
    assert gate_results(before, slower, Policy(least=0.2, times=("rerank",))).outcome == LOST
    verdict = gate_results(before, slower, Policy(least=0.2, times=()))
    assert (verdict.outcome, verdict.ungated) == (PASSED, ("times",))
    with pytest.raises(InvalidRequest, match="not both runs have times of reranking; they have embed, lexical"):
        gate_results(before, slower, Policy(times=("reranking",)))


def test_times_of_other_machines_gate_nothing() -> None:
    slower = replace(results(AT, 9, slower={"rerank": 3.0}), manifest=manifest("b", machine="an older one"))
    verdict = gate_results(results(AT, 9), slower, CALM)
    assert verdict.outcome == PASSED
    assert "other machines" in verdict.ungated[0]


def test_more_failures_stop() -> None:
    run = results(AT, 10)
    failing = replace(run, failed={"search": frozenset(f"q{number}" for number in range(3))})
    verdict = gate_results(run, failing, CALM)
    assert "3 of 120 requests failed (search), 0 before; such as q0" in verdict.reasons
    assert gate_results(failing, failing, CALM).outcome == PASSED
    assert gate_results(run, failing, Policy(least=0.2, failures=0.05)).outcome == PASSED


def judged(path: Path, value: float, fit: bool) -> Path:
    run = of({"nDCG@10": [0.5, 1.0] * 20}, name=path.name)
    answers = {
        name: dict.fromkeys(IDS, given) for name, given in (("faithfulness", value), ("f1", 1.0), ("answered", value))
    }
    folder = write(replace(run, by_query={**run.by_query, "answer": answers}), path)
    told = {"fit": fit, "balanced_accuracy": 0.9 if fit else 0.6, "metrics": ["faithfulness"]}
    folder.write_json("judges.json", {"judge": told})
    return path


def test_an_unfit_judge_gates_nothing_and_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = judged(tmp_path / "a", 1.0, fit=False), judged(tmp_path / "b", 0.5, fit=False)
    assert riddle(["eval", "gate", str(a), str(b), "--least", "0.2"]) == 0
    assert "not gated: answer:faithfulness: the judge judge is unfit" in capsys.readouterr().out
    assert riddle(["eval", "gate", str(a), str(b), "--metric", "faithfulness"]) == 1
    assert "no metric to gate on" in capsys.readouterr().err


def test_a_fit_judge_gates_and_what_is_no_matter_of_quality_does_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = judged(tmp_path / "a", 1.0, fit=True), judged(tmp_path / "b", 0.5, fit=True)
    assert riddle(["eval", "gate", str(a), str(b), "--least", "0.2", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert [each["metric"] for each in told["comparison"]["differences"]] == ["nDCG@10", "faithfulness", "f1"]
    assert told["outcome"] == LOST
    assert len(told["reasons"]) == 1


def test_recall_is_gated_near_what_a_user_looks_at() -> None:
    run = of({name: [0.5, 1.0] * 20 for name in ("R@5", "R@100", "R@20", "nDCG@10", "Judged@10")})
    names = [each.metric for each in gate_results(run, run, CALM).comparison.differences]
    assert names == ["R@20", "nDCG@10"]


def test_a_gate_over_nothing_is_refused() -> None:
    run = of({"Judged@10": [1.0] * 40})
    with pytest.raises(InvalidRequest, match="no metric to gate on"):
        gate_results(run, run, CALM)
    with pytest.raises(InvalidRequest, match="latency bound"):
        Policy(latency_bound=0.9)


def test_the_command_ends_with_the_code_of_the_outcome(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = write(binary(0), tmp_path / "good"), write(binary(9), tmp_path / "bad")
    assert riddle(["eval", "gate", str(good.path), str(bad.path)]) == 1
    assert "lost: final:nDCG@10 fell by 0.2250" in capsys.readouterr().out
    assert riddle(["eval", "gate", str(good.path), str(good.path)]) == 3
    assert riddle(["eval", "gate", str(good.path), str(good.path), "--least", "0.2"]) == 0
    assert "passed: good may take the place of good" in capsys.readouterr().out
    assert riddle(["eval", "gate", str(good.path)]) == 2
    assert riddle(["eval", "gate", str(good.path), str(good.path), "--least", "0.2", "--times", "none"]) == 0
    assert riddle(["eval", "gate", str(good.path), str(good.path), "--times", "client"]) == 1
    assert gate(good, bad).exit_code == 1
