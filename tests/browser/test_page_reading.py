"""The page for everyone: in English and Chinese, by keyboard, on a narrow screen, in light and dark."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.keys import Keys

from tests.browser.conftest import clear
from tests.browser.page import Page
from tests.browser.stack import GatedModel, Stack
from tests.live import LiveServer, served

pytestmark = pytest.mark.slow


def html_lang(page: Page) -> str:
    return str(page.js("return document.documentElement.lang"))


def overflow(page: Page) -> int:
    """How many pixels the page is wider than its window."""
    return int(page.js("return document.documentElement.scrollWidth - innerWidth"))


def test_the_interface_turns_chinese_at_once_and_remembers_it(page: Page) -> None:
    page.search("related objects")
    page.find("#explain").click()
    page.find("#language").click()
    assert html_lang(page) == "zh-CN"
    assert page.text("#results-title") == "段落"
    assert page.text("#form .primary") == "搜索"
    assert "词语" in page.text(".stages tbody th")
    assert page.find("#query").get_attribute("placeholder") == "输入问题，或要查找的词语"
    page.open()
    assert html_lang(page) == "zh-CN"
    assert page.text("h1") == "向文档提问"
    page.find("#language").click()
    assert (html_lang(page), page.text("h1")) == ("en", "Ask your documents")


def test_the_browsers_language_is_the_first_choice(page: Page) -> None:
    agent = str(page.js("return navigator.userAgent"))
    page.driver.execute_cdp_cmd("Emulation.setUserAgentOverride", {"userAgent": agent, "acceptLanguage": "zh-TW,zh"})
    try:
        page.open()
        assert html_lang(page) == "zh-CN"
    finally:
        page.driver.execute_cdp_cmd("Emulation.setUserAgentOverride", {"userAgent": agent, "acceptLanguage": "en-US"})


def test_a_chinese_question_is_answered_by_quoting(page: Page) -> None:
    page.search("迁移失败以后数据库会怎样？", answer=True)
    page.until(lambda: page.all("#answer[data-state=done]"))
    assert "回滚" in page.text(".prose")
    assert page.texts(".verdict") == ["quoted"]
    page.hover(".prose .chip")
    assert "".join(page.texts(".result .sentence.lit")) == "如果迁移中途失败，数据库会自动回滚到迁移之前的状态。"


def test_both_languages_say_the_same_things(page: Page) -> None:
    page.open()
    shapes = page.module(
        """
        const shape = (table) => Object.fromEntries(Object.entries(table).map(([key, value]) => [
          key, Array.isArray(value) ? value.length : typeof value === "object" ? shape(value) : "text"]));
        const [en, zh] = await Promise.all([load("/en.js"), load("/zh.js")]);
        return [shape(en.default), shape(zh.default)];
        """
    )
    assert shapes[0] == shapes[1]


def test_everything_is_reached_by_keyboard(page: Page) -> None:
    page.open("/?c=docs")
    page.js("document.activeElement.blur(); document.getElementById('answering').click()")
    page.press("/")
    assert page.focused() == "query"
    page.press("related objects", Keys.ENTER)
    page.until(lambda: page.all(".result:not(.ghost)"))
    page.press(Keys.ARROW_DOWN)
    assert page.js("return document.activeElement.dataset.passage") == page.js(
        "return document.querySelector('.result').dataset.passage"
    )
    page.press(Keys.ENTER)
    assert page.find(".result .why").get_attribute("aria-expanded") == "true"
    page.press(Keys.ARROW_DOWN)
    page.press(Keys.ARROW_UP)
    page.press(Keys.ARROW_UP)
    assert page.focused() == "query"
    assert page.find("#query").get_attribute("value") == "related objects"


def test_escape_closes_the_panel_and_leaves_the_query_alone(page: Page) -> None:
    page.open("/?c=docs")
    page.press("half a question", Keys.ESCAPE)
    assert page.find("#query").get_attribute("value") == "half a question"
    page.find("#add").click()
    assert page.find("#panel").is_displayed()
    page.press(Keys.ESCAPE)
    assert not page.find("#panel").is_displayed()


def test_the_focus_can_be_seen(page: Page) -> None:
    page.open("/?c=docs")
    page.press(Keys.TAB, Keys.TAB)
    style = page.js("const {outlineStyle, outlineWidth} = getComputedStyle(document.activeElement);"
                    "return [document.activeElement.id, outlineStyle, outlineWidth]")  # fmt: skip
    assert style[1:] == ["solid", "2px"]


def test_what_happens_is_told_to_those_who_do_not_see_it(page: Page, server: LiveServer, model: GatedModel) -> None:
    page.search("What does the F() object refer to?", answer=True)
    page.until(lambda: "passages in" in page.js("return document.getElementById('status').textContent"))
    prose = page.find(".prose")
    assert (prose.get_attribute("aria-live"), prose.get_attribute("aria-busy")) == ("polite", "true")
    for _ in model.pieces:
        server.call(model.gate.release)
    page.until(lambda: "Answer complete" in page.js("return document.getElementById('status').textContent"))


def test_a_narrow_screen_needs_no_scrolling_sideways(page: Page, server: LiveServer, model: GatedModel) -> None:
    for _ in model.pieces:
        server.call(model.gate.release)
    page.resize(360, 740)
    page.open()
    assert overflow(page) == 0
    page.search("What does the F() object refer to?", answer=True)
    page.until(lambda: page.all("#answer[data-state=done]"))
    page.find("#explain").click()
    assert overflow(page) == 0
    page.find("#language").click()
    assert overflow(page) == 0
    page.find("#add").click()
    assert overflow(page) == 0
    box = page.js(
        "const {left, right} = document.getElementById('panel').getBoundingClientRect(); return [left, right]"
    )
    assert box[0] >= 0
    assert box[1] <= 360


def test_names_without_end_do_not_widen_a_narrow_page(page: Page, server: LiveServer, model: GatedModel) -> None:
    model.pieces = (f"The function takes {'y' * 200} and `{'z' * 200}`.\n\n```python\n{'w' * 200}\n```\n",)
    server.call(model.gate.release)
    page.resize(360, 740)
    page.search("What does the function with names without end return unchanged?", answer=True)
    page.until(lambda: page.all("#answer[data-state=done]"))
    page.find("#explain").click()
    assert "Names_without_end" in page.text(".result h3")
    assert overflow(page) == 0
    clipped = (
        "return [...document.querySelectorAll('.result, .answer')].filter((node) => node.scrollWidth > innerWidth)"
    )
    assert page.js(clipped) == []


def test_dark_follows_the_system_until_a_theme_is_chosen(page: Page) -> None:
    def ground() -> str:
        return str(page.js("return getComputedStyle(document.body).backgroundColor"))

    page.open()
    light = ground()
    page.prefer(color_scheme="dark")
    dark = ground()
    assert dark != light
    page.find("#theme").click()
    assert ground() == light
    page.open()
    assert ground() == light
    page.find("#theme").click()
    page.prefer(color_scheme="light")
    assert ground() == dark


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(page: Page, scheme: str) -> None:
    """WCAG AA: 4.5 to 1 for the colours that text is written in."""
    page.prefer(color_scheme=scheme)
    page.open()
    ratios = page.js(
        """
        const probe = document.createElement("i");
        document.body.append(probe);
        const luminance = (name) => {
          probe.style.setProperty("background", `var(--${name})`);
          const [r, g, b] = getComputedStyle(probe).backgroundColor.match(/[0-9.]+/g).map((part) => part / 255)
            .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
          return 0.2126 * r + 0.7152 * g + 0.0722 * b;
        };
        const ratio = (one, other) => {
          const [high, low] = [luminance(one), luminance(other)].sort((a, b) => b - a);
          return (high + 0.05) / (low + 0.05);
        };
        const pairs = [["ink", "paper"], ["ink", "surface"], ["soft", "paper"], ["soft", "surface"], ["soft", "raised"],
          ["accent", "surface"], ["accent", "accent-wash"], ["accent-ink", "accent"], ["ink", "mark"], ["ink", "lit"],
          ["bad", "bad-wash"], ["ink", "warn-wash"]];
        const found = Object.fromEntries(pairs.map(([one, other]) => [`${one} on ${other}`, ratio(one, other)]));
        probe.remove();
        return found;
        """
    )
    assert {pair: ratio for pair, ratio in ratios.items() if ratio < 4.5} == {}


def test_those_who_ask_for_calm_get_no_motion(page: Page) -> None:
    page.prefer(reduced_motion="reduce")
    page.open()
    assert page.js("return getComputedStyle(document.querySelector('.track')).transitionDuration") in ("0s", "1e-05s")


def test_a_server_that_is_gone_is_told_of_in_words(driver: webdriver.Chrome, tmp_path: Path) -> None:
    with served(Stack(tmp_path).app()) as server:
        page = Page(driver, server.url)
        clear(page)
        page.open()
        assert "no collection yet" in page.text("#lead")
    page.type("anything")
    page.until(lambda: "does not answer" in page.text("#problem"))
    assert page.text("#problem .button") == "Try again"
    page.complaints()
    driver.get("about:blank")


def test_the_page_brings_everything_it_needs_and_allows_no_more(page: Page) -> None:
    page.open()
    policy = page.driver.execute_async_script(
        "const done = arguments[0]; fetch('/').then((answer) => done(answer.headers.get('content-security-policy')))"
    )
    assert "default-src 'none'" in policy or "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert page.js("return document.querySelectorAll('[style], script:not([src]), [onclick]').length") == 0
    assert json.loads(page.js("return JSON.stringify(Object.keys(localStorage))")) == []
