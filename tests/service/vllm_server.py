"""A real vLLM server that serves SmolLM2, started once for all the tests that answer with it."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest

from generation.weights import loadable_folder
from retrieval.models import find_model
from services.settings import environment
from tests.live import free_port
from tests.processes import ROOT, Program, answers
from tests.requires import need

PATIENCE_S = 600.0
"""It imports for most of a minute on a machine of its own, and for several on a busy one."""

MODEL = "smollm2-135m-instruct"


class VllmServer:
    """`services/deploy/vllm.sh serve` on a port that it keeps, and what its metrics tell."""

    def __init__(self, model: Path, log: Path) -> None:
        self.port = free_port()
        self.root = f"http://127.0.0.1:{self.port}"
        self.url = f"{self.root}/v1"
        serve = ["bash", "services/deploy/vllm.sh", "serve"]
        # What compose.yaml says, as test_compose.py checks.
        self.command = [*serve, "--host", "127.0.0.1", "--port", str(self.port), "--weights", str(model)]
        self._log = log
        self.program: Program | None = None

    def start(self) -> None:
        """Start it unless it runs, and wait until it answers."""
        if self.program is None or not self.program.running:
            self.program = Program("vLLM", self.command, environment(), self._log)
        self.program.wait_until(lambda: answers(f"{self.root}/health"), PATIENCE_S)

    def kill(self) -> None:
        if self.program is not None:
            self.program.kill()

    def counted(self, metric: str, **labels: str) -> float:
        """The sum of a metric's samples that carry these labels."""
        text = httpx.get(f"{self.root}/metrics", timeout=60, trust_env=False).text
        total = 0.0
        for line in text.splitlines():
            found = re.fullmatch(rf"vllm:{re.escape(metric)}\{{(.*)\}} (\S+)", line)
            if found and all(f'{name}="{value}"' in found.group(1) for name, value in labels.items()):
                total += float(found.group(2))
        return total

    @property
    def running(self) -> float:
        return self.counted("num_requests_running") + self.counted("num_requests_waiting")

    @property
    def finished(self) -> float:
        """Replies that came to their end; one that was stopped is not among them."""
        return sum(self.counted("request_success_total", finished_reason=why) for why in ("stop", "length"))


_SHARED = pytest.StashKey[VllmServer]()


def shared_vllm(config: pytest.Config) -> VllmServer:
    """The server of this test run, started when first asked for, and again when a test has killed it."""
    need.vllm()
    server = config.stash.get(_SHARED, None)
    if server is None:
        log = ROOT / ".cache" / "tests" / "vllm.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        model = find_model(MODEL, need.home(MODEL))
        loadable_folder(model)
        server = VllmServer(model.path, log)
        config.stash[_SHARED] = server
        config.add_cleanup(server.kill)
    server.start()
    return server
