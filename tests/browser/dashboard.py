"""A person at the dashboard: it is started as they start it, and they go from page to page."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.common.keys import Keys

from services.settings import environment
from tests.browser.page import Page
from tests.live import free_port
from tests.processes import program

STILL = "[data-testid=stApp][data-test-script-state=notRunning]"
"""Streamlit's own mark that nothing is being drawn."""


class Dashboard:
    """One visit."""

    def __init__(self, driver: webdriver.Chrome, url: str) -> None:
        self.page = Page(driver, url)

    def open(self, title: str = "", query: str = "") -> None:
        """By the address, as a bookmark does; the runs without a title."""
        self.page.driver.get(f"{self.page.url}/{title.lower()}{query}")
        self.settle()

    def go(self, title: str) -> None:
        """By the list of pages at the side."""
        self.page.js(
            "[...document.querySelectorAll('[data-testid=stSidebarNavLink]')]"
            ".find((link) => link.innerText.trim() === arguments[0]).click()",
            title,
        )
        self.page.until(lambda: self.page.driver.current_url.split("?")[0].endswith("/" + title.lower()))
        self.settle()

    def settle(self) -> None:
        self.page.until(lambda: self.page.all(STILL) and self.page.all("[data-testid=stHeading]"))

    def choose(self, label: str, words: str) -> None:
        """Type into a box of choices and take the first that fits."""
        box = self.page.find(f"input[role=combobox][aria-label='{label}']")
        box.click()
        box.send_keys(Keys.CONTROL, "a")
        box.send_keys(words)
        self.page.until(lambda: words in self.page.text("[role=option]"))
        self.page.find("[role=option]").click()
        self.page.until(lambda: not self.page.all("[role=option]"))
        self.settle()

    def said(self) -> str:
        """All text of the page's middle."""
        return self.page.text("[data-testid=stMain]")

    def charts(self) -> int:
        return len(self.page.all("[data-testid=stVegaLiteChart] svg"))


@contextlib.contextmanager
def serving(folder: Path, runs: Path, home: Path, url: str = "") -> Iterator[str]:
    """`riddle dashboard` on a free port; gives its address."""
    port = free_port()
    command = [sys.executable, "-m", "services.cli", "dashboard", "--no-browser", "--port", str(port)]
    options = ["--runs", str(runs), "--home", str(home), *(["--url", url] if url else [])]
    with program("dashboard", [*command, *options], environment(), folder / "dashboard.log") as running:
        running.wait_until(lambda: "is ready" in running.log.read_text())
        yield f"http://127.0.0.1:{port}"
