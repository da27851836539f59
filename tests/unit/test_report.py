"""The HTML report: whole, safe from what documents say, bounded, and true to the run."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

import eval.report_questions
from eval.html import Markup, cited_answer, cut, element, number, table, text
from eval.report import report
from eval.run_tables import Table
from eval.run_views import LoadedRun, load_run
from eval.targets import Answered, Cited
from services.cli import run as riddle
from tests.runs import Made, write_run

HOSTILE = """</style></script><script>alert(1)</script><img src="http://evil.example/x" onerror='alert(1)'>&amp;"""


class Read(HTMLParser):
    """What a browser would make of a page: elements, links, words; an element that is not closed is a fault."""

    VOID = frozenset({"meta", "link", "br"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.attributes: set[str] = set()
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(page)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def visible(self) -> str:
        return " ".join(self.words)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[LoadedRun]:
    root = tmp_path_factory.mktemp("runs")
    made = (
        Made(seed=1, noise=2.0, questions=24, answers=True, failing=("q3",)),
        Made(seed=2, noise=0.1, questions=24, answers=True, rerank_ms=90.0),
    )
    return [load_run(write_run(root / name, each)) for name, each in zip(("before", "after"), made, strict=True)]


@pytest.fixture(scope="module")
def written(runs: list[LoadedRun]) -> str:
    return report(runs)


def test_a_report_of_two_runs_has_every_part(written: str) -> None:
    page = Read(written)
    for heading in (
        "What was measured", "Quality by stage", "Against before", "Latency", "Answers", "Worst questions",
        "Failures", "All questions",
    ):  # fmt: skip
        assert heading in page.words
    assert page.elements.count("details") == 25
    assert page.elements.count("svg") >= 7
    assert "better" in page.words
    assert "Alan Stevenson" in page.visible
    assert "not JSON" in page.visible


def test_settings_that_differ_are_shown_and_those_that_all_share_are_behind_a_line(written: str) -> None:
    open_part, shared = written.split("Settings of the target that all share", 1)
    assert "target.settings.rank.depth" in open_part
    assert "target.settings.recall.depth" not in open_part
    assert "target.settings.recall.depth" in shared


def test_a_report_of_one_run_compares_with_nothing(runs: list[LoadedRun]) -> None:
    page = Read(report(runs[:1]))
    assert "Against" not in page.visible
    assert "failed: unavailable" in page.visible
    assert "the service did not answer in 5 s" in page.visible


def test_a_report_runs_nothing_and_asks_for_nothing(written: str) -> None:
    page = Read(written)
    assert not {"script", "img", "iframe", "object"} & set(page.elements)
    assert not [name for name in page.attributes if name.startswith("on")]
    assert [link for link in page.links if not link.startswith("#")] == ["data:,"]
    assert "default-src 'none'" in written


def test_every_link_leads_to_a_place_that_is_there_once(written: str) -> None:
    page = Read(written)
    assert len(set(page.ids)) == len(page.ids)
    assert {link.removeprefix("#") for link in page.links if link.startswith("#")} <= set(page.ids)


def test_what_documents_questions_and_answers_say_stays_text(tmp_path: Path) -> None:
    run = load_run(write_run(tmp_path / "run", Made(answers=True, hostile=HOSTILE)))
    page = Read(report([run]))
    assert not {"script", "img"} & set(page.elements)
    assert "onerror" not in page.attributes
    assert "<script>alert(1)</script>" in page.visible
    assert [link for link in page.links if "evil" in link] == []


def test_runs_that_cannot_be_compared_say_why_and_the_rest_is_there(tmp_path: Path) -> None:
    one = load_run(write_run(tmp_path / "one", Made(questions=6)))
    other = load_run(write_run(tmp_path / "other", Made(questions=6, hostile=" please")))
    page = Read(report([one, other]))
    assert "Not compared:" in page.visible
    assert "Quality by stage" in page.words


def test_a_run_without_searches_yet_has_a_report(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", Made(questions=6))
    for name in ("searches.jsonl", "metrics.json", "by_query.json", "timings.json"):
        (run.path / name).unlink()
    page = Read(report([load_run(run)]))
    assert "not asked" in page.visible


def test_of_very_many_questions_it_says_how_many_it_left_out(tmp_path: Path) -> None:
    most = eval.report_questions.MOST_QUESTIONS
    run = write_run(tmp_path / "run", Made(questions=6))
    questions = {f"q{number}": next(iter(run.questions().values())) for number in range(most + 7)}
    run.write_questions(questions, {})
    page = Read(report([load_run(run)]))
    assert page.elements.count("details") == most + 1
    assert "7 more are in the folder" in page.visible


def test_markup_is_only_what_was_made_as_markup() -> None:
    assert text("<b>") == "&lt;b&gt;"
    assert element("p", "<b>", Markup("<i></i>"), title='"') == '<p title="&quot;">&lt;b&gt;<i></i></p>'
    assert text("a\x00b\ud800") == "a�b�"


def test_numbers_read_as_people_write_them() -> None:
    assert [number(each) for each in (None, 1.0, 12.345, 12345.6, 12345, "x")] == [
        "–", "1.000", "12.35", "12,346", "12,345", "x",
    ]  # fmt: skip


def test_what_is_too_long_is_cut_and_says_so() -> None:
    assert cut("a" * 10, 4) == "aaaa … (6 characters more)"
    assert "3 rows more" in table(Table(("n",), tuple((each,) for each in range(5))), most=2)


def test_cited_stretches_are_marked_and_numbered_where_they_end() -> None:
    answer = Answered("It is so. Or not.", False, (Cited((0, 9), "p1"), Cited((0, 5), "p2")), (), {})
    marked = cited_answer(answer, "c")
    assert re.sub("<[^>]+>", "", marked) == "It is2 so.1 Or not."
    assert marked.count("<mark>") == 2
    assert '<a href="#c1">1</a>' in marked


def test_the_command_writes_the_file_and_says_where(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path / "a", Made(seed=1))
    write_run(tmp_path / "b", Made(seed=2))
    out = tmp_path / "ci" / "report.html"
    assert riddle(["eval", "report", str(tmp_path / "a"), str(tmp_path / "b"), "--out", str(out)]) == 0
    assert out.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert "a, b" in capsys.readouterr().out


def test_a_folder_that_is_no_run_ends_the_command_with_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert riddle(["eval", "report", str(tmp_path), "--out", str(tmp_path / "r.html")]) == 1
    assert "riddle eval run" in capsys.readouterr().err
    assert not (tmp_path / "r.html").exists()
