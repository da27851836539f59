"""The page of a server that asks for a key, and the choice of documents by their metadata."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.keys import Keys

from retrieval.batch import write_generation
from retrieval.store import CollectionStore
from retrieval.types import Document
from services.keys import key_ring
from tests.browser.conftest import clear
from tests.browser.page import Page
from tests.browser.stack import Stack
from tests.live import served
from tests.parts import part

pytestmark = pytest.mark.slow

SECRET = "The harbour master hides a second ledger."


@pytest.fixture
def keyed(driver: webdriver.Chrome, tmp_path: Path) -> Iterator[tuple[Page, dict[str, str]]]:
    """A page over documents of two languages, one of them hidden, and two keys: of the board, and of a writer."""
    stack = Stack(tmp_path)
    documents = [
        Document(f"{lang}{number}.md", f"The harbour opens at {number}.", metadata={"lang": lang, "number": number})
        for lang in ("en", "de")
        for number in range(30)
    ]
    documents.append(Document("secret.md", SECRET, metadata={"lang": "hidden"}, acl=("group:board",)))
    store = CollectionStore(tmp_path / "collections")
    write_generation(store, "docs", [part(documents, stack.encoder)], encoder=stack.encoder.spec)
    ring = key_ring(tmp_path)
    tokens = {"board": ring.create(["group:board"])[1], "writer": ring.create([], write=True)[1]}
    with served(stack.app()) as running:
        page = Page(driver, running.url)
        clear(page)
        yield page, tokens
        page.driver.get("about:blank")
        complaints = page.complaints()
        assert all("401" in line or "403" in line for line in complaints), complaints


def show_key(page: Page, token: str) -> None:
    page.until(lambda: page.all("#key-input"))
    page.find("#key-input").send_keys(token, Keys.ENTER)


def searched(page: Page) -> list[str]:
    page.find(".switch").click() if page.js("return document.getElementById('answering').checked") else None
    page.type("harbour")
    page.until(lambda: page.all(".result:not(.ghost)"))
    return page.texts(".result .passage")


def ready(page: Page) -> None:
    page.until(lambda: page.js("return document.documentElement.dataset.ready") == "true")


def test_a_key_is_asked_for_once_and_kept_as_long_as_the_tab(keyed: tuple[Page, dict[str, str]]) -> None:
    page, tokens = keyed
    page.driver.get(page.url)
    show_key(page, "rk_wrong")
    page.until(lambda: "does not know this key" in page.text("#key-hint"))
    show_key(page, tokens["board"])
    ready(page)
    assert "61 documents" in page.text("#lead")
    assert searched(page)
    assert not page.all("#key-panel")
    page.open()
    assert not page.all("#key-panel")
    assert not page.find("#add").is_displayed(), "a key that may only read adds no documents"
    assert page.js("return localStorage.length + ' ' + document.cookie").strip() in ("0", "1")
    page.find("#key").click()
    page.until(lambda: page.all("#key-input"))


def test_without_a_key_the_page_says_what_is_missing(keyed: tuple[Page, dict[str, str]]) -> None:
    page, _ = keyed
    page.driver.get(page.url)
    page.until(lambda: page.all("#key-input"))
    for _ in range(3):  # each part of the page that asked may ask once more
        if page.all("#key-input"):
            page.press(Keys.ESCAPE)
    page.until(lambda: "API key" in page.text("#problem"))


def test_what_the_key_may_not_see_is_neither_found_nor_offered_as_a_filter(
    keyed: tuple[Page, dict[str, str]],
) -> None:
    page, tokens = keyed
    for who, langs in (("writer", {"en", "de"}), ("board", {"en", "de", "hidden"})):
        clear(page)
        page.driver.get("about:blank")
        page.driver.get(page.url)
        page.js("sessionStorage.clear()")
        page.driver.get(page.url)
        show_key(page, tokens[who])
        ready(page)
        searched(page)
        page.until(lambda: page.all("#facets .chip"))
        assert {text.split()[0] for text in page.texts("#facets .chip")} == langs


def test_a_filter_narrows_the_search_and_is_in_the_address(keyed: tuple[Page, dict[str, str]]) -> None:
    page, tokens = keyed
    page.driver.get(page.url)
    show_key(page, tokens["writer"])
    ready(page)
    searched(page)
    page.until(lambda: page.all("#facets .chip"))
    next(chip for chip in page.all("#facets .chip") if chip.text.startswith("de")).click()
    page.until(lambda: all(name.startswith("de") for name in page.texts(".result h3")) and page.texts(".result h3"))
    assert page.js("return new URLSearchParams(location.search).get('f')") == '{"lang":["de"]}'
    page.driver.refresh()
    ready(page)
    page.until(lambda: page.all("#facets .chip[aria-pressed=true]"))
    page.until(lambda: all(name.startswith("de") for name in page.texts(".result h3")) and page.texts(".result h3"))
    page.find("#facets .link").click()
    page.until(lambda: not page.all("#facets .chip[aria-pressed=true]"))
    assert page.js("return new URLSearchParams(location.search).get('f')") is None
