"""Fits when to abstain: questions whose paragraph is in the collection, against questions whose paragraph was removed.

    OMP_NUM_THREADS=1 python -m benchmarks.fit_abstention --home .riddle --write

Reads squad and cmrc2018 (train) below RIDDLE_DATA, of squad the articles that the reranker was not trained on, goes
through the real chunks, recall and the order of all stages, and writes generation/abstention.toml. Thresholds are
chosen on one half of the articles, the figures come from the other.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from generation.abstain import THRESHOLDS, Evidence, Scale, evidence
from generation.answer import AnswerSettings
from indexing.chunking import ChunkSettings, chunk
from indexing.converted import Block, Converted
from indexing.embedding import embed
from ranking.cross_encoder import open_reranker
from ranking.pipeline import RankPipeline, blended, in_reading_order
from ranking.train.lists import part_of
from ranking.tuned import defaults
from retrieval.batch import write_generation
from retrieval.encoders import open_encoder
from retrieval.models import find_model
from retrieval.recall import recall
from retrieval.segment import Part
from retrieval.snapshot import Snapshot
from retrieval.store import CollectionStore
from retrieval.types import Document, Encoder, EncoderSpec, Language, Vectors, passage_text
from services.settings import environment

ENCODER, RERANKER = "bge-small-en-v1.5", "riddle-reranker-en"
ARTICLES, PARAGRAPHS = 60, 15
"""English articles drawn, and paragraphs taken of each: embedding and reranking take most of the time."""

ANSWERED = 0.95
"""Share of answerable questions that must be answered."""

READ = AnswerSettings().passages
"""The answerer judges as many candidates as it reads, so the fit does too."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, whether its paragraph stayed in the collection, and whether it serves the fit or the check."""

    text: str
    answerable: bool
    held_apart: bool


@dataclass(frozen=True, slots=True)
class Fit:
    """A threshold and what it does to the questions held apart."""

    scale: Scale
    threshold: float
    fitted: float
    balanced_accuracy: float
    answered: float
    """Share of the answerable questions that are answered."""
    refused: float
    """Share of the unanswerable ones that are not."""
    questions: int


class NoEncoder:
    """Stands in where only words are searched: equal vectors, which nobody asks for."""

    spec = EncoderSpec("none", 8, 1, ("none",))

    def encode(self, texts: Sequence[str], role: str) -> Vectors:
        vectors: Vectors = np.zeros((len(texts), 8), np.float32)
        vectors[:, 0] = 1
        return vectors


def draw(
    path: Path,
    articles: int,
    paragraphs_each: int,
    questions: int,
    seed: int,
    may: Callable[[str], bool] = lambda title: True,
) -> tuple[list[Document], list[Asked]]:
    """Documents, a paragraph each, and ``questions`` for either half of the articles, each about another paragraph.

    Of every half's questions one in two loses its paragraph; the article's other paragraphs stay,
    so what is left is about the same thing and does not answer. ``may`` says which articles may be drawn, by title.
    """
    rng = random.Random(seed)
    with gzip.open(path, "rt", encoding="utf-8") as file:
        by_title: dict[str, list[dict[str, Any]]] = {}
        for article in json.load(file)["data"]:
            if may(article.get("title", "")):
                by_title.setdefault(article.get("title", ""), []).extend(article["paragraphs"])
    titles = rng.sample(sorted(by_title), min(articles, len(by_title)))
    documents: list[Document] = []
    asked: list[Asked] = []
    for held_apart, half in ((False, titles[::2]), (True, titles[1::2])):
        paragraphs = [
            (f"{title}/{number}", title, paragraph)
            for title in half
            for number, paragraph in enumerate(by_title[title][:paragraphs_each])
            if paragraph["qas"]
        ]
        chosen = rng.sample(range(len(paragraphs)), min(questions, len(paragraphs)))
        removed = set(chosen[::2])
        for place in chosen:
            question = rng.choice(paragraphs[place][2]["qas"])["question"].strip()
            asked.append(Asked(question, place not in removed, held_apart))
        documents += [
            Document(name, p["context"], title=title.replace("_", " "))
            for place, (name, title, p) in enumerate(paragraphs)
            if place not in removed
        ]
    return documents, asked


def index(root: Path, documents: Sequence[Document], encoder: Encoder) -> Snapshot:
    """A collection of these documents, cut and encoded as a build does it."""
    chunks = [
        chunk(Converted(d.text, (Block("paragraph", 0, len(d.text)),), d.title), ChunkSettings()) for d in documents
    ]
    texts = [
        passage_text(document.title, piece.headings, piece.context, document.text[piece.start : piece.end])
        for document, own in zip(documents, chunks, strict=True)
        for piece in own
    ]
    store = CollectionStore(root)
    part = Part(list(documents), chunks, embed(encoder, texts))
    write_generation(store, "fit", [part], encoder=encoder.spec)
    return store.snapshot("fit")


def english(home: Path, data: Path, questions: int, seed: int) -> Iterator[tuple[Asked, Evidence]]:
    """Evidence on the reranker's scale, the encoder's and that of words, for every question."""
    encoder = open_encoder(find_model(ENCODER, home), threads=1)
    pipeline = RankPipeline(open_reranker(find_model(RERANKER, home), threads=1))
    told, models = defaults(), {"dense": ENCODER, "rerank": RERANKER}
    documents, asked = draw(
        data / "squad" / "train-v1.1.json.gz", ARTICLES, PARAGRAPHS, questions, seed,
        lambda title: part_of("squad", title) == "dev",
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        snapshot = index(Path(folder), documents, encoder)
        for question in asked:
            fused = recall(snapshot, encoder, question.text).candidates
            read = pipeline.read(question.text, in_reading_order(question.text, fused, told, models)).candidates
            ranked = blended(question.text, read, told, models)
            by_words = recall(snapshot, None, question.text).candidates
            for candidates in (ranked, fused, by_words):
                yield question, evidence(question.text, candidates[:READ], "en")


def chinese(data: Path, questions: int, seed: int) -> Iterator[tuple[Asked, Evidence]]:
    """Evidence by words, the only channel that reads Chinese by default."""
    documents, asked = draw(data / "cmrc2018" / "train.json.gz", 10_000, 10_000, questions, seed)
    with tempfile.TemporaryDirectory() as folder:
        snapshot = index(Path(folder), documents, NoEncoder())
        for question in asked:
            candidates = recall(snapshot, None, question.text).candidates[:READ]
            if candidates:
                yield question, evidence(question.text, candidates, "zh")


def fit(scale: Scale, measured: Sequence[tuple[Asked, float]]) -> Fit:
    """The highest threshold that still answers ``ANSWERED`` of the answerable questions of the half for fitting.

    Not the one of best balanced accuracy: a question refused whose answer was found costs more than
    an answer whose source a reader can check, and a removed paragraph leaves its article's others
    behind, which are nearer to the question than most of what a collection lacks.
    """
    fitting = [(asked.answerable, value) for asked, value in measured if not asked.held_apart]
    checking = [(asked.answerable, value) for asked, value in measured if asked.held_apart]
    values = sorted({value for _, value in fitting})
    between = [(low + high) / 2 for low, high in pairwise(values)]
    threshold = max((t for t in between if rates(fitting, t)[0] >= ANSWERED), default=values[0])
    answered, refused = rates(checking, threshold)
    return Fit(
        scale,
        threshold,
        sum(rates(fitting, threshold)) / 2,
        (answered + refused) / 2,
        answered,
        refused,
        len(checking),
    )


def rates(measured: Iterable[tuple[bool, float]], threshold: float) -> tuple[float, float]:
    """Share of answerable questions at or above the threshold, and of unanswerable ones below it."""
    measured = list(measured)
    kept = [value >= threshold for answerable, value in measured if answerable]
    dropped = [value < threshold for answerable, value in measured if not answerable]
    return sum(kept) / len(kept), sum(dropped) / len(dropped)


def as_toml(fits: Sequence[tuple[Language, Fit]], seed: int, took_s: float) -> str:
    """The thresholds with what they rest on, in a fixed order."""
    lines = [
        "# The least evidence that carries an answer. Written by benchmarks/fit_abstention.py; fit again, do not edit.",
        f'date = "{datetime.now(UTC).date()}"',
        f"seed = {seed}",
        f'encoder = "{ENCODER}"',
        f'reranker = "{RERANKER}"',
        f"candidates = {READ}",
        f"took_s = {took_s:.0f}",
    ]
    for language, found in fits:
        lines += [
            "",
            f"[{language}.{found.scale}]",
            f"threshold = {found.threshold:.4f}",
            f"balanced_accuracy = {found.balanced_accuracy:.3f} # {found.questions} questions of articles held apart",
            f"balanced_accuracy_fitted = {found.fitted:.3f}",
            f"answerable_answered = {found.answered:.3f}",
            f"unanswerable_refused = {found.refused:.3f}",
        ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, default=Path(".riddle"), help="where `riddle models pull` put the models")
    parser.add_argument("--questions", type=int, default=150, help="English questions of each half; Chinese four times")
    parser.add_argument("--seed", type=int, default=13)
    parser.add_argument("--write", action="store_true", help="replace generation/abstention.toml")
    given = parser.parse_args()
    data = Path(environment().get("RIDDLE_DATA") or Path("..") / "shared" / "data")
    began = time.monotonic()
    measured: dict[tuple[Language, Scale], list[tuple[Asked, float]]] = {}
    for asked, found in [
        *english(given.home, data, given.questions, given.seed),
        *chinese(data, 4 * given.questions, given.seed),
    ]:
        measured.setdefault((found.language, found.scale), []).append((asked, found.value))
    fits = [(language, fit(scale, values)) for (language, scale), values in measured.items()]
    text = as_toml(fits, given.seed, time.monotonic() - began)
    print(text)
    if given.write:
        THRESHOLDS.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
