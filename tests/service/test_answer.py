"""Answers through a real server: deltas as they come, errors with real statuses, and an end when the client goes."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator, Mapping
from typing import Any

import httpx

from retrieval.errors import GenerationFailed, Unavailable
from tests.live import wait_until
from tests.service.conftest import Live

QUESTION = {"query": "How do I install the package?"}
STREAMED = {"Accept": "text/event-stream"}


def events(response: httpx.Response) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and data of each event, as soon as it has arrived."""
    name = ""
    for line in response.iter_lines():
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))


def test_the_stream_says_what_it_rests_on_then_the_text_then_the_whole(live: Live) -> None:
    with live.http.stream("POST", "/v1/answer", json=QUESTION, headers=STREAMED) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        found = list(events(response))
    assert [name for name, _ in found] == ["search_results", "message", "message", "citation", "final_answer"]
    results, final = found[0][1], found[-1][1]
    assert results["generation"] == "docs@1"
    assert "".join(data["delta"] for name, data in found if name == "message") == final["answer"]
    assert final["citations"] == [data for name, data in found if name == "citation"]
    assert {citation["passage_id"] for citation in final["citations"]} <= {
        result["passage_id"] for result in results["results"]
    }
    assert final["usage"] == {"prompt_tokens": 7, "completion_tokens": 2}
    assert final["abstained"] is False
    assert {"search", "total", "describe"} <= set(final["timings_ms"])


def test_each_delta_arrives_before_the_next_is_made(live: Live) -> None:
    pieces = [f"piece {number} " for number in range(5)]
    gate = asyncio.Semaphore(0)
    live.gateway.answerer.pieces, live.gateway.answerer.gate = pieces, gate
    with live.http.stream("POST", "/v1/answer", json=QUESTION, headers=STREAMED) as response:
        arriving = events(response)
        assert next(arriving)[0] == "search_results"
        for made, piece in enumerate(pieces):
            assert live.gateway.answerer.said == made
            live.server.call(gate.release)
            assert next(arriving) == ("message", {"delta": piece})
        assert [name for name, _ in arriving] == ["citation", "final_answer"]


def test_a_client_that_leaves_a_stream_ends_the_generation(live: Live) -> None:
    gate = asyncio.Semaphore(1)
    live.gateway.answerer.pieces, live.gateway.answerer.gate = ["a"] * 1000, gate
    with live.http.stream("POST", "/v1/answer", json=QUESTION, headers=STREAMED) as response:
        arriving = events(response)
        assert [next(arriving)[0], next(arriving)[0]] == ["search_results", "message"]
    wait_until(live.gateway.answerer.closed.is_set)
    assert live.gateway.answerer.said == 1
    assert 'riddle_answers_total{outcome="left"} 1.0' in live.http.get("/metrics").text


def test_a_client_that_leaves_without_streaming_ends_the_generation_too(live: Live) -> None:
    live.gateway.answerer.pieces, live.gateway.answerer.gate = ["a"] * 1000, asyncio.Semaphore(1)
    body = json.dumps(QUESTION).encode()
    head = f"POST /v1/answer HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    with socket.create_connection(("127.0.0.1", live.server.port), timeout=60) as leaving:
        leaving.sendall(head.encode() + b"\r\n\r\n" + body)
        wait_until(lambda: live.gateway.answerer.said == 1)
    wait_until(live.gateway.answerer.closed.is_set)
    assert live.gateway.answerer.said == 1


def test_without_a_stream_the_answer_comes_whole_with_its_passages(live: Live) -> None:
    reply = live.http.post("/v1/answer", json={**QUESTION, "explain": True}).json()
    assert reply["answer"] == "Install it with pip."
    assert reply["engine"] == "fake"
    assert reply["generation"] == "docs@1"
    assert reply["results"][0]["explain"] is not None
    start, end = reply["citations"][0]["answer_span"]
    assert reply["answer"][start:end] == "Install it with pip."


def test_an_empty_collection_abstains(live: Live) -> None:
    live.gateway.recall.publish("empty", [])
    reply = live.http.post("/v1/answer", json={**QUESTION, "collection": "empty"}).json()
    assert reply["abstained"] is True
    assert reply["citations"] == []


def test_a_failure_in_the_middle_is_the_last_event(live: Live) -> None:
    live.gateway.answerer.failure, live.gateway.answerer.fail_after = GenerationFailed("broke off"), 1
    with live.http.stream("POST", "/v1/answer", json=QUESTION, headers=STREAMED) as response:
        found = list(events(response))
    assert [name for name, _ in found] == ["search_results", "message", "error"]
    assert found[-1][1]["code"] == "generation_failed"
    assert found[-1][1]["detail"] == "broke off"


def test_a_failure_without_a_stream_is_a_problem(live: Live) -> None:
    live.gateway.answerer.failure, live.gateway.answerer.fail_after = GenerationFailed("broke off"), 1
    reply = live.http.post("/v1/answer", json=QUESTION)
    assert reply.status_code == 503
    assert reply.json()["code"] == "generation_failed"


def test_what_is_wrong_before_the_stream_opens_has_its_real_status(live: Live) -> None:
    def status(body: Mapping[str, object]) -> int:
        reply = live.http.post("/v1/answer", json=body, headers=STREAMED)
        assert reply.headers["content-type"] == "application/problem+json"
        return reply.status_code

    assert status({"query": ""}) == 422
    assert status({**QUESTION, "k": 10_000}) == 422
    assert status({**QUESTION, "collection": "nowhere"}) == 404
    live.gateway.recall.fail_with = Unavailable("recall is away", stage="recall")
    assert status(QUESTION) == 503
