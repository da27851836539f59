"""The dashboard and the report in a real browser, over runs and a log of which all is known."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from selenium import webdriver

from eval.report import report
from eval.run_views import load_run
from eval.runs import RunFolder
from tests.browser.dashboard import Dashboard, serving
from tests.browser.page import Page
from tests.live import LiveServer
from tests.runs import Made, write_run
from tests.usage_log import NOTHING, write_usage

pytestmark = pytest.mark.slow

HOSTILE = "</p><img src='http://evil.example/x' onerror='window.hacked = 1'>![x](http://evil.example/y)"


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of which the second is better, one of hostile documents, and two days of use."""
    root = tmp_path_factory.mktemp("measured")
    first, second = "2026-05-01T10:00:00+00:00", "2026-05-02T10:00:00+00:00"
    write_run(root / "runs" / "before", Made(seed=1, noise=2.0, questions=12, created=first, answers=True))
    write_run(root / "runs" / "after", Made(seed=2, noise=0.1, questions=12, created=second, answers=True))
    hostile = Made(created="2026-04-01T10:00:00+00:00", dataset="hostile", answers=True, hostile=HOSTILE)
    write_run(root / "runs" / "hostile", hostile)
    write_usage(root / "home", days=2, a_day=12)
    return root


@pytest.fixture(scope="module")
def address(measured: Path, server: LiveServer) -> Iterator[str]:
    with serving(measured, measured / "runs", measured / "home", server.url) as url:
        yield url


@pytest.fixture
def visit(driver: webdriver.Chrome, address: str) -> Iterator[Dashboard]:
    driver.get("about:blank")
    visit = Dashboard(driver, address)
    visit.page.complaints()
    visit.page.hosts()
    visit.open()
    yield visit
    assert visit.page.complaints() == []
    assert visit.page.hosts() == {urlsplit(address).netloc}
    driver.get("about:blank")


def test_all_runs_are_listed_and_their_quality_is_drawn_over_time(visit: Dashboard) -> None:
    cells = "return [...document.querySelectorAll('[role=gridcell]')].map((each) => each.textContent)"
    visit.page.until(lambda: visit.charts() == 1)
    visit.page.until(lambda: {"before", "after", "hostile"} <= set(visit.page.js(cells)))


def test_quality_is_compared_by_stage(visit: Dashboard) -> None:
    visit.go("Quality")
    visit.page.until(lambda: "What changed" in visit.said() and visit.charts() == 2)
    visit.page.until(lambda: all(words in visit.said() for words in ("paired randomisation test", "better")))


def test_a_question_is_seen_in_two_runs_side_by_side_with_its_answer_and_citation(visit: Dashboard) -> None:
    visit.go("Questions")
    visit.choose("Question", "Who designed")
    visit.page.until(lambda: "Who designed the lighthouse" in visit.page.text(".riddle h3"))
    visit.page.until(lambda: len(visit.page.all("article")) == 10 and visit.page.all(".answered mark"))
    sides = visit.page.js(
        "return [...document.querySelectorAll('.riddle.side h4')].map((each) => [each.innerText,"
        " each.getBoundingClientRect().left, each.getBoundingClientRect().top])"
    )
    assert [side[0] for side in sides] == ["before", "after"]
    assert sides[0][1] < sides[1][1]
    assert sides[0][2] == pytest.approx(sides[1][2], abs=2)
    assert "Alan Stevenson designed the lighthouse" in "".join(visit.page.texts(".answered mark"))
    assert "quoted" in visit.said()


def test_an_address_with_a_question_opens_it(visit: Dashboard) -> None:
    visit.go("Questions")
    visit.choose("Question", "How long does")
    visit.page.until(lambda: "query=q3" in visit.page.driver.current_url)
    address = visit.page.driver.current_url
    visit.page.driver.get(address)
    visit.page.until(lambda: "How long does a sourdough" in visit.page.text(".riddle h3"))
    visit.page.complaints()  # below a page's own address Streamlit first looks for its server there


def test_the_frontier_is_drawn_over_configurations(visit: Dashboard) -> None:
    visit.go("Frontier")
    visit.page.until(lambda: visit.charts() == 1)
    visit.page.until(lambda: visit.page.all("[data-testid=stVegaLiteChart] svg .mark-symbol.role-mark path"))
    visit.page.until(lambda: "beaten" in visit.said())


def test_what_users_do_is_shown(visit: Dashboard) -> None:
    visit.go("Users")
    visit.page.until(lambda: visit.charts() == 3)
    wanted = (NOTHING, "Clicks at rank", "asked again in other words", "answers rated good")
    visit.page.until(lambda: all(words in visit.said() for words in wanted))


def test_a_live_service_is_watched(visit: Dashboard, server: LiveServer) -> None:
    visit.go("Service")
    visit.page.until(lambda: "Cache hits" in visit.said() and f"{server.url} · ready" in visit.said())
    visit.page.until(lambda: "since the look before" in visit.said() and "/metrics" in visit.said())


@pytest.mark.parametrize("title", ["Answers", "Latency", "Failures"])
def test_every_other_page_is_drawn(visit: Dashboard, title: str) -> None:
    visit.go(title)
    visit.page.until(lambda: visit.page.all(".riddle table") or visit.page.all(".riddle .note"))
    assert not visit.page.all("[data-testid=stException]")


def test_what_documents_say_is_shown_and_does_nothing(visit: Dashboard) -> None:
    visit.go("Questions")
    visit.choose("Run", "hostile")
    visit.page.until(lambda: "onerror" in visit.said())
    assert visit.page.js("return window.hacked ?? null") is None
    assert not visit.page.all("[data-testid=stMain] img")


@pytest.fixture
def opened(driver: webdriver.Chrome, measured: Path) -> Iterator[Page]:
    """The report of both runs, from a file."""
    runs = [load_run(RunFolder(measured / "runs" / name)) for name in ("before", "hostile", "after")]
    path = measured / "report.html"
    path.write_text(report(runs), encoding="utf-8")
    driver.get("about:blank")
    page = Page(driver, path.as_uri())
    page.complaints()
    page.hosts()
    driver.get(page.url)
    yield page
    page.resize(1280, 860)
    page.prefer()
    driver.get("about:blank")


def test_the_report_opens_from_a_file_without_a_complaint_and_asks_for_nothing(opened: Page) -> None:
    assert "Quality by stage" in opened.texts("h2")
    assert len(opened.all("figure svg")) >= 6
    opened.find("#questions details summary").click()
    assert "Alan Stevenson" in opened.text("#questions details[open]")
    assert opened.js("return window.hacked ?? null") is None
    assert opened.complaints() == []
    assert opened.hosts() == set()


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_report_fits_narrow_and_wide_screens_in_light_and_dark(opened: Page, width: int, scheme: str) -> None:
    opened.resize(width, 800)
    opened.prefer(color_scheme=scheme)
    assert opened.js("return document.documentElement.scrollWidth") <= width
    ink, ground = opened.js(
        "return [getComputedStyle(document.querySelector('figure svg text')).fill,"
        " getComputedStyle(document.body).backgroundColor]"
    )
    assert luminance(ink) < luminance(ground) if scheme == "light" else luminance(ink) > luminance(ground)


def luminance(colour: str) -> float:
    red, green, blue = (float(part) for part in colour[colour.index("(") + 1 : -1].split(",")[:3])
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
