"""What somebody does on the page becomes feedback on the server, and nothing of it gets in their way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.keys import Keys

from eval.usage_rows import FeedbackRow, QueryRow, feedback_rows, query_rows
from services.keys import key_ring
from tests.browser.conftest import clear
from tests.browser.page import Page
from tests.browser.stack import GatedModel, Stack, write_sources
from tests.browser.test_page import ask
from tests.live import LiveServer, served, wait_until

pytestmark = pytest.mark.slow

QUERY = "patience fills the page"


class Behind:
    """What the server wrote down since the test began."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._before = len(list(feedback_rows(home)))
        self._asked = len(list(query_rows(home)))

    def told(self, count: int) -> list[FeedbackRow]:
        wait_until(lambda: len(list(feedback_rows(self._home))) >= self._before + count)
        found = list(feedback_rows(self._home))[self._before :]
        assert len(found) == count, found
        return found

    def asked(self, count: int) -> list[QueryRow]:
        wait_until(lambda: len(list(query_rows(self._home))) >= self._asked + count)
        found = list(query_rows(self._home))[self._asked :]
        assert len(found) == count, found
        return found


@pytest.fixture
def behind(page: Page, stack: Stack) -> Behind:
    return Behind(stack.home)


def test_a_click_on_a_passage_is_told_once_with_what_was_served(page: Page, behind: Behind) -> None:
    page.search(QUERY)
    second = page.find(".result:nth-of-type(2)")
    second.find_element("css selector", ".passage").click()
    (click,) = behind.told(1)
    second.find_element("css selector", "h3").click()
    (row,) = behind.asked(1)  # the count of facets is no search of anybody's
    assert (click.kind, click.rank, click.query, click.collection) == ("click", 2, QUERY, "docs")
    assert click.passage_id == second.get_attribute("data-passage") == click.served[1]
    assert (click.generation, click.pipeline) == (row.generation, row.pipeline)
    assert click.generation.startswith("docs@")
    assert click.features == row.results[1].features
    assert {"fused", "rerank"} <= set(click.features)
    assert click.session == row.session != ""
    page.find(".result:nth-of-type(1) .thumb.helpful").click()
    assert [each.kind for each in behind.told(2)] == ["click", "rating"], "the second click told nothing new"


def test_opening_the_whole_text_and_opening_by_keyboard_are_clicks(page: Page, behind: Behind) -> None:
    page.resize(360, 740)  # where a passage is longer than its place
    page.search(QUERY)
    more = next(each for each in page.all(".result footer .link:not(.why)") if each.is_displayed())
    passage = page.js("return arguments[0].closest('.result').dataset.passage", more)
    more.click()
    assert [each.passage_id for each in behind.told(1)] == [passage]
    other = "2" if page.js("return document.querySelector('.result').dataset.passage") == passage else "1"
    page.js("document.getElementById('query').focus()")
    page.press(*[Keys.ARROW_DOWN] * int(other), Keys.ENTER)
    assert [each.rank for each in behind.told(2)][1] == int(other)


def test_a_passage_is_rated_by_keyboard_and_the_rating_can_be_taken_back(page: Page, behind: Behind) -> None:
    page.search(QUERY)
    thumb = page.find(".result:nth-of-type(1) .thumb.not_helpful")
    group = page.find(".result:nth-of-type(1) .thumbs")
    assert (group.aria_role, group.accessible_name) == ("group", "Is passage 1 helpful?")
    assert (thumb.aria_role, thumb.accessible_name) == ("button", "Not helpful")
    page.js("arguments[0].focus()", page.find(".result:nth-of-type(1) .thumb.helpful"))
    page.press(Keys.TAB)
    assert "not_helpful" in page.focused()
    page.press(Keys.SPACE)
    assert thumb.get_attribute("aria-pressed") == "true"
    page.find("#language").click()  # draws everything anew
    pressed = page.find(".thumb[aria-pressed=true]")
    assert pressed.accessible_name == "没有帮助"
    pressed.click()
    assert not page.all(".thumb[aria-pressed=true]")
    page.find(".result:nth-of-type(1) .thumb.helpful").click()
    assert [(each.kind, each.rank, each.value) for each in behind.told(3)] == [
        ("rating", 1, -1),
        ("rating", 1, 0),
        ("rating", 1, 1),
    ]


def test_an_answer_is_rated_and_following_a_citation_is_a_click(
    page: Page, server: LiveServer, model: GatedModel, behind: Behind
) -> None:
    ask(page, server, model)
    search, answer = behind.asked(2)
    assert (search.kind, answer.kind, search.session == answer.session) == ("search", "answer", True)
    page.find("#answer .thumb.helpful").click()
    page.find(".prose .chip").click()
    rating, click = behind.told(2)
    assert (rating.kind, rating.request_id, rating.value, rating.rank) == ("answer", answer.request_id, 1, 0)
    assert (click.kind, click.request_id) == ("click", search.request_id)
    assert click.passage_id == page.js("return document.querySelector('.result.lit').dataset.passage")


def test_thumbs_fit_a_narrow_screen(page: Page, server: LiveServer, model: GatedModel) -> None:
    page.resize(360, 740)
    ask(page, server, model)
    assert page.js("return document.documentElement.scrollWidth") <= 360
    for thumb in page.all(".thumb"):
        box = thumb.rect
        assert box["width"] >= 32
        assert box["height"] >= 32
        assert box["x"] + box["width"] <= 360


def test_a_visit_has_one_name_for_as_long_as_the_tab(page: Page, behind: Behind) -> None:
    page.search(QUERY)
    page.search("turbines")
    first, second = behind.asked(2)
    assert first.session == second.session
    assert page.js("return document.cookie") == ""
    clear(page)
    page.js("sessionStorage.clear()")
    page.search(QUERY)
    assert behind.asked(3)[2].session != first.session


@pytest.fixture
def silent(driver: webdriver.Chrome, tmp_path: Path) -> Iterator[tuple[Page, Stack]]:
    """A page of a server that keeps no log."""
    stack = Stack(tmp_path, logged=False)
    stack.build([write_sources(tmp_path / "sources")], "docs")
    with served(stack.app()) as running:
        page = Page(driver, running.url)
        clear(page)
        page.complaints()
        yield page, stack
        page.driver.get("about:blank")
        assert page.complaints() == []


def test_a_server_that_takes_no_feedback_is_sent_none(silent: tuple[Page, Stack]) -> None:
    page, stack = silent
    page.search(QUERY)
    page.find(".result .passage").click()
    assert page.all(".thumb") == []
    assert [path.name for path in stack.home.iterdir() if path.name in ("log", "feedback")] == []


def test_feedback_that_fails_disturbs_nobody(page: Page, server: LiveServer, stack: Stack, model: GatedModel) -> None:
    page.search(QUERY)
    ring = key_ring(stack.home)
    ring.create([])  # from now on a key is needed, which this page has not shown
    try:
        thumb = page.find(".result:nth-of-type(1) .thumb.helpful")
        thumb.click()
        page.until(lambda: any("401" in line for line in page.complaints()))
        assert thumb.get_attribute("aria-pressed") == "true"
        assert (page.all("#key-panel"), page.text("#problem")) == ([], "")
    finally:
        ring.path.unlink()
