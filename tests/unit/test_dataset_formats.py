"""Sets of questions are told apart and read as written, in every form; what cannot be read is named by its line."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from eval.dataset_formats import catalogue
from eval.dataset_formats.squad import split_of
from eval.datasets import Dataset, fingerprint, open_dataset
from retrieval.errors import InvalidRequest, Unavailable
from tests.requires import need


def written(path: Path, text: str) -> Path:
    """A file with its folders; compressed when its name says so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def jsonl(rows: Iterable[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def ids(dataset: Dataset) -> list[str]:
    return [document.document_id for document in dataset.documents()]


@pytest.fixture
def beir(tmp_path: Path) -> Path:
    folder = tmp_path / "own"
    written(folder / "corpus.jsonl.gz", jsonl([{"_id": "d1", "title": "T", "text": "x"}, {"_id": 2, "text": "y"}]))
    asked = [{"_id": f"q{place}", "text": f"question {place}", "answer": "x"} for place in range(9)]
    written(folder / "queries.jsonl", jsonl(asked))
    judged = "".join(f"q{place}\td1\t{place}\n" for place in range(1, 9))
    written(folder / "qrels_dev.tsv", "query-id\tcorpus-id\tscore\n" + judged)
    written(folder / "qrels" / "train.tsv.gz", "query-id\tcorpus-id\tscore\nq0\t2\t1\n")
    return folder


def test_a_beir_folder_says_which_judgements_it_took(beir: Path) -> None:
    found = open_dataset(beir)
    assert (found.name, found.split, len(found.questions)) == ("own", "dev", 8)
    assert found.source.endswith("judgements of qrels_dev.tsv")
    assert found.qrels["q3"] == {"d1": 3}
    assert found.questions["q3"].answers == ("x",)
    assert [(each.document_id, each.title, each.text) for each in found.documents()] == [
        ("d1", "T", "x"),
        ("2", "", "y"),
    ]
    assert open_dataset(str(beir), "train").qrels == {"q0": {"2": 1}}


def test_documents_can_be_read_again(beir: Path) -> None:
    found = open_dataset(beir)
    assert ids(found) == ids(found) == ["d1", "2"]


def test_a_limit_takes_the_first_and_a_seed_draws(beir: Path) -> None:
    assert list(open_dataset(beir, limit=3).questions) == ["q1", "q2", "q3"]
    drawn = open_dataset(beir, limit=3, seed=5)
    assert list(drawn.questions) == list(open_dataset(beir, limit=3, seed=5).questions) == sorted(drawn.questions)
    assert set(drawn.qrels) == set(drawn.questions) != {"q1", "q2", "q3"}
    assert len(open_dataset(beir, limit=100, seed=5).questions) == 8
    with pytest.raises(InvalidRequest, match="leaves no question"):
        open_dataset(beir, limit=0)


def test_a_fingerprint_is_of_questions_and_judgements_alone(beir: Path) -> None:
    before = fingerprint(open_dataset(beir))
    assert len(before) == 16
    written(beir / "corpus.jsonl.gz", jsonl([{"_id": "d1", "text": "another"}]))
    assert fingerprint(open_dataset(beir)) == before
    assert fingerprint(open_dataset(beir, limit=7)) != before
    judged = (beir / "qrels_dev.tsv").read_text()
    (beir / "qrels_dev.tsv").write_text(judged.replace("q8\td1\t8", "q8\td1\t7"))
    assert fingerprint(open_dataset(beir)) != before


@pytest.mark.parametrize(
    ("name", "bad", "line"),
    [
        ("queries.jsonl", '{"_id":"q1","text":"x"}\n{"_id": "q2"}\n', "queries.jsonl line 2"),
        ("queries.jsonl", '{"_id":"q1","text":"x"}\n\nnone\n', "queries.jsonl line 3"),
        ("queries.jsonl", '["q1"]\n', "queries.jsonl line 1"),
        ("corpus.jsonl.gz", '{"_id":"d1","text":"x"}\n{"_id":"d2","text":null}\n', "corpus.jsonl.gz line 2"),
    ],
)
def test_a_line_that_cannot_be_read_is_named(beir: Path, name: str, bad: str, line: str) -> None:
    written(beir / name, bad)
    with pytest.raises(InvalidRequest, match=line):
        ids(open_dataset(beir))


def test_damaged_files_are_refused_by_name(beir: Path) -> None:
    whole = (beir / "corpus.jsonl.gz").read_bytes()
    (beir / "corpus.jsonl.gz").write_bytes(whole[:-12])
    with pytest.raises(InvalidRequest, match=r"corpus\.jsonl\.gz is no whole gzip"):
        ids(open_dataset(beir))
    (beir / "queries.jsonl").write_bytes(b'{"_id":"q1","text":"caf\xe9"}\n')
    with pytest.raises(InvalidRequest, match=r"queries\.jsonl line 1"):
        open_dataset(beir)


def test_what_is_no_set_says_what_would_be(tmp_path: Path) -> None:
    written(tmp_path / "letter.txt", "Dear all")
    for path in (tmp_path, tmp_path / "letter.txt"):
        with pytest.raises(InvalidRequest, match="is no set of questions"):
            open_dataset(path)
    with pytest.raises(InvalidRequest, match="no such file"):
        open_dataset(tmp_path / "nowhere")


TOPICS = """<top>
<num> Number: 051
<title> Topic: Airbus
  Subsidies
<desc> Description:
Document will discuss government assistance.
<narr> Narrative: All.
</top>
<top><num>52</num><title></title><desc>South African sanctions</desc></top>
<top><num>53</num><title>Nobody judged this</title></top>
"""
PAGES = """<DOC>
<DOCNO> AP880212-0001 </DOCNO>
<HEADLINE>Reports &amp; news</HEADLINE>
<TEXT>
<P>The Airbus consortium.</P>
</TEXT>
<TEXT>More of it.</TEXT>
</DOC>
<doc><docno>2</docno><title>Second</title><author>A. B.</author> On one line.</doc>
"""


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_folder_of_trec_files_is_read(tmp_path: Path, suffix: str) -> None:
    folder = tmp_path / "ap"
    written(folder / f"topics.51-53.txt{suffix}", TOPICS)
    written(folder / f"qrels.51-53.txt{suffix}", "51 0 AP880212-0001 1\n52\t0\t2\t2\n52 0 other -1\n")
    written(folder / "docs" / f"ap{suffix}", PAGES)
    written(folder / "README", "about")
    found = open_dataset(folder)
    assert {query_id: each.text for query_id, each in found.questions.items()} == {
        "51": "Airbus Subsidies",
        "52": "South African sanctions",
    }
    assert found.qrels == {"51": {"AP880212-0001": 1}, "52": {"2": 2, "other": -1}}
    first, second = found.documents()
    assert (first.document_id, first.title) == ("AP880212-0001", "Reports & news")
    assert first.text == "The Airbus consortium.\nMore of it."
    assert (second.title, second.text) == ("Second", "A. B. On one line.")


def test_other_forms_of_topics_are_read_too(tmp_path: Path) -> None:
    written(tmp_path / "qrels.txt", "1 0 d1 1\n2 0 d2 1\n")
    written(tmp_path / "corpus.jsonl", jsonl([{"_id": "d1", "text": "x"}]))
    topics = tmp_path / "topics.xml"
    written(
        topics, '<topics><topic number="1" type="x"><query>coronavirus</query><question>why</question></topic></topics>'
    )
    assert open_dataset(tmp_path).questions["1"].text == "coronavirus"
    topics.unlink()
    written(tmp_path / "queries.tsv", "1\tfirst query\n2\tsecond query\n")
    found = open_dataset(tmp_path)
    assert [each.text for each in found.questions.values()] == ["first query", "second query"]
    assert ids(found) == ["d1"]


def test_a_split_of_trec_files_is_found_by_their_names(tmp_path: Path) -> None:
    for split, number in (("dev", 1), ("test", 2)):
        written(tmp_path / f"queries.{split}.tsv", f"{number}\tof {split}\n")
        written(tmp_path / f"qrels.{split}.tsv", f"{number} 0 d 1\n")
    assert [each.text for each in open_dataset(tmp_path).questions.values()] == ["of test"]
    assert [each.text for each in open_dataset(tmp_path, "dev").questions.values()] == ["of dev"]
    with pytest.raises(InvalidRequest, match="split train"):
        open_dataset(tmp_path, "train")


@pytest.mark.parametrize(
    ("name", "bad", "told"),
    [
        ("qrels", "51 0 d1\n", "qrels line 1: wants four columns"),
        ("topics", "<top><num>51</num><title>t</title></top>\n<top><num>52</num>\n", "only 1 of 2 topics"),
        ("topics", "<top><num>51</num><title>t</title></top>\n<top><num>52</num></top>\n", "topics line 2"),
        ("topics", "51\ta query\nno tab\n", "topics line 2"),
        ("docs/a", "<DOC><DOCNO>1</DOCNO>x</DOC>\n<DOC>\n<DOCNO>2</DOCNO>\n", "a line 2: .*no end"),
        ("docs/a", "<DOC><DOCNO>1</DOCNO>x</DOC>\n\n<DOC>nameless</DOC>\n", "a line 3: .*no <DOCNO>"),
    ],
)
def test_a_bad_line_of_trec_files_is_named(tmp_path: Path, name: str, bad: str, told: str) -> None:
    written(tmp_path / "topics", TOPICS)
    written(tmp_path / "qrels", "51 0 d1 1\n")
    written(tmp_path / name, bad)
    with pytest.raises(InvalidRequest, match=told):
        ids(open_dataset(tmp_path))


def test_old_trec_files_in_latin_1_stay_legible(tmp_path: Path) -> None:
    written(tmp_path / "qrels", "1 0 d1 1\n")
    (tmp_path / "topics").write_bytes("<top><num>1</num><title>café</title></top>".encode("cp1252"))
    (tmp_path / "docs").write_bytes("<DOC><DOCNO>d1</DOCNO>Brontë\n北京</DOC>".encode().replace("ë".encode(), b"\xeb"))
    found = open_dataset(tmp_path)
    assert found.questions["1"].text == "café"
    assert next(found.documents()).text == "Brontë\n北京"


GOLD = [{"text": text, "answer_start": 0} for text in ("a", "b", "a")]


def squad_file(titles: Iterable[str]) -> str:
    articles = [
        {
            "title": title,
            "paragraphs": [
                {
                    "context": f"{title} paragraph {place}",
                    "qas": [
                        {
                            "id": f"{title}-{place}",
                            "question": " What? ",
                            "answers": GOLD,
                        },
                        {
                            "id": f"{title}-{place}-none",
                            "question": "Who?",
                            "answers": [],
                            "is_impossible": True,
                            "plausible_answers": [{"text": "p", "answer_start": 0}],
                        },
                    ],
                }
                for place in (1, 2)
            ],
        }
        for title in titles
    ]
    return json.dumps({"version": "v2.0", "data": articles}, ensure_ascii=False)


def test_paragraphs_of_squad_are_documents_and_questions_know_theirs(tmp_path: Path) -> None:
    found = open_dataset(written(tmp_path / "mine.json.gz", squad_file(["A_cappella", "泡泡 战士"])))
    assert (found.name, found.split) == ("mine", "")
    assert ids(found) == ["A_cappella/1", "A_cappella/2", "泡泡_战士/1", "泡泡_战士/2"]
    assert [each.title for each in found.documents()][1:3] == ["A cappella", "泡泡 战士"]
    assert found.questions["A_cappella-2"].answers == ("a", "b")
    assert found.questions["A_cappella-2"].text == "What?"
    assert found.qrels["A_cappella-2"] == {"A_cappella/2": 1}


def test_an_impossible_question_is_unanswerable_and_unjudged(tmp_path: Path) -> None:
    found = open_dataset(written(tmp_path / "dev-v2.0.json", squad_file(["One"])))
    assert found.split == "dev"
    asked = found.questions["One-1-none"]
    assert (asked.answerable, asked.answers) == (False, ())
    assert "One-1-none" not in found.qrels


def test_articles_are_divided_by_their_titles_alone(tmp_path: Path) -> None:
    titles = [f"Article {number}" for number in range(60)]
    file = written(tmp_path / "train-v1.1.json", squad_file(titles))
    dev, train, everything = (open_dataset(file, split) for split in ("dev", "train", None))
    held_apart = {title for title in titles if split_of(title) == "dev"}
    assert 0 < len(held_apart) < 20
    assert {each.title for each in dev.documents()} == held_apart
    assert not dev.questions.keys() & train.questions.keys()
    assert dev.questions.keys() | train.questions.keys() == everything.questions.keys()
    written(tmp_path / "train-v1.1.json", squad_file(reversed(titles)))
    assert set(open_dataset(file, "dev").questions) == set(dev.questions)


def test_a_folder_with_both_parts_is_not_divided(tmp_path: Path) -> None:
    titles = [f"Article {number}" for number in range(20)]
    written(tmp_path / "train.json", squad_file(titles))
    written(tmp_path / "dev.json", squad_file(["Other"]))
    assert len(open_dataset(tmp_path, "train").questions) == 80
    assert len(open_dataset(tmp_path, "dev").questions) == len(open_dataset(tmp_path).questions) == 4
    with pytest.raises(InvalidRequest, match="no split test; it has dev, train"):
        open_dataset(tmp_path, "test")


def test_a_bad_article_is_named(tmp_path: Path) -> None:
    content = json.loads(squad_file(["One", "Two"]))
    del content["data"][1]["paragraphs"][1]["qas"][0]["question"]
    with pytest.raises(InvalidRequest, match=r"article 2 \(Two\), paragraph 2"):
        open_dataset(written(tmp_path / "bad.json", json.dumps(content)))
    with pytest.raises(InvalidRequest, match="is no JSON"):
        open_dataset(written(tmp_path / "torn.json", squad_file(["One"])[:-20]))


def test_questions_and_answers_are_read_as_people_write_them(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"question": "Who?", "answer": "I"},
        {"id": 7, "query": "What?", "answers": ["a", "b", "a"], "relevant": ["d1", {"id": "d2", "grade": 2}]},
        {"_id": "x", "text": "Why?", "answerable": False, "documents": {"d3": 3}},
    ]
    found = open_dataset(written(tmp_path / "faq.jsonl", jsonl(rows)))
    assert list(found.questions) == ["q1", "7", "x"]
    assert [each.answers for each in found.questions.values()] == [("I",), ("a", "b"), ()]
    assert found.qrels == {"7": {"d1": 1, "d2": 2}, "x": {"d3": 3}}
    assert not found.questions["x"].answerable
    assert ids(found) == []


def test_only_accepted_drafts_are_asked(tmp_path: Path) -> None:
    drafts = [
        {"id": str(place), "question": f"What {place}?", "document_id": "d", "status": status}
        for place, status in enumerate(["draft", "accepted", "rejected"])
    ]
    found = open_dataset(written(tmp_path / "drafts.jsonl", jsonl(drafts)))
    assert (list(found.questions), found.qrels) == (["1"], {"1": {"d": 1}})
    with pytest.raises(InvalidRequest, match="none of 1 drafts is accepted"):
        open_dataset(written(tmp_path / "fresh.jsonl", jsonl(drafts[:1])))


def test_questions_may_lie_beside_their_documents(tmp_path: Path) -> None:
    asked = [{"question": "a?", "split": "dev"}, {"question": "b?", "split": "train"}]
    written(tmp_path / "questions.jsonl.gz", jsonl(asked))
    written(tmp_path / "corpus.jsonl", jsonl([{"id": "d1", "text": "x"}]))
    found = open_dataset(tmp_path, "train")
    assert ([each.text for each in found.questions.values()], ids(found)) == (["b?"], ["d1"])
    with pytest.raises(InvalidRequest, match="of the split test"):
        open_dataset(tmp_path, "test")


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"question": ""}, "needs a question"),
        ({"question": "x", "answers": [1]}, "answers are"),
        ({"question": "x", "answerable": "no"}, "answerable is"),
        ({"question": "x", "relevant": [{"id": "d", "grade": "high"}]}, "relevant documents"),
        ({"question": "x", "id": "q1"}, "came before"),
    ],
)
def test_a_bad_question_is_named(tmp_path: Path, row: dict[str, Any], told: str) -> None:
    path = written(tmp_path / "faq.jsonl", jsonl([{"question": "fine"}, row]))
    with pytest.raises(InvalidRequest, match=f"line 2: .*{told}"):
        open_dataset(path)


class Fetched:
    """One set as ir_datasets hands it out."""

    def docs_iter(self) -> Iterable[Any]:
        return [
            SimpleNamespace(doc_id="d1", title="T", text="x"),
            SimpleNamespace(doc_id="d2", default_text=lambda: "whole"),
        ]

    def queries_iter(self) -> Iterable[Any]:
        return [SimpleNamespace(query_id="1", text="asked"), SimpleNamespace(query_id="2", text="unjudged")]

    def qrels_iter(self) -> Iterable[Any]:
        return [SimpleNamespace(query_id="1", doc_id="d1", relevance=2)]


class Package:
    """The package with one set; what lies beyond it cannot be reached."""

    def load(self, name: str) -> Any:
        if name == "far/away":
            raise ConnectionError("no route to host")
        if name == "beir/small":
            return object()
        return {"beir/small/test": Fetched()}[name]


def test_a_set_of_the_catalogue_is_read_by_its_name() -> None:
    for name, split in (("beir/small/test", None), ("beir/small", "test"), ("beir/small/test", "test")):
        found = catalogue.read(name, split, Package())
        assert (found.split, found.source) == ("test", "ir-datasets:beir/small/test")
        assert [each.text for each in found.questions.values()] == ["asked"]
        assert found.qrels == {"1": {"d1": 2}}
        assert [(each.document_id, each.title, each.text) for each in found.documents()] == [
            ("d1", "T", "x"),
            ("d2", "", "whole"),
        ]


def test_a_set_that_cannot_be_had_says_why() -> None:
    with pytest.raises(InvalidRequest, match="knows no beir/large"):
        catalogue.read("beir/large", None, Package())
    with pytest.raises(InvalidRequest, match="no docs and no queries and no qrels"):
        catalogue.read("beir/small", None, Package())
    with pytest.raises(Unavailable, match="no route to host"):
        catalogue.read("far/away", None, Package())


def test_without_the_package_the_error_names_it() -> None:
    try:
        import ir_datasets  # noqa: F401
    except ImportError:
        with pytest.raises(InvalidRequest, match="pip install ir-datasets"):
            open_dataset("ir-datasets:beir/scifact/test")


@pytest.mark.parametrize(
    ("name", "split", "questions", "documents"),
    [
        ("cranfield", None, 225, 1400),
        ("adi", None, 35, 82),
        ("cmrc2018", None, 10_142, 2403),
        ("cmrc2018/trial.json.gz", None, 1002, 256),
        ("drcd", "dev", 3524, 1000),
    ],
)
def test_real_sets_are_whole(name: str, split: str | None, questions: int, documents: int) -> None:
    found = open_dataset(need.data(name), split)
    assert (len(found.questions), len(found.qrels)) == (questions, questions)
    known = ids(found)
    assert len(known) == len(set(known)) == documents


def test_no_question_of_squad_is_held_apart_and_trained_on() -> None:
    path = need.data("squad")
    dev, train = open_dataset(path, "dev"), open_dataset(path, "train")
    assert (len(dev.questions), len(train.questions)) == (8825, 78_774)
    assert not dev.questions.keys() & train.questions.keys()
    assert all(len(grades) == 1 for grades in dev.qrels.values())
