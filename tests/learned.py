"""Made-up candidates, judged lists, models and clicks for tests of learned ranking; the same for the same seed."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

import numpy as np

from eval.clicks import Impression
from eval.ltr_lists import JudgedList
from ranking.features import FeatureSet, columns_without
from ranking.ltr import LtrFile
from ranking.train.trees import Lists, TreeSettings, grow
from retrieval.types import Candidate, JSONScalar, Passage, StageScore

SMALL = TreeSettings(rounds=60, patience=15, rate=0.15, leaves=8, least_in_leaf=10, threads=1)
"""Trees that grow in well under a second."""


def candidate(
    name: str,
    text: str = "",
    stages: Mapping[str, tuple[int, float]] | None = None,
    *,
    title: str = "",
    headings: tuple[str, ...] = (),
    metadata: Mapping[str, JSONScalar] | None = None,
) -> Candidate:
    """One candidate; ``name`` is its passage's id, ``DOCUMENT#ORDINAL``."""
    passage = Passage(
        name, name.rpartition("#")[0], text, (0, len(text)), title, headings, metadata=dict(metadata or {})
    )
    told = {stage: StageScore(*seen) for stage, seen in (stages or {}).items()}
    return Candidate(passage, 0.5, "fused", told)


def judged_lists(count: int, *, seed: int = 1, rows: int = 12, signal: float = 1.5) -> list[JudgedList]:
    """Queries whose relevant passage has a ``dense.score`` higher by ``signal`` spreads; ``fused`` is a weak hint."""
    draw = np.random.default_rng(seed)
    names = FeatureSet().names
    score, rank, noise = (names.index(name) for name in ("dense.score", "fused.rank", "text.coverage"))
    found = []
    for number in range(count):
        vectors = np.full((rows, len(names)), np.nan, np.float32)
        relevant = int(draw.integers(rows))
        vectors[:, score] = draw.normal(size=rows)
        vectors[relevant, score] += signal
        hint = draw.normal(size=rows)
        hint[relevant] += 0.5
        vectors[:, rank] = np.argsort(np.argsort(-hint)) + 1
        vectors[:, noise] = draw.random(rows)
        documents = tuple(f"d{number}-{row}" for row in range(rows))
        found.append(JudgedList(f"q{number}", documents, vectors, {documents[relevant]: 1}))
    return found


def small_model(seed: int = 1) -> LtrFile:
    """A model over all columns but the reranker's, grown on random vectors with gaps in them."""
    features = FeatureSet()
    columns = columns_without(features.names, ["rerank"])
    draw = np.random.default_rng(seed)
    vectors = random_vectors(1200, seed)[:, [features.names.index(name) for name in columns]]
    grades = (np.nan_to_num(vectors[:, 2]) + draw.normal(size=1200) > 1).astype(np.int64)
    grades[::12], grades[1::12] = 1, 0
    lists = Lists(vectors, grades, np.full(100, 12, np.int64), np.ones(100))
    grown = grow(lists, np.arange(100) % 4, SMALL)
    return LtrFile(features.version, features.fields_text, columns, grown.trees, {"made": "for a test"})


def random_vectors(rows: int, seed: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    draw = np.random.default_rng(seed)
    vectors = draw.normal(size=(rows, len(FeatureSet().names))).astype(np.float32)
    vectors[draw.random(vectors.shape) < 0.3] = np.nan
    return vectors


def looked_at(
    chances: Sequence[float], searches: int, *, seed: int = 1, swaps: float = 0.0, queries: int = 40, good: bool = False
) -> list[Impression]:
    """Pages of people who look at place k with ``chances[k]`` and open what they look at and want.

    What is wanted differs by passage. ``swaps`` is the share of pages whose order is shuffled; the others stand
    in an order without reason, or with ``good`` in that of how much they are wanted.
    """
    draw = random.Random(seed)
    places = len(chances)
    wanted = {(query, number): draw.uniform(0.1, 0.9) for query in range(queries) for number in range(places)}
    found = []
    for _ in range(searches):
        query = draw.randrange(queries)
        order = list(range(places))
        if good:
            order.sort(key=lambda number: -wanted[query, number])
        if draw.random() < swaps:
            draw.shuffle(order)
        clicked = tuple(
            draw.random() < chance and draw.random() < wanted[query, number]
            for chance, number in zip(chances, order, strict=True)
        )
        found.append(Impression(f"q{query}", "docs", tuple(f"p{query}-{number}#0" for number in order), clicked))
    return found
