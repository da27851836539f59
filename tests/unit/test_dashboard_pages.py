"""Every page of the dashboard, drawn by Streamlit without a browser: no fault, and what it must show."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from eval.dashboard.app import MEASURED, SERVED
from eval.dashboard.source import Source
from eval.live_view import Sample, Sighting
from tests.runs import Made, write_run
from tests.usage_log import NOTHING, write_usage

pytestmark = pytest.mark.slow

HOSTILE = "</p><script>alert(1)</script>![x](http://evil.example/x) **bold**"


PAGE = """
import streamlit
from eval.dashboard.app import MEASURED, SERVED

for title in streamlit.session_state["titles"]:
    (MEASURED | SERVED)[title](streamlit.session_state["source"])
"""

WHOLE = """
import streamlit
from eval.dashboard.app import show

show(streamlit.session_state["source"])
"""


@pytest.fixture(autouse=True)
def main_module() -> Iterator[None]:
    """AppTest leaves its script behind as ``__main__``, which processes that later tests spawn would run."""
    kept = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = kept


def drawn(source: Source, *titles: str) -> AppTest:
    """The pages of these titles below each other; the whole application without any."""
    test = AppTest.from_string(PAGE if titles else WHOLE, default_timeout=60)
    test.session_state["titles"], test.session_state["source"] = titles, source
    test.run()
    assert [each.value for each in test.exception] == []
    return test


def said(test: AppTest) -> str:
    """All HTML on the page."""
    return "\n".join(each.proto.body for each in test.get("html"))


class FakeLive:
    """A service that was asked ten times more at every look."""

    url = "http://127.0.0.1:8080"

    def __init__(self) -> None:
        self.looks = 0

    def look(self) -> Sighting:
        self.looks += 1
        count = 10.0 * self.looks
        served = {"route": "/v1/search", "method": "POST", "status": "200"}
        return Sighting(
            5.0 * self.looks,
            True,
            "ready",
            (
                Sample("riddle_request_seconds_count", served, count),
                Sample("riddle_stage_seconds_bucket", {"stage": "dense", "le": "0.01"}, count),
                Sample("riddle_stage_seconds_bucket", {"stage": "dense", "le": "+Inf"}, count),
                Sample("riddle_stage_seconds_sum", {"stage": "dense"}, 0.005 * count),
                Sample("riddle_cache_lookups_total", {"result": "hit"}, 1.0),
                Sample("riddle_cache_lookups_total", {"result": "miss"}, 3.0),
            ),
        )


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    root = tmp_path_factory.mktemp("dashboard")
    first, second = "2026-05-01T10:00:00+00:00", "2026-05-02T10:00:00+00:00"
    write_run(root / "runs" / "before", Made(seed=1, noise=2.0, created=first, answers=True, failing=("q3",)))
    write_run(root / "runs" / "after", Made(seed=2, noise=0.1, created=second, answers=True))
    write_usage(root / "home", days=2, a_day=12)
    return Source(root / "runs", root / "home", FakeLive())


def test_pages_without_anything_to_show_say_how_to_get_it() -> None:
    shown = said(drawn(Source(), *MEASURED, *SERVED))
    assert shown.count("riddle dashboard --runs DIR") == len(MEASURED)
    assert "riddle dashboard --home DIR" in shown
    assert "riddle dashboard --url" in shown


def test_the_application_opens_on_the_runs(source: Source) -> None:
    test = drawn(source)
    assert list(test.dataframe[0].value["run"]) == ["after", "before"]
    assert test.get("arrow_vega_lite_chart") or test.get("vega_lite_chart")


def test_a_damaged_run_is_named_and_the_others_are_listed(tmp_path: Path) -> None:
    write_run(tmp_path / "good")
    write_run(tmp_path / "bad").path.joinpath("manifest.json").write_text("{")
    test = drawn(Source(tmp_path), "Runs")
    assert "bad cannot be read" in said(test)
    assert list(test.dataframe[0].value["run"]) == ["good"]


def test_quality_shows_stages_of_both_runs_and_what_changed(source: Source) -> None:
    test = drawn(source, "Quality")
    shown = said(test)
    assert '<td dir="auto">lexical</td>' in shown
    assert "paired randomisation test" in shown
    assert test.selectbox(key="quality-metric").value == "nDCG@10"
    test.selectbox(key="quality-metric").select("RR@10").run()
    assert [each.value for each in test.exception] == []


def test_a_question_is_seen_in_two_runs_with_passages_answer_and_verdicts(source: Source) -> None:
    test = drawn(source, "Questions")
    test.selectbox(key="query").select("q1").run()
    assert [each.value for each in test.exception] == []
    shown = said(test)
    for words in ("Alan Stevenson", ">before</h4>", ">after</h4>", "<mark>", "quoted", "faithfulness", "grade 2"):
        assert words in shown
    assert shown.count("<article>") == 10


def test_a_question_that_failed_says_why(source: Source) -> None:
    test = drawn(source, "Questions")
    test.selectbox(key="query").select("q3").run()
    assert "the service did not answer in 5 s" in said(test)


def test_one_run_stands_alone(tmp_path: Path) -> None:
    write_run(tmp_path / "alone")
    assert said(drawn(Source(tmp_path), "Questions")).count("<h4>") == 1


def test_what_documents_say_is_neither_html_nor_markdown(tmp_path: Path) -> None:
    write_run(tmp_path / "run", Made(answers=True, hostile=HOSTILE))
    test = drawn(Source(tmp_path), "Questions")
    assert "<script" not in said(test)
    assert "&lt;script&gt;" in said(test)
    assert not [each for each in test.markdown if "evil" in each.value]


def test_answers_show_means_the_triad_and_what_failed_to_be_judged(source: Source) -> None:
    shown = said(drawn(source, "Answers"))
    for words in ("exact_match", "answer_relevancy", "not calibrated", "faithfulness"):
        assert words in shown


def test_latency_is_shown_by_stage(source: Source) -> None:
    test = drawn(source, "Latency")
    assert test.selectbox(key="latency-stage").value == "client"
    assert "p99 ms" in said(test)


def test_failures_are_shown_by_kind(source: Source) -> None:
    assert "generation_failed" in said(drawn(source, "Failures"))


def test_the_frontier_names_what_is_beaten(source: Source) -> None:
    assert "seconds a question" in said(drawn(source, "Frontier"))


def test_users_searches_without_a_result_and_rewordings_are_shown(source: Source) -> None:
    shown = said(drawn(source, "Users"))
    assert NOTHING in shown
    assert "found nothing" in shown
    assert "what did a lighthouse keeper earn" in shown


def test_a_service_is_shown_with_its_rates_since_the_look_before(source: Source) -> None:
    test = drawn(source, "Service")
    assert "Cache hits: 25.0%" in said(test)
    test.run()
    assert "/v1/search" in said(test)
    assert "2.000" in said(test)
