"""What is shown of run folders: whole runs, single questions, two runs side by side."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from eval.question_views import (
    best_rank,
    citation_rows,
    moved_most,
    pieces_of,
    question_view,
    wanted_rows,
    worst_questions,
)
from eval.run_overview import choices, headline, overview, overviews
from eval.run_tables import Table, Value, judged_table, judges_table
from eval.run_views import (
    LoadedRun,
    difference_of,
    failure_bars,
    failures_of,
    latency_samples,
    load_run,
    quality_bars,
    question_rows,
    ranking_metrics,
    timings_of,
)
from eval.targets import Answered, Cited
from retrieval.errors import InvalidRequest
from tests.runs import Made, write_run


def rows_of(table: Table) -> list[dict[str, Value]]:
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("runs")
    write_run(
        root / "before", Made(seed=1, noise=1.5, created="2026-05-01T10:00:00+00:00", answers=True, failing=("q3",))
    )
    write_run(root / "after", Made(seed=2, noise=0.3, created="2026-05-02T10:00:00+00:00", answers=True))
    return root


@pytest.fixture(scope="module")
def before(folder: Path) -> LoadedRun:
    return load_run(overviews(folder)[0].folder)


@pytest.fixture(scope="module")
def after(folder: Path) -> LoadedRun:
    return load_run(overviews(folder)[1].folder)


def test_runs_are_listed_by_when_they_were_made_with_what_they_are_known_by(folder: Path) -> None:
    rows = overviews(folder)
    assert [row.name for row in rows] == ["before", "after"]
    assert {row.metric for row in rows} == {"final nDCG@10"}
    assert [row.failures for row in rows] == [2, 0]
    assert rows[0].value is not None
    assert rows[1].value is not None
    assert rows[0].value < rows[1].value
    assert rows[0].dataset == "harbour (test)"
    assert rows[0].target == "riddle in process · harbour"


def test_a_damaged_run_is_a_line_that_says_so_and_the_others_stay(tmp_path: Path) -> None:
    write_run(tmp_path / "good")
    write_run(tmp_path / "bad").path.joinpath("manifest.json").write_text("{")
    rows = overviews(tmp_path)
    assert {row.name: bool(row.problem) for row in rows} == {"good": False, "bad": True}
    assert "damaged" in next(row.problem for row in rows if row.problem)


def test_a_single_run_is_listed_by_its_own_name(tmp_path: Path) -> None:
    write_run(tmp_path / "alone")
    assert [row.name for row in overviews(tmp_path / "alone")] == ["alone"]


def test_a_folder_without_a_run_is_refused_with_what_to_do(tmp_path: Path) -> None:
    from eval.runs import RunFolder

    with pytest.raises(InvalidRequest, match="riddle eval run"):
        load_run(RunFolder(tmp_path))
    assert overviews(tmp_path) == []
    assert overview(RunFolder(tmp_path)).problem


def test_a_run_is_known_by_what_the_user_sees_and_else_by_its_answers() -> None:
    assert headline({"lexical": {"nDCG@10": 0.1}, "final": {"RR@10": 0.3, "nDCG@10": 0.2}}) == ("final", "nDCG@10")
    assert headline({"answer": {"EM": 0.5}}) == ("answer", "EM")
    assert headline({}) == ("", "")


def test_quality_is_told_by_stage_without_the_metrics_of_answers(before: LoadedRun) -> None:
    bars = quality_bars([before], "nDCG@10")
    assert [bar.category for bar in bars] == ["lexical", "dense", "fused", "rerank", "final"]
    assert ranking_metrics([before]) == ["nDCG@10", "RR@10", "R@20"]


def test_times_of_answers_stand_apart_from_those_of_searches(before: LoadedRun) -> None:
    samples = latency_samples(before)
    assert len(samples["rerank"]) == 5
    assert len(samples["answer.client_first"]) == 5
    assert timings_of(before)["client"]["n"] == 5


def test_failures_are_counted_by_kind_with_an_example(before: LoadedRun) -> None:
    rows = {row.kind: row for row in failures_of(before)}
    assert rows["search: unavailable"].count == 1
    assert rows["answer: generation_failed"].example == "the model ended early"
    assert rows["judge answer_relevancy: no judgement"].example == "not JSON"
    assert {bar.category for bar in failure_bars([before])} == set(rows)


def test_failed_judgements_are_counted_beside_the_mean_with_what_they_could_do(before: LoadedRun) -> None:
    rows = {row["metric"]: row for row in rows_of(judged_table(before))}
    relevancy, faithfulness = rows["answer_relevancy"], rows["faithfulness"]
    assert (relevancy["questions"], relevancy["failed"]) == (5, 1)
    assert relevancy["mean"] == pytest.approx(0.8)
    assert relevancy["had failed been 0"] == pytest.approx(0.64)
    assert relevancy["been 1"] == pytest.approx(0.84)
    assert relevancy["spread"] is None
    assert faithfulness["failed"] == 0
    assert faithfulness["spread"] is not None


def test_a_judge_says_whether_it_is_fit(before: LoadedRun) -> None:
    figures = {"n": 50, "failed": 2, "balanced_accuracy": 0.6, "low": 0.5, "high": 0.7}
    known = {"vllm": {"judge": "vllm", "fit": False, "figures": figures, "by_language": {"en": figures, "zh": figures}}}
    judged = replace(before, judges=known | {"local:grounding": {"fit": None}})
    assert {row["judge"]: row["judge is"] for row in rows_of(judged_table(judged))} == {
        "vllm": "unfit",
        "local:grounding": "not calibrated",
    }
    rows = rows_of(judges_table(judged))
    assert [(row["judge"], row["language"]) for row in rows] == [
        ("vllm", "all"),
        ("vllm", "en"),
        ("vllm", "zh"),
        ("local:grounding", "all"),
    ]
    assert rows[0]["balanced accuracy"] == 0.6
    assert rows_of(judges_table(before)) == []


def test_every_question_has_a_line_with_its_outcome(before: LoadedRun) -> None:
    rows = {row.query_id: row for row in question_rows(before)}
    assert len(rows) == 6
    assert rows["q3"].outcome == "failed: unavailable"
    assert rows["q3"].ms is None
    assert rows["q3"].values["final nDCG@10"] == 0.0
    assert rows["q5"].outcome == "abstained"
    assert rows["q1"].outcome == "answered"
    assert rows["q1"].values["answer exact_match"] == 1.0


def test_two_runs_differ_by_query_and_what_changed_most_comes_first(before: LoadedRun, after: LoadedRun) -> None:
    differences = difference_of(before, after, "final", "nDCG@10")
    assert set(differences) == set(before.questions)
    assert sum(differences.values()) > 0
    assert moved_most(differences, 1)[0] == max(differences, key=lambda each: abs(differences[each]))
    assert moved_most({"a": 0.5, "b": -0.5, "c": 0.0}, 5) == ["b", "a"]


def test_a_question_is_seen_with_its_passages_grades_and_what_moved(before: LoadedRun, after: LoadedRun) -> None:
    view = question_view(after, "q1", before)
    assert view.right == ("Alan Stevenson",)
    assert [row.rank for row in view.passages] == [1, 2, 3, 4, 5]
    assert {row.grade for row in view.passages if row.shown.document_id == "d1"} == {2}
    old = {row.shown.passage_id: row.rank for row in question_view(before, "q1").passages}
    for row in view.passages:
        there = old.get(row.shown.passage_id)
        assert row.other_rank == there
        expected = "only here" if there is None else "=" if there == row.rank else "▲" if there > row.rank else "▼"
        assert row.moved.startswith(expected)


def test_where_a_relevant_document_was_lost_is_told_by_its_ranks() -> None:
    rows = wanted_rows(
        {"d1": 2, "d2": 1, "d3": 0}, {"final": (("d2", 0.5),), "lexical": (("x", 2.0), ("d1", 1.0)), "dense": ()}
    )
    assert [(row.document_id, row.grade, dict(row.ranks)) for row in rows] == [
        ("d1", 2, {"lexical": 2}),
        ("d2", 1, {"final": 1}),
    ]


def test_the_worst_questions_begin_with_those_that_failed(before: LoadedRun) -> None:
    worst = worst_questions(before, "final", "nDCG@10", 3)
    assert worst[0] == "q3"
    assert len(worst) == 3
    assert best_rank(question_view(before, "q3")) is None


def test_an_unknown_question_gives_an_empty_view(before: LoadedRun) -> None:
    view = question_view(before, "nowhere")
    assert (view.text, view.passages, view.wanted, view.answer, view.outcome) == ("", (), (), None, "not asked")


def test_an_answer_is_cut_where_citations_begin_and_end_and_joins_to_itself() -> None:
    cited = (Cited((0, 9), "p1"), Cited((5, 14), "p2", verdict="quoted"), Cited((20, 99), "p3"))
    answer = Answered("one two three four five six", False, cited, (), {})
    pieces = pieces_of(answer)
    assert "".join(piece.text for piece in pieces) == answer.answer
    assert [piece.citations for piece in pieces] == [(1,), (1, 2), (2,), (), (3,)]
    assert [row.statement for row in citation_rows(answer)][:2] == ["one two t", "wo three "]


def test_an_empty_answer_has_no_pieces() -> None:
    assert pieces_of(Answered("", True, (), (), {})) == []


def test_a_configuration_is_beaten_by_one_that_is_as_good_and_as_fast(tmp_path: Path) -> None:
    for name, noise, rerank_ms in (("quick", 3.0, 5.0), ("slow", 0.0, 90.0), ("bad", 3.0, 400.0)):
        write_run(tmp_path / name, Made(seed=4, noise=noise, rerank_ms=rerank_ms))
    best = {choice.label: choice.best for choice in choices(overviews(tmp_path))}
    assert best == {"quick": True, "slow": True, "bad": False}
