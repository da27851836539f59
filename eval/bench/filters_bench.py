"""Searches under filters of known selectivity: what they find of what exact search finds, and how long they take."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from eval.bench.corpus import REGIONS, Corpus, Facts
from eval.bench.latency import Latencies
from retrieval.filters import Scope, parse_filter
from retrieval.types import Hits, Passage, Vectors

K = 10
Tree = dict[str, Any]


class Snapshot(Protocol):
    """What is searched."""

    def dense(self, vector: Vectors, depth: int, scope: Scope) -> Hits: ...
    def passages(self, rows: NDArray[np.int64]) -> list[Passage]: ...


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of filter.

    ``share`` admits that many of ten thousand documents, by a number or, with ``tag``, by a keyword. ``regions`` above
    0 admits the regions nearest to each query, below 0 as many of the farthest. ``principals`` are the caller's.
    """

    name: str
    share: int = 10_000
    tag: str = ""
    regions: int = 0
    principals: frozenset[str] | None = None

    def scope(self, ranked: Sequence[int]) -> Scope:
        """What a query may see whose regions are ``ranked``, the nearest first."""
        leaves: list[Tree] = []
        if self.tag:
            leaves.append({"type": "eq", "key": "tags", "value": self.tag})
        elif self.share < 10_000:
            leaves.append({"type": "lt", "key": "share", "value": self.share})
        if self.regions:
            leaves.append({"type": "in", "key": "region", "value": [f"r{each:02}" for each in self._regions(ranked)]})
        tree = leaves[0] if len(leaves) == 1 else {"type": "and", "filters": leaves}
        return Scope(parse_filter(tree) if leaves else None, self.principals)

    def admitted(self, facts: Facts, regions: NDArray[np.int64], ranked: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which documents each query may see, ``[queries, documents]`` or ``[1, documents]`` when all see the same."""
        flags = facts.share < self.share
        if self.principals is not None:
            flags = flags & facts.admitted(self.principals)
        if not self.regions:
            return flags[None, :]
        table = np.zeros((len(ranked), REGIONS), np.bool_)
        for row, own in enumerate(ranked.tolist()):
            table[row, self._regions(own)] = True
        return table[:, regions] & flags

    def _regions(self, ranked: Sequence[int]) -> Sequence[int]:
        return ranked[: self.regions] if self.regions > 0 else ranked[self.regions :]


CASES = (
    Case("none"),
    Case("50 % by range", share=5000),
    Case("10 % by range", share=1000),
    Case("1 % by range", share=100),
    Case("0.1 % by range", share=10),
    Case("0.01 % by range", share=1),
    Case("50 % by keyword", share=5000, tag="half"),
    Case("1 % by keyword", share=100, tag="one-in-100"),
    Case("0.1 % by keyword", share=10, tag="one-in-1000"),
    Case("half of the regions, nearest", regions=32),
    Case("6 nearest regions", regions=6),
    Case("1 nearest region", regions=1),
    Case("half of the regions, farthest", regions=-32),
    Case("6 farthest regions", regions=-6),
    Case("1 farthest region", regions=-1),
    Case("1 farthest region and 10 % by range", regions=-1, share=1000),
    Case("rights: public", principals=frozenset({"public"})),
    Case("rights: public and a team, 1 % by range", share=100, principals=frozenset({"public", "group:team"})),
)
"""Filters that have nothing to do with the vectors, and filters that go with them or against them."""


@dataclass(frozen=True, slots=True)
class Truth:
    """Exact answers: ``ids`` ``[cases][queries]`` lists of passage ids, nearest first; ``selectivity`` by case."""

    ids: list[list[list[str]]]
    selectivity: list[float]


@dataclass(frozen=True, slots=True)
class CaseResult:
    case: str
    selectivity: float
    recall: float
    """Mean share of the exact first ten (or of as many as there are) that was found."""
    worst: float
    """The same of the query with the least."""
    excluded: int
    """Passages returned that the filter or the rights exclude: 0, or the engine is broken."""
    latency: Latencies
    first_ms: float
    """Median of the first search under a filter, its evaluation included."""

    def as_json(self) -> dict[str, object]:
        return {
            "case": self.case,
            "selectivity": self.selectivity,
            "recall@10": round(self.recall, 4),
            "worst": round(self.worst, 2),
            "excluded": self.excluded,
            "first_ms": round(self.first_ms, 2),
            **{name: value for name, value in self.latency.as_json().items() if name.endswith("_ms")},
        }


def regions_of(corpus: Corpus, queries: Vectors) -> NDArray[np.int64]:
    """Regions of each query, the nearest first, ``[queries, REGIONS]``."""
    order: NDArray[np.int64] = np.argsort(-(queries @ corpus.anchors.T), axis=1, kind="stable")
    return order


def exact(
    corpus: Corpus,
    queries: Vectors,
    cases: Sequence[Case] = CASES,
    *,
    progress: Callable[[str], None] = lambda text: None,
) -> Truth:
    """The nearest ten of each query under each case, by scanning every vector as it was generated, in float32."""
    ranked = regions_of(corpus, queries)
    best = [_Best(len(queries)) for _ in cases]
    admitted, first = np.zeros(len(cases)), 0
    for block in range(corpus.blocks):
        sizes, facts = corpus.sizes(block), Facts.of(corpus.numbers(block))
        vectors, regions = corpus.passage_vectors(block)
        scores = queries @ vectors.T
        for number, case in enumerate(cases):
            flags = np.repeat(case.admitted(facts, regions, ranked), sizes, axis=1)
            admitted[number] += flags.mean(axis=0).sum()
            best[number].add(scores, flags, first)
        first += len(vectors)
        if block % 20 == 19:
            progress(f"exact neighbours: {first:,} of {corpus.passages:,}")
    names = _Names(corpus)
    ids = [[[names(row) for row in rows] for rows in each.rows()] for each in best]
    return Truth(ids, (admitted / corpus.passages).tolist())


class _Best:
    """The ten best of each query so far."""

    def __init__(self, queries: int) -> None:
        self._scores = np.full((queries, K), -np.inf, np.float32)
        self._rows = np.full((queries, K), -1, np.int64)

    def add(self, scores: NDArray[np.float32], flags: NDArray[np.bool_], first: int) -> None:
        """``scores`` ``[queries, n]`` of the rows from ``first`` on; ``flags``, ``[queries or 1, n]``: which count."""
        better = (scores > self._scores[:, -1:]) & flags
        for query in np.flatnonzero(better.any(axis=1)).tolist():
            found = np.flatnonzero(better[query])
            every = np.concatenate([self._scores[query], scores[query, found]])
            rows = np.concatenate([self._rows[query], found + first])
            order = np.lexsort((rows, -every))[:K]
            self._scores[query], self._rows[query] = every[order], rows[order]

    def rows(self) -> Iterator[list[int]]:
        for own in self._rows.tolist():
            yield [row for row in own if row >= 0]


class _Names:
    """Passage ids by the number of the passage in the whole corpus."""

    def __init__(self, corpus: Corpus) -> None:
        self._ends = np.cumsum(np.concatenate([corpus.sizes(block) for block in range(corpus.blocks)]))

    def __call__(self, row: int) -> str:
        document = int(np.searchsorted(self._ends, row, side="right"))
        start = int(self._ends[document - 1]) if document else 0
        return f"d{document:08}#{row - start}"


def measure(
    snapshot: Snapshot,
    corpus: Corpus,
    queries: Vectors,
    truth: Truth,
    cases: Sequence[Case] = CASES,
    *,
    rounds: int = 3,
) -> list[CaseResult]:
    """Search densely for every query under every case; the median is of ``rounds`` searches after a first one each."""
    ranked = regions_of(corpus, queries).tolist()
    results = []
    for number, case in enumerate(cases):
        scopes = [case.scope(own) for own in ranked]
        firsts, samples, recalls, excluded = [], [], [], 0
        for query, vector in enumerate(queries):
            elapsed, hits = _timed(snapshot, vector, scopes[query])
            firsts.append(elapsed)
            passages = snapshot.passages(hits.rows)
            excluded += sum(not _may_see(scopes[query], passage) for passage in passages)
            wanted = set(truth.ids[number][query])
            found = {passage.passage_id for passage in passages}
            recalls.append(len(wanted & found) / len(wanted) if wanted else 1.0)
        for _ in range(rounds):
            samples += [_timed(snapshot, vector, scopes[query])[0] for query, vector in enumerate(queries)]
        latency = Latencies(case.name, tuple(samples))
        recall, worst = float(np.mean(recalls)), float(np.min(recalls))
        selectivity = truth.selectivity[number]
        results.append(CaseResult(case.name, selectivity, recall, worst, excluded, latency, float(np.median(firsts))))
    return results


def _timed(snapshot: Snapshot, vector: Vectors, scope: Scope) -> tuple[float, Hits]:
    began = time.perf_counter()
    hits = snapshot.dense(vector, K, scope)
    return (time.perf_counter() - began) * 1000, hits


def _may_see(scope: Scope, passage: Passage) -> bool:
    """By the plain rule of filters, and by the rights that the generator gave the document."""
    number = np.asarray([int(passage.document_id[1:])], np.int64)
    allowed = scope.principals is None or bool(Facts.of(number).admitted(scope.principals)[0])
    return allowed and Scope(scope.filter).admits(passage.metadata, ())
