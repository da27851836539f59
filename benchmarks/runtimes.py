"""Times encoder and reranker by runtime and threads: one query, a batch of passages, a rerank of twenty.

    python -m benchmarks.runtimes --home .riddle

Every configuration takes its turn in every round, so that load from elsewhere falls on all alike. Wall time
says what a user waits only on an idle machine: the load average is printed, and processor time beside it.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import get_args

import numpy as np

from ranking.cross_encoder import open_reranker
from retrieval.encoders import open_encoder
from retrieval.graphs import GraphRuntime, cores, cpu_flags
from retrieval.models import find_model

QUERY = "how do I get distinct rows from a query set"
SENTENCES = (
    "A query set is lazy: nothing is read from the database until its rows are asked for.",
    "Call distinct() to leave out rows that are equal in every column that was selected.",
    "When several tables are joined, the same object may come back more than once.",
    "Ordering by a column of a related table adds that column to what is compared.",
    "On PostgreSQL the names of columns may be given, and the first row of each group is kept.",
)


def passages(count: int, sentences: int) -> list[str]:
    """Texts of that many sentences, no two alike; a sentence has some 18 tokens."""
    return [
        " ".join(f"{SENTENCES[(text + line * 3) % len(SENTENCES)]} ({text}.{line})" for line in range(sentences))
        for text in range(count)
    ]


def configurations(home: Path) -> dict[str, Callable[[], object]]:
    """Everything that is timed, by name; texts of 80 tokens are windows, of 180 whole passages."""
    long, short = passages(20, 8), passages(20, 4)
    found: dict[str, Callable[[], object]] = {}
    for runtime in get_args(GraphRuntime):
        for threads in sorted({1, cores()}):
            encoder = open_encoder(find_model("bge-small-en-v1.5", home), runtime=runtime, threads=threads)
            reranker = open_reranker(find_model("ms-marco-minilm-l12-v2", home), runtime=runtime, threads=threads)
            name = f"{runtime}, {threads} thread{'s' if threads > 1 else ''}"
            found[f"one query              {name}"] = partial(encoder.encode, [QUERY], "query")
            found[f"20 passages embedded   {name}"] = partial(encoder.encode, long, "passage")
            found[f"20 windows reranked    {name}"] = partial(reranker.score, QUERY, short)
            found[f"20 passages reranked   {name}"] = partial(reranker.score, QUERY, long)
    return found


def main() -> None:
    """Time all configurations in turn and print medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    wanted = sorted(cpu_flags() & {"avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "amx_bf16"})
    print(f"{platform.machine()}, {cores()} cores, {' '.join(wanted)}, load {os.getloadavg()[0]:.1f}")
    work = configurations(options.home)
    wall: dict[str, list[float]] = {name: [] for name in work}
    processor: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(options.rounds + 1):
        for name, call in work.items():
            began, used = time.perf_counter(), time.process_time()
            call()
            wall[name].append((time.perf_counter() - began) * 1000)
            processor[name].append((time.process_time() - used) * 1000)
    for name in sorted(work, key=lambda each: (each[:20], each)):
        # The first round warms up.
        waited, spent = np.median(wall[name][1:]), np.median(processor[name][1:])
        print(f"{name:<52} {waited:>8.1f} ms  p90 {np.quantile(wall[name][1:], 0.9):>8.1f}  cpu {spent:>8.1f}")
    print(f"load {os.getloadavg()[0]:.1f} at the end")


if __name__ == "__main__":
    main()
