"""The small programs that images and `make vllm` call, and what they say when all is not well."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from fastapi import FastAPI, Response

from services.deploy import healthy, weights
from services.settings import environment
from tests.live import free_port, served
from tests.processes import ROOT


def vllm(words: Sequence[str]) -> subprocess.CompletedProcess[str]:
    command = ["bash", "services/deploy/vllm.sh", *words]
    return subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False, timeout=60)


def test_a_health_check_passes_when_the_address_answers_and_says_why_when_not(
    capsys: pytest.CaptureFixture[str],
) -> None:
    app = FastAPI()
    app.get("/well")(lambda: "ok")
    app.get("/ill")(lambda: Response("the index is loading", 503))
    with served(app) as server:
        assert healthy.main([f"{server.url}/well"]) == 0
        assert healthy.main([f"{server.url}/ill"]) == 1
    assert "503 the index is loading" in capsys.readouterr().err


def test_a_health_check_fails_when_nobody_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert healthy.main([f"http://127.0.0.1:{free_port()}/livez"]) == 1
    assert "refused" in capsys.readouterr().err


def test_a_health_check_needs_an_address(capsys: pytest.CaptureFixture[str]) -> None:
    assert healthy.main([]) == 2
    assert "usage" in capsys.readouterr().err


def test_weights_that_were_not_pulled_are_named_with_what_to_do(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "services.deploy.weights", "smollm2-135m-instruct"]
    ours = environment() | {"RIDDLE_HOME": str(tmp_path)}
    done = subprocess.run(command, cwd=ROOT, env=ours, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "riddle models pull smollm2-135m-instruct" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


def test_weights_need_the_name_of_a_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert weights.main([]) == 2
    assert "usage" in capsys.readouterr().err


@pytest.mark.parametrize("words", [(), ("start",), ("serve", "--port")])
def test_vllm_called_wrongly_says_how_it_is_called(words: tuple[str, ...]) -> None:
    done = vllm(words)
    assert done.returncode == 2
    assert done.stderr.startswith("vllm: ")


def test_vllm_refuses_a_port_that_is_taken_before_it_loads_anything() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = vllm(("serve", "--port", str(port)))
    assert done.returncode == 1
    assert done.stderr == f"vllm: port {port} is taken: choose another with --port\n"
