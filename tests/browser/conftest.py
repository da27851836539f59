"""One browser and one gateway for all tests of the page; each test opens the page anew, with nothing remembered."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from selenium import webdriver

from retrieval.batch import write_generation
from retrieval.store import CollectionStore
from tests.browser.page import Page, chromium
from tests.browser.stack import GatedModel, Stack, write_sources
from tests.live import LiveServer, served, wait_until
from tests.requires import need


@pytest.fixture(scope="session")
def driver() -> Iterator[webdriver.Chrome]:
    with chromium(*need.chromium()) as opened:
        yield opened


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Stack:
    home = tmp_path_factory.mktemp("home")
    made = Stack(home)
    made.build([write_sources(home / "sources")], "docs")
    write_generation(CollectionStore(home / "collections"), "empty", [], encoder=made.encoder.spec)
    return made


@pytest.fixture(scope="session")
def server(stack: Stack) -> Iterator[LiveServer]:
    with served(stack.app()) as running:
        yield running


@pytest.fixture
def model(stack: Stack) -> GatedModel:
    """What the model says, as it was before any test changed it."""
    fresh = GatedModel()
    stack.model.pieces, stack.model.gate = fresh.pieces, fresh.gate
    stack.model.left, stack.model.failure = 0, None
    return stack.model


@pytest.fixture
def page(driver: webdriver.Chrome, server: LiveServer, model: GatedModel) -> Iterator[Page]:
    """The page, wide and light; afterwards: no complaint in the console, no request to another host."""
    visit = Page(driver, server.url)
    clear(visit)
    visit.complaints()
    visit.hosts()
    yield visit
    visit.driver.get("about:blank")
    wait_until(lambda: model.active == 0)
    assert visit.complaints() == []
    assert visit.hosts() <= {urlsplit(server.url).netloc}


def clear(visit: Page) -> None:
    visit.driver.execute_cdp_cmd("Storage.clearDataForOrigin", {"origin": visit.url, "storageTypes": "all"})
    visit.resize(1280, 900)
    visit.prefer(color_scheme="light", reduced_motion="reduce")
