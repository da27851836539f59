"""`riddle ltr` as it is typed: training, adopting or not, showing, dropping, replaying, and reading contests."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from eval.runs import RunFolder
from eval.usage_rows import FEEDBACK_ROW, QUERY_ROW, FeedbackRow, QueryRow, ServedPassage
from ranking.features import FeatureSet, packed
from ranking.ltr import LtrModel, LtrShelf
from retrieval.batch import write_generation
from retrieval.store import CollectionStore
from retrieval.types import Document
from services.bootstrap import collections_folder
from services.cli import run as riddle_run
from tests.fake_models import FakeEncoder
from tests.learned import random_vectors, small_model
from tests.parts import part
from tests.requires import need
from tests.runs import Made, write_run

Riddle = Callable[..., tuple[int, str, str]]


@pytest.fixture
def riddle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Riddle:
    """Runs one command over a home of its own."""

    def run(*arguments: str) -> tuple[int, str, str]:
        code = riddle_run(["ltr", *arguments, "--home", str(tmp_path / "home")])
        told = capsys.readouterr()
        return code, told.out, told.err

    return run


@pytest.fixture
def run_folder(tmp_path: Path) -> RunFolder:
    """A run whose stages tell much together, and the fused order little."""
    return write_run(tmp_path / "run", Made(questions=100, noise=1.5))


def test_a_run_folder_trains_a_model_that_is_adopted_shown_and_dropped(
    riddle: Riddle, run_folder: RunFolder, tmp_path: Path
) -> None:
    code, out, err = riddle("train", "docs", "--run", str(run_folder.path), "--without", "late", "--json")
    assert code == 0, err
    told = json.loads(out)
    assert told["adopted"] is True, told["reason"]
    assert told["source"]["kind"] == "run"
    assert "no texts" in err
    model = LtrShelf(tmp_path / "home").of("docs")
    assert model is not None
    assert model.hash == told["model"]
    assert not [name for name in model.file.columns if name.startswith(("late.", "text."))]

    code, out, _ = riddle("show")
    assert (code, told["model"] in out) == (0, True)
    code, out, _ = riddle("show", told["model"])
    assert (code, "rerank." in out) == (0, True)
    assert json.loads(riddle("show", "--json")[1]) == {"adopted": {"docs": told["model"]}, "kept": [told["model"]]}
    assert riddle("drop", "docs")[0] == 0
    code, out, err = riddle("drop", "docs")
    assert (code, "no learned ranker" in err) == (1, True)
    assert "1 older ones are kept" in riddle("show")[1]


def test_a_field_that_the_settings_name_is_learned_from_and_ranks_the_next_search(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of copies of one text the one with the most stars is right: nothing else tells them apart."""
    home, draw = tmp_path / "home", np.random.default_rng(3)
    documents, judged = [], []
    for number in range(80):
        stars = draw.choice(100_000, 5, replace=False)
        documents += [
            Document(f"t{number}-{at}", f"What is known of topic{number}.", metadata={"stars": int(held)})
            for at, held in enumerate(stars)
        ]
        best = f"t{number}-{int(stars.argmax())}"
        judged.append({"id": f"q{number}", "question": f"topic{number}", "relevant": [best]})
    write_generation(CollectionStore(collections_folder(home)), "topics", [part(documents)], encoder=FakeEncoder().spec)
    (home / "riddle.toml").write_text(
        '[models]\nreranker = ""\n[rank]\norder = "blend"\nfields = ["stars:log"]\n', encoding="utf-8"
    )
    questions = tmp_path / "questions.jsonl"
    questions.write_text("".join(json.dumps(row) + "\n" for row in judged), encoding="utf-8")

    code = riddle_run(["ltr", "train", "topics", "--dataset", str(questions), "--home", str(home), "--json"])
    told = json.loads(capsys.readouterr().out)
    assert (code, told["adopted"]) == (0, True), told
    model = LtrShelf(home).of("topics")
    assert model is not None
    assert model.file.fields == "stars:log"
    assert next(iter(model.file.card["importance"])) == "field.stars.log"

    assert riddle_run(["search", "topic7", "-c", "topics", "-k", "5", "--home", str(home), "--json"]) == 0
    results = json.loads(capsys.readouterr().out)["results"]
    best = next(each for each in results if each["document_id"] == judged[7]["relevant"][0])
    assert best["explain"]["ltr"]["rank"] == 1


def test_what_brings_no_gain_is_not_adopted_and_the_reader_learns_why(
    riddle: Riddle, run_folder: RunFolder, tmp_path: Path
) -> None:
    """Held against the reranker itself, which the trees may not see."""
    code, out, _ = riddle("train", "docs", "--run", str(run_folder.path), "--against", "rerank")
    assert code == 0
    assert "not adopted, docs is ranked as before" in out
    assert LtrShelf(tmp_path / "home").adopted() == {}
    assert "so many queries show a gain of" in out


def test_a_model_can_be_written_elsewhere_without_being_used(
    riddle: Riddle, run_folder: RunFolder, tmp_path: Path
) -> None:
    out = tmp_path / "m.json"
    code, told, _ = riddle("train", "docs", "--run", str(run_folder.path), "--out", str(out))
    assert (code, out.is_file(), "docs is ranked as before" in told) == (0, True, True)
    assert LtrShelf(tmp_path / "home").adopted() == {}


@pytest.mark.parametrize("more", [(), ("--clicks", "--dataset", "x")])
def test_exactly_one_thing_can_be_learned_from(riddle: Riddle, more: Sequence[str]) -> None:
    code, _, err = riddle("train", "docs", *more)
    assert (code, "one thing to learn from" in err) == (1, True)


def test_clicks_without_vectors_are_refused_and_say_what_is_missing(riddle: Riddle) -> None:
    code, _, err = riddle("train", "docs", "--clicks")
    assert (code, "log.vectors" in err) == (1, True)


def write_log(home: Path, rows: Sequence[QueryRow], told: Sequence[FeedbackRow] = ()) -> None:
    for folder, lines in (("log", map(QUERY_ROW.dump_json, rows)), ("feedback", map(FEEDBACK_ROW.dump_json, told))):
        (home / folder).mkdir(parents=True, exist_ok=True)
        (home / folder / "2026-03-01-0001.jsonl").write_bytes(b"".join(line + b"\n" for line in lines))


def request(number: int, results: Sequence[ServedPassage], **changes: object) -> QueryRow:
    row = QueryRow(
        "2026-03-01T10:00:00.000+00:00", f"r_{number}", "s1", "search", "", "docs", "docs@1", "rank-1",
        f"query {number}", filtered=False, k=10, results=tuple(results),
    )  # fmt: skip
    return replace(row, **changes)  # type: ignore[arg-type]


def click(row: QueryRow, at: int) -> FeedbackRow:
    shown = row.results[at]
    return FeedbackRow(
        row.time, row.request_id, row.session, "click", row.query, row.collection, row.generation, row.pipeline,
        shown.passage_id, shown.document_id, at + 1, None, {}, (),
    )  # fmt: skip


def test_clicks_of_the_log_train_a_model(riddle: Riddle, tmp_path: Path) -> None:
    features, draw = FeatureSet(), np.random.default_rng(7)
    score, fused = features.names.index("dense.score"), features.names.index("fused.rank")
    rows, told = [], []
    for number in range(300):
        vectors = np.full((6, len(features.names)), np.nan, np.float32)
        vectors[:, score], vectors[:, fused] = draw.random(6), np.arange(1, 7)
        served = [
            ServedPassage(f"d{number}-{at}#0", f"d{number}-{at}", 0.5, {}, packed(vectors[at])) for at in range(6)
        ]
        rows.append(request(number, served, vectors=features.version))
        opened = draw.random(6) < vectors[:, score] ** 2 / np.arange(1, 7) ** 0.5
        told += [click(rows[-1], at) for at in np.flatnonzero(opened).tolist()]
    write_log(tmp_path / "home", rows, told)
    code, out, err = riddle("train", "docs", "--clicks", "--json")
    assert code == 0, err
    assert json.loads(out)["adopted"] is True, out
    assert "looked at by place, by EM: 1.00" in err


def test_replay_computes_what_was_logged_and_fails_on_what_differs(riddle: Riddle, tmp_path: Path) -> None:
    file = small_model()
    LtrShelf(tmp_path / "home").keep(file)
    vectors = random_vectors(40, seed=2)
    scores = LtrModel(file).scores(vectors).tolist()
    served = [
        ServedPassage(f"d{at}#0", f"d{at}", 0.5, {"ltr": (1, scores[at])}, packed(vectors[at])) for at in range(40)
    ]
    rows = [request(at, served[at : at + 10], vectors=file.features, ltr=file.hash) for at in range(0, 40, 10)]
    write_log(tmp_path / "home", rows)
    code, out, _ = riddle("replay", "--json")
    assert (code, json.loads(out)["same"]) == (0, 40)

    write_log(tmp_path / "home", [*rows, replace(rows[0], ltr="0123456789ab")])
    code, out, _ = riddle("replay")
    assert (code, "10 of the model 0123456789ab" in out) == (1, True)
    off = replace(served[0], features={"ltr": (1, scores[0] + 1e-9)})
    write_log(tmp_path / "home", [replace(rows[0], results=(off,))])
    code, out, _ = riddle("replay")
    assert (code, "1 did not" in out) == (1, True)


def test_a_contest_is_read_off_the_log(riddle: Riddle, tmp_path: Path) -> None:
    served = [ServedPassage(f"d{at}#0", f"d{at}", 0.5, {}, "", ("trees", "fused")[at % 2]) for at in range(4)]
    rows = [request(number, served) for number in range(60)]
    write_log(tmp_path / "home", rows, [click(row, 0 if number % 5 else 1) for number, row in enumerate(rows)])
    code, out, _ = riddle("contest")
    assert code == 0
    assert "fused against trees: 60 searches; 12 won by fused, 48 by trees, 0 even" in out
    assert "trees is better" in out
    assert json.loads(riddle("contest", "--json")[1])[0]["winner"] == "trees"
    assert "no list" in riddle("contest", "-c", "wiki")[1]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_real_judgements_train_a_model_over_a_real_collection(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """SciFact's abstracts indexed with a small encoder, 200 of its claims searched, and the trial told in numbers."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "models").symlink_to(need.home("all-minilm-l6-v2") / "models")
    (home / "riddle.toml").write_text('[models]\nencoder = "all-minilm-l6-v2"\nreranker = ""\n')
    source = tmp_path / "few.jsonl"
    judged = need.data("scifact")
    _write_few(judged, source, 200)
    assert riddle_run(["build", str(source), "--collection", "few", "--home", str(home)]) == 0
    capsys.readouterr()
    arguments = ["ltr", "train", "few", "--dataset", str(judged), "--split", "train", "--limit", "200", "--json"]
    assert riddle_run([*arguments, "--home", str(home)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["queries"] == 200
    assert 0.3 < told["before"] < 1
    assert told["least"] < 0.2
    assert bool(told["model"]) == told["adopted"]


def _write_few(judged: Path, to: Path, questions: int) -> None:
    """The abstracts that the first claims are about, and as many others."""
    from eval.datasets import open_dataset

    dataset = open_dataset(judged, "train", questions)
    wanted = {name for grades in dataset.qrels.values() for name in grades}
    with to.open("w", encoding="utf-8") as file:
        others = 0
        for document in dataset.documents():
            if document.document_id in wanted or others < len(wanted):
                others += document.document_id not in wanted
                row = {"_id": document.document_id, "title": document.title, "text": document.text}
                file.write(json.dumps(row) + "\n")
