"""Measures one vector space for two languages: law questions, and page titles against the pages of the other language.

    python -m benchmarks.bilingual --home .riddle --data DATA --vectors FOLDER

Passages are cut by the project's own chunker with its default settings, and searched in a collection made for the run.
Vectors are taken from ``--vectors`` where they were computed before, and kept there once encoded: to encode all of it
takes a small machine hours. Questions are encoded by what searches run, in float32, and centred: half the mean of other
questions, Chinese and English, taken off, since what all questions share says nothing (after Libovický et al., 2020).
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.bilingual_texts import Batch, Pages, Side, law_batches, other_questions, sides
from eval.datasets import JudgedSet
from eval.retrieval_metrics import Run, best_passage_run, evaluate_by_query
from indexing.embedding import embed
from retrieval.batch import write_generation
from retrieval.encoders import Runtime, open_encoder, spec_of, unit
from retrieval.fusion import rrf
from retrieval.maintenance import Nothing
from retrieval.manifest import CollectionSettings
from retrieval.models import ModelFiles, find_model
from retrieval.segment import Part
from retrieval.snapshot import Snapshot
from retrieval.store import CollectionStore
from retrieval.types import Hits, Vectors

MODEL = "multilingual-e5-small"
DEPTH = 100
"""Passages of each channel, as a search takes them."""
CENTRING = 0.5
"""How much of the mean question is taken off. Chosen with a look at these sets, where 0.3 to 0.9 differ by little."""
_PART = 2000


@dataclass(frozen=True, slots=True)
class Vectorised:
    """Vectors of batches, from a folder or from the model."""

    model: ModelFiles
    folder: Path

    def of(self, batch: Batch) -> Vectors:
        """Unit rows in the order of the texts, kept as float16 from one run to the next."""
        path = self.folder / f"{batch.stem}.npy"
        if not path.exists():
            print(f"encoding {len(batch.texts):,} texts of {batch.name}", flush=True)
            self.folder.mkdir(parents=True, exist_ok=True)
            np.save(path, self.encoded(batch, "auto").astype(np.float16))
        return unit(np.load(path).astype(np.float32))

    def encoded(self, batch: Batch, runtime: Runtime) -> Vectors:
        """What this machine gives: questions one at a time, as searches send them, passages in batches."""
        encoder = open_encoder(self.model, runtime=runtime)
        if batch.role == "passage":
            return embed(encoder, batch.texts)
        return np.concatenate([encoder.encode([text], batch.role) for text in batch.texts])

    def questions(self, batch: Batch, others: Sequence[Batch]) -> dict[str, Vectors]:
        """The vectors of questions by how they were made."""
        exact = self.of(batch)
        centre = np.mean([self.of(each).mean(axis=0) for each in others], axis=0)
        searched = self.encoded(batch, "auto")
        return {
            "as searches": searched,
            "float32": exact,
            "float32, centred": unit(exact - CENTRING * centre),
            "as searches, centred": unit(searched - CENTRING * centre),
        }


def collection(folder: Path, pages: Pages, vectors: Vectors, model: ModelFiles) -> Snapshot:
    """A collection of these pages with exact vector search."""
    store = CollectionStore(folder, Nothing())
    ends = np.cumsum([0, *map(len, pages.chunks)])

    def parts() -> Iterator[Part]:
        for first in range(0, len(pages.documents), _PART):
            last = min(first + _PART, len(pages.documents))
            own = slice(first, last)
            yield Part(pages.documents[own], pages.chunks[own], vectors[ends[first] : ends[last]])

    write_generation(store, "pages", parts(), encoder=spec_of(model), settings=CollectionSettings(vectors="Flat"))
    return store.snapshot("pages")


Fusion = Callable[[Hits, Hits], Hits]
"""The lexical and the dense ranking of a question to one."""


def by_rank(k: int, dense: float = 1.0, depth: int = DEPTH) -> Fusion:
    """What searches do, with the constant and the weight of the dense channel to be varied."""
    return lambda lexical, near: rrf(
        {"lexical": cut(lexical, depth), "dense": cut(near, depth)}, k, {"lexical": 1.0, "dense": dense}
    )


def by_score(dense: float, depth: int = DEPTH) -> Fusion:
    """A convex combination (Bruch et al., TOIS 2023) of scores, stretched to [0, 1] over what a channel found."""

    def fuse(lexical: Hits, near: Hits) -> Hits:
        scores: dict[int, float] = {}
        for hits, weight in ((cut(lexical, depth), 1 - dense), (cut(near, depth), dense)):
            for row, score in zip(hits.rows.tolist(), _stretched(hits.scores), strict=True):
                scores[row] = scores.get(row, 0.0) + weight * score
        ordered = sorted(scores, key=lambda row: (-scores[row], row))
        return Hits(np.array(ordered, np.int64), np.array([scores[row] for row in ordered], np.float32))

    return fuse


def cut(hits: Hits, depth: int) -> Hits:
    """The first ``depth`` of a ranking."""
    return Hits(hits.rows[:depth], hits.scores[:depth])


def _stretched(scores: Vectors) -> list[float]:
    if not len(scores):
        return []
    low, high = float(scores.min()), float(scores.max())
    return [(float(each) - low) / max(high - low, 1e-9) for each in scores]


FUSIONS: Mapping[str, Fusion] = {
    "lexical alone": lambda lexical, near: cut(lexical, DEPTH),
    "dense alone": lambda lexical, near: cut(near, DEPTH),
    "ranks, k 60 (as shipped)": by_rank(60),
    **{f"ranks, k {k}": by_rank(k) for k in (5, 10, 20, 120)},
    **{f"ranks, k 60, dense {weight}": by_rank(60, weight) for weight in (0.5, 0.7, 1.5, 2.0)},
    **{f"ranks, k 60, {depth:,} deep": by_rank(60, depth=depth) for depth in (50, 300, 1000)},
    **{f"scores, dense {weight}": by_score(weight) for weight in (0.3, 0.4, 0.5, 0.6, 0.7)},
}
_DEEPEST = 1000


def runs(snapshot: Snapshot, owners: Sequence[str], judged: JudgedSet, questions: Vectors) -> dict[str, Run]:
    """For each fusion the documents of every question, scored by their best passage."""
    found: dict[str, dict[str, dict[str, float]]] = {name: {} for name in FUSIONS}
    for (query_id, text), vector in zip(judged.queries.items(), questions, strict=True):
        lexical, near = snapshot.lexical(text, _DEEPEST), snapshot.dense(vector, _DEEPEST)
        for name, fuse in FUSIONS.items():
            hits = fuse(lexical, near)
            ranking = [
                (owners[row], score) for row, score in zip(hits.rows.tolist(), hits.scores.tolist(), strict=True)
            ]
            found[name][query_id] = best_passage_run(ranking)
    return dict(found)


def law(data: Path, vectorised: Vectorised) -> None:
    """Print what every fusion reaches, also over either half of the questions: one half chooses, the other judges."""
    pages, judged, passages, asked = law_batches(data)
    print(f"\nlaw-zh-stard train: {len(pages.documents):,} articles, {len(passages.texts):,} passages, ", end="")
    print(f"{len(judged.queries):,} questions")
    metrics = ("nDCG@10", "RR@10", "R@10", "R@100")
    with tempfile.TemporaryDirectory() as folder:
        snapshot = collection(Path(folder), pages, vectorised.of(passages), vectorised.model)
        owners = [pages.documents[owner].document_id for owner in pages.owners]
        halves = [list(judged.queries)[start::2] for start in (0, 1)]
        questions = vectorised.questions(asked, other_questions(data))
        near = (questions["float32"] * questions["as searches"]).sum(axis=1)
        print(f"cosine of a question's two encodings: mean {near.mean():.4f}, least {near.min():.4f}")
        for how, vectors in questions.items():
            print(f"{'questions ' + how:<28} {' '.join(f'{each:>8}' for each in metrics)}   nDCG@10, halves")
            for name, run in runs(snapshot, owners, judged, vectors).items():
                scored = evaluate_by_query(judged.qrels, run, metrics)
                means = [_mean(scored[each].values()) for each in metrics]
                apart = [_mean(scored["nDCG@10"][one] for one in half) for half in halves]
                print(f"{name:<28} {' '.join(f'{each:>8.4f}' for each in means)}   {apart[0]:.4f} {apart[1]:.4f}")


def across(
    vectorised: Vectorised, asking: Side, answering: Side, others_asked: Sequence[Batch], *, everything: bool
) -> None:
    """Print how often the translation of the page whose title is asked is among the first, by vectors alone.

    A page is scored by its best passage; ``everything`` has the pages that nobody asks for stand among them.
    """
    own, others = answering.batches
    passages, owners, keys = vectorised.of(own), answering.asked.owners, answering.asked.keys
    if everything:
        passages = np.concatenate([passages, vectorised.of(others)])
        owners = owners + [len(keys) + owner for owner in answering.others.owners]
        keys = keys + answering.others.keys
    titles = asking.titles
    for how, vectors in vectorised.questions(titles, others_asked).items():
        best = np.full((len(keys), len(titles.texts)), -1.0, np.float32)
        np.maximum.at(best, np.array(owners), passages @ vectors.T)
        right = best[[keys.index(key) for key in asking.asked.keys], np.arange(len(titles.texts))]
        ranks = (best > right).sum(axis=0) + 1
        reached = "  ".join(f"recall@{k} {(ranks <= k).mean():.4f}" for k in (1, 5, 10, 20))
        print(f"{len(ranks)} {titles.name} {how:<20} -> {len(keys)} pages: {reached}  MRR {(1 / ranks).mean():.4f}")


def kubernetes(data: Path, vectorised: Vectorised, *, everything: bool) -> None:
    """Both directions, among the pages that translate each other and, with ``everything``, among all pages."""
    zh, en = sides(data)
    questions = other_questions(data)
    print()
    for pool in (False, True)[: 1 + everything]:
        across(vectorised, zh, en, questions, everything=pool)
        across(vectorised, en, zh, questions, everything=pool)


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


def main() -> None:
    """Measure what is asked for and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--vectors", type=Path, required=True, help="where vectors are found, or kept once encoded")
    parser.add_argument("--only", choices=["law", "kubernetes"])
    parser.add_argument("--everything", action="store_true", help="also among pages that are no translations")
    options = parser.parse_args()
    vectorised = Vectorised(find_model(MODEL, options.home), options.vectors)
    if options.only != "kubernetes":
        law(options.data, vectorised)
    if options.only != "law":
        kubernetes(options.data, vectorised, everything=options.everything)


if __name__ == "__main__":
    main()
