"""The command line as people meet it: help, exit codes, and one line for what goes wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from services.cli import run
from services.settings import known

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def riddle(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs one command line in this process: exit code, stdout, stderr."""

    def call(*arguments: str) -> tuple[int, str, str]:
        code = run(arguments)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_help_lists_the_commands(riddle: Run) -> None:
    code, out, _ = riddle("--help")
    assert code == 0
    assert all(name in out for name in ("config", "doctor"))


@pytest.mark.parametrize("arguments", [["confg"], ["config", "show", "--hom"], ["config", "show", "--home"], []])
def test_wrong_usage_exits_2(riddle: Run, arguments: list[str]) -> None:
    assert riddle(*arguments)[0] == 2


def test_a_failure_is_one_line_on_stderr_and_exits_1(riddle: Run, tmp_path: Path) -> None:
    bad = tmp_path / "riddle.toml"
    bad.write_text("[server]\nprot = 1\n")
    code, out, err = riddle("config", "show", "--config", str(bad))
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert err.startswith("riddle: unknown setting server.prot")
    assert "server.port" in err


def test_an_error_of_the_system_is_one_line_too(riddle: Run, tmp_path: Path) -> None:
    code, _, err = riddle("config", "reference", "--write", str(tmp_path / "gone.md"))
    assert (code, err) == (1, f"riddle: {tmp_path}/gone.md: No such file or directory (more with --debug)\n")


def test_with_debug_the_error_itself_comes_out(riddle: Run, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        riddle("config", "reference", "--write", str(tmp_path / "gone.md"), "--debug")


def test_config_show_tells_value_and_origin(riddle: Run, tmp_path: Path) -> None:
    (tmp_path / "riddle.toml").write_text("[rank]\ndepth = 7\n")
    code, out, _ = riddle("config", "show", "--home", str(tmp_path), "--json")
    assert code == 0
    shown = json.loads(out)
    assert shown.keys() == known().keys()
    assert shown["rank.depth"] == {"value": 7, "from": f"{tmp_path}/riddle.toml:2"}
    assert shown["home"] == {"value": str(tmp_path), "from": "command line"}


def test_config_show_describes_on_request(riddle: Run, tmp_path: Path) -> None:
    _, out, _ = riddle("config", "show", "--home", str(tmp_path), "--describe")
    assert "Port to listen on" in out


def test_the_table_of_settings_is_written_between_its_markers(riddle: Run, tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    page.write_text("before\n<!-- settings -->\nstale words\n<!-- /settings -->\nafter\n")
    assert riddle("config", "reference", "--write", str(page))[0] == 0
    text = page.read_text()
    assert text.startswith("before\n<!-- settings -->\n| setting |")
    assert text.endswith("<!-- /settings -->\nafter\n")
    assert "stale words" not in text
    assert all(f"`{key}`" in text for key in known())


def test_a_page_without_markers_is_left_alone(riddle: Run, tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    page.write_text("nothing here\n")
    code, _, err = riddle("config", "reference", "--write", str(page))
    assert (code, page.read_text()) == (1, "nothing here\n")
    assert "has no lines" in err
