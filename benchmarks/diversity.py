"""What diversity costs on a judged set, by scale and likeness, and how many near-copies it takes out of the first ten.

    python -m benchmarks.diversity --home .riddle --collection NAME --data ../shared/data/scifact
    python -m benchmarks.diversity --home .riddle --data ../shared/data/scifact --part copies --limit 40

The cost: orders of a collection that `riddle eval run` has built, fused, blended and reranked, rearranged by relevance
as place or as score and by likeness of terms or of vectors. The copies: some documents of the set and three near-copies
of each, one word in twenty gone and one replaced, in a collection of their own.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from eval.datasets import Dataset, open_dataset
from ranking.cross_encoder import open_reranker
from ranking.diversity import WINDOW, by_terms, by_vectors, diversified, mmr
from ranking.pipeline import RankPipeline, blended
from ranking.tuned import defaults
from retrieval.encoders import open_encoder
from retrieval.library import Collection
from retrieval.models import find_model
from retrieval.recall import recall
from retrieval.snapshot import Snapshot
from retrieval.store import CollectionStore
from retrieval.types import Candidate, Encoder, Vectors

DIVERSITIES = (0.1, 0.2, 0.3, 0.5, 0.7)
COPIES, OTHERS = 3, 9
"""Near-copies of each document; of those that no question is about every so many-th is there."""
SEED = 7


def main() -> None:
    said = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    said.add_argument("--home", type=Path, default=Path(".riddle"))
    said.add_argument("--collection", default="", help="the set's documents, as `riddle eval run` has built them")
    said.add_argument("--data", type=Path, required=True, help="the judged set")
    said.add_argument("--limit", type=int, default=120, help="questions")
    said.add_argument("--part", choices=("cost", "copies", "both"), default="both")
    asked = said.parse_args()
    judged = open_dataset(asked.data, "train", asked.limit, SEED)
    if asked.part != "copies":
        snapshot = CollectionStore(asked.home / "collections").snapshot(asked.collection)
        reranker = RankPipeline(open_reranker(find_model("ms-marco-minilm-l12-v2", asked.home)))
        rows = cost(judged, snapshot, open_encoder(find_model(snapshot.info.encoder, asked.home)), reranker)
        show(("order", "relevance", "likeness", "diversity", "nDCG@10", "alike in the first ten"), rows)
    if asked.part != "cost":
        show(("diversity", "copies in the first ten", "nDCG@10, originals counted once"), copies(judged))


Row = tuple[tuple[str, ...], tuple[float, float]]


def show(head: Sequence[str], rows: Iterable[Row]) -> None:
    """The mean of each point's values over the questions, as Markdown."""
    found: dict[tuple[str, ...], list[tuple[float, float]]] = {}
    for name, values in rows:
        found.setdefault(name, []).append(values)
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for name, each in found.items():
        print(f"| {' | '.join(name)} | {' | '.join(f'{mean:.3f}' for mean in np.mean(each, axis=0))} |")


def orders(query: str, snapshot: Snapshot, encoder: Encoder, reranker: RankPipeline) -> dict[str, Sequence[Candidate]]:
    found = recall(snapshot, encoder, query).candidates
    return {
        "fused": found,
        "blended": blended(query, found, defaults(), {"dense": snapshot.info.encoder}),
        "reranked": reranker.rank(query, found, depth=20).candidates,
    }


def questions(judged: Dataset) -> Iterator[tuple[str, dict[str, int]]]:
    for query_id, asked in judged.questions.items():
        if judged.qrels.get(query_id):
            yield asked.text, dict(judged.qrels[query_id])


def cost(judged: Dataset, snapshot: Snapshot, encoder: Encoder, reranker: RankPipeline) -> Iterator[Row]:
    vectors = stored(snapshot)
    for query, grades in questions(judged):
        for order, found in orders(query, snapshot, encoder, reranker).items():
            head = found[:WINDOW]
            names = [each.passage.document_id for each in head]
            terms = by_terms([each.passage.full_text for each in head])
            close = by_vectors(np.stack([vectors[each.passage.passage_id] for each in head]))
            alike = np.stack([terms(at) for at in range(len(head))])
            plain = list(range(len(head)))
            yield (order, "–", "–", "0"), (ndcg(names, grades), together(plain, alike))
            for scale, relevance in (("place", plain[::-1]), ("score", [each.score for each in head])):
                for kind, likeness in (("terms", terms), ("vectors", close)):
                    for diversity in DIVERSITIES:
                        chosen = mmr(relevance, likeness, 1 - diversity, 12)
                        gained = ndcg([names[at] for at in chosen], grades)
                        yield (order, scale, kind, str(diversity)), (gained, together(chosen, alike))


def copies(judged: Dataset) -> Iterator[Row]:
    """By words alone: what is copied in them is found by them."""
    asked = list(questions(judged))
    wanted = {name for _, grades in asked for name in grades}
    texts = {
        each.document_id: f"{each.title}\n{each.text}"
        for number, each in enumerate(judged.documents())
        if each.document_id in wanted or number % OTHERS == 0
    }
    draw = random.Random(SEED)
    with tempfile.TemporaryDirectory() as folder:
        library = Collection.create(Path(folder) / "copies")
        library.upsert({"id": name, "text": text} for name, text in texts.items())
        library.upsert(
            {"id": f"{name}~{number}", "text": near_copy(text, draw)}
            for name, text in texts.items()
            for number in range(COPIES)
        )
        for query, grades in asked:
            found = recall(library.snapshot(), None, query).candidates
            for diversity in (0.0, *DIVERSITIES):
                names = [each.passage.document_id.split("~")[0] for each in diversified(found, diversity)]
                yield (str(diversity),), (10 - len(set(names[:10])), once(names, grades))
        library.close()


def near_copy(text: str, draw: random.Random) -> str:
    words = text.split()
    for at in range(len(words)):
        if draw.random() < 0.1:
            words[at] = "" if draw.random() < 0.5 else draw.choice(words)
    return " ".join(filter(None, words))


def stored(snapshot: Snapshot) -> dict[str, Vectors]:
    """Each passage's vector by its id."""
    found: dict[str, Vectors] = {}
    for part in snapshot.parts():
        rows = iter(part.vectors)
        for document, chunks in zip(part.documents, part.chunks, strict=True):
            found |= {f"{document.document_id}#{chunk.ordinal}": next(rows) for chunk in chunks}
    return found


def together(order: Sequence[int], alike: Vectors) -> float:
    """The mean likeness of two of the first ten."""
    head = list(order[:10])
    return float(np.mean([alike[one, other] for at, one in enumerate(head) for other in head[:at]]))


def ndcg(names: Sequence[str], grades: dict[str, int]) -> float:
    """Of documents at their best passage's place."""
    return _gain(list(dict.fromkeys(names)), grades)


def once(names: Sequence[str], grades: dict[str, int]) -> float:
    """A copy holds its place and gains nothing."""
    return _gain([name if name not in names[:at] else "" for at, name in enumerate(names[:10])], grades)


def _gain(names: Sequence[str], grades: dict[str, int]) -> float:
    gains = [(2 ** grades.get(name, 0) - 1) / np.log2(at + 2) for at, name in enumerate(names[:10])]
    best = [(2**grade - 1) / np.log2(at + 2) for at, grade in enumerate(sorted(grades.values(), reverse=True)[:10])]
    return float(sum(gains) / sum(best))


if __name__ == "__main__":
    main()
