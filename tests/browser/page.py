"""A person at the page: what they type, press and drop, and what they then see."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

from tests.live import PATIENCE_S

T = TypeVar("T")

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--lang=en-US",
)


@contextmanager
def chromium(browser: str, driver: str) -> Iterator[webdriver.Chrome]:
    """A browser of its own, with an empty profile that goes with it."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = Options()
        options.binary_location = browser
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        opened = webdriver.Chrome(options=options, service=Service(driver))
        try:
            yield opened
        finally:
            opened.quit()


class Page:
    """One visit to the page at ``url``."""

    def __init__(self, driver: webdriver.Chrome, url: str) -> None:
        self.driver = driver
        self.url = url

    def open(self, path: str = "/") -> None:
        self.driver.get(self.url + path)
        self.until(lambda: self.js("return document.documentElement.dataset.ready") == "true")

    def search(self, query: str, *, answer: bool = False, collection: str = "docs") -> None:
        """Open the page, choose whether an answer is written, type and press Enter; returns when passages are there."""
        self.open(f"/?c={quote(collection)}")
        if self.js("return document.getElementById('answering').checked") != answer:
            self.find(".switch").click()
        self.type(query)
        self.until(lambda: self.all(".result:not(.ghost)") or self.all(".nothing") or self.text("#problem"))

    def type(self, query: str) -> None:
        box = self.find("#query")
        box.clear()
        box.send_keys(query, Keys.ENTER)

    def js(self, script: str, *arguments: object) -> Any:
        return self.driver.execute_script(script, *arguments)

    def module(self, script: str, *arguments: object) -> Any:
        """The value of an async function's body, in which ``load(path)`` imports a module of the page."""
        body = "const load = (path) => import(path); const args = [...arguments]; const done = args.pop();"
        return self.driver.execute_async_script(f"{body} (async () => {{ {script} }})().then(done);", *arguments)

    def find(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def text(self, selector: str) -> str:
        """The visible text of the first such element, empty when there is none."""
        found: str = self.js("return document.querySelector(arguments[0])?.innerText ?? ''", selector)
        return found.strip()

    def texts(self, selector: str) -> list[str]:
        found: list[str] = self.js(
            "return [...document.querySelectorAll(arguments[0])].map((node) => node.innerText)", selector
        )
        return found

    def until(self, seen: Callable[[], T]) -> T:
        """What ``seen`` gives once it is true, while the page keeps changing under it."""
        wait: WebDriverWait[webdriver.Chrome] = WebDriverWait(
            self.driver, PATIENCE_S, poll_frequency=0.05, ignored_exceptions=[StaleElementReferenceException]
        )
        found: T = wait.until(lambda _: seen())
        return found

    def press(self, *keys: str) -> None:
        ActionChains(self.driver).send_keys(*keys).perform()

    def hover(self, selector: str) -> None:
        ActionChains(self.driver).move_to_element(self.find(selector)).perform()

    def focused(self) -> str:
        """Which element has the focus: its id, else its class."""
        return str(self.js("return document.activeElement.id || document.activeElement.className"))

    def resize(self, width: int, height: int, scale: float = 1.0) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def prefer(self, **features: str) -> None:
        """What the system prefers: ``color_scheme="dark"``, ``reduced_motion="reduce"``."""
        wanted = [{"name": f"prefers-{name.replace('_', '-')}", "value": value} for name, value in features.items()]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": wanted})

    def drop(self, *paths: Path) -> None:
        """Let go of files or folders over the page, as a file manager does."""
        data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.driver.execute_cdp_cmd("Input.dispatchDragEvent", {"type": kind, "x": 300, "y": 300, "data": data})

    def complaints(self) -> list[str]:
        """Errors in the console since last asked: faults of the script, loads that failed or were not allowed."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]  # type: ignore[no-untyped-call]

    def hosts(self) -> set[str]:
        """Every host that the page has asked for anything since last asked."""
        found = set()
        for entry in self.driver.get_log("performance"):  # type: ignore[no-untyped-call]
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                found.add(urlsplit(message["params"]["request"]["url"]).netloc)
        return found - {""}
