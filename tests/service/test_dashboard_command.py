"""`riddle dashboard` as a user starts it: a process that answers, keeps to itself, and ends when told."""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from retrieval.errors import Unavailable
from services.cli import run as riddle
from services.commands.dashboard import FLAGS, check_installed, command_for
from services.settings import environment
from tests.live import free_port
from tests.processes import Program, answers, program
from tests.runs import write_run


@pytest.fixture
def started(tmp_path: Path) -> Iterator[tuple[Program, str, Path]]:
    """The dashboard over one run, its address, and the home folder of the user who started it."""
    write_run(tmp_path / "runs" / "one")
    mine, port = tmp_path / "mine", free_port()
    mine.mkdir()
    command = [sys.executable, "-m", "services.cli", "dashboard", "--runs", str(tmp_path / "runs"), "--no-browser"]
    environ = {**environment(), "HOME": str(mine)}
    options = ["--home", str(tmp_path / "riddle"), "--port", str(port)]
    with program("dashboard", [*command, *options], environ, tmp_path / "log") as running:
        running.wait_until(lambda: "is ready" in running.log.read_text())
        yield running, f"http://127.0.0.1:{port}", mine


@pytest.mark.slow
@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGINT])
def test_the_dashboard_answers_and_ends_with_its_child_when_told(
    started: tuple[Program, str, Path], told: signal.Signals
) -> None:
    running, address, mine = started
    assert answers(f"{address}/_stcore/health")
    assert httpx.get(address, trust_env=False).status_code == 200
    running.signal(told)
    assert running.wait(60) == 0
    assert not answers(f"{address}/_stcore/health")
    assert "has stopped" in running.log.read_text()
    assert list(mine.rglob("*")) == []


def test_a_port_that_is_taken_is_refused_with_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert riddle(["dashboard", "--runs", str(tmp_path), "--home", str(tmp_path), "--port", port]) == 1
    assert "choose another with --port" in capsys.readouterr().err


def test_without_the_extra_it_says_what_to_install() -> None:
    check_installed()
    with pytest.raises(Unavailable, match=r"pip install 'riddle-search\[dashboard\]'"):
        check_installed(lambda name: None)


def test_streamlit_is_told_to_keep_to_this_machine_and_to_report_nothing() -> None:
    command = command_for(8501, ["--runs", "runs"])
    assert FLAGS["server.address"] == "127.0.0.1"
    assert {"--browser.gatherUsageStats=false", "--server.headless=true", "--server.fileWatcherType=none"} <= set(
        command
    )
    assert command[command.index("--") + 1 :] == ["--runs", "runs"]
