"""Clicks, ratings and judgements become grades by the rule that is written down."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import pytest

from eval.dataset_formats.behaviour import ClickRule, normalised
from eval.datasets import Dataset, open_dataset
from eval.usage_rows import FEEDBACK_ROW, QUERY_ROW, FeedbackRow, QueryRow, ServedPassage
from retrieval.errors import InvalidRequest


def log(folder: Path, rows: Iterable[Mapping[str, Any]], name: str = "log.jsonl") -> Path:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return path


def grades(dataset: Dataset) -> dict[str, int]:
    [only] = dataset.qrels.values()
    return only


def shown(session: int, clicked: int, documents: str = "abc", query: str = "static files") -> list[dict[str, Any]]:
    """One search that showed some documents and of which the one at rank ``clicked`` was opened; 0 for none."""
    return [
        {"query": query, "document_id": document, "rank": rank, "clicked": rank == clicked, "session": session}
        for rank, document in enumerate(documents, 1)
    ]


def test_clicks_are_weighed_by_how_often_a_place_was_looked_at(tmp_path: Path) -> None:
    rows = [row for session, clicked in enumerate([1, 2, 2, 2]) for row in shown(session, clicked)]
    # a: looked at in all four searches, opened in one. b: looked at in three, and by half in the first; opened in
    # three, so 3 / 3.5. c: below every click, so by a third in each of four; never opened.
    assert grades(open_dataset(log(tmp_path, rows))) == {"a": 1, "b": 2, "c": 0}


def test_a_click_far_down_tells_more_than_one_on_top(tmp_path: Path) -> None:
    documents = "abcdefghij"
    rows = [row for session in range(20) for row in shown(session, 10 if session < 3 else 0, documents)]
    found = grades(open_dataset(log(tmp_path, rows)))
    assert found["j"] == 2  # 3 / (3 + 17 / 10): opened by most who got there
    rows = [row for session in range(20) for row in shown(session, 1 if session < 3 else 0, documents)]
    assert grades(open_dataset(log(tmp_path, rows)))["a"] == 1  # 3 / 20


def test_too_few_searches_tell_nothing(tmp_path: Path) -> None:
    rows = [row for session in range(2) for row in shown(session, 1)]
    with pytest.raises(InvalidRequest, match="once 3 searches have shown"):
        open_dataset(log(tmp_path, rows))


def test_in_a_log_of_clicks_alone_each_search_showed_what_others_opened(tmp_path: Path) -> None:
    clicks = [("a", 1)] * 8 + [("b", 3)] * 2
    rows = [{"query": "q", "document_id": each, "rank": rank, "clicked": True} for each, rank in clicks]
    # a: 8 of 10. b: 2 of 2 + 8 / 3.
    assert grades(open_dataset(log(tmp_path, rows))) == {"a": 2, "b": 1}


def feedback(
    request: int, kind: Literal["click", "rating", "judgement", "answer"], document: str, **told: Any
) -> bytes:
    """One row as the server writes it, of a search that served a, b and c, the second twice."""
    served = ("a#0", "b#4", "b#1", "c#0")
    rank = next((place for place, each in enumerate(served, 1) if each.startswith(document)), 0) if document else 0
    passage = served[rank - 1] if document else ""
    row = FeedbackRow(
        "2026-11-24T10:00:00Z", f"r{request}", "", kind, told.get("query", "How?"), told.get("collection", "docs"),
        "docs@1", "1", passage, document, rank, told.get("value"), {}, served,
    )  # fmt: skip
    return FEEDBACK_ROW.dump_json(row) + b"\n"


def kept(home: Path, rows: Iterable[bytes], name: str = "feedback/2026-11-24-0001.jsonl") -> Path:
    path = home / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"".join(rows))
    return path.parent


def test_riddles_own_feedback_tells_what_was_shown_beside_a_click(tmp_path: Path) -> None:
    folder = kept(tmp_path, [feedback(request, "click", "b") for request in range(3)])
    found = open_dataset(folder)
    assert [each.text for each in found.questions.values()] == ["How?"]
    assert grades(found) == {"a": 0, "b": 2, "c": 0}
    assert list(found.documents()) == []


def test_searches_that_nobody_clicked_in_are_found_in_the_query_log(tmp_path: Path) -> None:
    folder = kept(tmp_path, [feedback(request, "click", "b") for request in range(3)])
    served = tuple(ServedPassage(f"{each}#0", each, 1.0, {}) for each in "ab")
    asked = [
        QueryRow("", f"s{place}", "", "search", "", "docs", "docs@1", "1", "how", False, 10, results=served)
        for place in range(20)
    ]
    kept(tmp_path, [QUERY_ROW.dump_json(row) + b"\n" for row in asked], "log/2026-11-24-0001.jsonl")
    # b: 3 of 3 + 20 / 2.
    assert grades(open_dataset(folder)) == {"a": 0, "b": 1, "c": 0}


def test_the_last_rating_of_a_request_counts_and_can_be_taken_back(tmp_path: Path) -> None:
    rows = [
        feedback(1, "judgement", "c", value=2.0),
        feedback(1, "rating", "a", value=-1.0, query="how"),
        feedback(1, "rating", "a", value=1.0),
        feedback(1, "rating", "b", value=1.0),
        feedback(1, "rating", "b", value=0.0),
        feedback(1, "answer", "", value=1.0),
        b'{"time":"2026-11-24T10:00:00Z","request_id":"r2","kind":"cli\n',
        feedback(2, "rating", "a", value=1.0),
    ]
    assert grades(open_dataset(kept(tmp_path, rows))) == {"a": 1, "c": 2}


def test_feedback_on_several_collections_is_read_one_at_a_time(tmp_path: Path) -> None:
    rows = [feedback(1, "judgement", "a", value=1.0), feedback(2, "judgement", "b", value=1.0, collection="wiki")]
    folder = kept(tmp_path, rows)
    with pytest.raises(InvalidRequest, match="about docs, wiki: name one"):
        open_dataset(folder)
    assert grades(open_dataset(folder, "wiki")) == {"b": 1}


def test_digests_of_queries_cannot_be_asked(tmp_path: Path) -> None:
    folder = kept(tmp_path, [feedback(1, "judgement", "a", value=1.0, query="hmac:0123")])
    with pytest.raises(InvalidRequest, match="kept as digests"):
        open_dataset(folder)


def test_wordings_of_one_query_are_one_question(tmp_path: Path) -> None:
    assert normalised("  Ｓtatic   FILES？ ") == normalised("static files") == "static files"
    wordings = ["Static files", "static files?", "static files?"]
    rows = [{"query": query, "document_id": "d", "grade": 1} for query in wordings]
    found = open_dataset(log(tmp_path, rows))
    assert [each.text for each in found.questions.values()] == ["static files?"]
    again = open_dataset(log(tmp_path, reversed(rows), "again.jsonl"))
    assert again.questions.keys() == found.questions.keys()


@pytest.mark.parametrize(
    ("values", "grade"),
    [([1, 1, -1], 1), ([1, -1], 0), ([True], 1), (["up", "up", "down"], 1), ([5, 4], 4), ([2, 1], 1), ([3, 1, 1], 1)],
)
def test_ratings_are_thumbs_or_stars(tmp_path: Path, values: list[object], grade: int) -> None:
    rows: list[dict[str, Any]] = [{"query": "q", "document_id": "d", "rating": value} for value in values]
    rows.append({"query": "q", "document_id": "judged", "grade": 3})
    assert grades(open_dataset(log(tmp_path, rows))) == {"d": grade, "judged": 3}


def test_a_judgement_counts_before_ratings_and_these_before_clicks(tmp_path: Path) -> None:
    rows = [row for session in range(4) for row in shown(session, 1)]
    rows += [{"query": "static files", "document_id": "a", "rating": -1}]
    rows += [
        {"query": "static files", "document_id": "b", "grade": 1},
        {"query": "static files", "document_id": "b", "grade": 2},
    ]
    rows += [{"query": "static files", "document_id": "b", "rating": -1}]
    found = grades(open_dataset(log(tmp_path, rows)))
    assert (found["a"], found["b"]) == (0, 2)


def test_queries_without_anything_relevant_are_left_out(tmp_path: Path) -> None:
    rows = [{"query": "good", "document_id": "d", "grade": 1}, {"query": "bad", "document_id": "d", "grade": 0}]
    assert [each.text for each in open_dataset(log(tmp_path, rows)).questions.values()] == ["good"]


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"document_id": "d", "clicked": True}, "needs the query"),
        ({"query": "q", "document_id": "d"}, "needs one of grade, rating, clicked"),
        ({"query": "q", "document_id": "d", "grade": "fine"}, "grade is a number"),
        ({"query": "q", "document_id": "d", "clicked": True, "rank": 0}, "rank is a whole number"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, row: dict[str, Any], told: str) -> None:
    path = log(tmp_path, [{"query": "q", "document_id": "d", "grade": 1}, row])
    with pytest.raises(InvalidRequest, match=f"log.jsonl line 2: .*{told}"):
        open_dataset(path)


def test_a_log_of_ones_own_has_no_parts(tmp_path: Path) -> None:
    path = log(tmp_path, [{"query": "q", "document_id": "d", "grade": 1}])
    with pytest.raises(InvalidRequest, match="no parts"):
        open_dataset(path, "dev")


def test_the_rule_has_its_bounds_where_it_says() -> None:
    rule = ClickRule()
    assert [rule.grade(rate) for rate in (0.0, 0.099, 0.1, 0.499, 0.5, 1.2)] == [0, 0, 1, 1, 2, 2]
