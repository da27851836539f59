"""Files brought to the page in a real browser: dropped or chosen, built, then found or set aside with a reason."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver

from tests.browser.conftest import clear
from tests.browser.page import Page
from tests.browser.stack import Stack
from tests.fake_build import FakeBuild
from tests.live import served

pytestmark = pytest.mark.slow


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder as people have them: documents, a sub-folder, a scan, a hidden file."""
    folder = tmp_path / "Field Notes"
    (folder / "birds").mkdir(parents=True)
    (folder / "birds" / "heron.md").write_text(
        "# Herons\n\nA heron waits motionless for quicksilver minnows.\n", "utf-8"
    )
    (folder / "notes.txt").write_text("The estuary freezes in January.\n", "utf-8")
    (folder / "scan.bin").write_bytes(b"\x00\x01\x02")
    (folder / ".hidden").write_text("secret")
    return folder


def build(page: Page, collection: str | None = None) -> None:
    """Press Build in the panel, and wait for the end of that build."""
    before = len(page.all(".job"))
    if collection is not None:
        page.js("const box = document.getElementById('target'); box.value = ''; box.focus()")
        page.press(collection)
    page.find("#build").click()
    ended = ".job:first-child:is([data-state=done], [data-state=failed])"
    page.until(lambda: len(page.all(".job")) > before and page.all(ended))


def search_it(page: Page, query: str) -> None:
    page.find("[data-act=search]").click()
    page.until(lambda: page.focused() == "query")
    page.type(query)
    page.until(lambda: page.all(".result:not(.ghost)"))


def test_a_file_dropped_on_the_page_is_built_and_found(page: Page, files: Path) -> None:
    page.open()
    page.drop(files / "birds" / "heron.md")
    page.until(lambda: page.focused() == "build")
    assert page.texts(".names li") == ["heron.md"]
    build(page, "dropped")
    assert "1 document, 1 passage" in page.text(".job-outcome")
    search_it(page, "quicksilver minnows")
    assert page.js("return document.getElementById('collection').value") == "dropped"
    assert "quicksilver minnows" in page.text(".result .passage")
    assert {"quicksilver", "minnows"} <= set(" ".join(page.texts(".result mark")).split())


def test_a_dropped_folder_keeps_its_sub_folders_and_names_the_collection(page: Page, files: Path) -> None:
    page.open()
    page.drop(files)
    page.until(lambda: page.focused() == "build")
    assert sorted(page.texts(".names li")) == [
        "Field Notes/birds/heron.md",
        "Field Notes/notes.txt",
        "Field Notes/scan.bin",
    ]
    assert page.find("#target").get_attribute("value") == "field-notes"
    build(page)
    search_it(page, "heron")
    assert page.text(".result .source") == "Field Notes/birds/heron.md"


def test_a_file_that_cannot_be_read_is_shown_with_its_reason(page: Page, files: Path) -> None:
    page.open()
    page.drop(files / "notes.txt", files / "scan.bin")
    page.until(lambda: page.focused() == "build")
    build(page, "mixed")
    assert page.texts(".job:first-child .rejects summary") == ["1 file set aside"]
    rejected = page.text(".job:first-child .rejects li")
    assert rejected.startswith("scan.bin")
    assert "not a kind of document that is read" in rejected


def test_files_dropped_by_a_script_are_taken_like_any_others(page: Page) -> None:
    page.open()
    page.js(
        """
        const transfer = new DataTransfer();
        transfer.items.add(new File(["# Ferns\\n\\nFerns unroll in spring."], "ferns.md"));
        for (const kind of ["dragenter", "dragover"]) {
          document.body.dispatchEvent(new DragEvent(kind, {bubbles: true, cancelable: true, dataTransfer: transfer}));
        }
        window.transfer = transfer;
        """
    )
    assert page.find("#drop").is_displayed()
    page.js(
        "document.body.dispatchEvent(new DragEvent('drop',"
        " {bubbles: true, cancelable: true, dataTransfer: window.transfer}))"
    )
    page.until(lambda: page.texts(".names li") == ["ferns.md"])
    assert not page.find("#drop").is_displayed()


def test_chosen_files_are_built_and_added_to_a_collection_that_exists(page: Page, files: Path) -> None:
    page.open()
    page.find("#add").click()
    page.find("#files").send_keys(str(files / "notes.txt"))
    page.until(lambda: page.all("#build"))
    build(page, "chosen")
    page.find("#files").send_keys(str(files / "birds" / "heron.md"))
    page.until(lambda: page.all("#build"))
    build(page, "chosen")
    search_it(page, "estuary heron")
    assert "2 documents" in page.js("return document.getElementById('lead').textContent")
    assert set(page.texts(".result h3")) == {"Herons", "notes"}


def test_a_name_that_no_collection_may_have_is_refused_before_anything_is_sent(page: Page, files: Path) -> None:
    page.open()
    page.drop(files / "notes.txt")
    page.until(lambda: page.focused() == "build")
    jobs = len(page.all(".job"))
    page.js("const box = document.getElementById('target'); box.value = ''; box.focus()")
    page.press("Not a name!")
    page.find("#build").click()
    assert page.js("return document.getElementById('target').validationMessage").startswith("Use 1 to 64")
    assert len(page.all(".job")) == jobs


def test_more_than_one_upload_takes_is_said_before_it_is_sent(page: Page, tmp_path: Path) -> None:
    page.open()
    big = tmp_path / "big.txt"
    big.write_text("x" * (2 << 20))
    page.drop(big)
    page.until(lambda: page.all("#build"))
    assert "2 MB is more than one upload takes (1 MB)" in page.text("#target-hint")
    assert page.find("#build").get_attribute("disabled")


def test_a_build_without_any_document_fails_with_the_reasons(page: Page, files: Path) -> None:
    page.open()
    page.drop(files / "scan.bin")
    page.until(lambda: page.focused() == "build")
    build(page, "hopeless")
    assert page.text(".job .job-state") == "Failed"
    assert "not a kind of document that is read" in page.text(".job-outcome")


@pytest.fixture
def slow_page(driver: webdriver.Chrome, tmp_path: Path) -> Iterator[tuple[Page, FakeBuild]]:
    """The page before a build that waits halfway until it is let go."""
    waits = FakeBuild()
    stack = Stack(tmp_path / "home")
    with served(stack.app(build=waits)) as server:
        visit = Page(driver, server.url)
        clear(visit)
        yield visit, waits
        waits.go.set()
        driver.get("about:blank")


def test_progress_is_shown_while_it_builds_also_after_a_reload_and_can_be_cancelled(
    slow_page: tuple[Page, FakeBuild], files: Path
) -> None:
    page, waits = slow_page
    page.open()
    page.drop(files / "notes.txt")
    page.until(lambda: page.focused() == "build")
    page.find("#build").click()
    page.until(lambda: "turning passages into vectors" in page.text(".job .facts"))
    assert "1 of 2" in page.text(".job .facts")
    assert page.js("return document.querySelector('.job progress').value") == 0.5
    assert page.text("#add-progress") == "50%"
    page.open()
    page.until(lambda: page.text("#add-progress") == "50%")
    page.find("#add").click()
    page.find("[data-act=cancel]").click()
    page.until(lambda: page.all(".job[data-state=cancelled]"))
    assert not page.find("#add-progress").is_displayed()
    assert not waits.go.is_set()


def test_when_its_events_break_a_build_is_followed_by_asking(slow_page: tuple[Page, FakeBuild], files: Path) -> None:
    page, waits = slow_page
    page.open()
    page.driver.execute_cdp_cmd("Network.enable", {})
    page.driver.execute_cdp_cmd("Network.setBlockedURLs", {"urls": ["*/events"]})
    try:
        page.drop(files / "notes.txt")
        page.until(lambda: page.focused() == "build")
        page.find("#build").click()
        page.until(lambda: "1 of 2" in page.text(".job .facts"))
        threading.Timer(0.1, waits.go.set).start()
        page.until(lambda: page.all(".job[data-state=done]"))
    finally:
        page.driver.execute_cdp_cmd("Network.setBlockedURLs", {"urls": []})
    assert page.texts(".rejects li b") == ["scan.pdf"]
