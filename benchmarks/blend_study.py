"""Collects what every stage said over judged train parts, and studies which blend carries to an unseen collection.

    python -m benchmarks.blend_study prepare --data DATA --out FOLDER
    python -m benchmarks.blend_study collect --data DATA --home .riddle --out FOLDER --set scifact

Train parts only: scifact, nl2bash-tldr and law-zh-stard by their train judgements, squad by the articles that are not
held apart, medquad. The collections come from ``riddle eval run`` or are built here.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eval.dataset_formats.squad import split_of
from eval.datasets import open_dataset
from eval.known_items import ask_items, draw_items
from retrieval.store import CollectionStore
from services.bootstrap import collections_folder, rank_pipeline
from services.encoders import encoder_named
from services.evaluation import indexed
from services.local import local_asker
from services.progress import shown
from services.settings import environment, load
from services.stage_scores import Seen, ask_all
from services.targets.riddle import Loop

QUERIES, DEPTH, SEED = 150, 100, 6
SAVED_EVERY = 25

SETS: Mapping[str, tuple[str, str | None, str]] = {
    "scifact": ("scifact", "train", "bge-small-en-v1.5"),
    "nl2bash": ("nl2bash-tldr", "train", "bge-small-en-v1.5"),
    "squad": ("made/squad", None, "bge-small-en-v1.5"),
    "medquad": ("made/medquad", None, "bge-small-en-v1.5"),
    "law-zh": ("law-zh-stard", "train", "multilingual-e5-small"),
}
"""Folder below the data, judgements, and encoder of each; ``made`` ones are written by ``prepare``."""


def prepare(data: Path, out: Path) -> None:
    """Write two BEIR folders: squad's train articles and medquad, cut to what a small machine embeds in minutes."""
    rng = random.Random(SEED)
    with gzip.open(data / "squad" / "train-v1.1.json.gz", "rt", encoding="utf-8") as file:
        articles = [each for each in json.load(file)["data"] if split_of(each["title"]) == "train"]
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
    # A twentieth of the topics: questions of one topic are each other's hardest negatives and stay together.
    topics = sorted({row["title"] for row in rows})
    kept = set(rng.sample(topics, len(topics) // 20))
    documents = [row for row in rows if row["title"] in kept]
    names = {row["_id"] for row in documents}
    questions = [
        (row["_id"], row["text"], row["_id"])
        for row in _lines(data / "medquad" / "questions.jsonl.gz")
        if row["_id"] in names
    ]
    _write(out / "made" / "medquad", documents, rng.sample(questions, 300))


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


@dataclass(frozen=True, slots=True)
class Judged:
    """A set's queries with what the stages said, and its judgements."""

    name: str
    seen: tuple[Seen, ...]
    qrels: Mapping[str, Mapping[str, int]]


def collect(data: Path, home: Path, out: Path, name: str, queries: int) -> None:
    """Ask the queries of one set through the service's own path, and keep it in ``out/NAME.json.gz``."""
    folder, split, encoder = SETS[name]
    root = out if folder.startswith("made/") else data
    dataset = open_dataset(root / folder, split, queries, SEED)
    settings = load(None, environment(), {"home": home, "models.encoder": encoder}).settings
    with shown(quiet=False) as show:
        collection = indexed(dataset, settings, show).collection
    began = time.monotonic()
    loop = Loop()
    texts = {query_id: asked.text for query_id, asked in dataset.questions.items()}
    with loop.entered(local_asker(settings, collection=collection)) as asker:
        rows = []
        for each in ask_all(loop, asker, collection, texts, DEPTH, _say):
            rows.append(row(each))
            if len(rows) % SAVED_EVERY == 0 or len(rows) == len(texts):
                with gzip.open(out / f"{name}.json.gz", "wt", encoding="utf-8") as file:
                    json.dump({"queries": rows, "qrels": dataset.qrels, "collection": collection}, file)
    loop.close()
    print(f"{name}: {len(rows)} queries in {time.monotonic() - began:.0f} s", flush=True)


def known(data: Path, home: Path, out: Path, name: str, items: int) -> None:
    """Ask a collection about itself, and keep what the stages said in ``out/NAME.known.json.gz``."""
    folder, split, encoder = SETS[name]
    root = out if folder.startswith("made/") else data
    settings = load(None, environment(), {"home": home, "models.encoder": encoder}).settings
    with shown(quiet=False) as show:
        collection = indexed(open_dataset(root / folder, split, 1), settings, show).collection
    began = time.monotonic()
    snapshot = CollectionStore(collections_folder(home)).snapshot(collection)
    drawn = draw_items(snapshot, items, SEED)
    opened, pipeline = encoder_named(encoder, settings), rank_pipeline(settings)
    rows = []
    for at, each in enumerate(ask_items(drawn, snapshot, opened, pipeline, say=_say)):
        names = tuple(str(place) for place in range(len(each.table)))
        found = {names[place]: int(gain) for place, gain in enumerate(each.gains) if gain}
        rows.append(row(Seen(str(at), names, names, each.table)) | {"found": found})
    with gzip.open(out / f"{name}.known.json.gz", "wt", encoding="utf-8") as file:
        json.dump({"queries": rows, "qrels": {each["id"]: each["found"] for each in rows}}, file)
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
    parser.add_argument("what", choices=("prepare", "collect", "known"))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--home", type=Path, default=Path(".riddle"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--set", dest="sets", action="append", choices=tuple(SETS))
    parser.add_argument("--queries", type=int, default=QUERIES)
    asked = parser.parse_args()
    if asked.what == "prepare":
        prepare(asked.data, asked.out)
        return
    for name in asked.sets or SETS:
        {"collect": collect, "known": known}[asked.what](asked.data, asked.home, asked.out, name, asked.queries)


if __name__ == "__main__":
    main()
