"""What every source promises to a sync, held to by each connector: listing, fetching, rights, and what has gone."""

from __future__ import annotations

import subprocess
from abc import ABC, abstractmethod
from pathlib import Path

import pytest

from indexing.access import parse_rule
from indexing.connectors.base import Connector, Listed
from indexing.connectors.files import folder_connector, git_connector
from indexing.connectors.web import SitemapConnector, UrlListConnector
from indexing.items import Item, convert_item
from indexing.sources import Source
from tests.fake_web import FakeWeb

RULES = (parse_rule("*secret*=group:ops"),)


class Stand(ABC):
    """A source of pages that a test can write, and connectors that read it afresh."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @abstractmethod
    def item(self, name: str) -> str: ...
    @abstractmethod
    def write(self, name: str, text: str) -> None: ...
    @abstractmethod
    def remove(self, name: str) -> None: ...
    @abstractmethod
    def connector(self) -> Connector: ...


class Folder(Stand):
    def item(self, name: str) -> str:
        return f"{name}.txt"

    def write(self, name: str, text: str) -> None:
        path = self.folder / "pages" / self.item(name)
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def remove(self, name: str) -> None:
        (self.folder / "pages" / self.item(name)).unlink()

    def connector(self) -> Connector:
        return folder_connector(Source(self.folder / "pages", access=RULES))


class Git(Folder):
    def write(self, name: str, text: str) -> None:
        super().write(name, text)
        git(self.folder / "pages", "init", "--quiet")
        git(self.folder / "pages", "add", ".")

    def connector(self) -> Connector:
        return git_connector(Source(self.folder / "pages", access=RULES))


class Urls(Stand):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.web = FakeWeb()

    def item(self, name: str) -> str:
        return f"https://docs.test/{name}"

    def write(self, name: str, text: str) -> None:
        self.web.pages[self.item(name)] = ("text/plain", text.encode())

    def remove(self, name: str) -> None:
        del self.web.pages[self.item(name)]

    def connector(self) -> Connector:
        path = self.folder / "urls.txt"
        path.write_text("\n".join(sorted(self.web.pages)))
        return UrlListConnector(path, self.web, RULES)


class Sitemap(Urls):
    def connector(self) -> Connector:
        pages = "".join(f"<url><loc>{url}</loc></url>" for url in self.web.pages if not url.endswith(".xml"))
        sitemap = f'<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{pages}</urlset>'
        self.web.pages["https://docs.test/sitemap.xml"] = ("application/xml", sitemap.encode())
        return SitemapConnector("https://docs.test/sitemap.xml", self.web, RULES)


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", "-C", str(folder), *arguments], check=True, capture_output=True)


@pytest.fixture(params=[Folder, Git, Urls, Sitemap])
def stand(request: pytest.FixtureRequest, tmp_path: Path) -> Stand:
    made: Stand = request.param(tmp_path)
    made.write("one", "Words of one.")
    made.write("secret", "Words that few may see.")
    return made


def listed(connector: Connector) -> dict[str, Listed]:
    return {each.item: each for each in connector.listed()}


def items(connector: Connector, one: Listed) -> list[Item]:
    fetched = connector.fetch(one, "")
    assert fetched is not None
    return [entry for entry in fetched.entries if isinstance(entry, Item)]


def test_everything_is_listed_with_who_may_see_it(stand: Stand) -> None:
    found = listed(stand.connector())
    assert {item: each.acl for item, each in found.items()} == {
        stand.item("one"): (),
        stand.item("secret"): ("group:ops",),
    }


def test_what_is_fetched_is_a_document_of_what_was_listed_with_its_rights(stand: Stand) -> None:
    connector = stand.connector()
    for name, one in listed(connector).items():
        [item] = items(connector, one)
        document, _ = convert_item(item)
        assert (item.origin, document.document_id, document.acl) == (name, name, one.acl)
        assert document.text.startswith("Words")


def test_two_listings_of_the_same_are_equal_and_carry_the_same_name(stand: Stand) -> None:
    before, after = stand.connector(), stand.connector()
    assert listed(before) == listed(after)
    assert before.name == after.name
    assert before.parallel >= 1


def test_a_change_shows_in_the_fingerprint_or_when_it_is_fetched_with_the_last_mark(stand: Stand) -> None:
    connector = stand.connector()
    one = listed(connector)[stand.item("one")]
    fetched = connector.fetch(one, "")
    assert fetched is not None
    mark = fetched.mark
    stand.write("one", "Other words, and more of them.")
    again = listed(stand.connector())[stand.item("one")]
    assert again.fingerprint != one.fingerprint or not again.fingerprint
    fetched = stand.connector().fetch(again, mark)
    assert fetched is not None
    [item] = [entry for entry in fetched.entries if isinstance(entry, Item)]
    assert item.data == b"Other words, and more of them."


def test_without_a_change_fingerprint_or_mark_say_so(stand: Stand) -> None:
    connector = stand.connector()
    one = listed(connector)[stand.item("one")]
    if one.fingerprint:
        assert listed(stand.connector())[one.item] == one
        return
    fetched = connector.fetch(one, "")
    assert fetched is not None
    assert fetched.mark
    assert stand.connector().fetch(one, fetched.mark) is None


def test_what_has_gone_is_not_listed_any_more_and_fetched_as_nothing(stand: Stand) -> None:
    connector = stand.connector()
    one = listed(connector)[stand.item("one")]
    stand.remove("one")
    assert items(connector, one) == []
    assert stand.item("one") not in listed(stand.connector())
