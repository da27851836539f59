"""Late interaction: its size, its cost at build, what compression loses, its time and quality beside the teacher.

    python -m benchmarks.late_interaction --data DATA --home .riddle --set scifact --queries 40
    python -m benchmarks.late_interaction --data DATA --home .riddle --set squad --queries 40

Candidates are BM25's first ``--depth`` of a set's train part (squad: articles that are not held apart). nDCG@10 is
given of BM25's order, of late interaction in full precision, at 4 and 2 bits, and of the 12-layer teacher over the same
candidates (run by what runs it in searches). Times are medians: late interaction of ``--timed`` candidates from mapped
files by one thread, and sentence-transformers' CrossEncoder (torch, float32) on the same ones; the two take turns.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eval.dataset_formats.squad import split_of
from eval.datasets import open_dataset
from ranking.cross_encoder import open_reranker
from retrieval._native import level
from retrieval.bert_checkpoint import read_cross_encoder
from retrieval.encoders import open_encoder
from retrieval.late_encoder import GraphLateEncoder, open_late
from retrieval.models import ModelFiles, find_model
from retrieval.token_codec import BITS
from retrieval.token_vectors import TokenCodes, TokenStore, TokenWriter
from retrieval.types import Vectors, passage_text

TEACHER, LATE, ENCODER = "ms-marco-minilm-l12-v2", "answerai-colbert-small-v1", "bge-small-en-v1.5"
SEED = 11


@dataclass(frozen=True, slots=True)
class Asked:
    """A query, the places of its candidates among all passages, BM25's first first, and the grades of passages."""

    query: str
    candidates: list[int]
    grades: Mapping[int, float]


def judged(data: Path, name: str, queries: int, depth: int) -> tuple[list[str], list[Asked]]:
    """The passages that are candidates of some query, and the queries."""
    texts, asked = _squad(data) if name == "squad" else _set(data / name)
    chosen = random.Random(SEED).sample(asked, min(queries, len(asked)))
    found = _bm25(texts, [query for query, _ in chosen], depth)
    place = {text: at for at, text in enumerate(sorted({one for each in found for one in each}))}
    kept = [
        Asked(query, [place[one] for one in near], {place[at]: grade for at, grade in grades.items() if at in place})
        for (query, grades), near in zip(chosen, found, strict=True)
    ]
    return [texts[one] for one in sorted(place)], kept


def quality(late: Mapping[str, GraphLateEncoder], texts: Sequence[str], asked: Sequence[Asked], home: Path) -> None:
    """Size, time to encode, and nDCG@10 of each way."""
    encoder = next(iter(late.values()))
    began, worked = time.perf_counter(), time.process_time()
    vectors = encoder.passage_vectors(texts)
    wall, worked = time.perf_counter() - began, time.process_time() - worked
    tokens = np.array([len(each) for each in vectors])
    print(f"{len(texts)} passages, {tokens.mean():.0f} tokens each (punctuation left out)")
    print(
        f"encoding: {1000 * wall / len(texts):.1f} ms a passage, {1000 * worked / len(texts):.1f} ms of processor time"
    )
    _dense_cost(texts, home)
    for name, each in late.items():
        print(f"{name}: {each.spec.width} bytes a token, {each.spec.width * tokens.mean() / 1000:.2f} kB a passage")
    orders = {"bm25": [list(range(len(one.candidates))) for one in asked]}
    full = [_order([_max_sim(vectors[at], encoder.query_vectors(one.query)) for at in one.candidates]) for one in asked]
    orders["late, float32"] = full
    for name, each in late.items():
        codes = TokenCodes(each.spec, tokens.astype(np.int32), np.concatenate([each.codec.encode(v) for v in vectors]))
        parts = codes.split([1] * len(codes))
        orders[f"late, {name}"] = [
            _order([float(parts[at].scores(each.query(one.query))[0]) for at in one.candidates]) for one in asked
        ]
    teacher = open_reranker(find_model(TEACHER, home))
    began = time.perf_counter()
    orders["teacher"] = [
        _order(teacher.score(one.query, [texts[at] for at in one.candidates]).tolist()) for one in asked
    ]
    print(f"the teacher took {(time.perf_counter() - began) / len(asked):.2f} s a query")
    for way, order in orders.items():
        values = [_ndcg(one, each) for one, each in zip(asked, order, strict=True)]
        print(f"nDCG@10 {way:14s} {np.mean(values):.4f}")


def timed(encoder: GraphLateEncoder, texts: Sequence[str], asked: Asked, home: Path, rounds: int) -> None:
    """Both over the same candidates, in turns."""
    from sentence_transformers import CrossEncoder

    codes = encoder.encode(texts)
    with tempfile.TemporaryDirectory() as folder:
        writer = TokenWriter(Path(folder), encoder.spec)
        writer.add(codes, len(codes))
        writer.close()
        store, rows = TokenStore(Path(folder), encoder.spec, len(codes)), np.array(asked.candidates, np.int64)
        teacher_folder = Path(folder) / "teacher"
        as_transformers(find_model(TEACHER, home), teacher_folder)
        teacher = CrossEncoder(str(teacher_folder), device="cpu", local_files_only=True)
        pairs = [(asked.query, texts[at]) for at in asked.candidates]
        query = encoder.query(asked.query)
        took: dict[str, list[float]] = {"late": [], "query": [], "teacher": []}
        for _ in range(rounds):
            for name, work in (
                ("query", lambda: encoder.query(asked.query)),
                ("late", lambda: store.scores(rows, query)),
            ):
                for _ in range(20):
                    took[name].append(_seconds(work))
            took["teacher"].append(_seconds(lambda: teacher.predict(pairs, show_progress_bar=False)))
    median = {name: 1000 * float(np.median(each)) for name, each in took.items()}
    print(
        f"{len(rows)} candidates of {codes.counts[rows].mean():.0f} tokens, {encoder.spec.bits} bits, {level()}: "
        f"late {median['late']:.2f} ms, encoding the query {median['query']:.2f} ms, "
        f"teacher by sentence-transformers {median['teacher']:.0f} ms: {median['teacher'] / median['late']:.0f} times, "
        f"with the query's encoding {median['teacher'] / (median['late'] + median['query']):.0f} times"
    )


def as_transformers(files: ModelFiles, into: Path) -> None:
    """The teacher as it came, int8, made float32 again in the layout of sentence-transformers."""
    from safetensors.numpy import save_file

    model = read_cross_encoder(files)
    if model is None:
        raise SystemExit(f"{files.name} is no BERT in ONNX")
    into.mkdir()
    save_file(dict(model.tensors), into / "model.safetensors", {"format": "pt"})
    words = model.tensors["bert.embeddings.word_embeddings.weight"]
    config = {
        "architectures": ["BertForSequenceClassification"],
        "model_type": "bert",
        "vocab_size": len(words),
        "hidden_size": words.shape[1],
        "intermediate_size": len(model.tensors["bert.encoder.layer.0.intermediate.dense.bias"]),
        "num_hidden_layers": model.shape.layers,
        "num_attention_heads": model.shape.heads,
        "max_position_embeddings": len(model.tensors["bert.embeddings.position_embeddings.weight"]),
        "layer_norm_eps": model.shape.epsilon,
        "num_labels": 1,
        "id2label": {"0": "LABEL_0"},
        "label2id": {"LABEL_0": 0},
    }
    (into / "config.json").write_text(json.dumps(config), encoding="utf-8")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (into / name).write_bytes((files.path / name).read_bytes())


def _dense_cost(texts: Sequence[str], home: Path) -> None:
    """What the same passages cost the dense encoder: the build's other share."""
    some = list(texts[:100])
    dense = open_encoder(find_model(ENCODER, home))
    worked = time.process_time()
    dense.encode(some, "passage")
    print(f"{ENCODER}: {1000 * (time.process_time() - worked) / len(some):.1f} ms of processor time a passage")


def _squad(data: Path) -> tuple[list[str], list[tuple[str, dict[int, float]]]]:
    with gzip.open(data / "squad" / "train-v1.1.json.gz", "rt", encoding="utf-8") as file:
        articles = [each for each in json.load(file)["data"] if split_of(each["title"]) == "train"]
    # The recipe draws from all of them by paragraph; what it drew is a tenth.
    texts: list[str] = []
    asked: list[tuple[str, dict[int, float]]] = []
    for article in random.Random(SEED).sample(articles, 60):
        for paragraph in article["paragraphs"]:
            asked += [(each["question"].strip(), {len(texts): 1.0}) for each in paragraph["qas"]]
            texts.append(f"{article['title'].replace('_', ' ')}\n{paragraph['context']}")
    return texts, asked


def _set(folder: Path) -> tuple[list[str], list[tuple[str, dict[int, float]]]]:
    opened = open_dataset(folder, "train")
    documents = list(opened.documents())
    places = {each.document_id: at for at, each in enumerate(documents)}
    texts = [passage_text(each.title, (), "", each.text) for each in documents]
    asked = [
        (question.text, {places[one]: float(grade) for one, grade in opened.qrels[name].items() if grade > 0})
        for name, question in opened.questions.items()
        if name in opened.qrels
    ]
    return texts, asked


def _bm25(texts: Sequence[str], queries: Sequence[str], depth: int) -> list[list[int]]:
    import bm25s

    index = bm25s.BM25()
    index.index(bm25s.tokenize(list(texts), stopwords="en", show_progress=False), show_progress=False)
    tokens = bm25s.tokenize(list(queries), stopwords="en", show_progress=False)
    found: list[list[int]] = index.retrieve(tokens, k=depth, show_progress=False)[0].tolist()
    return found


def _max_sim(passage: Vectors, query: Vectors) -> float:
    return float((passage @ query.T).max(0).mean())


def _order(scores: Sequence[float]) -> list[int]:
    return np.argsort(-np.array(scores), kind="stable").tolist()  # type: ignore[no-any-return]


def _ndcg(asked: Asked, order: Sequence[int]) -> float:
    """Over what BM25 found: what it missed no order brings back."""
    gains = [asked.grades.get(asked.candidates[at], 0.0) for at in order[:10]]
    ideal = sorted(asked.grades.values(), reverse=True)[:10]
    best = sum(gain / np.log2(rank + 2) for rank, gain in enumerate(ideal))
    return float(sum(gain / np.log2(rank + 2) for rank, gain in enumerate(gains)) / best) if best else 0.0


def _seconds(work: Any) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> None:
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("--data", type=Path, required=True)
    given.add_argument("--home", type=Path, required=True)
    given.add_argument("--set", default="scifact", help="scifact, nl2bash-tldr or squad")
    given.add_argument("--queries", type=int, default=40)
    given.add_argument("--depth", type=int, default=50)
    given.add_argument("--timed", type=int, default=200, help="candidates that are timed; 0 for none")
    given.add_argument("--rounds", type=int, default=3)
    asked = given.parse_args()
    late = {f"{bits} bits": open_late(find_model(LATE, asked.home), bits=bits) for bits in sorted(BITS, reverse=True)}
    print(f"{asked.set}: load {os.getloadavg()[0]:.1f} at the start")
    if asked.queries:
        texts, some = judged(asked.data, asked.set, asked.queries, asked.depth)
        quality(late, texts, some, asked.home)
    if asked.timed:
        texts, (one,) = judged(asked.data, asked.set, 1, asked.timed)
        timed(late["2 bits"], texts, one, asked.home, asked.rounds)
    print(f"load {os.getloadavg()[0]:.1f} at the end")


if __name__ == "__main__":
    main()
