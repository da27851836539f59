"""Queries that are put right or added to before they are searched: in one process, and with recall as a service."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from generation.chat import ChatServer
from retrieval.library import Collection
from retrieval.recall import Beside, recall
from retrieval.types import Document
from services.auth import Caller
from services.cache import MemoryCache
from services.clients import RecallClient, http_client
from services.embedded import EmbeddedRecall
from services.gateway.app import Parts, create_app
from services.gateway.rewriting import Rewriting
from services.ports import RecallRequest, Rights
from services.recall.app import create_app as create_recall
from services.spelling import Spelling
from services.telemetry import Telemetry
from tests.chat_server import ChatScript, chat_app
from tests.contract.conftest import embedded_recall
from tests.fake_models import FakeEncoder
from tests.fakes import FakeAnswerer, FakeRank
from tests.live import LiveServer, Stage, served
from tests.service.conftest import SETTINGS, OpenDoor

DOCUMENTS = [
    Document("kidney", "The kidney filters the blood."),
    Document("machine", "A machine is learning from examples."),
    *(Document(f"page{number}", f"The kidney on page {number}.") for number in range(5)),
    Document("secret", "Project Nightjar is about the kidney.", acl=("group:board",)),
]


@dataclass
class Asked:
    """The gateway under test and what stands behind it."""

    http: httpx.Client
    door: OpenDoor
    script: ChatScript

    def search(self, query: str, **fields: Any) -> dict[str, Any]:
        reply = self.http.post("/v1/search", json={"query": query, **fields})
        assert reply.status_code == 200, reply.text
        found: dict[str, Any] = reply.json()
        return found


@pytest.fixture(scope="module")
def chat() -> Iterator[tuple[Stage, str]]:
    stage = Stage()
    with served(stage) as server:
        yield stage, f"{server.url}/v1/"


@pytest.fixture(scope="module")
def far() -> Iterator[tuple[Stage, str]]:
    stage = Stage()
    with served(stage) as server:
        yield stage, server.url


@pytest.fixture(params=["in one process", "as services"])
def asked(
    request: pytest.FixtureRequest, tmp_path: Path, stage: tuple[Stage, LiveServer, httpx.Client],
    chat: tuple[Stage, str], far: tuple[Stage, str],
) -> Asked:  # fmt: skip
    Collection.create(tmp_path / "docs", FakeEncoder()).upsert(DOCUMENTS)
    recall: EmbeddedRecall | RecallClient = embedded_recall(tmp_path, spelling=Spelling(patient=True))
    if request.param == "as services":
        far[0].app = create_recall(recall, Telemetry())
        recall = RecallClient(http_client(far[1], 60))
    script, cache, door = ChatScript(), MemoryCache(60, 100), OpenDoor()
    chat[0].app = chat_app(script)
    model = ChatServer(httpx.AsyncClient(base_url=chat[1], timeout=60, trust_env=False))
    rewriting = Rewriting(model, cache, name="served", within_ms=60_000, most=4)
    limits = replace(SETTINGS.search, spelling="on", rewrites=True, default_k=3)
    parts = Parts(recall, FakeRank(), FakeAnswerer(), cache, Telemetry(), door, rewriting=rewriting)
    stage[0].app = create_app(parts, replace(SETTINGS, search=limits))
    return Asked(stage[2], door, script)


def test_what_was_meant_is_searched_beside_what_was_typed_and_said(asked: Asked) -> None:
    found = asked.search("what does a kideny filter", k=10)
    assert found["correction"] == {
        "query": "what does a kidney filter",
        "words": [{"typed": "kideny", "meant": "kidney"}],
        "searched": True,
    }
    assert {"kidney", "page0"} <= {each["document_id"] for each in found["results"]}
    assert (found["degraded"], found["cache"]) == ([], "miss")
    again = asked.search("what does a kideny filter", k=10)
    assert (again["cache"], again["correction"]) == ("hit", found["correction"])
    assert asked.search("what does a kidney filter")["correction"] is None


def test_a_suggestion_changes_nothing_of_what_is_found(asked: Asked) -> None:
    weights = {"ranking": {"fusion": {"weights": {"dense": 0}}}}
    off = asked.search("kideny", understanding={"spelling": "off"}, **weights)
    suggested = asked.search("kideny", understanding={"spelling": "suggest"}, **weights)
    assert off["results"] == suggested["results"] == []
    assert off["correction"] is None
    assert suggested["correction"]["query"] == "kidney"
    assert suggested["correction"]["searched"] is False
    assert len(asked.search("kideny", **weights)["results"]) == 3, "neither was taken from the cache"


def test_pages_of_a_corrected_query_fit_together_and_another_reading_is_another_request(asked: Asked) -> None:
    first = asked.search("kideny page")
    second = asked.search("kideny page", cursor=first["next_cursor"])
    ids = [each["passage_id"] for each in first["results"] + second["results"]]
    assert len(set(ids)) == len(ids) == 6
    body = {"query": "kideny page", "cursor": first["next_cursor"], "understanding": {"spelling": "off"}}
    assert asked.http.post("/v1/search", json=body).status_code == 422


def test_a_word_that_the_caller_may_not_see_is_not_suggested(asked: Asked) -> None:
    assert asked.search("the nighjar project")["correction"] is None
    asked.door.caller = Caller(Rights(("group:board", "public")))
    assert asked.search("the nighjar project")["correction"]["query"] == "the nightjar project"


def test_answers_say_what_their_question_was_taken_to_mean(asked: Asked) -> None:
    question = {"query": "what does the kideny filter"}
    whole = asked.http.post("/v1/answer", json=question).json()
    assert whole["correction"]["query"] == "what does the kidney filter"
    stream = asked.http.post("/v1/answer", json=question, headers={"Accept": "text/event-stream"})
    assert '"query":"what does the kidney filter"' in stream.text.split("\n\n")[0]


def test_a_passage_like_an_answer_finds_what_the_query_alone_does_not(asked: Asked) -> None:
    asked.script.pieces = ("A machine ", "is learning ", "from examples.")
    plain = asked.search("robots", understanding={"rewrite": "off"})
    assert (plain["degraded"], asked.script.asked) == ([], [])
    found = asked.search("robots", understanding={"rewrite": "hyde"}, ranking={"rerank": {"depth": 0}})
    assert found["results"][0]["document_id"] == "machine"
    assert "from examples" not in str({**found, "results": []}), "it is searched with and not shown"
    assert asked.script.asked[0]["messages"][-1] == {"role": "user", "content": "Query: robots"}
    asked.search("robots", understanding={"rewrite": "hyde"}, k=5)
    assert len(asked.script.asked) == 1, "what was written is kept"


def test_other_words_are_looked_for_too(asked: Asked) -> None:
    asked.script.pieces = ("Query: machine examples\nSecond", " line")
    lexical = {"fusion": {"weights": {"dense": 0}}, "rerank": {"depth": 0}}
    assert asked.search("robots", ranking=lexical)["results"] == []
    found = asked.search("robots", ranking=lexical, understanding={"rewrite": "rewrite"})
    assert [each["document_id"] for each in found["results"]] == ["machine"]
    assert "rewrite" in found["timings_ms"]


def test_a_model_that_fails_or_is_late_leaves_the_query_as_it_is_and_is_named(asked: Asked) -> None:
    asked.script.status = 500
    found = asked.search("kidney", understanding={"rewrite": "hyde"})
    assert found["degraded"] == ["rewrite"]
    assert found["results"]
    assert asked.search("kidney", understanding={"rewrite": "hyde"})["cache"] == "miss", "nothing of it is kept"
    asked.script.status, asked.script.delay_s = 200, 30.0
    late = asked.search("kidney", understanding={"rewrite": "hyde"}, budget_ms=2000)
    assert "rewrite" in late["degraded"]
    asked.script.delay_s, asked.script.pieces = 0.0, (" ", "\n")
    assert asked.search("kidney", understanding={"rewrite": "rewrite"})["degraded"] == ["rewrite"], "it wrote nothing"


def test_rewriting_without_a_model_is_refused(live: Any) -> None:
    reply = live.search("kidney", understanding={"rewrite": "hyde"})
    assert reply.status_code == 422
    assert "understanding.rewrite" in reply.json()["detail"]


def test_encoders_read_what_was_meant_and_average_the_rest(tmp_path: Path) -> None:
    encoder = FakeEncoder()
    collection = Collection.create(tmp_path / "docs", encoder)
    collection.upsert(DOCUMENTS)
    snapshot = collection.snapshot()

    def dense(beside: Beside) -> list[tuple[str, float]]:
        found = recall(snapshot, encoder, "robots", beside=beside).candidates
        return [(each.passage.passage_id, each.stages["dense"].score) for each in found]

    meant = recall(snapshot, encoder, "machine").candidates
    assert dict(dense(Beside(meant="machine"))) == pytest.approx(
        {each.passage.passage_id: each.stages["dense"].score for each in meant}
    )
    queries, passages = encoder.encode(["robots", "machine"], "query"), encoder.encode(["learning"], "passage")
    mean = np.concatenate([queries, passages]).mean(axis=0)
    hits = snapshot.dense((mean / np.linalg.norm(mean)).astype(np.float32), 100)
    wanted = dict(zip(snapshot.passage_ids(hits.rows), hits.scores.tolist(), strict=True))
    assert dict(dense(Beside(rewordings=("machine",), passages=("learning",)))) == pytest.approx(wanted)


async def test_until_the_words_are_counted_a_misspelt_query_is_searched_as_it_is(tmp_path: Path) -> None:
    Collection.create(tmp_path / "docs", FakeEncoder()).upsert(DOCUMENTS)
    port = embedded_recall(tmp_path)
    request = RecallRequest("docs", "kideny", spelling="on")
    assert (await port.recall(replace(request, query="kidney"))).degraded == (), "nothing is amiss"
    first = await port.recall(request)
    assert (first.degraded, first.correction) == (("spelling",), None)
    late = await port.recall(replace(request, deadline_ms=0))
    assert "spelling" in late.degraded
    await port.aclose()
