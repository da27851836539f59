"""The page before the whole of Riddle, with the models that people get: from a dropped file to a cited answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from selenium import webdriver

from services.bootstrap import gateway_app
from services.settings import load
from tests.browser.conftest import clear
from tests.browser.page import Page
from tests.live import served, wait_until
from tests.requires import need

pytestmark = pytest.mark.slow

MODELS = ("bge-small-en-v1.5", "riddle-reranker-en", "smollm2-135m-instruct")

LIGHTHOUSE = """# The lighthouse at Skerryvore

## Building

Alan Stevenson designed the lighthouse at Skerryvore, and it was built between 1838 and 1844. Its granite came
from the island of Tiree and later from the Isle of Mull. The tower is 48 metres tall.

## The light

The lamp was first lit on the first of February 1844. A fire in 1954 damaged the tower, and it was repaired and
fitted with generators. The light has been automatic since 1994, and no keeper lives there now.
"""
BREAD = """# Sourdough

A starter of flour and water ferments for a week before the first loaf. Bake the loaf in a covered pot, so that
the steam keeps the crust soft while the bread rises.
"""


@pytest.fixture
def page(driver: webdriver.Chrome, tmp_path: Path) -> Iterator[Page]:
    home = tmp_path / "home"
    home.mkdir()
    (home / "models").symlink_to(need.home(*MODELS) / "models")
    settings = load(None, {"RIDDLE_HOME": str(home)}).settings
    settings = replace(settings, models=replace(settings.models, threads=2))
    with served(gateway_app(settings)) as server:
        # On a new machine this is where the generator's weights are dequantised, once, which takes a minute.
        wait_until(lambda: httpx.get(f"{server.url}/readyz", trust_env=False).status_code == 200, patience_s=240)
        visit = Page(driver, server.url)
        clear(visit)
        visit.complaints()
        yield visit
        assert visit.complaints() == []
        driver.get("about:blank")


def test_a_dropped_file_is_built_searched_and_answered_from_by_the_real_models(page: Page, tmp_path: Path) -> None:
    for name, text in (("lighthouse.md", LIGHTHOUSE), ("bread.md", BREAD)):
        (tmp_path / name).write_text(text, encoding="utf-8")
    page.open()
    page.drop(tmp_path / "lighthouse.md", tmp_path / "bread.md")
    page.until(lambda: page.focused() == "build")
    page.find("#build").click()
    page.until(lambda: page.all(".job[data-state=done]"))
    page.find("[data-act=search]").click()
    page.until(lambda: page.focused() == "query")
    page.js(
        "window.lengths = new Set();"
        "new MutationObserver(() => window.lengths.add(document.querySelector('.prose')?.textContent.length ?? 0))"
        ".observe(document.getElementById('answer'), {subtree: true, childList: true, characterData: true})"
    )
    page.type("Who designed the lighthouse at Skerryvore?")
    page.until(lambda: page.all("#answer[data-state=done]"))
    assert "Skerryvore" in page.text(".result h3")
    assert page.text(".score small") == "read closely"
    assert "smollm2" in page.text(".engine").lower()
    assert len(page.js("return [...window.lengths]")) > 4
    page.hover(".prose .chip")
    lit = "".join(page.texts(".result .sentence.lit"))
    assert lit
    assert lit in LIGHTHOUSE.replace("\n", " ")
