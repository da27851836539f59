"""What the gateway writes down of each request, and what callers may say of it, through a real server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from eval.usage_rows import FeedbackRow, QueryRow, feedback_rows, query_rows
from retrieval.errors import GenerationFailed, Overloaded, Unavailable
from services.auth import Caller
from services.gateway.feedback import Pace
from services.query_log import LogSettings, QueryLog
from services.telemetry import Telemetry
from tests.live import LiveServer, Stage, wait_until
from tests.service.conftest import Gateway, Live, OpenDoor

SESSION = {"X-Riddle-Session": "visit-1"}


class Logged(Live):
    """A gateway that keeps a log below ``home``."""

    home: Path

    def rows(self, count: int) -> list[QueryRow]:
        """The query log once it has so many lines; nothing waits for them, so that they come a moment later."""
        wait_until(lambda: len(list(query_rows(self.home))) >= count)
        return list(query_rows(self.home))

    def told(self) -> list[FeedbackRow]:
        return list(feedback_rows(self.home))

    def tell(self, reply: httpx.Response, **fields: object) -> httpx.Response:
        body = {"request_id": reply.headers["X-Request-ID"], **fields}
        return self.http.post("/v1/feedback", json=body)

    @property
    def door(self) -> OpenDoor:
        assert isinstance(self.gateway.door, OpenDoor)
        return self.gateway.door


@pytest.fixture
def logged(stage: tuple[Stage, LiveServer, httpx.Client], tmp_path: Path) -> Iterator[Logged]:
    on, server, http = stage
    telemetry = Telemetry()
    log = QueryLog(tmp_path, LogSettings(), telemetry)
    gateway = Gateway(log=log, telemetry=telemetry)
    on.app = gateway.app
    logged = Logged(gateway, server, http)
    logged.home = tmp_path
    yield logged
    server.run(log.aclose())


def problem(reply: httpx.Response, status: int) -> str:
    assert (reply.status_code, reply.headers["content-type"]) == (status, "application/problem+json"), reply.text
    return f"{reply.json()['code']}: {reply.json()['detail']}"


def test_a_search_leaves_a_line_with_the_features_that_were_served(logged: Logged) -> None:
    reply = logged.http.post(
        "/v1/search",
        json={"query": " start the server ", "explain": True, "filters": {"type": "ne", "key": "year", "value": 2024}},
        headers=SESSION,
    )
    assert reply.headers["X-Riddle-Feedback"] == "on"
    (row,) = logged.rows(1)
    served = reply.json()
    assert (row.kind, row.query, row.collection, row.generation) == ("search", "start the server", "docs", "docs@1")
    assert (row.request_id, row.session, row.key) == (reply.headers["X-Request-ID"], "visit-1", "")
    assert (row.pipeline, row.filtered, row.k, row.offset, row.cache, row.error) == ("fake-1", True, 2, 0, "miss", "")
    assert row.timings_ms == served["timings_ms"]
    assert [shown.passage_id for shown in row.results] == [each["passage_id"] for each in served["results"]]
    features = {stage: (seen["rank"], seen["score"]) for stage, seen in served["results"][0]["explain"].items()}
    assert row.results[0].features == features


def test_pages_from_the_cache_further_pages_and_failures_leave_lines_too(logged: Logged) -> None:
    first = logged.search("passages results query package server", k=1).json()
    logged.search("passages results query package server", k=1)
    logged.search("passages results query package server", k=1, cursor=first["next_cursor"])
    logged.gateway.rank.fail_with = Unavailable("gone")
    logged.search("server")
    logged.gateway.recall.fail_with = Unavailable("gone")
    assert logged.search("server").status_code == 503
    rows = logged.rows(5)
    assert [(row.cache, row.offset, row.degraded, row.error) for row in rows] == [
        ("miss", 0, (), ""),
        ("hit", 0, (), ""),
        ("miss", 1, (), ""),
        ("miss", 0, ("rerank",), ""),
        ("", 0, (), "unavailable"),
    ]
    assert rows[1].results == rows[0].results


@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
def test_an_answer_leaves_a_line_that_says_how_it_ended(logged: Logged, accept: str) -> None:
    ask = {"query": "How do I install the package?"}
    reply = logged.http.post("/v1/answer", json=ask, headers={"Accept": accept})
    assert reply.headers["X-Riddle-Feedback"] == "on"
    logged.http.post("/v1/answer", json={"query": "zebra"}, headers={"Accept": accept})
    logged.gateway.answerer.fail_after, logged.gateway.answerer.failure = 4, GenerationFailed("broke off")
    logged.http.post("/v1/answer", json=ask, headers={"Accept": accept})
    rows = logged.rows(3)
    assert [(row.kind, row.request_id != "", len(row.results)) for row in rows] == [
        ("answer", True, 2),
        ("answer", True, 0),
        ("answer", True, 2),
    ]
    answered, abstained, failed = [row.answer for row in rows]
    assert answered is not None
    assert (answered.outcome, answered.engine, answered.citations, answered.first_ms) == ("answered", "fake", 1, None)
    assert answered.total_ms is not None
    assert answered.total_ms > 1.0
    assert abstained is not None
    assert (abstained.outcome, abstained.citations) == ("abstained", 0)
    assert failed is not None
    assert failed.outcome == "failed"


def test_an_answer_whose_client_left_is_written_down_as_that(logged: Logged) -> None:
    logged.gateway.answerer.pieces, logged.gateway.answerer.gate = ["a"] * 1000, asyncio.Semaphore(1)
    with logged.http.stream(
        "POST", "/v1/answer", json={"query": "server"}, headers={"Accept": "text/event-stream"}
    ) as reply:
        next(reply.iter_lines())
    (row,) = logged.rows(1)
    assert row.answer is not None
    assert row.answer.outcome == "left"


def test_what_wants_to_be_left_out_is_and_what_is_no_session_is_none(logged: Logged) -> None:
    hidden = logged.http.post("/v1/search", json={"query": "server"}, headers={"X-Riddle-Log": "off"})
    assert "X-Riddle-Feedback" not in hidden.headers
    logged.http.post("/v1/search", json={"query": "server"}, headers={"X-Riddle-Session": "no session;" * 20})
    (row,) = logged.rows(1)
    assert row.session == ""
    assert "request_not_found" in problem(logged.tell(hidden, kind="click", document_id="guide/install.md"), 404)


def test_feedback_is_kept_with_what_was_served_then(logged: Logged) -> None:
    reply = logged.http.post("/v1/search", json={"query": "start the server", "explain": True}, headers=SESSION)
    shown = reply.json()["results"]
    logged.gateway.recall.publish("docs", ())
    first = logged.tell(reply, kind="click", passage_id=shown[1]["passage_id"])
    assert first.status_code == 201
    assert first.json() == {
        "request_id": reply.headers["X-Request-ID"],
        "kind": "click",
        "passage_id": shown[1]["passage_id"],
        "document_id": shown[1]["document_id"],
        "rank": 2,
        "generation": "docs@1",
    }
    logged.tell(reply, kind="rating", document_id=shown[0]["document_id"], value=-1, comment="用不上", rank=7)
    logged.tell(reply, kind="judgement", passage_id=shown[0]["passage_id"], value=3)
    click, rating, judgement = logged.told()
    assert (click.kind, click.session, click.query, click.collection) == (
        "click",
        "visit-1",
        "start the server",
        "docs",
    )
    assert (click.generation, click.pipeline, click.rank, click.value) == ("docs@1", "fake-1", 2, None)
    assert click.served == tuple(each["passage_id"] for each in shown)
    assert click.features == {name: (seen["rank"], seen["score"]) for name, seen in shown[1]["explain"].items()}
    assert (rating.passage_id, rating.rank, rating.value) == (shown[0]["passage_id"], 7, -1)
    assert rating.comment == "用不上"
    assert (judgement.value, judgement.rank) == (3, 1)
    assert 'riddle_feedback_total{kind="click"} 1.0' in logged.http.get("/metrics").text


def test_places_on_later_pages_count_what_came_before(logged: Logged) -> None:
    first = logged.search("passages results query package server", k=2).json()
    second = logged.search("passages results query package server", k=2, cursor=first["next_cursor"])
    logged.tell(second, kind="click", passage_id=second.json()["results"][0]["passage_id"])
    assert [row.rank for row in logged.told()] == [3]


def test_an_answer_can_be_rated_and_so_can_its_passages(logged: Logged) -> None:
    reply = logged.http.post("/v1/answer", json={"query": "start the server"})
    assert logged.tell(reply, kind="answer", value=1).status_code == 201
    shown = reply.json()["results"][0]["passage_id"]
    assert logged.tell(reply, kind="rating", passage_id=shown, value=1).status_code == 201
    whole, passage = logged.told()
    assert (whole.kind, whole.passage_id, whole.rank, whole.features) == ("answer", "", 0, {})
    assert shown in whole.served
    assert passage.rank == 1
    search = logged.search("start the server")
    assert "was a search" in problem(logged.tell(search, kind="answer", value=1), 422)


def test_an_answer_can_be_rated_as_soon_as_its_last_event_is_there(logged: Logged) -> None:
    headers = {"Accept": "text/event-stream"}
    with logged.http.stream("POST", "/v1/answer", json={"query": "server"}, headers=headers) as reply:
        for line in reply.iter_lines():
            if line.startswith("event: final_answer"):
                break
        assert logged.tell(reply, kind="answer", value=1).status_code == 201


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"kind": "click"}, "say which passage"),
        ({"kind": "click", "passage_id": "guide/install.md#0", "value": 1}, "click.value: unknown field"),
        ({"kind": "click", "passage_id": "nowhere#1"}, "'nowhere#1' is not among what"),
        ({"kind": "click", "document_id": "nowhere"}, "'nowhere' is not among what"),
        ({"kind": "click", "passage_id": "guide/install.md#0", "document_id": "guide/search.md"}, "is not among what"),
        ({"kind": "rating", "passage_id": "guide/install.md#0"}, "rating.value: is missing"),
        ({"kind": "rating", "passage_id": "guide/install.md#0", "value": 2}, "less than or equal to 1"),
        ({"kind": "judgement", "passage_id": "guide/install.md#0", "value": -1}, "greater than or equal to 0"),
        ({"kind": "answer", "value": 1, "passage_id": "guide/install.md#0"}, "answer.passage_id: unknown field"),
        ({"kind": "guess", "passage_id": "guide/install.md#0"}, "kind"),
        ({"kind": "click", "passage_id": "guide/install.md#0", "when": "now"}, "click.when: unknown field"),
        ({"kind": "click", "passage_id": "guide/install.md#0", "comment": "x" * 2001}, "at most 2000"),
    ],
)
def test_feedback_that_says_nothing_sensible_is_refused(logged: Logged, fields: dict[str, Any], said: str) -> None:
    reply = logged.search("install the package")
    assert said in problem(logged.tell(reply, **fields), 422)
    assert logged.told() == []


def test_only_who_made_a_request_may_speak_of_it(logged: Logged) -> None:
    logged.door.caller = Caller(key_id="k1")
    reply = logged.search("install the package")
    logged.door.caller = Caller(key_id="k2", may_write=True)
    assert "of this key" in problem(logged.tell(reply, kind="click", document_id="guide/install.md"), 404)
    logged.door.caller = Caller(key_id="k1")
    assert logged.tell(reply, kind="click", document_id="guide/install.md").status_code == 201
    assert [row.key for row in logged.told()] == ["k1"]


def test_a_server_without_a_log_takes_no_feedback_and_says_so(live: Live) -> None:
    reply = live.search("install the package")
    assert "X-Riddle-Feedback" not in reply.headers
    body = {"kind": "click", "request_id": reply.headers["X-Request-ID"], "document_id": "guide/install.md"}
    assert "log.enabled" in problem(live.http.post("/v1/feedback", json=body), 404)


def test_feedback_over_the_size_limit_is_refused_unread(logged: Logged) -> None:
    assert "too_large" in problem(logged.http.post("/v1/feedback", content=b"x" * 20_000), 413)


def test_who_tells_too_much_is_asked_to_wait_and_others_are_not() -> None:
    now = [0.0]
    pace = Pace(rate=10, burst=3, clock=lambda: now[0])
    for _ in range(3):
        pace.admit("k1")
    with pytest.raises(Overloaded) as refused:
        pace.admit("k1")
    assert refused.value.retry_after_ms == 101
    pace.admit("k2")
    now[0] += 0.11
    pace.admit("k1")
