"""Collects what every stage said over judged sets, and studies which blend carries to an unseen collection.

    python -m benchmarks.blend_study prepare --data DATA --out FOLDER
    python -m benchmarks.blend_study collect --data DATA --home .riddle --out FOLDER --set scifact
    python -m benchmarks.blend_study score --home .riddle --out FOLDER --set scifact --model riddle-reranker-en

``collect`` keeps the candidates of every query with what recall says of them, ``score`` what a cross-encoder says of
the same candidates, so that one recall serves many models. Both go on where they were stopped.

Blends are fitted to the parts of train judgements that our rerankers were not trained on (``ranking.train.lists``):
questions of scifact, nl2bash-tldr and law-zh-stard, articles of squad, diseases of medquad. ``CHECKED`` sets serve the
last table alone (benchmarks/ranking_stack.py) and are fitted to by nothing.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from eval.dataset_formats.squad import split_of
from eval.datasets import Dataset, open_dataset
from eval.known_items import ask_items, draw_items
from ranking.cross_encoder import Runtime, open_reranker
from ranking.train.lists import part_of
from ranking.windows import Windows
from retrieval.models import find_model
from retrieval.store import CollectionStore
from retrieval.types import Passage
from services.bootstrap import collections_folder, rank_pipeline
from services.encoders import encoder_named
from services.evaluation import indexed
from services.local import local_asker
from services.progress import shown
from services.settings import Settings, environment, load
from services.stage_scores import SHOWN, Seen, seen
from services.targets.riddle import Loop
from services.wire import Result, SearchRequest
from services.wire_ranking import RankingOptions, Rerank

QUERIES, SEED = 150, 6
SAVED_EVERY = 25

ENGLISH, BILINGUAL, LATE = "bge-small-en-v1.5", "multilingual-e5-small", "answerai-colbert-small-v1"
STUDENTS = {ENGLISH: "riddle-reranker-en", BILINGUAL: "riddle-reranker-bilingual"}


@dataclass(frozen=True, slots=True)
class Source:
    """A set: its folder below the data (``made`` ones are written by ``prepare``), judgements, and encoder."""

    folder: str
    split: str | None
    encoder: str = ENGLISH
    trained_on: str = ""
    """The source whose ``dev`` questions alone are asked, as training splits it; empty where all may be."""

    @property
    def reranker(self) -> str:
        return STUDENTS[self.encoder]


SETS: Mapping[str, Source] = {
    "scifact": Source("scifact", "train", trained_on="scifact"),
    "nl2bash": Source("nl2bash-tldr", "train", trained_on="nl2bash-tldr"),
    "squad": Source("made/squad", None),
    "medquad": Source("made/medquad", None),
    "law-zh": Source("law-zh-stard", "train", BILINGUAL, trained_on="law-zh-stard"),
}
CHECKED: Mapping[str, Source] = {
    "cosqa": Source("cosqa", None),
    "cranfield": Source("cranfield", None),
    "adi": Source("adi", None),
    "drcd": Source("drcd", None, BILINGUAL),
}


ALL: Mapping[str, Source] = {**SETS, **CHECKED}


def prepare(data: Path, out: Path) -> None:
    """Write two BEIR folders of what no reranker was trained on: articles of squad, and diseases of medquad."""
    rng = random.Random(SEED)
    with gzip.open(data / "squad" / "train-v1.1.json.gz", "rt", encoding="utf-8") as file:
        articles = [
            each
            for each in json.load(file)["data"]
            if split_of(each["title"]) == "train" and part_of("squad", each["title"]) == "dev"
        ]
    documents, asked = [], []
    for article in rng.sample(articles, 18):
        for number, paragraph in enumerate(article["paragraphs"], 1):
            name = f"{article['title']}/{number}"
            documents.append({"_id": name, "title": article["title"].replace("_", " "), "text": paragraph["context"]})
            if paragraph["qas"]:
                question = rng.choice(paragraph["qas"])
                asked.append((question["id"], question["question"].strip(), name))
    _write(out / "made" / "squad", documents, rng.sample(asked, 300))

    rows = _lines(data / "medquad" / "corpus.jsonl.gz")
    # A part of the topics: questions of one topic are each other's hardest negatives and stay together.
    topics = sorted({row["title"] for row in rows if part_of("medquad", row["title"].lower()) == "dev"})
    kept = set(rng.sample(topics, len(topics) // 4))
    documents = [row for row in rows if row["title"] in kept]
    names = {row["_id"] for row in documents}
    questions = [
        (row["_id"], row["text"], row["_id"])
        for row in _lines(data / "medquad" / "questions.jsonl.gz")
        if row["_id"] in names
    ]
    _write(out / "made" / "medquad", documents, rng.sample(questions, min(300, len(questions))))


def _lines(path: Path) -> list[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def _write(folder: Path, documents: list[dict[str, str]], asked: list[tuple[str, str, str]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    print(f"{folder.name}: {len(documents):,} documents, {len(asked):,} questions", flush=True)
    (folder / "corpus.jsonl").write_text("".join(json.dumps(each) + "\n" for each in documents), encoding="utf-8")
    (folder / "queries.jsonl").write_text(
        "".join(json.dumps({"_id": name, "text": text}) + "\n" for name, text, _ in asked), encoding="utf-8"
    )
    judged = "".join(f"{name}\t{document}\t1\n" for name, _, document in asked)
    (folder / "qrels_train.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged, encoding="utf-8")


def opened(name: str, data: Path, out: Path, queries: int) -> Dataset:
    """A set with ``queries`` of the questions that may be asked, drawn by the seed."""
    source = ALL[name]
    dataset = open_dataset((out if source.folder.startswith("made/") else data) / source.folder, source.split)
    may = [
        each for each in dataset.questions
        if not source.trained_on or part_of(source.trained_on, each) == "dev"
    ]  # fmt: skip
    drawn = set(random.Random(SEED).sample(may, min(queries, len(may))))
    kept = {each: question for each, question in dataset.questions.items() if each in drawn}
    qrels = {each: grades for each, grades in dataset.qrels.items() if each in drawn}
    return replace(dataset, questions=kept, qrels=qrels)


def settings_of(name: str, home: Path) -> Settings:
    """The collection with token vectors, where its language has them; nothing reranked and all stages told."""
    encoder = ALL[name].encoder
    late = {"build.late": LATE} if encoder == ENGLISH else {}
    flags = {"home": home, "models.encoder": encoder, "models.reranker": "", "rank.order": "blend", **late}
    return load(None, environment(), flags).settings


def collect(data: Path, home: Path, out: Path, name: str, queries: int) -> None:
    """Ask the queries of one set through the service's own path, and keep it in ``out/NAME.json.gz``."""
    dataset, settings = opened(name, data, out, queries), settings_of(name, home)
    with shown(quiet=False) as show:
        collection = indexed(dataset, settings, show).collection
    began, loop = time.monotonic(), Loop()
    rows: list[dict[str, object]] = []
    passages: dict[str, dict[str, Any]] = {}
    with loop.entered(local_asker(settings, collection=collection)) as asker:
        for query_id, asked in dataset.questions.items():
            request = SearchRequest(
                query=asked.text, collection=collection, k=SHOWN, explain=True,
                ranking=RankingOptions(rerank=Rerank(depth=0)),
            )  # fmt: skip
            response = loop.run(asker.search(request))
            rows.append(row(seen(query_id, asked.text, response)))
            passages |= {each.passage_id: _passage(each) for each in response.results}
            _say(len(rows), len(dataset.questions))
    loop.close()
    _keep(out / f"{name}.passages.json.gz", passages)
    _keep(out / f"{name}.json.gz", {"queries": rows, "qrels": dataset.qrels, "collection": collection})
    print(f"{name}: {len(rows)} queries in {time.monotonic() - began:.0f} s", flush=True)


def _passage(each: Result) -> dict[str, Any]:
    return {"document_id": each.document_id, "text": each.text, "title": each.title, "headings": each.headings,
            "context": each.context}  # fmt: skip


def score(home: Path, out: Path, name: str, model: str, window: int, depth: int, runtime: Runtime = "auto") -> None:
    """What a cross-encoder says of the first ``depth`` candidates in fused order, in ``scores_file``: logits.

    A ``runtime`` that is named is part of the file's name, and keeps apart what int8 and float32 say.
    """
    path = scores_file(out, name, model if runtime == "auto" else f"{model}@{runtime}", window)
    done: dict[str, list[float | None]] = kept(path) if path.is_file() else {}
    texts = {
        key: Passage(key, each["document_id"], each["text"], (0, len(each["text"])), each["title"],
                     tuple(each["headings"]), context=each["context"])
        for key, each in kept(out / f"{name}.passages.json.gz").items()
    }  # fmt: skip
    reranker = open_reranker(find_model(model, home), runtime=runtime)
    began, fresh = time.monotonic(), 0
    queries = kept(out / f"{name}.json.gz")["queries"]
    for each in queries:
        if each["id"] in done:
            continue
        head = [texts[passage] for passage in each["passages"][:depth]]
        windows = Windows(each["query"], head)
        read = [windows.text(passage, window) if window else passage.full_text for passage in head]
        logits, _ = reranker.score_round(each["query"], read)
        done[each["id"]] = [float(f"{logit:.6g}") for logit in logits.tolist()]
        fresh += 1
        if fresh % SAVED_EVERY == 0 or len(done) == len(queries):
            _keep(path, done)
            print(f"{path.name}: {len(done)} of {len(queries)}, {time.monotonic() - began:.0f} s", flush=True)


def scores_file(out: Path, name: str, model: str, window: int) -> Path:
    return out / "scores" / f"{name}.{model}.{window or 'whole'}.json.gz"


def kept(path: Path) -> Any:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return json.load(file)


def _keep(path: Path, told: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{path.name}.new")
    with gzip.open(aside, "wt", encoding="utf-8") as file:
        json.dump(told, file)
    aside.replace(path)


def known(data: Path, home: Path, out: Path, name: str, items: int) -> None:
    """Ask a collection about itself, and keep what the stages said in ``out/NAME.known.json.gz``."""
    settings = settings_of(name, home)
    with shown(quiet=False) as show:
        collection = indexed(opened(name, data, out, 1), settings, show).collection
    began = time.monotonic()
    snapshot = CollectionStore(collections_folder(home)).snapshot(collection)
    drawn = draw_items(snapshot, items, SEED)
    encoder = encoder_named(settings.models.encoder, settings)
    pipeline = rank_pipeline(replace(settings, models=replace(settings.models, reranker=SETS[name].reranker)))
    rows = []
    for at, each in enumerate(ask_items(drawn, snapshot, encoder, pipeline, say=_say)):
        names = tuple(str(place) for place in range(len(each.table)))
        found = {names[place]: int(gain) for place, gain in enumerate(each.gains) if gain}
        rows.append(row(Seen(str(at), names, names, each.table)) | {"found": found})
    _keep(out / f"{name}.known.json.gz", {"queries": rows, "qrels": {each["id"]: each["found"] for each in rows}})
    print(f"{name}: {len(rows)} items in {time.monotonic() - began:.0f} s", flush=True)


def row(each: Seen) -> dict[str, object]:
    """One query as JSON."""
    scores = [[None if np.isnan(value) else float(f"{value:.7g}") for value in line] for line in each.table.scores]
    return {
        "id": each.query_id,
        "query": each.table.query,
        "names": each.table.names,
        "documents": each.documents,
        "passages": each.passages,
        "scores": scores,
        "degraded": each.degraded,
    }


def _say(done: int, total: int) -> None:
    if done % 25 == 0 or done == total:
        print(f"{done} of {total}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("prepare", "collect", "known", "score"))
    parser.add_argument("--data", type=Path)
    parser.add_argument("--home", type=Path, default=Path(".riddle"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--set", dest="sets", action="append", choices=tuple(ALL))
    parser.add_argument("--queries", type=int, default=QUERIES)
    parser.add_argument("--model", default="", help="score: the set's own student when it is left out")
    parser.add_argument("--window", type=int, default=48, help="score: tokens of a passage that are read; 0 for all")
    parser.add_argument("--depth", type=int, default=SHOWN, help="score: candidates, in fused order")
    parser.add_argument("--runtime", default="auto", choices=("auto", "native", "sentence-transformers"))
    asked = parser.parse_args()
    if asked.what != "score" and asked.data is None:
        parser.error(f"{asked.what} needs --data")
    if asked.what == "prepare":
        prepare(asked.data, asked.out)
        return
    for name in asked.sets or SETS:
        if asked.what == "score":
            model = asked.model or ALL[name].reranker
            score(asked.home, asked.out, name, model, asked.window, asked.depth, asked.runtime)
        else:
            {"collect": collect, "known": known}[asked.what](asked.data, asked.home, asked.out, name, asked.queries)


if __name__ == "__main__":
    main()
