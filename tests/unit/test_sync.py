"""A collection is brought level with its source: added, changed, gone, closed, and nothing done twice."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from indexing.connectors.base import Connector, Fetched, Listed
from indexing.connectors.files import folder_connector
from indexing.connectors.web import UrlListConnector
from indexing.progress import Cancelled, Progress
from indexing.settings import BuildSettings
from indexing.sources import Source
from indexing.sync import SyncSummary, sync
from retrieval.errors import Conflict, DocumentNotFound, InvalidRequest, SourceUnreadable, Unavailable
from retrieval.store import CollectionStore
from retrieval.types import Role, Vectors
from tests.fake_models import FakeEncoder
from tests.fake_web import FakeWeb


class Counting(FakeEncoder):
    """Counts the texts that it encodes, and may fail after so many."""

    def __init__(self, fail_after: int | None = None, name: str = "fake-encoder") -> None:
        super().__init__(name=name)
        self.encoded = 0
        self.fail_after = fail_after

    def encode(self, texts: Sequence[str], role: Role) -> Vectors:
        if self.fail_after is not None and self.encoded >= self.fail_after:
            raise Unavailable("the embedding server is gone", stage="embed")
        self.encoded += len(texts)
        return super().encode(texts, role)


class Home:
    """A store, a source folder, and syncs of one into the other."""

    def __init__(self, folder: Path) -> None:
        self.store = CollectionStore(folder / "collections")
        self.work = folder / "builds"
        self.source = folder / "source"
        self.source.mkdir(parents=True)
        self.told: list[Progress] = []

    def write(self, name: str, text: str) -> Path:
        path = self.source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def rows(self, name: str, rows: Sequence[dict[str, object]]) -> Path:
        return self.write(name, "".join(json.dumps(row) + "\n" for row in rows))

    def sync(
        self, connector: Connector | None = None, encoder: FakeEncoder | None = None, **more: object
    ) -> SyncSummary:
        return sync(
            connector or folder_connector(Source(self.source)),
            "docs",
            store=self.store,
            encoder=encoder or Counting(),
            work=self.work,
            settings=BuildSettings(partition_documents=4),
            progress=self.told.append,
            **more,  # type: ignore[arg-type]
        )

    def ids(self, principals: frozenset[str] | None = None) -> list[str]:
        snapshot = self.store.snapshot("docs")
        found = [one for listed in snapshot.listed() for one, _ in listed]
        if principals is None:
            return sorted(found)
        return sorted(one for one in found if self.visible(one, principals))

    def visible(self, document_id: str, principals: frozenset[str]) -> bool:
        try:
            self.store.snapshot("docs").document(document_id, principals)
        except DocumentNotFound:
            return False
        return True

    def text(self, document_id: str) -> str:
        return self.store.snapshot("docs").document(document_id).text


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def counts(summary: SyncSummary) -> tuple[int, int, int, int]:
    return summary.added, summary.changed, summary.deleted, summary.unchanged


def test_after_a_sync_the_collection_holds_what_the_folder_holds(home: Home) -> None:
    for name in ("a.md", "b/c.md", "d.md"):
        home.write(name, f"Words of {name}.")
    assert counts(home.sync()) == (3, 0, 0, 0)
    home.write("a.md", "Other words.")
    home.write("e.md", "New words.")
    (home.source / "d.md").unlink()
    encoder = Counting()
    assert counts(home.sync(encoder=encoder)) == (1, 1, 1, 1)
    assert encoder.encoded == 2
    assert home.ids() == ["a.md", "b/c.md", "e.md"]
    assert home.text("a.md") == "Other words."
    snapshot = home.store.snapshot("docs")
    hits = snapshot.passages(snapshot.lexical("words of d", 5).rows)
    assert "d.md" not in [passage.document_id for passage in hits]


def test_a_sync_of_what_has_not_changed_publishes_nothing(home: Home) -> None:
    home.write("a.md", "Words.")
    generation = home.sync().generation
    encoder = Counting()
    summary = home.sync(encoder=encoder)
    assert (counts(summary), summary.generation, encoder.encoded) == ((0, 0, 0, 1), generation, 0)
    os.utime(home.source / "a.md", ns=(1, 1))  # touched, and the same
    summary = home.sync(encoder=encoder)
    assert (counts(summary), summary.generation, encoder.encoded) == ((0, 0, 0, 1), generation, 0)


def test_of_a_file_of_rows_only_those_that_changed_are_made_again(home: Home) -> None:
    rows: list[dict[str, object]] = [{"_id": f"r{number}", "text": f"Row {number}."} for number in range(20)]
    home.rows("rows.jsonl", rows)
    home.sync()
    rows[7] = {"_id": "r7", "text": "Another row."}
    home.rows("rows.jsonl", [{"_id": "new", "text": "First."}, *rows[:3], *rows[5:]])
    encoder = Counting()
    assert counts(home.sync(encoder=encoder)) == (1, 1, 2, 17)
    assert encoder.encoded == 2
    assert home.ids() == sorted({"new", *(f"r{number}" for number in range(20))} - {"r3", "r4"})
    assert home.text("r7") == "Another row."


def test_rows_without_an_id_go_by_their_place(home: Home) -> None:
    home.rows("rows.jsonl", [{"text": "one"}, {"text": "two"}])
    home.sync()
    home.rows("rows.jsonl", [{"text": "zero"}, {"text": "one"}, {"text": "two"}])
    home.sync()
    assert {one: home.text(one) for one in home.ids()} == {
        "rows.jsonl:1": "zero", "rows.jsonl:2": "one", "rows.jsonl:3": "two"
    }  # fmt: skip


def test_a_document_that_two_files_held_stays_when_one_of_them_goes(home: Home) -> None:
    home.rows("a.jsonl", [{"_id": "x", "text": "from a"}, {"_id": "y", "text": "y"}])
    last = home.rows("b.jsonl", [{"_id": "x", "text": "from b"}])
    home.sync()
    assert home.text("x") == "from b"
    last.unlink()
    encoder = Counting()
    assert home.sync(encoder=encoder).deleted == 0
    assert (home.text("x"), encoder.encoded) == ("from a", 1)
    home.rows("a.jsonl", [{"_id": "y", "text": "y"}])
    assert home.sync().deleted == 1
    assert home.ids() == ["y"]


def test_a_change_of_rights_shows_after_one_sync(home: Home) -> None:
    home.write("eng/a.md", "Words.")
    home.write("b.md", "Words.")
    home.sync()
    public = frozenset({"public"})
    assert home.ids(public) == ["b.md", "eng/a.md"]
    home.write("eng/.riddle-acl", "group:eng\n")
    assert counts(home.sync()) == (0, 1, 0, 1)
    assert home.ids(public) == ["b.md"]
    assert home.ids(public | {"group:eng"}) == ["b.md", "eng/a.md"]
    home.write("eng/.riddle-acl", "")
    with pytest.raises(InvalidRequest, match="names no principal"):
        home.sync()
    assert home.ids(public) == ["b.md"]


def test_a_file_that_can_no_longer_be_read_stops_answering_and_is_named(home: Home) -> None:
    home.write("a.pdf", "%PDF-1.4")
    home.write("b.md", "Words.")
    summary = home.sync()
    assert (counts(summary), [each.source for each in summary.rejected]) == ((1, 0, 0, 0), ["a.pdf"])
    assert home.sync().rejected == []  # it has not changed
    (home.source / "b.md").write_bytes(b"\0\1")
    home.write("c.md", "Words.")
    summary = home.sync()
    assert (counts(summary), [each.source for each in summary.rejected]) == ((1, 0, 1, 0), ["b.md"])
    assert home.ids() == ["c.md"]


def test_a_source_that_has_gone_away_empties_nothing_by_itself(home: Home) -> None:
    path = home.write("a.md", "Words.")
    home.sync()
    path.unlink()
    with pytest.raises(InvalidRequest, match="--allow-empty"):
        home.sync()
    assert home.ids() == ["a.md"]
    assert counts(home.sync(allow_empty=True)) == (0, 0, 1, 0)
    assert home.ids() == []


def test_a_source_that_holds_nothing_makes_no_collection(home: Home) -> None:
    with pytest.raises(InvalidRequest, match="nothing to sync"):
        home.sync()
    assert home.store.names() == []


def test_documents_of_other_origin_stay(home: Home) -> None:
    home.write("a.md", "Words.")
    home.sync()
    other = Home(home.source.parent / "other")
    other.store, other.work = home.store, home.work
    other.write("b.md", "Words.")
    assert counts(other.sync()) == (1, 0, 0, 0)
    (home.source / "a.md").unlink()
    home.write("c.md", "Words.")
    home.sync()
    assert home.ids() == ["b.md", "c.md"]


def test_what_somebody_else_removed_from_the_collection_is_put_back(home: Home) -> None:
    home.write("a.md", "Words.")
    home.rows("rows.jsonl", [{"_id": "x", "text": "x"}, {"_id": "y", "text": "y"}])
    home.sync()
    home.store.drop("docs")
    assert home.sync().generation.startswith("docs@")
    assert home.ids() == ["a.md", "x", "y"]


def test_a_sync_that_failed_midway_changed_nothing_and_is_gone_on_with(home: Home) -> None:
    home.write("old.md", "Old words.")
    home.sync()
    (home.source / "old.md").unlink()
    for number in range(20):
        home.write(f"{number:02}.md", f"Words of {number}.")
    with pytest.raises(Unavailable, match="gone"):
        home.sync(encoder=Counting(fail_after=10))
    assert home.ids() == ["old.md"]
    encoder = Counting()
    assert counts(home.sync(encoder=encoder)) == (20, 0, 1, 0)
    assert encoder.encoded == 20 - 12
    assert len(home.ids()) == 20


def test_a_sync_that_is_cancelled_changes_nothing(home: Home) -> None:
    home.write("a.md", "Words.")
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(Cancelled):
        home.sync(cancel=cancel)
    assert home.store.names() == []


def test_a_collection_of_another_encoder_is_not_mixed(home: Home) -> None:
    home.write("a.md", "Words.")
    home.sync()
    with pytest.raises(Conflict, match="built with the encoder"):
        home.sync(encoder=Counting(name="another"))


def test_progress_names_its_stages_in_order(home: Home) -> None:
    home.write("a.md", "Words.")
    home.sync()
    stages = list(dict.fromkeys(each.stage for each in home.told))
    assert stages == ["listing", "reading", "embedding", "indexing", "publishing"]


class Wayward:
    """A source whose things can fail each in its own way."""

    name, parallel = "wayward", 1

    def __init__(self) -> None:
        self.ways: dict[str, str] = {}

    def listed(self) -> Iterator[Listed]:
        return (Listed(item) for item in self.ways)

    def fetch(self, listed: Listed, mark: str) -> Fetched | None:
        way = self.ways[listed.item]
        if way == "away":
            raise Unavailable("the disk is away")
        if way == "broken":
            raise SourceUnreadable("broken")
        if way == "same":
            assert mark == "m"
            return None
        if way == "gone":
            return Fetched(())
        from indexing.items import Item

        return Fetched([Item(listed.item, listed.item, way.encode(), "plain", origin=listed.item)], "m")


def test_what_cannot_be_had_now_stays_and_what_is_gone_or_broken_goes(home: Home) -> None:
    source = Wayward()
    source.ways = dict.fromkeys("abcd", "Words.")
    home.sync(source)
    source.ways = {"a": "away", "b": "broken", "c": "same", "d": "gone"}
    summary = home.sync(source)
    assert counts(summary) == (0, 0, 2, 2)
    assert ([each.source for each in summary.failed], summary.failed_count) == (["a"], 1)
    assert [each.source for each in summary.rejected] == ["b"]
    assert home.ids() == ["a", "c"]
    source.ways = {"a": "Other words.", "c": "away"}
    assert counts(home.sync(source)) == (0, 1, 0, 1)


def test_pages_are_asked_for_again_only_if_they_changed(home: Home, tmp_path: Path) -> None:
    web = FakeWeb()
    for page in ("a", "b"):
        web.html(f"https://docs.test/{page}", f"<h1>{page}</h1><p>Words of {page}.</p>")
    urls = tmp_path / "urls.txt"
    urls.write_text("# ours\nhttps://docs.test/a\nhttps://docs.test/b group:eng, user:ada\n")
    assert counts(home.sync(UrlListConnector(urls, web))) == (2, 0, 0, 0)
    assert home.ids(frozenset({"public"})) == ["https://docs.test/a"]
    web.html("https://docs.test/a", "<h1>a</h1><p>Other words.</p>")
    web.asked.clear()
    assert counts(home.sync(UrlListConnector(urls, web))) == (0, 1, 0, 1)
    assert all("If-None-Match" in headers for _, headers in web.asked)
    del web.pages["https://docs.test/a"]
    urls.write_text("https://docs.test/a\nhttps://docs.test/b\n")
    assert counts(home.sync(UrlListConnector(urls, web))) == (0, 1, 1, 0)  # the other page is open to everybody now
    assert home.ids(frozenset({"public"})) == ["https://docs.test/b"]
