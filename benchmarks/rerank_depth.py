"""How deep a cross-encoder reads: until the top is settled, and within a budget when two ask at a time.

    python -m benchmarks.rerank_depth cascade ../shared/data --home .riddle --queries 100
    python -m benchmarks.rerank_depth deadlines --home .riddle

``cascade`` reads windows of BM25's first 100: what stopping early loses with twelve layers, and what it costs with
the first six of them. ``deadlines`` has two callers at a time ask for 100 pairs within 50, 100 and 300 ms.
"""

from __future__ import annotations

import argparse
import math
import os
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks.cross_encoder import LAYERS, SETS, TEACHER, Scores, candidates, cut
from eval.datasets import load_judged_set
from eval.retrieval_metrics import evaluate
from ranking.budget import Budget, CostModel
from ranking.cross_encoder import CrossEncoder, open_reranker
from ranking.reading import read
from retrieval.models import find_model
from services.calibration import QUERY, SENTENCE, calibrated


class Known:
    """Serves logits that were computed before: a pair's score is the same in whichever round it is read."""

    def __init__(self, logits: Mapping[str, float]) -> None:
        self._logits = logits

    def score_round(self, query: str, texts: Sequence[str], deadline: float | None = None) -> tuple[Scores, int]:
        return np.array([self._logits[text] for text in texts], np.float32), 0


def cascade(data: Path, home: Path, queries: int) -> None:
    teacher, guess = open_reranker(find_model(TEACHER, home)), CostModel(0.0, 0.0, 0.1)
    with tempfile.TemporaryDirectory() as folder:
        small = open_reranker(cut(find_model(TEACHER, home), LAYERS, Path(folder)))
    print(
        "| set | queries | tokens a pair | all 100 | settled | read | six layers, all: ms | settled: ms | processor |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for name, split in SETS.items():
        judged = load_judged_set(data / name, split)
        whole: dict[str, dict[str, float]] = {}
        early: dict[str, dict[str, float]] = {}
        depths, tokens, took = [], [], []
        for query, found in candidates(data / name, split, queries, depth=100, window=48).items():
            asked, texts = judged.queries[query], list(found.values())
            logits, count = teacher.score_round(asked, texts)
            prior = [-math.log(rank) for rank in range(1, len(texts) + 1)]
            known = Known(dict(zip(texts, logits.tolist(), strict=True)))
            reading = read(known, Budget(guess), asked, texts, prior, k=10, left_ms=None)
            whole[query] = dict(zip(found, logits.tolist(), strict=True))
            early[query] = dict(zip(found, np.where(np.isnan(reading.logits), -100, logits).tolist(), strict=True))
            depths.append(reading.read)
            tokens.append(count / len(texts))
            took.append((*_timed(small, asked, texts), *_timed(small, asked, texts[: reading.read])))
        qrels = {query: judged.qrels[query] for query in whole}
        both = [evaluate(qrels, run, ["nDCG@10"])["nDCG@10"] for run in (whole, early)]
        ms = np.median(np.array(took), axis=0)
        print(
            f"| {name} | {len(qrels)} | {np.mean(tokens):.0f} | {both[0]:.4f} | {both[1]:.4f} | {np.mean(depths):.0f} "
            f"| {ms[0]:.0f} | {ms[2]:.0f} | {ms[1]:.0f}, {ms[3]:.0f} |",
            flush=True,
        )


def _timed(reranker: CrossEncoder, query: str, texts: Sequence[str]) -> tuple[float, float]:
    """Wall and processor milliseconds."""
    began, spent = time.perf_counter(), time.process_time()
    reranker.score_round(query, texts)
    return (time.perf_counter() - began) * 1000, (time.process_time() - spent) * 1000


def deadlines(home: Path, requests: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        reranker = open_reranker(cut(find_model(TEACHER, home), LAYERS, Path(folder)))
    budget = Budget(calibrated(reranker, rounds=3))
    texts = [f"{row}. " + SENTENCE * 2 for row in range(100)]
    prior = np.random.default_rng(3).normal(size=100).tolist()
    print(f"load {os.getloadavg()[0]:.1f}; two callers, {requests} requests each, {len(texts)} candidates of 50 tokens")
    print("| budget ms | in time | p50 ms | p99 ms | pairs read, median |\n|---|---|---|---|---|")
    for allowed in (50.0, 100.0, 300.0):
        took: list[float] = []
        depths: list[int] = []

        def caller(allowed: float = allowed, took: list[float] = took, depths: list[int] = depths) -> None:
            for _ in range(requests):
                began = time.monotonic()
                found = read(reranker, budget, QUERY, texts, prior, k=10, left_ms=allowed)
                took.append((time.monotonic() - began) * 1000)
                depths.append(found.read)

        callers = [threading.Thread(target=caller) for _ in range(2)]
        for each in callers:
            each.start()
        for each in callers:
            each.join()
        share = np.mean(np.array(took) <= allowed)
        p50, p99 = np.quantile(took, [0.5, 0.99])
        print(f"| {allowed:.0f} | {share:.4f} | {p50:.0f} | {p99:.0f} | {np.median(depths):.0f} |", flush=True)


def main() -> None:
    """Run one of the parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    cascaded = parts.add_parser("cascade")
    cascaded.add_argument("data", type=Path)
    cascaded.add_argument("--queries", type=int, default=100)
    kept = parts.add_parser("deadlines")
    kept.add_argument("--requests", type=int, default=300)
    for each in (cascaded, kept):
        each.add_argument("--home", type=Path, required=True)
    options = parser.parse_args()
    if options.part == "cascade":
        cascade(options.data, options.home, options.queries)
    else:
        deadlines(options.home, options.requests)


if __name__ == "__main__":
    main()
