"""Figures of use, worked out by hand on a small log."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from eval.rewording import USUAL, Rewording, RewordingRule, alike
from eval.usage import Failing, Ratings, usage
from eval.usage_rows import AnswerFacts, FeedbackRow, QueryRow, ServedPassage

SHOWN = tuple(ServedPassage(f"d{number}#0", f"d{number}", 1.0 / number, {}) for number in (1, 2, 3))


def search(at: str, query: str, session: str = "s1", **fields: Any) -> QueryRow:
    """``at`` is day and time in March 2026, such as ``05T10:00:00``."""
    asked = QueryRow(
        f"2026-03-{at}+00:00", f"r{at}", session, "search", "", "docs", "docs@1", "p1", query, filtered=False, k=3,
        cache="miss", timings_ms={"total": 100.0}, results=SHOWN,
    )  # fmt: skip
    return replace(asked, **fields)


def answer(at: str, query: str, outcome: Any, session: str = "s1", first_ms: float | None = None) -> QueryRow:
    facts = AnswerFacts(outcome, "model", 1, first_ms, 900.0)
    return replace(search(at, query, session), kind="answer", answer=facts)


def told(row: QueryRow, kind: Any, rank: int = 0, value: float | None = None, time: str = "") -> FeedbackRow:
    passage = f"d{rank}#0" if rank else ""
    return FeedbackRow(
        time or row.time, row.request_id, row.session, kind, row.query, row.collection, row.generation, row.pipeline,
        passage, passage.split("#")[0], rank, value, {}, ("d1#0", "d2#0", "d3#0"),
    )  # fmt: skip


def test_each_day_counts_what_was_asked_and_what_went_wrong() -> None:
    rows = [
        search("06T09:00:00", "next day", "s9"),
        search("05T10:00:00", "static files", cache="hit", timings_ms={"total": 4.0}),
        search("05T10:00:01", "static files", offset=10),
        search("05T10:00:02", "zebra", "", results=()),
        search("05T10:00:03", "broken", "s2", results=(), error="unavailable", cache="", timings_ms={}),
        search("05T10:00:04", "slow", "s2", degraded=("rerank",)),
        answer("05T10:00:05", "what is it", "abstained"),
        answer("05T10:00:06", "how is it", "answered", first_ms=300.0),
        answer("05T10:00:07", "why is it", "left"),
        answer("05T10:00:08", "who is it", "failed"),
        search("05T10:00:09", "load", "eval-load-1"),
    ]
    found = usage(rows, [])
    first, second = found.days
    assert (first.day, first.searches, first.answers, first.sessions) == ("2026-03-05", 4, 4, 2)
    assert (first.empty, first.failed, first.degraded, first.cached) == (1, 2, 1, 1)
    assert (first.abstained, first.left, first.reworded) == (1, 1, 0)
    assert first.search_ms == {"n": 3, "mean": 68.0, "p50": 100.0, "p95": 100.0, "p99": 100.0}
    assert (first.first_ms["n"], first.first_ms["p50"]) == (1, 300.0)
    assert first.answer_ms["n"] == 4
    assert (second.day, second.searches) == ("2026-03-06", 1)
    assert found.machines == 1


def test_clicks_are_counted_by_place_and_for_the_search_they_came_from() -> None:
    one, page, two = search("05T10:00:00", "one"), search("05T10:01:00", "one", offset=3), search("05T10:02:00", "two")
    three, empty, nobody = (
        search("05T10:03:00", "three"),
        search("05T10:04:00", "x", results=()),
        search("05T11", "y", ""),
    )
    written = answer("05T10:03:30", "Three ", "answered")
    clicks = [
        told(page, "click", 3),
        told(one, "click", 2),
        told(written, "click", 1),
        replace(told(three, "click", 1), session="eval-9"),
    ]
    found = usage([one, page, two, three, empty, nobody, written], clicks).clicks
    assert found.by_rank == {1: 1, 2: 1, 3: 1}
    assert (found.searches, found.clicked) == (3, 2)
    assert found.rate == pytest.approx(2 / 3)
    assert found.mean_reciprocal_rank == pytest.approx((1 / 2 + 1) / 2)
    silent = usage([one], []).clicks
    assert (silent.rate, silent.mean_reciprocal_rank) == (0.0, None)
    assert usage([], []).clicks.rate is None


def test_the_last_rating_counts_and_one_taken_back_does_not() -> None:
    asked, written = search("05T10:00:00", "one"), answer("05T10:00:01", "one", "answered")
    found = usage(
        [asked, written],
        [
            told(asked, "rating", 1, 1, "2026-03-05T10:00:05"),
            told(asked, "rating", 1, -1, "2026-03-05T10:00:04"),
            told(asked, "rating", 2, -1),
            told(asked, "rating", 3, 1, "2026-03-05T10:00:01"),
            told(asked, "rating", 3, 0, "2026-03-05T10:00:02"),
            told(written, "answer", 0, -1),
            told(asked, "judgement", 1, 3),
        ],
    )
    assert found.ratings == Ratings(1, 1, 0, 1, 1)
    assert found.failing == (Failing("one", "docs", 1, 0, 0, 0, 0, 2),)


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [
        ("django static files", "serve static files in production", True),
        ("how do I install django", "how do I delete a model", False),
        ("static files", "Static  FILES", False),
        ("migration", "migrations fail", True),
        ("数据库怎么回滚", "数据库迁移回滚失败", True),
        ("数据库怎么回滚", "怎么安装软件", False),
        ("how", "what", False),
        ("hmac:0011", "hmac:0022", False),
    ],
)
def test_queries_are_alike_by_the_words_that_carry_meaning(before: str, after: str, same: bool) -> None:
    assert alike(before, after, USUAL.alike) is same


def test_asking_again_in_other_words_is_seen_within_a_session_and_a_while() -> None:
    rows = [
        search("05T10:00:00", "static files"),
        search("05T10:00:30", "static files", "s2"),
        search("05T10:01:00", "serve static files"),
        search("05T10:02:00", "serve static files"),
        search("05T10:30:00", "static files nginx"),
        search("05T10:31:00", "something else"),
        search("05T10:32:00", "static files", "s2", collection="other"),
    ]
    found = usage(rows, [])
    assert found.days[0].reworded == 1
    assert found.rewordings == (Rewording("static files", "serve static files", 1),)
    assert found.failing == (Failing("static files", "docs", 2, 0, 0, 0, 1, 0),)
    assert usage(rows, [], RewordingRule(within_s=3600)).days[0].reworded == 2
    assert usage(rows, [], RewordingRule(within_s=30)).days[0].reworded == 0


def test_queries_with_the_most_trouble_come_first_and_so_many_are_named() -> None:
    rows = [search(f"05T10:{number:02}:00", "Zebra", f"s{number}", results=()) for number in range(3)]
    rows += [search("05T11:00:00", "zebra ", "", results=()), search("05T11:01:00", "yak", results=())]
    rows += [answer("05T11:02:00", "yak", "abstained"), search("05T11:03:00", "fine")]
    found = usage(rows, [], top=1)
    assert found.failing == (Failing("Zebra", "docs", 4, 4, 0, 0, 0, 0),)
    assert [each.query for each in usage(rows, []).failing] == ["Zebra", "yak"]
