"""Rank and embed as processes, killed and paused in turn under load: searches go on, and say what they went without."""

from __future__ import annotations

import itertools
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from indexing.build import build
from retrieval.store import CollectionStore
from services.bootstrap import builds_folder, collections_folder
from services.encoders import encoder_named
from services.settings import load
from tests.fakes import DOCUMENTS
from tests.live import free_port, wait_until
from tests.processes import Program, answers, program
from tests.requires import need
from tests.service.test_processes import plain

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

STAGES = {"rank": "rerank", "embed": "dense"}
"""What a search goes without when a service is away."""

QUESTIONS = ("How do I start the server?", "What is a query?", "How are results ranked?", "Where is the package?")


@dataclass(frozen=True, slots=True)
class Reply:
    """One search: when it was asked and answered, and what it said."""

    asked: float
    answered: float
    status: int
    body: dict[str, Any]

    @property
    def degraded(self) -> set[str]:
        return set(self.body.get("degraded", ()))

    def ran(self, stage: str) -> bool:
        """Whether some result shows that the stage ran."""
        return any(stage in result["explain"] for result in self.body["results"])


class Load:
    """Three clients that search without a pause; every other request has a budget, and none can be had from a cache."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._stopped = threading.Event()
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self.replies: list[Reply] = []
        self._threads = [threading.Thread(target=self._search) for _ in range(3)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def since(self, moment: float) -> list[Reply]:
        """Searches that were asked after ``moment``."""
        with self._lock:
            return [reply for reply in self.replies if reply.asked > moment]

    def _search(self) -> None:
        with httpx.Client(base_url=self._url, timeout=120, trust_env=False) as http:
            while not self._stopped.is_set():
                number = next(self._numbers)
                body = {"query": f"{QUESTIONS[number % 4]} {number}", "explain": True}
                asked = time.monotonic()
                found = http.post("/v1/search", json=body if number % 2 else {**body, "budget_ms": 1500})
                with self._lock:
                    self.replies.append(Reply(asked, time.monotonic(), found.status_code, found.json()))


class Services:
    """The four processes; each can be started again where it was."""

    def __init__(self, home: Path, folder: Path) -> None:
        self._home = home
        self._folder = folder
        self._ports = {name: free_port() for name in ("embed", "rank", "recall", "gateway")}
        self.programs: dict[str, Program] = {}

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self._ports[name]}"

    def start(self, name: str, stack: ExitStack) -> None:
        more = {
            "recall": {"RIDDLE_EMBED_URL": self.url("embed")},
            "gateway": {
                "RIDDLE_RECALL_URL": self.url("recall"),
                "RIDDLE_RANK_URL": self.url("rank"),
                "RIDDLE_EMBED_URL": self.url("embed"),
                "RIDDLE_MODELS_GENERATOR": "",
                "RIDDLE_CACHE_TTL_S": "0",
            },
        }
        command = [sys.executable, "-m", "services.cli", "serve", name, "--home", str(self._home)]
        environ = plain(RIDDLE_SERVICES_TIMEOUT_S="5", **more.get(name, {}))
        log = self._folder / f"{name}.log"
        running = program(name, [*command, "--port", str(self._ports[name])], environ, log)
        self.programs[name] = stack.enter_context(running)

    def await_ready(self, name: str) -> None:
        self.programs[name].wait_until(lambda: answers(f"{self.url(name)}/readyz"), 300)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real models, and a small collection built with them."""
    models = need.home("bge-small-en-v1.5", "riddle-reranker-en") / "models"
    folder = tmp_path_factory.mktemp("home")
    (folder / "models").symlink_to(models)
    sources = folder / "sources"
    for document in DOCUMENTS[:2]:
        path = sources / document.document_id
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# {document.title}\n\n{document.text}\n")
    settings = load(None, {}, {"home": folder, "models.threads": 1}).settings
    encoder = encoder_named(settings.models.encoder, settings)
    build(
        [sources],
        "docs",
        store=CollectionStore(collections_folder(folder)),
        encoder=encoder,
        work=builds_folder(folder),
    )
    return folder


@pytest.fixture(scope="module")
def services(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Services, ExitStack]]:
    running = Services(home, tmp_path_factory.mktemp("logs"))
    with ExitStack() as stack:
        for name in ("embed", "rank", "recall", "gateway"):
            running.start(name, stack)
        for name in ("embed", "rank", "recall", "gateway"):
            running.await_ready(name)
        yield running, stack


@contextmanager
def under_load(url: str) -> Iterator[Load]:
    load = Load(url)
    load.start()
    try:
        yield load
    finally:
        load.stop()
    assert {reply.status for reply in load.replies} == {200}
    for reply in load.replies:
        assert reply.body["results"]
        for stage in ("rerank", "dense"):
            # Truthful both ways: what is named did not run, and what is not named did.
            assert (stage in reply.degraded) is not reply.ran(stage), reply.body


def whole(load: Load, moment: float) -> bool:
    """Whether searches asked since then went without nothing."""
    return any(not reply.degraded for reply in load.since(moment))


def without(load: Load, stage: str, moment: float) -> bool:
    """Whether several searches asked since then went without just this."""
    return sum(reply.degraded == {stage} for reply in load.since(moment)) >= 10


def during(load: Load, begin: float, end: float) -> list[Reply]:
    return [reply for reply in load.since(begin) if reply.answered < end]


@pytest.mark.parametrize("name", STAGES)
def test_a_service_that_is_killed_is_gone_without_and_comes_back(
    services: tuple[Services, ExitStack], name: str
) -> None:
    running, stack = services
    with under_load(running.url("gateway")) as load:
        wait_until(lambda: whole(load, 0.0), 120)
        running.programs[name].kill()
        killed = time.monotonic()
        wait_until(lambda: without(load, STAGES[name], killed), 120)
        again = time.monotonic()
        running.start(name, stack)
        running.await_ready(name)
        back = time.monotonic()
        wait_until(lambda: whole(load, back), 120)
    gone = during(load, killed, again)
    assert all(STAGES[name] in reply.degraded for reply in gone)


@pytest.mark.parametrize("name", STAGES)
def test_a_service_that_hangs_is_gone_without_and_comes_back(services: tuple[Services, ExitStack], name: str) -> None:
    running, _ = services
    with under_load(running.url("gateway")) as load:
        wait_until(lambda: whole(load, 0.0), 120)
        running.programs[name].signal(signal.SIGSTOP)
        stopped = time.monotonic()
        try:
            wait_until(lambda: without(load, STAGES[name], stopped), 120)
        finally:
            on = time.monotonic()
            running.programs[name].signal(signal.SIGCONT)
        wait_until(lambda: whole(load, on), 120)
    hung = during(load, stopped, on)
    assert all(STAGES[name] in reply.degraded for reply in hung)


@pytest.mark.parametrize("name", STAGES)
def test_what_the_gateway_asks_of_it_for_others_is_unavailable_meanwhile(
    services: tuple[Services, ExitStack], name: str
) -> None:
    running, stack = services
    paths: dict[str, tuple[str, dict[str, Any]]] = {
        "rank": ("/v2/rerank", {"model": "riddle-reranker-en", "query": "a", "documents": ["b", "c"]}),
        "embed": ("/v1/embeddings", {"model": "bge-small-en-v1.5", "input": "a"}),
    }
    path, body = paths[name]

    def ask() -> int:
        reply = httpx.post(f"{running.url('gateway')}{path}", json=body, timeout=120, trust_env=False)
        return reply.status_code

    wait_until(lambda: ask() == 200, 120)
    running.programs[name].kill()
    assert ask() == 503
    running.start(name, stack)
    running.await_ready(name)
    wait_until(lambda: ask() == 200, 120)
