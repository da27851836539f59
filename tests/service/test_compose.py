"""compose.yaml carried out as processes of this machine: searched, answered from, and robbed of its parts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis import Redis

from services.deploy.requirements import TORCH
from tests.live import wait_until
from tests.requires import need
from tests.service.composition import Composition
from tests.service.handbook import QUESTION, QUESTIONS, write_handbook
from tests.service.vllm_server import MODEL, PATIENCE_S, VllmServer, shared_vllm

pytestmark = [pytest.mark.slow, pytest.mark.timeout(PATIENCE_S + 600)]

RIDDLE = ("gateway", "recall", "rank", "embed")
MODELS = ("bge-small-en-v1.5", "riddle-reranker-en", MODEL)


@pytest.fixture(scope="module")
def vllm(pytestconfig: pytest.Config) -> VllmServer:
    return shared_vllm(pytestconfig)


def files_of(models: Path) -> dict[Path, tuple[int, int]]:
    """Size and time of each file in the folders of models."""
    found = [path for name in MODELS for path in (models / name).rglob("*") if path.is_file()]
    return {path.relative_to(models): (path.stat().st_size, path.stat().st_mtime_ns) for path in found}


@pytest.fixture(scope="module")
def models_before(vllm: VllmServer) -> dict[Path, tuple[int, int]]:
    return files_of(need.home(*MODELS) / "models")


@pytest.fixture(scope="module")
def composed(
    vllm: VllmServer, models_before: dict[Path, tuple[int, int]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Composition]:
    """All that `up` starts, with the handbook built into `docs`; vLLM is the one that other tests use too."""
    need.redis()
    folder = tmp_path_factory.mktemp("composed")
    (folder / "volumes").mkdir()
    (folder / "volumes" / "models").symlink_to(need.home(*MODELS) / "models")
    pages = write_handbook(tmp_path_factory.mktemp("pages"))
    composition = Composition(folder, {"RIDDLE_SOURCES": str(pages)}, TORCH)
    composition.use("vllm", vllm.port)
    try:
        composition.token = composition.key()
        composition.up()
        composition.run("build")
        composition.await_healthy("gateway")
        yield composition
    finally:
        composition.down()


@pytest.fixture
def http(composed: Composition) -> Iterator[httpx.Client]:
    url, headers = f"http://127.0.0.1:{composed.port('gateway')}", {"Authorization": f"Bearer {composed.token}"}
    with httpx.Client(base_url=url, headers=headers, timeout=300, trust_env=False) as client:
        yield client


def search(http: httpx.Client, query: str) -> dict[str, Any]:
    response = http.post("/v1/search", json={"query": query, "explain": True})
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def answer(http: httpx.Client, question: str) -> dict[str, Any]:
    """The last event of a streamed answer."""
    headers = {"Accept": "text/event-stream"}
    with http.stream("POST", "/v1/answer", json={"query": question}, headers=headers) as response:
        assert response.status_code == 200
        events = list(response.iter_lines())
    assert "event: final_answer" in events, events
    final: dict[str, Any] = json.loads(events[events.index("event: final_answer") + 1].removeprefix("data: "))
    return final


def test_vllm_runs_by_the_command_that_compose_names(composed: Composition, vllm: VllmServer) -> None:
    named = composed.command("vllm")
    assert named[:-1] == vllm.command[:-1]
    assert Path(named[-1]).resolve() == Path(vllm.command[-1]).resolve()


@pytest.mark.parametrize("name", ["redis", "embed", "recall", "rank", "vllm", "gateway"])
def test_the_health_check_that_compose_names_passes(composed: Composition, name: str) -> None:
    assert composed.healthy(name)


def test_the_gateway_asks_for_the_key_that_compose_tells_how_to_make(http: httpx.Client) -> None:
    assert http.get("/v1/collections").status_code == 200
    assert httpx.get(f"{http.base_url}/v1/collections", trust_env=False).status_code == 401


def test_a_document_is_written_through_recall_and_embed_and_found(http: httpx.Client) -> None:
    path = "/v1/collections/docs/documents/buoy.md"
    assert http.put(path, json={"text": "The buoy rings in fog."}).status_code == 201
    assert search(http, "Which buoy rings in fog?")["results"][0]["document_id"] == "buoy.md"
    assert http.delete(path).status_code == 200
    assert "buoy.md" not in {each["document_id"] for each in search(http, "Which buoy rings in fog?")["results"]}


def test_search_goes_through_recall_embed_and_rank(http: httpx.Client) -> None:
    found = search(http, QUESTION)
    assert found["degraded"] == []
    assert found["results"][0]["document_id"] == "gate.md"
    assert {"lexical", "dense", "rerank"} <= set(found["results"][0]["explain"])


def test_a_search_asked_again_comes_from_redis(composed: Composition, http: httpx.Client) -> None:
    first, again = search(http, "lamp of the lighthouse"), search(http, "lamp of the lighthouse")
    assert (first["cache"], again["cache"]) == ("miss", "hit")
    assert again["results"] == first["results"]
    with Redis(port=composed.port("redis")) as redis:
        assert redis.dbsize() > 0
        redis.flushall()
    assert search(http, "lamp of the lighthouse")["cache"] == "miss"


def test_an_answer_is_written_by_vllm(http: httpx.Client) -> None:
    final = answer(http, QUESTION)
    assert final["engine"] == MODEL
    assert final["degraded"] == []
    assert final["answer"]


def test_with_redis_killed_searches_and_answers_go_on(composed: Composition, http: httpx.Client) -> None:
    composed.programs["redis"].kill()
    for _ in range(2):
        found = search(http, QUESTION)
        assert found["cache"] == "miss"
        assert found["degraded"] == []
    assert answer(http, QUESTION)["engine"] == MODEL
    composed.start("redis")
    composed.await_healthy("redis")
    wait_until(lambda: search(http, QUESTION)["cache"] == "hit")


def test_with_rank_killed_the_fused_order_stands_and_is_named(composed: Composition, http: httpx.Client) -> None:
    composed.programs["rank"].kill()
    found = search(http, "What do boats pay that shelter from a storm?")
    assert found["degraded"] == ["rerank"]
    assert found["cache"] == "miss"
    assert found["results"]
    assert not composed.healthy("gateway")
    composed.start("rank")
    composed.await_healthy("rank")
    wait_until(lambda: search(http, "What do boats pay that shelter from a storm?")["degraded"] == [])


def test_with_embed_killed_words_alone_are_searched(composed: Composition, http: httpx.Client) -> None:
    composed.programs["embed"].kill()
    found = search(http, "barrel of herring")
    assert found["degraded"] == ["dense"]
    assert found["results"][0]["document_id"] == "fish.md"
    composed.start("embed")
    composed.await_healthy("embed")
    wait_until(lambda: search(http, "barrel of herring")["degraded"] == [])


def test_with_recall_killed_a_search_is_a_problem_that_names_it(composed: Composition, http: httpx.Client) -> None:
    composed.programs["recall"].kill()
    response = http.post("/v1/search", json={"query": QUESTIONS[1]})
    assert response.status_code == 503
    assert response.json()["code"] == "unavailable"
    assert response.json()["stage"] == "recall"
    composed.start("recall")
    composed.await_healthy("recall")
    composed.await_healthy("gateway")
    assert search(http, QUESTIONS[1])["results"]


def test_services_leave_the_models_alone_which_compose_mounts_for_reading(
    composed: Composition, models_before: dict[Path, tuple[int, int]]
) -> None:
    for name in ("rank", "embed", "vllm"):
        assert composed.services[name]["volumes"] == ["models:/data/models:ro"]
    assert files_of(composed.volume("models")) == models_before


def test_services_end_in_order_when_they_are_told_to(composed: Composition) -> None:
    """Compose sends SIGTERM and takes an exit code other than 0 for a crash."""
    for name in RIDDLE:
        assert composed.programs[name].stop() == 0, composed.programs[name].said()
