"""Answers written by a real vLLM server, streamed through a real gateway, left early, and cut off."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from services.settings import environment
from tests.live import free_port, wait_until
from tests.processes import ROOT, Program, answers, program
from tests.requires import need
from tests.service.handbook import QUESTION, QUESTIONS, STORY, write_handbook
from tests.service.vllm_server import MODEL, PATIENCE_S, VllmServer, shared_vllm

pytestmark = [pytest.mark.slow, pytest.mark.timeout(PATIENCE_S + 600)]

RIDDLE = (sys.executable, "-m", "services.cli")

Event = tuple[str, dict[str, Any]]


@dataclass
class Answering:
    """A gateway over the handbook whose answers vLLM writes."""

    gateway: Program
    http: httpx.Client
    vllm: VllmServer

    def whole(self, question: str) -> dict[str, Any]:
        response = self.http.post("/v1/answer", json={"query": question})
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    def stream(self, question: str) -> Generator[Event]:
        """The events as they arrive; closing the iterator hangs up."""
        headers = {"Accept": "text/event-stream"}
        with self.http.stream("POST", "/v1/answer", json={"query": question}, headers=headers) as response:
            assert response.status_code == 200
            assert response.headers["content-type"].startswith("text/event-stream")
            name = ""
            for line in response.iter_lines():
                if line.startswith("event: "):
                    name = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    yield name, json.loads(line.removeprefix("data: "))


@pytest.fixture(scope="module")
def with_vllm(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Answering]:
    vllm = shared_vllm(pytestconfig)
    models = need.home("bge-small-en-v1.5", "riddle-reranker-en") / "models"
    home = tmp_path_factory.mktemp("home")
    (home / "models").symlink_to(models)
    ours = {name: value for name, value in environment().items() if not name.startswith("RIDDLE_")}
    pages = str(write_handbook(tmp_path_factory.mktemp("pages")))
    build = [*RIDDLE, "build", pages, "--home", str(home), "--json"]
    subprocess.run(build, cwd=ROOT, env=ours, check=True, capture_output=True, timeout=300)

    port = free_port()
    url = f"http://127.0.0.1:{port}"
    up = [*RIDDLE, "up", "--home", str(home), "--port", str(port)]
    settings = {"RIDDLE_GENERATION_URL": vllm.url, "RIDDLE_GENERATION_MODEL": MODEL}
    with (
        program("riddle", up, ours | settings, tmp_path_factory.mktemp("log") / "riddle.log") as gateway,
        httpx.Client(base_url=url, timeout=300, trust_env=False) as http,
    ):
        gateway.wait_until(lambda: answers(f"{url}/readyz"))
        yield Answering(gateway, http, vllm)


@pytest.fixture
def answering(with_vllm: Answering) -> Answering:
    """With a server that lives: one that a test has killed is started again, on the port that the gateway knows."""
    with_vllm.vllm.start()
    return with_vllm


def test_an_answer_streams_through_the_gateway_as_vllm_writes_it(answering: Answering) -> None:
    events = list(answering.stream(QUESTION))
    names = [name for name, _ in events]
    deltas = [data["delta"] for name, data in events if name == "message"]
    final = events[-1][1]
    assert names[0] == "search_results"
    assert names[-1] == "final_answer"
    assert set(names[1:-1]) <= {"message", "citation"}
    assert "".join(deltas) == final["answer"]
    assert len(deltas) > 3
    assert final["engine"] == MODEL
    assert final["degraded"] == []
    # A token or so a delta: what vLLM counted is what came through.
    assert final["usage"]["completion_tokens"] >= len(deltas)
    assert final["usage"]["prompt_tokens"] > 100


def test_its_citations_point_at_sentences_of_passages_that_were_returned(answering: Answering) -> None:
    cited = 0
    for question in QUESTIONS:
        events = list(answering.stream(question))
        results = {result["passage_id"]: result for result in events[0][1]["results"]}
        final = events[-1][1]
        assert final["citations"] == [data for name, data in events if name == "citation"]
        for citation in final["citations"]:
            passage = results[citation["passage_id"]]
            document = answering.http.get(f"/v1/collections/docs/documents/{passage['document_id']}").json()
            start, end = citation["source_span"]
            assert passage["offsets"][0] <= start < end <= passage["offsets"][1]
            assert document["text"][start:end].strip() in passage["text"]
            first, last = citation["answer_span"]
            assert 0 <= first < last <= len(final["answer"])
            assert citation["verdict"] in {"closest", "quoted"}
            cited += 1
    # A model of this size strays; that it strays on all of them would be our doing.
    assert cited > 0


def test_the_whole_answer_can_be_asked_for_at_once(answering: Answering) -> None:
    answer = answering.whole(QUESTION)
    assert answer["engine"] == MODEL
    assert answer["answer"]
    assert answer["results"]


def test_a_client_that_leaves_stops_the_generation_in_vllm(answering: Answering) -> None:
    before = answering.vllm.finished
    events = answering.stream(STORY)
    heard = [next(events)[0] for _ in range(4)]
    # Text is here while the server still writes: deltas are real.
    assert heard == ["search_results", "message", "message", "message"]
    assert answering.vllm.running == 1
    events.close()
    wait_until(lambda: answering.vllm.running == 0)
    assert answering.vllm.finished == before


def test_a_client_that_leaves_before_a_whole_answer_stops_it_too(answering: Answering) -> None:
    before = answering.vllm.finished
    body = json.dumps({"query": STORY}).encode()
    head = f"POST /v1/answer HTTP/1.1\r\nHost: riddle\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    with socket.create_connection(("127.0.0.1", answering.http.base_url.port)) as impatient:
        impatient.sendall(head.encode() + b"\r\n\r\n" + body)
        wait_until(lambda: answering.vllm.running == 1)
    wait_until(lambda: answering.vllm.running == 0)
    assert answering.vllm.finished == before


def test_vllm_killed_in_the_middle_of_an_answer_ends_the_stream_with_an_error(answering: Answering) -> None:
    events = answering.stream(STORY)
    heard = [next(events) for _ in range(3)]
    assert heard[-1][0] == "message"
    answering.vllm.kill()
    name, problem = list(events)[-1]
    assert name == "error"
    assert problem["code"] == "generation_failed"
    assert problem["status"] == 503
    assert problem["retryable"] is True
    assert answering.gateway.running


def test_with_vllm_gone_answers_are_quoted_and_say_so(with_vllm: Answering) -> None:
    answering = with_vllm
    answering.vllm.kill()
    answer = answering.whole(QUESTION)
    assert answer["engine"] == "extractive"
    assert answer["degraded"] == ["generation"]
    assert "two metres" in answer["answer"]
    assert answer["citations"][0]["verdict"] == "quoted"
    streamed = list(answering.stream(QUESTION))
    assert streamed[-1][1]["degraded"] == ["generation"]
    assert answering.http.get("/readyz").status_code == 200
