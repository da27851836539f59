"""`riddle keys`, and what a server without one refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from retrieval.batch import write_generation
from retrieval.store import CollectionStore
from services.auth import KeyDoor
from services.bootstrap import collections_folder
from services.cli import run
from services.keys import key_ring
from tests.fake_models import FakeEncoder
from tests.fakes import FakeRecall
from tests.live import LiveServer, Stage
from tests.parts import part
from tests.service.conftest import Gateway
from tests.service.test_rights import OPEN, SECRET

Out = pytest.CaptureFixture[str]


def riddle(*arguments: str | Path) -> int:
    return run([str(argument) for argument in arguments])


def test_a_key_is_made_shown_once_listed_and_revoked(tmp_path: Path, capsys: Out) -> None:
    home = tmp_path / "home"
    assert riddle("keys", "list", "--home", home) == 0
    assert "no keys: everybody on this machine" in capsys.readouterr().out
    assert riddle("keys", "create", "--principals", "group:eng, user:ada", "--write", "--home", home) == 0
    made = capsys.readouterr()
    token = made.out.strip()
    key = key_ring(home).find(token)
    assert key is not None
    assert (key.principals, key.write) == (("group:eng", "user:ada"), True)
    assert token not in made.err
    assert riddle("keys", "list", "--home", home, "--json") == 0
    listed = capsys.readouterr().out
    assert json.loads(listed)["keys"][0]["id"] == key.id
    assert token not in listed
    assert key.sha256 not in listed
    assert riddle("keys", "revoke", key.id, "--home", home) == 0
    assert "nobody is let in" in capsys.readouterr().err
    assert riddle("keys", "list", "--home", home) == 0
    assert "nobody is let in" in capsys.readouterr().out
    assert riddle("keys", "revoke", key.id, "--home", home) == 1
    assert "no key has the id" in capsys.readouterr().err
    assert riddle("keys", "create", "--principals", "group eng", "--home", home) == 1


@pytest.mark.parametrize("command", [("up",), ("serve", "gateway")])
def test_a_gateway_that_others_could_reach_does_not_start_without_a_key(
    tmp_path: Path, capsys: Out, command: tuple[str, ...]
) -> None:
    assert riddle(*command, "--home", tmp_path, "--host", "0.0.0.0", "--port", "0") == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "riddle keys create" in said


def test_commands_show_their_key_to_a_server(
    stage: tuple[Stage, LiveServer, object], tmp_path: Path, capsys: Out
) -> None:
    on, server, _ = stage
    ring = key_ring(tmp_path)
    on.app = Gateway(recall=FakeRecall({"docs": [OPEN, SECRET]}), door=KeyDoor(ring, exposed=True)).app
    _, token = ring.create(["group:board"])
    query = ("search", "harbour", "--url", server.url)
    assert riddle(*query) == 1
    assert "API key" in capsys.readouterr().err
    assert riddle(*query, "--key", token) == 0
    assert "merger.md" in capsys.readouterr().out
    assert riddle(*query, "--key", token, "--filter", "year<2030", "--facet", "lang", "--group", "1") == 0
    shown = capsys.readouterr().out
    assert "merger.md" not in shown
    assert "lang: en (1)" in shown
    assert riddle(*query, "--key", token, "--filter", "year<") == 0
    assert riddle(*query, "--key", token, "--filter", "year") == 1
    assert "cannot read the filter" in capsys.readouterr().err
    assert riddle("ask", "harbour", "--url", server.url, "--key", token, "--filter", "year<2030") == 0
    assert riddle("collections", "show", "docs", "--url", server.url, "--key", token) == 0
    assert "not shown to this key" in capsys.readouterr().out


def test_on_the_files_of_a_home_its_own_keys_decide_too(tmp_path: Path, capsys: Out) -> None:
    store = CollectionStore(collections_folder(tmp_path))
    write_generation(store, "docs", [part([OPEN, SECRET])], encoder=FakeEncoder().spec)
    _, token = key_ring(tmp_path).create(["group:board"])
    query = ("search", "harbour", "--home", tmp_path)
    assert riddle(*query) == 0
    assert "merger.md" not in capsys.readouterr().out
    assert riddle(*query, "--key", token) == 0
    assert "merger.md" in capsys.readouterr().out
    assert riddle(*query, "--key", "rk_wrong") == 1
    assert "none of those" in capsys.readouterr().err
