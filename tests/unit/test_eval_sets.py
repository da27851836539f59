"""Judged sets are read as written, and an unanswered query counts zero."""

from __future__ import annotations

import gzip
import math
from pathlib import Path

import pytest

from eval.datasets import load_judged_set, read_qrels
from eval.retrieval_metrics import best_passage_run, evaluate
from retrieval.errors import InvalidRequest

DEMO_QUESTIONS = Path(__file__).parents[2] / "eval/bench/demo_questions"


def write_set(folder: Path, qrels_name: str = "qrels.tsv") -> Path:
    (folder / "queries.jsonl").write_text(
        '{"_id":"a","text":"one"}\n{"_id":"b","text":"two"}\n{"_id":"c","text":"x"}\n'
    )
    path = folder / qrels_name
    path.parent.mkdir(exist_ok=True)
    path.write_text("query-id\tcorpus-id\tscore\na\td1\t2\nb\td2\t1\n")
    return folder


def test_only_judged_queries_are_kept(tmp_path: Path) -> None:
    judged = load_judged_set(write_set(tmp_path))
    assert judged.queries == {"a": "one", "b": "two"}
    assert judged.qrels == {"a": {"d1": 2}, "b": {"d2": 1}}


@pytest.mark.parametrize("name", ["qrels_dev.tsv", "qrels/dev.tsv"])
def test_a_split_is_found_in_either_layout(tmp_path: Path, name: str) -> None:
    assert load_judged_set(write_set(tmp_path, name)).split == "dev"


def test_a_gzipped_set_reads_the_same(tmp_path: Path) -> None:
    write_set(tmp_path)
    for name in ("queries.jsonl", "qrels.tsv"):
        plain = tmp_path / name
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(plain.read_bytes()))
        plain.unlink()
    assert load_judged_set(tmp_path).queries == {"a": "one", "b": "two"}


def test_a_missing_split_says_what_it_wants(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"qrels_test\.tsv"):
        load_judged_set(write_set(tmp_path), split="test")


def test_a_bad_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "qrels.tsv"
    path.write_text("query-id\tcorpus-id\tscore\na d1 2\n")
    with pytest.raises(InvalidRequest, match="line 2"):
        read_qrels(path)


def test_ndcg_equals_the_formula_and_a_missing_query_counts_zero() -> None:
    qrels = {"a": {"d1": 2, "d2": 1}, "b": {"d3": 1}}
    run = {"a": {"d2": 0.9, "d1": 0.8}}
    # trec_eval's gain is the grade itself: (1 / log2(2) + 2 / log2(3)) / (2 / log2(2) + 1 / log2(3)).
    by_hand = (1 + 2 / math.log2(3)) / (2 + 1 / math.log2(3))
    assert evaluate(qrels, run, ["nDCG@10"]) == {"nDCG@10": pytest.approx(by_hand / 2)}


def test_a_document_has_the_score_of_its_best_passage() -> None:
    assert best_passage_run([("d1", 0.3), ("d2", 0.7), ("d1", 0.5)]) == {"d1": 0.5, "d2": 0.7}


def test_the_demo_set_holds_thirty_judged_questions() -> None:
    judged = load_judged_set(DEMO_QUESTIONS)
    assert len(judged.queries) == 30
    assert all(max(grades.values()) == 2 for grades in judged.qrels.values())
