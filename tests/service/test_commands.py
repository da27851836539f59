"""`riddle search`, `ask` and `collections`: against a running server and against a home folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from retrieval.batch import write_generation
from retrieval.errors import GenerationFailed
from retrieval.store import CollectionStore
from services.bootstrap import collections_folder
from services.cli import run
from tests.fake_models import FakeEncoder
from tests.fakes import DOCUMENTS
from tests.live import free_port
from tests.parts import part
from tests.service.conftest import Live

Out = pytest.CaptureFixture[str]


def riddle(*arguments: str | Path) -> int:
    return run([str(argument) for argument in arguments])


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home without models, and a collection whose encoder is nowhere: found by words alone."""
    store = CollectionStore(collections_folder(tmp_path))
    write_generation(store, "docs", [part(DOCUMENTS)], encoder=FakeEncoder().spec)
    return tmp_path


def test_search_asks_a_server_and_prints_passages(live: Live, capsys: Out) -> None:
    assert riddle("search", "start the server", "-k", "3", "--url", live.server.url, "--explain") == 0
    out = capsys.readouterr().out
    assert "guide/install.md#1" in out
    assert "Then start the server." in out
    assert "rerank #1" in out


def test_search_prints_the_apis_answer_as_one_line_of_json(live: Live, capsys: Out) -> None:
    assert riddle("search", "passages", "-k", "1", "--url", live.server.url, "--json") == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    reply = json.loads(out)
    assert len(reply["results"]) == 1
    assert reply["generation"] == "docs@1"


def test_ask_prints_the_answer_and_its_sources(live: Live, capsys: Out) -> None:
    assert riddle("ask", "How do I install the package?", "--url", live.server.url) == 0
    out = capsys.readouterr().out
    assert out.startswith("Install it with pip.\n")
    assert "Sources\n  1  " in out
    assert "closest: " in out


def test_ask_prints_json_too(live: Live, capsys: Out) -> None:
    assert riddle("ask", "How do I install the package?", "--url", live.server.url, "--json") == 0
    reply = json.loads(capsys.readouterr().out)
    assert reply["answer"] == "Install it with pip."
    assert reply["results"]


def test_an_answer_that_breaks_off_is_a_failure(live: Live, capsys: Out) -> None:
    live.gateway.answerer.failure, live.gateway.answerer.fail_after = GenerationFailed("it broke off"), 1
    assert riddle("ask", "How do I install the package?", "--url", live.server.url) == 1
    assert capsys.readouterr().err == "riddle: it broke off\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("search", "x", "--collection", "nowhere"), "nowhere"),
        (("search", " "), "query: "),
        (("search", "x", "-k", "10000"), "k: "),
        (("search", "x", "--collection", "Not A Name"), "collection: "),
        (("ask", "x", "--collection", "nowhere"), "nowhere"),
        (("collections", "show", "nowhere"), "nowhere"),
    ],
)
def test_what_goes_wrong_is_one_line_and_exit_code_1(
    live: Live, home: Path, capsys: Out, arguments: tuple[str, ...], said: str
) -> None:
    for where in (("--url", live.server.url), ("--home", home)):
        assert riddle(*arguments, *where) == 1
        lines = capsys.readouterr().err.strip().splitlines()
        assert len(lines) == 1
        assert said in lines[0]


def test_a_server_that_is_not_there_is_named(capsys: Out) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    for command in (("search", "x"), ("ask", "x"), ("collections", "list")):
        assert riddle(*command, "--url", url) == 1
        assert url in capsys.readouterr().err


def test_a_home_without_models_is_searched_by_words_and_says_so(home: Path, capsys: Out) -> None:
    assert riddle("search", "start the server", "--home", home) == 0
    found = capsys.readouterr()
    assert "guide/install.md#0" in found.out
    assert found.err == "without dense, rerank: `riddle doctor` says why\n"


def test_a_home_without_models_answers_by_quoting(home: Path, capsys: Out) -> None:
    assert riddle("ask", "How do I start the server?", "--home", home, "--json") == 0
    reply = json.loads(capsys.readouterr().out)
    assert reply["engine"] in ("extractive", "none")
    assert reply["degraded"] == ["dense", "rerank"]


def test_collections_are_listed_shown_and_deleted(home: Path, capsys: Out) -> None:
    assert riddle("collections", "list", "--home", home) == 0
    assert "docs" in capsys.readouterr().out
    assert riddle("collections", "show", "docs", "--home", home, "--json") == 0
    assert json.loads(capsys.readouterr().out)["documents"] == len(DOCUMENTS)
    assert riddle("collections", "delete", "docs", "--yes", "--home", home) == 0
    assert capsys.readouterr().out == "removed docs\n"
    assert riddle("collections", "list", "--home", home) == 0
    assert "no collections yet" in capsys.readouterr().out


def test_collections_of_a_server_are_listed_and_deleted_too(live: Live, capsys: Out) -> None:
    assert riddle("collections", "list", "--url", live.server.url, "--json") == 0
    assert json.loads(capsys.readouterr().out)["collections"][0]["name"] == "docs"
    assert riddle("collections", "delete", "docs", "--yes", "--url", live.server.url) == 0
    assert live.gateway.recall.held == {}
