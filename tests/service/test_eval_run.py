"""`riddle eval run` from the command line: over a collection that is there, a server, and a set's own documents."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from eval.datasets import load_judged_set
from eval.retrieval_metrics import evaluate
from eval.runs import RunFolder
from retrieval.analysis import analyse
from retrieval.batch import write_generation
from retrieval.store import CollectionStore
from services.bootstrap import collections_folder
from services.cli import run
from tests.fake_models import FakeEncoder
from tests.fakes import DOCUMENTS
from tests.parts import part
from tests.requires import need
from tests.service.conftest import Live

Out = pytest.CaptureFixture[str]


def riddle(*arguments: str | Path) -> int:
    return run([str(argument) for argument in arguments])


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home without models, and a collection that is found by words alone."""
    store = CollectionStore(collections_folder(tmp_path / "home"))
    write_generation(store, "docs", [part(DOCUMENTS)], encoder=FakeEncoder().spec)
    return tmp_path / "home"


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    rows = [
        {"id": "q1", "question": "How do I start the server?", "relevant": ["guide/install.md"]},
        {"id": "q2", "question": "How are results ranked?", "relevant": ["guide/search.md"], "answers": ["ranked"]},
    ]
    path = tmp_path / "questions.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_collection_of_the_home_folder_is_measured(home: Path, questions: Path, tmp_path: Path, capsys: Out) -> None:
    out = tmp_path / "run"
    command = ("eval", "run", "--dataset", questions, "--home", home, "-c", "docs", "--out", out, "--answers")
    assert riddle(*command, "--metrics", "RR@10,nDCG@10") == 0
    told = capsys.readouterr()
    assert "final     RR@10 1.0000  nDCG@10 1.0000" in told.out
    assert "2 searches went without dense" in told.err
    folder = RunFolder(out)
    manifest = folder.manifest()
    assert manifest.finished
    assert manifest.dataset["queries"] == 2
    assert manifest.settings["depth"] == 50
    assert manifest.target["generation"] == "docs@1.0"
    assert manifest.degraded == {"dense": 2, "rerank": 2}
    assert {each.name for each in out.iterdir()} >= {"lexical.trec", "final.trec", "metrics.json", "timings.json"}
    assert set(folder.by_query()["answer"]) >= {"answered", "f1"}
    assert len(list(folder.answers())) == 2


def test_a_finished_run_is_told_again_and_asks_nothing(
    home: Path, questions: Path, tmp_path: Path, capsys: Out
) -> None:
    command = ("eval", "run", "--dataset", questions, "--home", home, "-c", "docs", "--out", tmp_path / "run", "--json")
    assert riddle(*command) == 0
    before, first = (tmp_path / "run" / "searches.jsonl").read_bytes(), json.loads(capsys.readouterr().out)
    assert riddle(*command) == 0
    assert json.loads(capsys.readouterr().out) == first
    assert (tmp_path / "run" / "searches.jsonl").read_bytes() == before
    assert riddle(*command, "--set", "rank.depth=5") == 1
    assert "holds a run of another target and settings" in capsys.readouterr().err


def test_answers_can_be_asked_for_later_and_several_at_once(home: Path, questions: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = ("eval", "run", "--dataset", questions, "--home", home, "-c", "docs", "--out", out)
    assert riddle(*command) == 0
    searched = (out / "searches.jsonl").read_bytes()
    assert riddle(*command, "--answers", "--jobs", "2") == 0
    assert (out / "searches.jsonl").read_bytes() == searched
    manifest = RunFolder(out).manifest()
    assert manifest.finished
    assert (manifest.settings["answers"], manifest.settings["jobs"]) == (True, 2)
    assert set(RunFolder(out).json("metrics.json")) == {"lexical", "final", "fused", "answer"}


def test_a_server_is_measured(live: Live, questions: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = ("eval", "run", "--dataset", questions, "--target", live.server.url, "-c", "docs", "-k", "50")
    assert riddle(*command, "--out", out, "--answers") == 0
    manifest = RunFolder(out).manifest()
    assert manifest.target["url"] == live.server.url
    assert (manifest.failures, manifest.degraded) == ({"search": 0, "answer": 0}, {})


def test_a_run_that_mostly_fails_is_a_failure_and_keeps_what_it_has(
    live: Live, questions: Path, tmp_path: Path, capsys: Out
) -> None:
    command = ("eval", "run", "--dataset", questions, "--target", live.server.url, "-c", "docs", "-k", "200")
    assert riddle(*command, "--out", tmp_path / "run") == 1
    assert "2 of 2 questions failed (search), more than 5%; the first: k: at most 50" in capsys.readouterr().err
    assert not RunFolder(tmp_path / "run").manifest().finished


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--set", "rank.depth"), "wants KEY=VALUE"),
        (("--set", "rank.deep=5"), "the nearest known one is rank.depth"),
        (("--set", "rank.depth=many"), "rank.depth"),
        (("--metrics", "Beauty@10"), "'Beauty@10' is no metric"),
        (("--collection", "nowhere"), "nowhere"),
        ((), "name the collection to search with --collection"),
    ],
)
def test_what_cannot_be_measured_is_said(
    arguments: tuple[str, ...], said: str, home: Path, questions: Path, tmp_path: Path, capsys: Out
) -> None:
    command = ("eval", "run", "--dataset", questions, "--home", home, "--out", tmp_path / "run")
    assert riddle(*command, *arguments) == 1
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_sets_own_documents_are_indexed_once_and_lexical_agrees_with_bm25s(tmp_path: Path, capsys: Out) -> None:
    """Whole documents, title and text as one field, the same terms: only the two implementations differ."""
    import bm25s

    home, source = need.home("bge-small-en-v1.5", "riddle-reranker-en"), need.data("adi")
    with gzip.open(source / "corpus.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    texts = [f"{row.get('title') or ''}\n{row['text']}" for row in rows]
    judged = load_judged_set(source)
    one_field = tmp_path / "set"
    one_field.mkdir()
    bare = (json.dumps({"_id": row["_id"], "text": text}) for row, text in zip(rows, texts, strict=True))
    (one_field / "corpus.jsonl").write_text("\n".join(bare))
    for name in ("queries.jsonl", "qrels.tsv"):
        (one_field / name).write_bytes(gzip.decompress((source / f"{name}.gz").read_bytes()))

    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "models").symlink_to(home / "models")
    whole = ("--set", "chunk.target_tokens=100000", "--set", "chunk.max_tokens=100000", "--set", "rank.depth=5")
    command = ("eval", "run", "--dataset", one_field, "--home", tmp_path / "home", *whole)
    assert riddle(*command, "--out", tmp_path / "one") == 0
    assert "indexed 82 documents" in capsys.readouterr().err
    assert riddle(*command, "--out", tmp_path / "two") == 0
    assert "indexed before: 82 documents" in capsys.readouterr().err
    metrics = RunFolder(tmp_path / "one").json("metrics.json")
    assert set(metrics) == {"lexical", "dense", "fused", "rerank", "final"}
    assert RunFolder(tmp_path / "one").manifest().target["passages"] == len(rows)
    assert metrics == RunFolder(tmp_path / "two").json("metrics.json")

    peer = bm25s.BM25(k1=1.2, b=0.75, method="lucene")
    peer.index([analyse(text) for text in texts], show_progress=False)
    found, scores = peer.retrieve([analyse(text) for text in judged.queries.values()], k=82, show_progress=False)
    their_run = {
        query: {rows[at]["_id"]: float(score) for at, score in zip(found[row], scores[row], strict=True)}
        for row, query in enumerate(judged.queries)
    }
    theirs = evaluate(judged.qrels, their_run, ("nDCG@10",))["nDCG@10"]
    assert metrics["lexical"]["nDCG@10"] == pytest.approx(theirs, abs=0.01)
