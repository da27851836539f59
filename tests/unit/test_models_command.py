"""`riddle models` as a person or a program calls it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from services.cli import run
from services.models import registry


def test_the_list_names_every_model_and_says_that_none_is_here(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["models", "list", "--home", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert all(each.name in printed and each.hub in printed for each in registry())
    assert printed.count("not here") == len(registry())


def test_the_list_in_json_holds_where_each_model_is_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "list", "--json", "--home", str(tmp_path)]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert set(rows) == {each.name for each in registry()}
    assert all(row["wheel"] and row["licence"] and row["path"] is None for row in rows.values())


def test_verifying_what_is_not_here_fails_and_says_how_to_get_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["models", "verify", "all-minilm-l6-v2", "--home", str(tmp_path)]) == 1
    assert "riddle models pull all-minilm-l6-v2" in capsys.readouterr().err


def test_an_unknown_model_fails_with_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "pull", "bge-smal-en", "--home", str(tmp_path)]) == 1
    assert capsys.readouterr().err.strip() == (
        "riddle: there is no model bge-smal-en: did you mean bge-small-en-v1.5, or a hub id (org/name), or a folder"
    )


@pytest.mark.parametrize("words", [["list"], ["pull"], ["verify"]])
def test_every_command_shows_an_example(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", *words, "--help"]) == 0
    assert f"Example: riddle models {words[0]}" in capsys.readouterr().out
