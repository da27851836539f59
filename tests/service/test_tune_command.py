"""`riddle tune` from the command line: what it shows, when it adopts, and what it writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from eval.usage_rows import FEEDBACK_FOLDER, FEEDBACK_ROW, FeedbackRow
from ranking.tuned import TunedShelf, defaults, tuned_file
from retrieval.batch import write_generation
from retrieval.store import CollectionStore
from retrieval.types import Document
from services.bootstrap import collections_folder
from services.cli import run
from tests.fake_models import FakeEncoder
from tests.fakes import DOCUMENTS
from tests.parts import part

Out = pytest.CaptureFixture[str]

TOPICS = [f"topic{number}" for number in range(30)]


def riddle(*arguments: str | Path) -> int:
    return run([str(argument) for argument in arguments])


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home without models; what is found is found by words."""
    store = CollectionStore(collections_folder(tmp_path / "home"))
    write_generation(store, "docs", [part(DOCUMENTS)], encoder=FakeEncoder().spec)
    named = [
        Document(
            f"{topic}-{copy}",
            f"All there is to know about {topic}. "
            + f"Here is more of {topic}. " * copy
            + "There are other matters of the kind.",
        )
        for topic in TOPICS
        for copy in range(3)
    ]
    write_generation(store, "topics", [part(named, words=60)], encoder=FakeEncoder().spec)
    return tmp_path / "home"


@pytest.fixture
def judged(tmp_path: Path) -> Path:
    rows = [
        {"id": f"q{at}", "question": f"what of {topic}", "relevant": [f"{topic}-0"]} for at, topic in enumerate(TOPICS)
    ]
    path = tmp_path / "questions.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_what_was_tried_is_shown_and_without_a_gain_nothing_is_written(home: Path, judged: Path, capsys: Out) -> None:
    assert riddle("tune", "topics", "--judgements", judged, "--home", home) == 0
    told = capsys.readouterr()
    assert "30 questions with an answer" in told.out
    assert "learned weights" in told.out
    assert "kept as it is: " in told.out
    assert "30 searches went without dense" in told.err
    assert not tuned_file(home, "topics").exists()


def test_json_is_one_line_with_the_decision(home: Path, judged: Path, capsys: Out) -> None:
    assert riddle("tune", "topics", "--judgements", judged, "--home", home, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["collection"], told["evidence"], told["queries"]) == ("topics", "judgements", 30)
    assert told["adopted"] is None
    assert {each["name"] for each in told["tried"]} >= {"default", "fused alone", "learned weights"}
    assert told["file"] is None


def test_without_judgements_the_collection_is_asked_about_itself(home: Path, capsys: Out) -> None:
    assert riddle("tune", "topics", "--home", home, "--items", "5", "--json") == 0
    told = capsys.readouterr()
    assert "asking the collection about itself" in told.err
    decided = json.loads(told.out)
    assert (decided["evidence"], decided["queries"]) == ("collection", 5)


def test_a_collection_that_can_be_asked_nothing_says_so(home: Path, capsys: Out) -> None:
    store = CollectionStore(collections_folder(home))
    write_generation(store, "short", [part([Document("one", "A single line.")])], encoder=FakeEncoder().spec)
    assert riddle("tune", "short", "--itself", "--home", home) == 1
    assert "no passage of several sentences" in capsys.readouterr().err


def test_clicks_are_the_evidence_where_there_are_some(home: Path, capsys: Out) -> None:
    folder = home / FEEDBACK_FOLDER
    folder.mkdir()
    rows = [
        FeedbackRow(
            "2026-11-24T10:00:00Z", f"r{topic}-{time}", "", "click", f"what of {topic}", "topics", "topics@1.0", "1",
            f"{topic}-0#0", f"{topic}-0", 2, None, {}, (f"{topic}-2#0", f"{topic}-0#0"),
        )
        for topic in TOPICS[:25]
        for time in range(3)
    ]  # fmt: skip
    (folder / "2026-11-24-0001.jsonl").write_bytes(b"".join(FEEDBACK_ROW.dump_json(row) + b"\n" for row in rows))
    assert riddle("tune", "topics", "--home", home, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["evidence"], told["queries"]) == ("clicks", 25)


def test_few_judgements_are_refused_with_the_reason(home: Path, tmp_path: Path, capsys: Out) -> None:
    path = tmp_path / "few.jsonl"
    path.write_text(json.dumps({"question": "How do I start the server?", "relevant": ["guide/install.md"]}) + "\n")
    assert riddle("tune", "docs", "--judgements", path, "--home", home) == 0
    assert "too few to tell" in capsys.readouterr().out


def test_reset_goes_back_to_the_defaults(home: Path, capsys: Out) -> None:
    path = tuned_file(home, "docs")
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(defaults().as_json()))
    assert riddle("tune", "docs", "--reset", "--home", home) == 0
    assert "back to the defaults" in capsys.readouterr().out
    assert not path.exists()
    assert TunedShelf(home).of("docs") is defaults()
    assert riddle("tune", "docs", "--reset", "--home", home, "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"collection": "docs", "reset": False}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("none",), "no collection is called 'none'"),
        (("docs", "--judgements", "missing.jsonl"), "missing.jsonl: no such"),
    ],
)
def test_what_is_not_there_is_said_on_one_line(home: Path, capsys: Out, arguments: tuple[str, ...], said: str) -> None:
    assert riddle("tune", *arguments, "--home", home) == 1
    told = capsys.readouterr().err.strip()
    assert said in told
    assert "Traceback" not in told


def test_wrong_usage_ends_with_2(home: Path) -> None:
    assert riddle("tune") == 2
    assert riddle("tune", "docs", "--level", "2", "--home", home) == 2
