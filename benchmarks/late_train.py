"""Learns what is shipped with answerai-colbert-small-v1: a projection of its hidden states, and the codec's tables.

    python -m benchmarks.late_train --data DATA --home .riddle --work FOLDER --out FOLDER

Reads train parts only: squad (articles that are not held apart), medquad, nl2bash-tldr train. Hidden states are kept in
``--work`` and not computed again. The projection begins with the principal components and learns from two things: the
scores of late interaction on all 384 dimensions (listwise), and which passage is the right one among BM25's best.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import random
import string
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eval.dataset_formats.squad import split_of
from retrieval.batching import padded, token_batches
from retrieval.encoders import unit
from retrieval.graphs import open_engine
from retrieval.models import find_model
from retrieval.token_codec import BITS, CodecTables, LateFile, fitted, write_late_file
from retrieval.tokens import Tokenizer
from retrieval.types import Vectors

MODEL = "answerai-colbert-small-v1"
QUERY_MARK, PASSAGE_MARK, QUERY_TOKENS, PASSAGE_TOKENS = "[unused0]", "[unused1]", 64, 512
VOCABULARY = 30_522
CENTROIDS, SAMPLE, ROUNDS = 2048, 80_000, 8
BATCH, LIST, CUT, HEAT, RATE = 12, 8, 112, 0.02, 1.5e-3


@dataclass(frozen=True, slots=True, eq=False)
class Hidden:
    """Token ids and hidden states (float16) of some texts one after another, text ``i`` from ``starts[i]``."""

    ids: NDArray[np.int32]
    states: NDArray[np.float16]
    starts: NDArray[np.int64]

    def of(self, text: int) -> tuple[NDArray[np.int32], Vectors]:
        own = slice(int(self.starts[text]), int(self.starts[text + 1]))
        return self.ids[own], unit(self.states[own].astype(np.float32))


@dataclass(frozen=True, slots=True)
class Texts:
    """``right[q]`` are the passages that answer question ``q``."""

    passages: list[str]
    questions: list[str]
    right: list[list[int]]


def texts(data: Path, seed: int = 5) -> Texts:
    """Some thousands of passages and questions of the three train parts."""
    rng = random.Random(seed)
    made = Texts([], [], [])
    with gzip.open(data / "squad" / "train-v1.1.json.gz", "rt", encoding="utf-8") as file:
        articles = [each for each in json.load(file)["data"] if split_of(each["title"]) == "train"]
    places = [(article["title"], each) for article in articles for each in article["paragraphs"] if each["qas"]]
    for title, paragraph in rng.sample(places, 1500):
        made.passages.append(f"{title.replace('_', ' ')}\n{paragraph['context']}")
        for question in rng.sample(paragraph["qas"], min(2, len(paragraph["qas"]))):
            _ask(made, question["question"].strip(), [len(made.passages) - 1])
    answers = {each["_id"]: each for each in _lines(data / "medquad" / "corpus.jsonl.gz")}
    asked = [each for each in _lines(data / "medquad" / "questions.jsonl.gz") if each["_id"] in answers]
    for each in rng.sample(asked, 1500):
        made.passages.append(_whole(answers[each["_id"]])[:1500])
        _ask(made, each["text"], [len(made.passages) - 1])
    folder = data / "nl2bash-tldr"
    judged: dict[str, list[str]] = {}
    with gzip.open(folder / "qrels_train.tsv.gz", "rt", encoding="utf-8") as file:
        for query, page, grade in (line.split() for line in list(file)[1:]):
            if float(grade) > 0:
                judged.setdefault(query, []).append(page)
    pages = {each["_id"]: each for each in _lines(folder / "corpus.jsonl.gz")}
    requests = rng.sample([each for each in _lines(folder / "queries.jsonl.gz") if each["_id"] in judged], 2000)
    places_of: dict[str, int] = {}
    for page in [page for each in requests for page in judged[each["_id"]]] + rng.sample(sorted(pages), 1500):
        if page not in places_of:
            places_of[page] = len(made.passages)
            made.passages.append(_whole(pages[page]))
    for each in requests:
        _ask(made, each["text"], [places_of[page] for page in judged[each["_id"]]])
    return made


def hidden(home: Path, work: Path, name: str, given: list[str], mark: str, most: int) -> Hidden:
    """Hidden states of texts by the model, as pulled; from ``work`` where they are there."""
    paths = [work / f"{name}-{part}.npy" for part in ("ids", "states", "starts")]
    if not all(path.exists() for path in paths):
        files = find_model(MODEL, home)
        tokenizer = Tokenizer(files.tokenizer)
        assert files.onnx is not None
        engine = open_engine(files.onnx, "onnxruntime", 0)
        marked = tokenizer.id_of(mark)
        rows = [[each.ids[0], marked, *each.ids[1:]] for each in tokenizer.encode(given, most - 1)]
        found: list[NDArray[np.float16]] = [np.empty((0, 0), np.float16)] * len(rows)

        def fill(batch: list[int]) -> None:
            ids = padded([rows[row] for row in batch])
            mask = padded([[1] * len(rows[row]) for row in batch])
            states = engine.graph.run({"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)})
            for place, row in enumerate(batch):
                found[row] = states[place, : len(rows[row])].astype(np.float16)

        engine.lanes.run(fill, token_batches([len(row) for row in rows], engine.batch_tokens))
        np.save(paths[0], np.concatenate([np.array(row, np.int32) for row in rows]))
        np.save(paths[1], np.concatenate(found))
        np.save(paths[2], np.cumsum([0, *(len(row) for row in rows)]))
    return Hidden(*(np.load(path, mmap_mode="r") for path in paths))


def projection(
    told: Texts, passages: Hidden, questions: Hidden, without: set[int], dimension: int, steps: int, seed: int = 3
) -> Vectors:
    """Float32 ``[dimension, hidden]``: principal components, then ``steps`` steps of Adam (KL to the scores on all
    dimensions, and half a cross-entropy with the right passage, at a heat of 0.02)."""
    import torch
    import torch.nn.functional as F

    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    sample = unit(passages.states[np.sort(rng.choice(len(passages.ids), 40_000, replace=False))].astype(np.float32))
    components = np.linalg.svd(sample.T @ sample)[2][:dimension]
    weight = torch.nn.Parameter(torch.from_numpy(components.astype(np.float32)))
    adam = torch.optim.Adam([weight], lr=RATE)
    order = rng.permutation(len(told.questions))[: steps * BATCH]
    near = _near(told, order)
    for step in range(steps):
        adam.param_groups[0]["lr"] = RATE * min(1, (step + 1) / 10) * (1 - step / steps)
        own = order[step * BATCH : (step + 1) * BATCH]
        listed = [place for at, one in enumerate(own) for place in _listed(told, one, near[step * BATCH + at], rng)]
        x, there = (torch.from_numpy(each) for each in _stacked(passages, listed, without, CUT))
        q, asked = (torch.from_numpy(each) for each in _stacked(questions, own.tolist(), set(), QUERY_TOKENS))
        x, there = x.view(BATCH, LIST, CUT, -1), there.view(BATCH, LIST, CUT)

        def scores(q: Any, x: Any, there: Any = there, asked: Any = asked) -> Any:
            best = torch.matmul(q[:, None], x.transpose(2, 3)).masked_fill(~there[:, :, None, :], -9).amax(-1)
            return (best * asked[:, None]).sum(-1) / asked.sum(-1)[:, None] / HEAT

        with torch.no_grad():
            wanted = F.softmax(scores(q, x), 1)
        found = scores(F.normalize(q @ weight.T, dim=-1), F.normalize(x @ weight.T, dim=-1))
        loss = F.kl_div(F.log_softmax(found, 1), wanted, reduction="batchmean")
        loss = loss + 0.5 * F.cross_entropy(found, torch.zeros(BATCH, dtype=torch.long))
        adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        adam.step()
        if step % 20 == 19:
            print(f"step {step + 1}: loss {loss.item():.3f}", flush=True)
    return np.asarray(weight.detach().numpy(), np.float32)


def tables(vectors: Vectors, seed: int = 1) -> dict[int, CodecTables]:
    """Centroids by k-means over unit vectors of tokens, and the levels of what is left."""
    rng = np.random.default_rng(seed)
    centroids = vectors[rng.choice(len(vectors), CENTROIDS, replace=False)].copy()
    for _ in range(ROUNDS):
        nearest = _nearest(vectors, centroids)
        sums, counts = np.zeros_like(centroids), np.bincount(nearest, minlength=CENTROIDS)
        np.add.at(sums, nearest, vectors)
        lone = counts == 0
        centroids = np.where(
            lone[:, None], vectors[rng.choice(len(vectors), CENTROIDS)], sums / np.maximum(counts, 1)[:, None]
        )
        centroids = np.asarray(centroids, np.float32)
    left = vectors - centroids[_nearest(vectors, centroids)]
    return {bits: CodecTables(centroids, *fitted(left, bits)) for bits in BITS}


def importance(passages: Hidden, marks: set[int], vocabulary: int) -> NDArray[np.float32]:
    """The root of each token's inverse document frequency (BM25's), 1 for the rarest; 0 for marks, which say nothing of
    what is asked."""
    count = len(passages.starts) - 1
    within = np.zeros(vocabulary, np.int64)
    for text in range(count):
        within[np.unique(passages.ids[passages.starts[text] : passages.starts[text + 1]])] += 1
    rarity = np.sqrt(np.log((count - within + 0.5) / (within + 0.5) + 1))
    rarity[list(marks)] = 0
    return np.asarray(rarity / rarity.max(), np.float32)


def _nearest(vectors: Vectors, centroids: Vectors) -> NDArray[np.int64]:
    half = (centroids**2).sum(1) / 2
    blocks = [vectors[start : start + 8192] @ centroids.T - half for start in range(0, len(vectors), 8192)]
    return np.concatenate([block.argmax(1) for block in blocks])


def _near(told: Texts, order: NDArray[np.int64]) -> NDArray[np.int64]:
    """BM25's best 16 passages for each of these questions."""
    import bm25s

    index = bm25s.BM25()
    index.index(bm25s.tokenize(told.passages, stopwords="en", show_progress=False), show_progress=False)
    asked = bm25s.tokenize([told.questions[one] for one in order], stopwords="en", show_progress=False)
    found: NDArray[np.int64] = index.retrieve(asked, k=16, show_progress=False)[0]
    return found


def _listed(told: Texts, question: int, near: NDArray[np.int64], rng: np.random.Generator) -> list[int]:
    """A right passage first, then near ones that are not, and strangers."""
    right = told.right[question]
    hard = [each for each in rng.permutation(near).tolist() if each not in right][: LIST - 2]
    chosen = [right[int(rng.integers(len(right)))], *hard]
    strangers: list[int] = rng.integers(len(told.passages), size=LIST - len(chosen)).tolist()
    return chosen + strangers


def _stacked(
    of: Hidden, chosen: list[int], without: set[int], cut: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Unit states ``[n, cut, hidden]``, and which of them are tokens that count."""
    states = np.zeros((len(chosen), cut, of.states.shape[1]), np.float32)
    there = np.zeros((len(chosen), cut), np.bool_)
    for place, text in enumerate(chosen):
        ids, own = of.of(text)
        count = min(len(ids), cut)
        states[place, :count], there[place, :count] = own[:count], ~np.isin(ids[:count], list(without))
    return states, there


def _ask(made: Texts, question: str, right: list[int]) -> None:
    made.questions.append(question)
    made.right.append(right)


def _lines(path: Path) -> list[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def _whole(document: dict[str, str]) -> str:
    return "\n".join(part for part in (document.get("title", ""), document["text"]) if part)


def main() -> None:
    given = argparse.ArgumentParser(description=__doc__)
    for name in ("data", "home", "work", "out"):
        given.add_argument(f"--{name}", type=Path, required=True)
    given.add_argument("--dimension", type=int, default=96)
    given.add_argument("--steps", type=int, default=120)
    asked = given.parse_args()
    asked.work.mkdir(parents=True, exist_ok=True)
    asked.out.mkdir(parents=True, exist_ok=True)
    kept = asked.work / "texts.json"
    told = Texts(**json.loads(kept.read_text())) if kept.exists() else texts(asked.data)
    kept.write_text(json.dumps({"passages": told.passages, "questions": told.questions, "right": told.right}))
    passages = hidden(asked.home, asked.work, "passages", told.passages, PASSAGE_MARK, PASSAGE_TOKENS)
    questions = hidden(asked.home, asked.work, "questions", told.questions, QUERY_MARK, QUERY_TOKENS)
    tokenizer = Tokenizer(find_model(MODEL, asked.home).tokenizer)
    without = {tokenizer.id_of(mark) for mark in string.punctuation}
    weight = projection(told, passages, questions, without, asked.dimension, asked.steps)
    rng = np.random.default_rng(7)
    rows = np.sort(rng.choice(len(passages.ids), SAMPLE, replace=False))
    rows = rows[~np.isin(passages.ids[rows], sorted(without))]
    vectors = unit(unit(passages.states[rows].astype(np.float32)) @ weight.T)
    path = asked.out / "late.safetensors"
    marks = {tokenizer.id_of(mark) for mark in ("[CLS]", "[SEP]", QUERY_MARK)}
    counts = importance(passages, marks, VOCABULARY)
    late = LateFile(weight, tables(vectors), QUERY_MARK, PASSAGE_MARK, QUERY_TOKENS, frozenset(without), counts)
    write_late_file(path, late)
    card = {
        "name": MODEL,
        "file": {
            "name": path.name,
            "bytes": path.stat().st_size,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        },
        "licences": {"squad": "CC BY-SA 4.0", "medquad": "CC BY 4.0", "nl2bash-tldr": "MIT, CC BY 4.0"},
        "passages": len(told.passages),
        "questions": len(told.questions),
        "dimension": asked.dimension,
        "steps": asked.steps,
        "centroids": CENTROIDS,
        "sample": len(vectors),
    }
    (asked.out / "card.json").write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
