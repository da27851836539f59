"""Drafting a set: passages are drawn fairly and again alike, writers take turns, and the search's place is noted."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

from eval.datasets import open_dataset
from eval.drafts import Draft, Drafted
from eval.make_set import Account, Find, Writer, Writers, draft_set, sampled
from retrieval.batch import write_generation
from retrieval.errors import GenerationFailed, Unavailable
from retrieval.segment import Part
from retrieval.snapshot import Snapshot
from retrieval.store import CollectionStore
from retrieval.types import Chunk, Document, Language, Passage
from services.bootstrap import collections_folder
from services.cli import build_app, run
from tests.chat_server import ChatScript, chat_app
from tests.fake_models import FakeEncoder
from tests.live import served

TOPICS = ("gate", "market", "lamp", "fee", "storm", "crane", "quay", "buoy")
WORDS = ["oak", "elm", "ash", "fir", "yew", "box", "bay", "fig", "ivy", "rye", "oat", "pea", "hop", "tea", "nut", "rue"]


def paragraph(topic: str, number: int) -> str:
    """A definition and some words of its own, long enough to be asked about."""
    own = " ".join(f"{topic}{number}{word}" for word in WORDS)
    return f"The {topic} of part {number} is a thing that the harbour needs, as everybody knows. Its words are {own}."


def document(topic: str, paragraphs: int = 3, acl: tuple[str, ...] = ()) -> Document:
    return Document(
        topic, "\n\n".join(paragraph(topic, number) for number in range(paragraphs)), topic.title(), acl=acl
    )


def written(root: Path, documents: Sequence[Document]) -> Snapshot:
    chunks = []
    for each in documents:
        at, own = 0, []
        for ordinal, text in enumerate(each.text.split("\n\n")):
            own.append(Chunk(ordinal, at, at + len(text), (each.title,)))
            at += len(text) + 2
        chunks.append(own)
    texts = [each.text[piece.start : piece.end] for each, own in zip(documents, chunks, strict=True) for piece in own]
    encoder = FakeEncoder()
    store = CollectionStore(root)
    part = Part(list(documents), chunks, encoder.encode(texts, "passage"))
    write_generation(store, "harbour", [part], encoder=encoder.spec)
    return store.snapshot("harbour")


class Scripted:
    """A writer that asks about the first word of a passage, fails where it is told to, and counts its calls."""

    def __init__(self, name: str = "scripted", fails: Exception | None = None, nothing: bool = False) -> None:
        self.name, self._fails, self._nothing = name, fails, nothing
        self.seen: list[str] = []

    async def write(self, passage: Passage, language: Language) -> Drafted | None:
        self.seen.append(passage.passage_id)
        if self._fails is not None:
            raise self._fails
        if self._nothing:
            return None
        return Drafted(f"What about {passage.passage_id}?", "the harbour needs", "the harbour needs")


async def drafted(
    passages: Sequence[Passage], wanted: int, writers: Writers, find: Find | None = None
) -> tuple[list[Draft], Account]:
    async def nowhere(question: str) -> list[str]:
        return []

    def again() -> Iterator[Passage]:
        return iter(passages)

    account = Account()
    return [each async for each in draft_set(again, wanted, writers, find or nowhere, account)], account


def listed(count: int) -> list[Passage]:
    found = []
    for number in range(count):
        text = paragraph(TOPICS[number % len(TOPICS)], number)
        found.append(Passage(f"p{number}#0", f"p{number}", text, (0, len(text))))
    return found


def test_documents_take_turns_and_the_same_seed_draws_the_same(tmp_path: Path) -> None:
    snapshot = written(tmp_path, [document(topic) for topic in TOPICS])
    found = [each.passage_id for each in sampled(snapshot, 0, 5)]
    assert len(found) == len(set(found)) == 3 * len(TOPICS)
    for turn in range(3):
        own = found[turn * len(TOPICS) : (turn + 1) * len(TOPICS)]
        assert {each.partition("#")[0] for each in own} == set(TOPICS)
    assert found == [each.passage_id for each in sampled(snapshot, 0, 5)]
    assert found != [each.passage_id for each in sampled(snapshot, 1, 5)]


def test_a_passage_is_read_whole_with_what_is_known_of_it(tmp_path: Path) -> None:
    snapshot = written(tmp_path, [document("gate", 1)])
    [found] = sampled(snapshot, 0, 5)
    assert (found.passage_id, found.document_id, found.title, found.headings) == ("gate#0", "gate", "Gate", ("Gate",))
    assert found.text == paragraph("gate", 0)


def test_what_not_everybody_may_see_and_what_is_too_short_is_left_out(tmp_path: Path) -> None:
    documents = [document("gate"), document("market", acl=("group:fish",)), Document("note", "Too short to ask about.")]
    found = {each.document_id for each in sampled(written(tmp_path, documents), 0, 5)}
    assert found == {"gate"}


async def test_a_draft_says_where_it_comes_from_and_where_the_search_has_it() -> None:
    async def find(question: str) -> list[str]:
        return {"What about p0#0?": ["p9", "p0"], "What about p1#0?": ["p1"]}.get(question, ["p9"] * 1)

    found, account = await drafted(listed(4), 3, Writers((Scripted(),)), find)
    assert [(each.document_id, each.passage_id, each.rank) for each in found] == [
        ("p0", "p0#0", 2),
        ("p1", "p1#0", 1),
        ("p2", "p2#0", None),
    ]
    assert {each.status for each in found} == {"draft"}
    assert len({each.id for each in found}) == 3
    assert (account.drafts, account.passages, account.first, account.not_found) == (3, 3, 1, 1)


async def test_passages_that_say_nearly_the_same_give_one_draft() -> None:
    first, second = listed(2)
    twin = Passage("twin#0", "twin", first.text.upper(), first.offsets)
    found, account = await drafted([first, twin, second], 3, Writers((Scripted(),)))
    assert [each.document_id for each in found] == ["p0", "p1"]
    assert account.dropped == Counter({"near-duplicate": 1})


async def test_writers_take_over_from_one_another() -> None:
    broken, silent = Scripted("model", GenerationFailed("the reply broke off")), Scripted("other", nothing=True)
    able = Scripted("rules")
    found, account = await drafted(listed(2), 2, Writers((broken, silent, able)))
    assert [each.by for each in found] == ["rules", "rules"]
    assert account.dropped == Counter({"model failed": 2, "other made nothing of it": 2})


async def test_the_last_writers_are_asked_only_when_too_few_drafts_came() -> None:
    class First(Scripted):
        async def write(self, passage: Passage, language: Language) -> Drafted | None:
            made = await super().write(passage, language)
            return made if passage.passage_id == "p1#0" else None

    last = Scripted("headings")
    found, _ = await drafted(listed(3), 2, Writers((First(),), (last,)))
    assert [(each.document_id, each.by) for each in found] == [("p1", "scripted"), ("p0", "headings")]
    unneeded: Writer = Scripted("headings")
    found, _ = await drafted(listed(3), 2, Writers((Scripted(),), (unneeded,)))
    assert [each.by for each in found] == ["scripted", "scripted"]


async def test_a_question_is_asked_once() -> None:
    class Same(Scripted):
        async def write(self, passage: Passage, language: Language) -> Drafted | None:
            return Drafted("What about lamps?", "the harbour needs", "the harbour needs")

    found, account = await drafted(listed(3), 3, Writers((Same(),)))
    assert len(found) == 1
    assert account.dropped["asked before"] == 2


async def test_drafts_with_problems_are_counted_and_not_kept() -> None:
    class Wrong(Scripted):
        async def write(self, passage: Passage, language: Language) -> Drafted | None:
            return Drafted("What about the passage?", "an invention of mine", "the harbour needs")

    found, account = await drafted(listed(1), 1, Writers((Wrong(),)))
    assert found == []
    assert account.dropped == Counter({"answer not in the passage": 1, "speaks of the passage": 1})


async def test_a_model_that_is_not_there_ends_it() -> None:
    with pytest.raises(Unavailable):
        await drafted(listed(1), 1, Writers((Scripted(fails=Unavailable("nobody")), Scripted())))


Out = pytest.CaptureFixture[str]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home without models, and a collection that is found by words."""
    written(collections_folder(tmp_path / "home"), [document(topic) for topic in TOPICS])
    return tmp_path / "home"


def make_set(home: Path, *more: str) -> int:
    return run(["eval", "make-set", "--home", str(home), "-c", "harbour", "--out", str(home / "set.jsonl"), *more])


def test_the_command_drafts_by_rules_without_any_model(home: Path, capsys: Out) -> None:
    assert make_set(home, "-n", "5", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    rows = [json.loads(line) for line in (home / "set.jsonl").read_text().splitlines()]
    assert told["drafts"] == len(rows) == 5
    assert len({row["document_id"] for row in rows}) == 5
    assert all(row["question"].startswith("What is the ") and row["by"] == "rules" for row in rows)
    assert all(row["rank"] == 1 for row in rows)
    assert told["first"] == 5
    assert make_set(home) == 1
    assert "is there already" in capsys.readouterr().err


def test_the_command_asks_a_server_that_is_named(home: Path, capsys: Out) -> None:
    script = ChatScript(pieces=["Question: Who needs", " things?\nAnswer: the harbour\nQuote: the harbour needs"])
    with served(chat_app(script)) as server:
        assert make_set(home, "-n", "3", "--generator-url", f"{server.url}/v1") == 0
    rows = [json.loads(line) for line in (home / "set.jsonl").read_text().splitlines()]
    assert [row["question"] for row in rows if row["by"] != "rules"] == ["Who needs things?"]
    assert {row["by"] for row in rows} == {"served"}
    assert "asked before" in capsys.readouterr().err


def test_the_command_walks_through_drafts_from_a_pipe(home: Path, capsys: Out) -> None:
    assert make_set(home, "-n", "4") == 0
    out = str(home / "set.jsonl")
    words = ["eval", "make-set", "--out", out, "--review"]
    runner = CliRunner()
    first = runner.invoke(build_app(), words, input="a\ne\nWhat is it for?\n\nr\nq\n")
    assert first.exit_code == 0
    assert "1 of 4" in first.output
    assert "2 accepted, 1 rejected, 1 to decide" in first.output
    assert "What is it for?" in [each.text for each in open_dataset(out).questions.values()]
    last = runner.invoke(build_app(), [*words, "--json"], input="a")
    assert json.loads(last.stdout) == {"accepted": 3, "rejected": 1, "left": 0}


def test_the_command_says_what_it_lacks(home: Path, capsys: Out) -> None:
    for words, told in (
        (("--by", "magic"), "--by takes auto, server, model, rules"),
        (("--by", "server"), "--generator-url"),
        (("--by", "model"), "riddle models pull"),
        (("-c", "nowhere"), "nowhere"),
        (("--review",), "no such file"),
    ):
        assert make_set(home, *words) == 1
        assert told in capsys.readouterr().err
        assert not (home / "set.jsonl").exists()
