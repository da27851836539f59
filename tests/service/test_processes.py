"""The service as processes: the port, the word when ready, the drain; real weights, real Redis."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from indexing.build import build
from retrieval.store import CollectionStore
from services.bootstrap import builds_folder, collections_folder
from services.encoders import encoder_named
from services.settings import environment, load
from tests.fakes import DOCUMENTS
from tests.live import RedisServer, free_port, wait_until
from tests.requires import need

pytestmark = pytest.mark.slow

RIDDLE = (sys.executable, "-m", "services.cli")
QUESTION = "How do I start the server?"


def plain(**more: str) -> dict[str, str]:
    """The environment without settings of whoever runs the tests; one thread a model, for the machine is shared."""
    kept = {name: value for name, value in environment().items() if not name.startswith("RIDDLE_")}
    return kept | {"RIDDLE_MODELS_THREADS": "1", "OMP_NUM_THREADS": "1"} | more


@contextmanager
def started(*arguments: str | Path, **variables: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process of ours on a free port, and its address; ended by SIGTERM, which must be a good end."""
    port = free_port()
    command = [*RIDDLE, *map(str, arguments), "--port", str(port)]
    process = subprocess.Popen(
        command, env=plain(**variables), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: process.poll() is not None or status(f"{url}/livez") == 200)
        assert process.poll() is None, process.communicate()
        yield process, url
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        assert "Traceback" not in err
        assert "has stopped" in out
    finally:
        process.kill()
        process.wait()


def status(url: str) -> int:
    with suppress(httpx.TransportError):
        return httpx.get(url, timeout=10, trust_env=False).status_code
    return 0


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real models, and a small collection built with them."""
    models = need.home("bge-small-en-v1.5", "riddle-reranker-en", "smollm2-135m-instruct") / "models"
    folder = tmp_path_factory.mktemp("home")
    (folder / "models").symlink_to(models)
    sources = folder / "sources"
    for document in DOCUMENTS[:2]:
        path = sources / document.document_id
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# {document.title}\n\n{document.text}\n")
    settings = load(None, {}, {"home": folder, "models.threads": 1}).settings
    build(
        [sources],
        "docs",
        store=CollectionStore(collections_folder(folder)),
        encoder=encoder_named(settings.models.encoder, settings),
        work=builds_folder(folder),
    )
    return folder


def search(url: str, **fields: object) -> dict[str, Any]:
    body = {"query": QUESTION, "explain": True, **fields}
    reply = httpx.post(f"{url}/v1/search", json=body, timeout=120, trust_env=False)
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()
    return found


def what_was_found(reply: dict[str, Any]) -> list[tuple[str, float]]:
    return [(result["passage_id"], round(result["score"], 4)) for result in reply["results"]]


def test_a_port_that_is_taken_is_one_clear_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        for command in (["up"], ["serve", "rank"]):
            ended = subprocess.run(
                [*RIDDLE, *command, "--home", str(tmp_path), "--port", port],
                env=plain(),
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
            assert ended.returncode == 1
            assert ended.stdout == ""
            (line,) = ended.stderr.splitlines()
            assert line.startswith(f"riddle: port {port} on 127.0.0.1 is taken")


def test_without_models_it_lives_searches_by_words_and_says_what_is_missing(home: Path, tmp_path: Path) -> None:
    (tmp_path / "collections").symlink_to(collections_folder(home))
    with started("up", "--home", tmp_path) as (_, url):
        wait_until(lambda: "loading" not in httpx.get(f"{url}/readyz", trust_env=False).text)
        unready = httpx.get(f"{url}/readyz", trust_env=False)
        assert unready.status_code == 503
        assert "riddle models pull bge-small-en-v1.5" in unready.json()["parts"]["encoder"]
        assert "riddle models pull riddle-reranker-en" in unready.json()["parts"]["reranker"]
        found = search(url)
        assert found["degraded"] == ["dense", "rerank"]
        assert found["results"]


@pytest.mark.timeout(900)
def test_one_process_and_four_give_the_same_results_and_a_killed_redis_is_a_miss(home: Path, tmp_path: Path) -> None:
    redis = RedisServer(need.redis(), tmp_path)
    redis.start()
    with started("up", "--home", home, RIDDLE_REDIS_URL=redis.url) as (process, url):
        wait_until(lambda: status(f"{url}/readyz") == 200, 300)
        one = search(url)
        assert (one["cache"], one["degraded"]) == ("miss", [])
        assert search(url)["cache"] == "hit"
        assert process.stdout is not None
        assert "listens on" in process.stdout.readline()
        assert process.stdout.readline() == f"riddle is ready: {url}\n"
        answered(url)

    with (
        started("serve", "embed", "--home", home) as (_, embed),
        started("serve", "recall", "--home", home, RIDDLE_EMBED_URL=embed) as (_, recall),
        started("serve", "rank", "--home", home) as (ranking, rank),
        started(
            "serve", "gateway", "--home", home,
            RIDDLE_RECALL_URL=recall, RIDDLE_RANK_URL=rank, RIDDLE_REDIS_URL=redis.url,
            RIDDLE_MODELS_GENERATOR="",
        ) as (_, gateway),
    ):  # fmt: skip
        wait_until(lambda: status(f"{gateway}/readyz") == 200, 300)
        # The other process's cache serves this one: the same generation, pipeline and request.
        assert search(gateway)["cache"] == "hit"
        four = search(gateway, k=9)
        assert four["cache"] == "miss"
        assert what_was_found(four) == what_was_found(one)
        redis.kill()
        again = search(gateway)
        assert (again["cache"], again["degraded"]) == ("miss", [])
        assert what_was_found(again) == what_was_found(one)
        ranking.send_signal(signal.SIGSTOP)
        try:
            late = search(gateway, k=8, budget_ms=200)
            assert late["degraded"] == ["rerank"]
        finally:
            ranking.send_signal(signal.SIGCONT)


def answered(url: str) -> None:
    """A generated answer, streamed."""
    headers = {"Accept": "text/event-stream"}
    with httpx.stream(
        "POST", f"{url}/v1/answer", json={"query": QUESTION}, headers=headers, timeout=300, trust_env=False
    ) as response:
        lines = [line for line in response.iter_lines() if line]
    names = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
    assert names[0] == "search_results"
    assert names[-1] == "final_answer"
    final = json.loads(lines[-1].removeprefix("data: "))
    deltas = [json.loads(line.removeprefix("data: ")).get("delta") for line in lines if line.startswith("data: ")]
    assert "".join(delta for delta in deltas if delta) == final["answer"] != ""
