"""A run asks each question once, keeps what came of it, goes on where it was killed, and scores by stage."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from eval.datasets import Dataset, Question
from eval.evaluate import (
    RunSettings,
    Stopwatch,
    answer_all,
    begin,
    finish,
    score,
    search_all,
)
from eval.runs import Manifest, RunFolder, SearchRecord, percentiles, runs_in
from eval.stages import best_passages, rankings_of
from eval.targets import Shown
from retrieval.errors import Conflict, GateFailed, IndexUnreadable, InvalidRequest, Unavailable
from tests.fake_targets import FakeTarget
from tests.live import wait_until

QUESTIONS = {"q1": Question("one"), "q2": Question("two", ("Paris",)), "q3": Question("three")}
QRELS = {"q1": {"a": 1}, "q2": {"b": 2, "c": 1}, "q3": {"z": 1}}
RANKINGS = {"one": ["a", "b"], "two": ["c", "b"], "three": []}
SETTINGS = RunSettings(metrics=("nDCG@10", "RR@10"))
MANIFEST = Manifest("r", "2026-01-01T00:00:00+00:00", {"kind": "fake"}, {"name": "set"}, {"k": 200}, "m", "c", "v")


def dataset() -> Dataset:
    return Dataset("set", "test", QUESTIONS, QRELS, lambda: iter(()), "here")


def ignore(part: str, done: int, total: int, failed: int) -> None:
    pass


def begun(path: Path) -> RunFolder:
    folder = RunFolder(path)
    begin(folder, MANIFEST, dataset())
    return folder


def test_a_run_scores_each_stage_and_an_unanswered_question_counts_zero(tmp_path: Path) -> None:
    folder = begun(tmp_path / "run")
    assert search_all(folder, FakeTarget(RANKINGS), SETTINGS, ignore) == 0
    metrics = score(folder, SETTINGS)
    assert metrics["final"]["RR@10"] == pytest.approx((1 + 1 + 0) / 3)
    # The lexical stage never sees the first: of "one" it has b alone, which is not relevant; of "two" b first.
    assert metrics["lexical"]["RR@10"] == pytest.approx((0 + 1 + 0) / 3)
    assert folder.by_query()["final"]["RR@10"] == {"q1": 1.0, "q2": 1.0, "q3": 0.0}
    assert (folder.path / "final.trec").read_text().splitlines()[0] == "q1 Q0 a 1 1 riddle"
    assert folder.json("timings.json")["client"] == {"n": 3, "mean": 4.0, "p50": 4.0, "p95": 4.0, "p99": 4.0}
    done = finish(folder, MANIFEST, {"search": 0}, SETTINGS)
    assert done.manifest.finished
    assert folder.manifest().finished
    assert folder.qrels() == QRELS
    assert folder.questions() == QUESTIONS


def test_a_run_that_was_killed_asks_only_what_is_missing(tmp_path: Path) -> None:
    folder = begun(tmp_path / "run")

    def die(question: str) -> None:
        if question == "two":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search_all(folder, FakeTarget(RANKINGS, before=die), SETTINGS, ignore)
    with (folder.path / "searches.jsonl").open("a") as file:
        file.write('{"query_id": "q2", "fou')  # a line that the kill cut short
    again = FakeTarget(RANKINGS)
    begin(folder, replace(MANIFEST, created="later", commit="other"), dataset())
    search_all(folder, again, SETTINGS, ignore)
    assert again.asked == ["two", "three"]
    assert [record.query_id for record in folder.searches()] == ["q1", "q2", "q3"]


def test_a_failed_search_is_kept_with_its_reason_and_counts_zero(tmp_path: Path) -> None:
    folder = begun(tmp_path / "run")
    told: list[tuple[int, int]] = []

    def fail(question: str) -> None:
        if question == "one":
            raise Unavailable("it is down")

    failing = FakeTarget(RANKINGS, before=fail)
    failed = search_all(folder, failing, SETTINGS, lambda part, done, total, bad: told.append((done, bad)))
    assert (failed, told) == (1, [(1, 1), (2, 1), (3, 1)])
    record = next(folder.searches())
    assert record.error is not None
    assert (record.error.code, record.error.detail) == ("unavailable", "it is down")
    assert score(folder, SETTINGS)["final"]["RR@10"] == pytest.approx(1 / 3)
    with pytest.raises(GateFailed, match=r"1 of 3 questions failed \(search\), more than 5%; the first: it is down"):
        finish(folder, MANIFEST, {"search": failed}, SETTINGS)
    assert not folder.manifest().finished


def test_what_failed_is_asked_again_by_the_next_try(tmp_path: Path) -> None:
    folder = begun(tmp_path / "run")

    def fail(question: str) -> None:
        if question == "one":
            raise Unavailable("it is down")

    search_all(folder, FakeTarget(RANKINGS, before=fail), SETTINGS, ignore)
    mended = FakeTarget(RANKINGS)
    assert search_all(folder, mended, SETTINGS, ignore) == 0
    assert mended.asked == ["one"]
    assert sorted(record.query_id for record in folder.searches()) == ["q1", "q2", "q3"]


def test_of_several_at_once_a_slow_one_holds_back_none_that_is_done(tmp_path: Path) -> None:
    folder = begun(tmp_path / "run")

    def wait_for_the_others(question: str) -> None:
        if question == "one":
            wait_until(lambda: len(list(folder.searches())) == 2)

    search_all(folder, FakeTarget(RANKINGS, before=wait_for_the_others), replace(SETTINGS, jobs=3), ignore)
    written = [record.query_id for record in folder.searches()]
    assert (sorted(written), written[-1]) == (["q1", "q2", "q3"], "q1")


def test_answers_are_kept_beside_the_searches(tmp_path: Path) -> None:
    folder = begun(tmp_path / "run")
    target = FakeTarget(RANKINGS, {"one": "A.", "two": "Paris."})
    assert answer_all(folder, target, SETTINGS, ignore) == 1
    records = {record.query_id: record for record in folder.answers()}
    found, missing = records["q2"].found, records["q3"].error
    assert found is not None
    assert missing is not None
    assert (found.answer, found.citations[0].source_text, missing.code) == ("Paris.", "The text of c.", "unavailable")


def test_another_run_is_not_mixed_in(tmp_path: Path) -> None:
    begun(tmp_path / "run")
    other = replace(MANIFEST, settings={"k": 10})
    with pytest.raises(Conflict, match="a run of another settings"):
        begin(RunFolder(tmp_path / "run"), other, dataset())
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("mine")
    with pytest.raises(Conflict, match="holds no run"):
        begin(RunFolder(tmp_path / "thesis"), MANIFEST, dataset())


def test_what_is_no_run_or_damaged_or_newer_is_said(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="is no run"):
        RunFolder(tmp_path).manifest()
    folder = begun(tmp_path / "run")
    with pytest.raises(InvalidRequest, match="not finished"):
        folder.by_query()
    (folder.path / "searches.jsonl").write_text('{"query_id": 7}\n')
    with pytest.raises(IndexUnreadable, match=r"searches\.jsonl"):
        list(folder.searches())
    manifest = json.loads((folder.path / "manifest.json").read_text())
    (folder.path / "manifest.json").write_text(json.dumps(manifest | {"format": 99}))
    with pytest.raises(IndexUnreadable, match="newer Riddle"):
        folder.manifest()


def test_records_come_back_as_they_were_written(tmp_path: Path) -> None:
    folder = begun(tmp_path / "run")
    record = SearchRecord("q1", FakeTarget(RANKINGS).search("one", 5))
    folder.append(record)
    assert list(folder.searches()) == [record]


def test_ids_with_white_space_stand_in_trec_files_as_one_word(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    qrels = {"q 1": {"my file%20 \u3000.txt": 2, "plain/路径.md": 1}}
    folder.write_questions({"q 1": Question("one")}, qrels)
    folder.write_trec("final", {"q 1": (("my file%20 \u3000.txt", 1.0),)})
    assert folder.qrels() == qrels
    assert (tmp_path / "final.trec").read_text().split() == [
        "q%201",
        "Q0",
        "my%20file%2520%20%E3%80%80.txt",
        "1",
        "1",
        "riddle",
    ]


def test_runs_are_listed_oldest_first(tmp_path: Path) -> None:
    for name, created in (("b", "2026-02-01"), ("a", "2026-03-01"), ("deep/c", "2026-01-01")):
        RunFolder(tmp_path / name).write_manifest(replace(MANIFEST, created=created))
    assert [run.name for run in runs_in(tmp_path)] == ["c", "b", "a"]


def test_a_document_stands_where_its_best_passage_does() -> None:
    shown = tuple(
        Shown(f"{name}#{at}", name, 1 - at / 10, "", stages={"lexical": (rank, 5.0 - rank)})
        for at, (name, rank) in enumerate([("a", 2), ("b", 1), ("a", 3), ("c", 4)])
    )
    assert rankings_of(shown) == {
        "final": (("a", 1.0), ("b", 0.9), ("c", 0.7)),
        "lexical": (("b", 4.0), ("a", 3.0), ("c", 1.0)),
    }
    assert rankings_of(()) == {}
    assert best_passages([]) == ()


def test_percentiles_are_samples_that_were_seen() -> None:
    assert percentiles([3.0, 1.0, 2.0]) == {"n": 3, "mean": 2.0, "p50": 2.0, "p95": 3.0, "p99": 3.0}
    assert percentiles([]) == {}


def test_seconds_of_several_tries_add_up() -> None:
    watch = Stopwatch({"search": 2.0})
    assert watch("search", lambda: 7) == 7
    assert watch.seconds["search"] >= 2.0
