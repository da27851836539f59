"""What is particular to each connector: git's tracked files, indexes of sitemaps, addresses that cannot be read."""

from __future__ import annotations

import gzip
import subprocess
from pathlib import Path

import pytest

from indexing.connectors.base import Connector, Listed
from indexing.connectors.files import folder_connector, git_connector
from indexing.connectors.web import SitemapConnector, UrlListConnector
from indexing.items import Item, convert_item
from indexing.sources import Rejected, Source
from retrieval.errors import InvalidRequest, SourceUnreadable, Unavailable
from services.commands.sync import kind_of
from tests.fake_web import FakeWeb

SPACE = 'xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"'


def git(folder: Path, *arguments: str) -> None:
    named = ["-c", "user.name=test", "-c", "user.email=test@docs.test"]
    subprocess.run(["git", "-C", str(folder), *named, *arguments], check=True, capture_output=True)


def names(connector: Connector) -> list[str]:
    return [each.item for each in connector.listed()]


def test_of_a_working_tree_the_tracked_files_count_as_they_are_now(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    for name in ("a.md", "docs/b.md", "docs/gone.md", ".github/c.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"Words of {name}.")
    (tmp_path / "link.md").symlink_to("a.md")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "-m", "first")
    (tmp_path / "untracked.md").write_text("Words.")
    (tmp_path / "docs/gone.md").unlink()
    assert names(git_connector(Source(tmp_path))) == ["a.md", "docs/b.md"]
    assert names(git_connector(Source(tmp_path / "docs"))) == ["b.md"]
    before = list(git_connector(Source(tmp_path)).listed())
    (tmp_path / "a.md").write_text("Other words.")
    changed = list(git_connector(Source(tmp_path)).listed())
    assert (before[0] != changed[0], before[1] == changed[1]) == (True, True)


def test_a_fresh_clone_has_the_fingerprints_of_the_first(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one/a.md").write_text("Words.")
    git(tmp_path / "one", "init", "--quiet")
    git(tmp_path / "one", "add", ".")
    git(tmp_path / "one", "commit", "--quiet", "-m", "first")
    git(tmp_path, "clone", "--quiet", "one", "two")
    first, second = (list(git_connector(Source(tmp_path / name)).listed()) for name in ("one", "two"))
    assert first == second


def test_a_folder_that_is_no_working_tree_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="git cannot list"):
        git_connector(Source(tmp_path))
    for make in (folder_connector, git_connector):
        with pytest.raises(InvalidRequest, match="no such folder"):
            make(Source(tmp_path / "nowhere"))


def test_names_that_are_not_utf8_are_listed_as_text_and_found_again(tmp_path: Path) -> None:
    Path(f"{tmp_path}/caf\udce9.txt").write_text("Words.")
    connector = folder_connector(Source(tmp_path))
    [listed] = connector.listed()
    assert listed.item == "caf\ufffd.txt"
    fetched = connector.fetch(listed, "")
    assert fetched is not None
    [item] = fetched.entries
    assert isinstance(item, Item)
    assert convert_item(item)[0].text == "Words."


def test_of_a_beir_folder_only_the_corpus_is_a_source(tmp_path: Path) -> None:
    (tmp_path / "corpus.jsonl").write_text('{"_id": "1", "text": "# words"}\n')
    (tmp_path / "queries.jsonl").write_text('{"_id": "q", "text": "a query"}\n')
    connector = folder_connector(Source(tmp_path))
    [listed] = connector.listed()
    fetched = connector.fetch(listed, "")
    assert fetched is not None
    [item] = fetched.entries
    assert isinstance(item, Item)
    assert (listed.item, item.format, item.origin) == ("corpus.jsonl", "plain", "corpus.jsonl")


def sitemap(web: FakeWeb, url: str, body: str, *, packed: bool = False) -> SitemapConnector:
    data = f'<?xml version="1.0"?>\n{body}'.encode()
    web.pages[url] = ("application/xml", gzip.compress(data) if packed else data)
    return SitemapConnector("https://docs.test/sitemap.xml", web)


def test_indexes_of_sitemaps_are_followed_packed_or_not_and_not_in_circles() -> None:
    web = FakeWeb()
    sitemap(web, "https://docs.test/a.xml.gz", f"<urlset {SPACE}><url><loc>/a</loc></url></urlset>", packed=True)
    sitemap(web, "https://docs.test/b.xml", "<urlset><url><loc> https://docs.test/b </loc></url></urlset>")
    connector = sitemap(
        web,
        "https://docs.test/sitemap.xml",
        f"<sitemapindex {SPACE}>"
        + "".join(f"<sitemap><loc>{name}</loc></sitemap>" for name in ("a.xml.gz", "b.xml", "sitemap.xml"))
        + "</sitemapindex>",
    )
    assert names(connector) == ["https://docs.test/a", "https://docs.test/b"]


def test_only_a_last_change_with_a_time_of_day_is_trusted() -> None:
    connector = sitemap(
        FakeWeb(),
        "https://docs.test/sitemap.xml",
        f"<urlset {SPACE}><url><loc>/a</loc><lastmod>2026-11-24T10:00:00Z</lastmod></url>"
        "<url><loc>/b</loc><lastmod>2026-11-24</lastmod></url></urlset>",
    )
    assert [each.fingerprint for each in connector.listed()] == ["2026-11-24T10:00:00Z", ""]


@pytest.mark.parametrize("body", ["<html><p>Not found", "<urlset><url>", ""])
def test_what_is_no_sitemap_is_an_error(body: str) -> None:
    connector = sitemap(FakeWeb(), "https://docs.test/sitemap.xml", body)
    with pytest.raises(InvalidRequest, match="is no sitemap"):
        list(connector.listed())


def test_an_entity_in_a_sitemap_is_not_expanded(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("https://docs.test/secret")
    connector = sitemap(
        FakeWeb(),
        "https://docs.test/sitemap.xml",
        f'<!DOCTYPE urlset [<!ENTITY x SYSTEM "{(tmp_path / "secret").as_uri()}">]>'
        "<urlset><url><loc>&x;</loc></url><url><loc>/a</loc></url></urlset>",
    )
    assert names(connector) == ["https://docs.test/a"]


def test_a_sitemap_that_cannot_be_had_stops_the_listing() -> None:
    web = FakeWeb()
    connector = sitemap(
        web, "https://docs.test/sitemap.xml", "<sitemapindex><sitemap><loc>/b.xml</loc></sitemap></sitemapindex>"
    )
    for status in (404, 500):
        web.statuses["https://docs.test/b.xml"] = status
        with pytest.raises(Unavailable, match="not known what there is"):
            list(connector.listed())


def test_a_page_of_another_host_is_set_aside() -> None:
    connector = sitemap(
        FakeWeb(), "https://docs.test/sitemap.xml", "<urlset><url><loc>http://elsewhere.test/a</loc></url></urlset>"
    )
    [listed] = connector.listed()
    fetched = connector.fetch(listed, "")
    assert fetched is not None
    assert list(fetched.entries) == [
        Rejected("http://elsewhere.test/a", "of another host than the sitemap that names it")
    ]


@pytest.mark.parametrize(
    ("status", "error"), [(500, Unavailable), (429, Unavailable), (403, SourceUnreadable), (301, SourceUnreadable)]
)
def test_refused_for_good_is_told_from_a_server_in_trouble(status: int, error: type[Exception], tmp_path: Path) -> None:
    web = FakeWeb(statuses={"https://docs.test/a": status})
    (tmp_path / "urls.txt").write_text("https://docs.test/a")
    with pytest.raises(error):
        UrlListConnector(tmp_path / "urls.txt", web).fetch(Listed("https://docs.test/a"), "")


@pytest.mark.parametrize(
    ("url", "kind", "body", "text"),
    [
        ("https://docs.test/a?x=1.md", "text/html", b"<h1>One</h1><p>Words.</p>", "One\n\nWords."),
        ("https://docs.test/b", "text/markdown", b"# One\n\nWords.", "One\n\nWords."),
        ("https://docs.test/c.md", "text/plain", b"# One\n\nWords.", "One\n\nWords."),
        ("https://docs.test/d", "", b"Words.", "Words."),
    ],
)
def test_a_page_is_read_as_its_server_says(url: str, kind: str, body: bytes, text: str, tmp_path: Path) -> None:
    web = FakeWeb({url: (kind, body)})
    (tmp_path / "urls.txt").write_text(url)
    fetched = UrlListConnector(tmp_path / "urls.txt", web).fetch(Listed(url), "")
    assert fetched is not None
    [item] = fetched.entries
    assert isinstance(item, Item)
    document, _ = convert_item(item)
    assert (document.document_id, document.source, document.text) == (url, url, text)


def test_pictures_and_the_like_are_set_aside_with_their_kind(tmp_path: Path) -> None:
    web = FakeWeb({"https://docs.test/a.png": ("image/png", b"\x89PNG")})
    (tmp_path / "urls.txt").write_text("https://docs.test/a.png")
    with pytest.raises(SourceUnreadable, match=r"not a kind of document that is read \(image/png\)"):
        UrlListConnector(tmp_path / "urls.txt", web).fetch(Listed("https://docs.test/a.png"), "")


def test_a_list_of_addresses_may_name_who_may_see_each(tmp_path: Path) -> None:
    path = tmp_path / "urls.txt"
    path.write_text("# ours\n\nhttps://docs.test/a\n  https://docs.test/b\tgroup:ops group:eng, user:ada\n")
    found = {each.item: each.acl for each in UrlListConnector(path, FakeWeb()).listed()}
    assert found == {"https://docs.test/a": (), "https://docs.test/b": ("group:eng", "group:ops", "user:ada")}
    path.write_text("https://docs.test/a\nfile:///etc/passwd\n")
    with pytest.raises(InvalidRequest, match=r"line 2: .* is no address of a web page"):
        list(UrlListConnector(path, FakeWeb()).listed())
    with pytest.raises(InvalidRequest, match="no such file"):
        UrlListConnector(tmp_path / "gone.txt", FakeWeb())


def test_what_a_source_is_can_be_told_by_its_look(tmp_path: Path) -> None:
    (tmp_path / "tree" / ".git").mkdir(parents=True)
    assert kind_of(str(tmp_path)) == "folder"
    assert kind_of(str(tmp_path / "tree")) == "git"
    assert kind_of("https://docs.test/sitemap.xml") == "sitemap"
    assert kind_of(str(tmp_path / "urls.txt")) == "urls"
