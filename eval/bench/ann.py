"""Vector indexes side by side: recall against exact search, and time, at every effort and then again in one race."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np

from eval.bench.ann_peers import Contender, Effort, built
from eval.bench.embeddings import Embeddings
from eval.bench.latency import Latencies
from retrieval.types import Rows

ENOUGH = 0.03
"""A sweep ends this far above the recall that is aimed at: harder searches would only cost time."""

_SWEEP = 200
_ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Point:
    """One index searched with one effort: recall, milliseconds of one thread, what it holds."""

    name: str
    effort: Effort
    recall_10: float
    recall_100: float
    """Of a search for a hundred."""
    latency: Latencies
    """Of searches for ten."""
    build_s: float
    own_bytes: float
    """A vector, of the process's own memory."""
    mapped_bytes: float
    """A vector, of mapped files."""

    @property
    def qps(self) -> float:
        return 1000 * len(self.latency.samples) / sum(self.latency.samples)

    def as_json(self) -> dict[str, object]:
        return {
            "name": self.name, "effort": dict(self.effort), "recall@10": round(self.recall_10, 4),
            "recall@100": round(self.recall_100, 4), "p50_ms": round(self.latency.p50, 3),
            "p99_ms": round(self.latency.p99, 3), "qps": round(self.qps), "build_s": round(self.build_s, 1),
            "own_bytes_a_vector": round(self.own_bytes, 1), "mapped_bytes_a_vector": round(self.mapped_bytes, 1),
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class AnnReport:
    """``swept``: every effort of every index, over a part of the questions. ``raced``: of each index the effort that
    was fastest at the recall aimed at (else of the highest recall), over all questions, taking turns."""

    swept: tuple[Point, ...]
    raced: tuple[Point, ...]
    recall: float

    def as_json(self) -> dict[str, object]:
        return {
            "recall": self.recall,
            "raced": [point.as_json() for point in self.raced],
            "swept": [point.as_json() for point in self.swept],
        }


def bench_ann(
    embeddings: Embeddings,
    contenders: Sequence[Contender],
    work: Path,
    *,
    recall: float,
    threads: int,
    progress: Callable[[str], None],
) -> AnnReport:
    """Build what is not built in ``work`` yet, sweep the efforts of each, race the best. Searches take one thread."""
    progress(f"exact neighbours of {len(embeddings.queries):,} questions in {embeddings.count:,} vectors")
    truth = embeddings.nearest(100)
    swept: list[Point] = []
    chosen: list[tuple[Contender, Point]] = []
    for contender in contenders:
        progress(contender.name)
        folder, seconds = built(contender, embeddings, work, threads)
        points = []
        for effort in contender.open(folder, embeddings):
            points.append(_measured(contender, effort, embeddings, truth[:_SWEEP], seconds))
            if points[-1].recall_10 >= recall + ENOUGH:
                break
        swept += points
        good = [point for point in points if point.recall_10 >= recall]
        best = min(good, key=lambda point: point.latency.p50) if good else max(points, key=lambda each: each.recall_10)
        chosen.append((contender, best))
    progress("all of them, taking turns")
    samples: dict[str, list[float]] = {contender.name: [] for contender, _ in chosen}
    for _ in range(_ROUNDS):
        for contender, point in chosen:
            samples[contender.name] += _timed(contender, point.effort, embeddings, len(truth))
    raced = [
        _point(contender, best.effort, embeddings, truth, best.build_s, samples[contender.name])
        for contender, best in chosen
    ]
    return AnnReport(tuple(swept), tuple(raced), recall)


def rows_of(points: Sequence[Point]) -> list[tuple[object, ...]]:
    """Lines for a table under HEAD."""
    return [
        (
            point.name, " ".join(f"{key} {value}" for key, value in point.effort.items()) or "none",
            f"{point.recall_10:.4f}", f"{point.recall_100:.4f}", point.latency.p50, point.latency.p99,
            round(point.qps), round(point.own_bytes), round(point.mapped_bytes), round(point.build_s),
        )
        for point in points
    ]  # fmt: skip


HEAD = (
    "index", "effort", "recall@10", "recall@100", "p50 ms", "p99 ms", "queries/s", "own bytes a vector", "mapped bytes",
    "build s",
)  # fmt: skip


def _measured(
    contender: Contender, effort: Effort, embeddings: Embeddings, truth: Sequence[Rows], seconds: float
) -> Point:
    samples = _timed(contender, effort, embeddings, len(truth))
    return _point(contender, effort, embeddings, truth, seconds, samples)


def _point(
    contender: Contender, effort: Effort, embeddings: Embeddings, truth: Sequence[Rows], seconds: float,
    samples: Sequence[float],
) -> Point:  # fmt: skip
    ten = [contender.search(query, 10, effort) for query in embeddings.queries[: len(truth)]]
    hundred = [contender.search(query, 100, effort) for query in embeddings.queries[: len(truth)]]
    memory: Mapping[str, int] = contender.memory()
    return Point(
        contender.name, effort, _recall(ten, truth, 10), _recall(hundred, truth, 100),
        Latencies(contender.name, tuple(samples)), seconds, memory["anonymous"] / embeddings.count,
        memory["mapped"] / embeddings.count,
    )  # fmt: skip


def _timed(contender: Contender, effort: Effort, embeddings: Embeddings, count: int) -> list[float]:
    samples = []
    for query in embeddings.queries[:count]:
        began = perf_counter()
        contender.search(query, 10, effort)
        samples.append((perf_counter() - began) * 1000)
    return samples


def _recall(found: Sequence[Rows], truth: Sequence[Rows], k: int) -> float:
    hits = [len(np.intersect1d(rows[:k], true[:k])) for rows, true in zip(found, truth, strict=True)]
    return float(np.mean(hits)) / k
