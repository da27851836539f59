"""Fuses two channels over judged collections in every way that a search can be asked for, beside rank fusion.

    python -m benchmarks.fusions --home .riddle COLLECTION=../shared/data/scifact:train …

COLLECTION is one that `riddle eval run` has built of the set's documents. nDCG@10 of documents at their best passage,
and p of the paired sign-flip test against rank fusion, each set alone and all together.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from benchmarks.diversity import ndcg, questions
from eval.datasets import open_dataset
from eval.statistics import sign_flip
from retrieval.encoders import open_encoder
from retrieval.fusion import FusionMethod, Normalisation, fuse
from retrieval.models import find_model
from retrieval.store import CollectionStore

WAYS: tuple[tuple[FusionMethod, Normalisation], ...] = (
    ("rrf", "min-max"),
    ("weighted", "min-max"),
    ("weighted", "z"),
    ("dbsf", "min-max"),
)
SEED = 1


def main() -> None:
    said = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    said.add_argument("sets", nargs="+", metavar="COLLECTION=DATA:SPLIT")
    said.add_argument("--home", type=Path, default=Path(".riddle"))
    said.add_argument("--limit", type=int, default=150, help="questions of each set")
    asked = said.parse_args()
    together: dict[tuple[str, str], list[float]] = {}
    print("| set | questions | way | nDCG@10 | p |\n|---|---|---|---|---|")
    for each in asked.sets:
        collection, _, rest = each.partition("=")
        data, _, split = rest.rpartition(":")
        found = measured(asked.home, collection, data, split, asked.limit)
        show(Path(data).name, found)
        for way, values in found.items():
            together.setdefault(way, []).extend(values)
    show("all", together)


def measured(home: Path, collection: str, data: str, split: str, limit: int) -> dict[tuple[str, str], list[float]]:
    snapshot = CollectionStore(home / "collections").snapshot(collection)
    encoder = open_encoder(find_model(snapshot.info.encoder, home))
    found: dict[tuple[str, str], list[float]] = {}
    for query, grades in questions(open_dataset(data, split or None, limit, SEED)):
        channels = {
            "lexical": snapshot.lexical(query, 100),
            "dense": snapshot.dense(encoder.encode([query], "query")[0], 100),
        }
        for method, normalisation in WAYS:
            fused = fuse(channels, method, normalisation=normalisation)
            names = [each.rpartition("#")[0] for each in snapshot.passage_ids(fused.rows)]
            found.setdefault((method, normalisation), []).append(ndcg(names, grades))
    return found


def show(name: str, found: dict[tuple[str, str], list[float]]) -> None:
    plain = np.array(found[WAYS[0]])
    for (method, normalisation), values in found.items():
        p = (
            ""
            if (method, normalisation) == WAYS[0]
            else f"{float(np.ravel(sign_flip(np.array(values) - plain))[0]):.4f}"
        )
        way = f"{method}, {normalisation}" if method == "weighted" else method
        print(f"| {name} | {len(values)} | {way} | {np.mean(values):.3f} | {p} |", flush=True)


if __name__ == "__main__":
    main()
