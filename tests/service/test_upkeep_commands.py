"""The commands that look after a collection, on the files of a home."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from retrieval.batch import write_generation
from retrieval.changes import Delete
from retrieval.maintenance import Inline
from retrieval.store import CollectionStore
from retrieval.types import Document
from services.bootstrap import collections_folder
from services.cli import run
from tests.fake_models import FakeEncoder
from tests.fakes import DOCUMENTS
from tests.parts import part

Out = pytest.CaptureFixture[str]


@pytest.fixture
def store(tmp_path: Path) -> CollectionStore:
    """A home with a collection of two builds."""
    store = CollectionStore(collections_folder(tmp_path), Inline())
    for documents in (DOCUMENTS, [Document("more.md", "The lighthouse burns.")]):
        write_generation(store, "docs", [part(documents)], encoder=FakeEncoder().spec)
    return store


@pytest.fixture
def riddle(tmp_path: Path, store: CollectionStore, capsys: Out) -> Any:
    def called(*arguments: str | Path, code: int = 0) -> Any:
        words = ["collections", *map(str, arguments), "--home", str(tmp_path)]
        json_wanted = code == 0 and "--json" in words
        assert run(words) == code, capsys.readouterr()
        said = capsys.readouterr()
        return json.loads(said.out) if json_wanted else said.out + said.err

    return called


def documents(store: CollectionStore, name: str = "docs") -> set[str]:
    return {each.document_id for one in store.open(name).snapshot().parts() for each in one.documents}


def test_rollback_goes_back_to_before_the_last_build(riddle: Any, store: CollectionStore) -> None:
    assert len(documents(store)) == len(DOCUMENTS) + 1
    assert riddle("rollback", "docs", "--yes", "--json")["documents"] == len(DOCUMENTS)
    assert documents(store) == {each.document_id for each in DOCUMENTS}


def test_compact_leaves_one_segment_without_what_was_deleted(riddle: Any, store: CollectionStore) -> None:
    store.open("docs").write([Delete("more.md")])
    assert "is one segment now" in riddle("compact", "docs")
    found = riddle("stats", "docs", "--json")
    assert (found["documents"], found["deleted"], len(found["segments"])) == (len(DOCUMENTS), 0, 1)


def test_verify_says_what_is_wrong_and_ends_with_1(riddle: Any, store: CollectionStore) -> None:
    assert "nothing is wrong" in riddle("verify", "docs")
    assert riddle("verify", "docs", "--json")["problems"] == []
    damaged = next(store.open("docs").layout.segments.rglob("documents.arrow"))
    data = bytearray(damaged.read_bytes())
    data[len(data) // 2] ^= 255
    damaged.write_bytes(bytes(data))
    said = riddle("verify", "docs", code=1)
    assert "restore a snapshot" in said


def test_stats_are_told_in_words_too(riddle: Any) -> None:
    said = riddle("stats", "docs")
    assert "segment" in said
    assert "disk_bytes" in said


def test_a_snapshot_is_restored_under_another_name(riddle: Any, store: CollectionStore, tmp_path: Path) -> None:
    folder = tmp_path / "backup" / "monday"
    assert "restore" in riddle("snapshot", "docs", folder)
    store.open("docs").write([Delete("more.md")])
    assert riddle("restore", folder, "again", "--json")["documents"] == len(DOCUMENTS) + 1
    assert "more.md" in documents(store, "again")
    assert "exists already" in riddle("snapshot", "docs", folder, code=1)
    assert "already" in riddle("restore", folder, "docs", code=1)
    assert "no snapshot" in riddle("restore", tmp_path, "third", code=1)


def test_an_alias_is_set_and_taken_away(riddle: Any, store: CollectionStore) -> None:
    assert riddle("alias", "current", "docs", "--json") == {"aliases": {"current": "docs"}}
    assert riddle("show", "current", "--json")["name"] == "docs"
    assert "hide" in riddle("alias", "docs", "current", code=1)
    assert "nowhere" in riddle("alias", "current", "nowhere", code=1)
    assert "--remove" in riddle("alias", "current", code=1)
    assert "no alias any more" in riddle("alias", "current", "--remove")
    assert store.aliases() == {}


def test_a_model_that_is_not_there_leaves_the_collection_as_it_was(riddle: Any, store: CollectionStore) -> None:
    before = store.info("docs")
    assert riddle("reencode", "docs", "--encoder", "no-such-model", code=1)
    assert store.info("docs") == before
    assert store.names() == ["docs"]


def test_another_index_needs_no_model_and_the_command_says_what_it_wants(riddle: Any, store: CollectionStore) -> None:
    assert "--late" in riddle("reencode", "docs", code=1)
    assert "riddle models pull" in riddle("reencode", "docs", "--late", "answerai-colbert-small-v1", code=1)
    found = riddle("reencode", "docs", "--vectors", "Flat", "--late", "none", "--json")
    assert (found["encoder"], found["documents"]) == ("fake-encoder", len(DOCUMENTS) + 1)
    assert store.open("docs").settings.vectors == "Flat"


@pytest.mark.parametrize("command", ["rollback", "compact", "verify", "stats"])
def test_an_unknown_collection_is_named(riddle: Any, command: str) -> None:
    extra = ["--yes"] if command == "rollback" else []
    assert "nowhere" in riddle(command, "nowhere", *extra, code=1)
