"""The records over ten million vectors: drawn, indexed, searched by one thread, beside plain hnswlib and plain faiss.

    python -m benchmarks.vectors_10m fit REAL                      # eval/bench/minilm_shape.npz, out of real vectors
    python -m benchmarks.vectors_10m real REAL --out W/real        # real vectors with held-out queries and the truth
    python -m benchmarks.vectors_10m draw --count 10000000 --out W/made --threads 16
    python -m benchmarks.vectors_10m build W/made --spec Graph32,SQ8 --out W/graph --threads 2
    python -m benchmarks.vectors_10m search W/made W/graph         # recall, latency and memory by effort
    python -m benchmarks.vectors_10m hnswlib W/real W/made-1m      # in turns: is what is generated as hard as real?
    python -m benchmarks.vectors_10m faiss W/made --spec IVF16384,PQ96x4fsr

REAL is a folder with what benchmarks/real_vectors.py embedded. Every step goes on where it was killed, save the peers',
whose index is kept beside the data once it is whole; `--rounds 0` builds it and no more. The truth is exact search over
float32 vectors, before any of them is rounded. OPENBLAS_NUM_THREADS=1 for `draw` by many threads.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.vectors_10m_data import (
    DIMENSION,
    SEED,
    STORE,
    codes_of,
    count_of,
    draw,
    fit_shape,
    questions,
    say,
    take_real,
)
from eval.bench.synthetic import BLOCK
from retrieval.types import Rows, Vectors
from retrieval.vector_graph import Graph
from retrieval.vector_index import open_index
from retrieval.vector_ivf import Ivf
from retrieval.vector_writer import VectorWriter

K, RECALL = 10, 0.95
"""Recall is at K; peers are compared at what RECALL takes."""

EFS = (10, 20, 30, 40, 50, 60, 80, 100, 120, 160, 240)


@dataclass(frozen=True, slots=True)
class Measured:
    """What some queries one after another gave, times in milliseconds."""

    recall: float
    p50: float
    p99: float
    mean: float

    def __str__(self) -> str:
        rate = 1000 / self.mean
        return f"recall {self.recall:.4f}, p50 {self.p50:.3f} ms, p99 {self.p99:.3f}, {rate:.0f} a second"


def build(data: Path, spec: str, out: Path, threads: int) -> None:
    """Build the index of ``spec``; the vectors are linked into its folder, so their copying is not timed."""
    out.mkdir(parents=True, exist_ok=True)
    for name in STORE:
        if not (out / name).exists():
            os.link(data / name, out / name)
    count, began, last = count_of(data), time.perf_counter(), [0.0]

    def progress(done: int) -> None:
        if time.perf_counter() - last[0] > 10:
            last[0] = time.perf_counter()
            state = (
                json.loads((out / "building.json").read_text())["done"][-1:] if (out / "building.json").exists() else []
            )
            say(f"after step {state}: {done:,} of {count:,}, {time.perf_counter() - began:.0f} s, {_memory()}")

    VectorWriter(out, DIMENSION, spec, keep=count).close(spec, threads=threads, progress=progress)
    say(f"{spec} over {count:,}: built in {time.perf_counter() - began:.0f} s by {threads} threads in this run")


def search(data: Path, folder: Path, rounds: int) -> None:
    """Recall@10, latency and memory at each effort, one thread, one query at a time; later rounds are warmer."""
    queries, truth = questions(data)
    began = time.perf_counter()
    index = open_index(folder)
    say(f"opened in {time.perf_counter() - began:.1f} s; {dict(index.memory())}")
    meta = json.loads((folder / "vectors.json").read_text())
    say(f"effort that the build chose: {meta['effort']}")
    if not isinstance(index, Graph | Ivf):
        raise SystemExit(f"{index.spec} has no effort to turn")
    efforts = [effort for effort in index.efforts if _worth(effort)]
    for _ in range(rounds):
        for effort in [efforts[0], *efforts]:  # the first one twice: it warms the caches
            tuned = index.with_effort(effort)
            measured = _measure(lambda query, tuned=tuned: tuned.search(query, K).rows, queries, truth)  # type: ignore[misc]
            say(f"{index.spec} {effort}: {measured}; {_memory()}")
            if measured.recall >= 0.99:
                break


def hnswlib_peer(folders: Sequence[Path], threads: int, rounds: int) -> None:
    """Plain hnswlib, M 16, efConstruction 200, over float32; with several folders in turns, effort by effort."""
    indexes = [_hnswlib_index(data, threads) for data in folders]
    asked = [questions(data) for data in folders]
    found: dict[tuple[int, int], list[Measured]] = {}
    for _ in range(rounds):
        for ef in EFS:
            for at, (index, (queries, truth)) in enumerate(zip(indexes, asked, strict=True)):
                index.set_ef(ef)
                measured = _measure(
                    lambda query, index=index: index.knn_query(query, k=K, num_threads=1)[0][0],  # type: ignore[misc]
                    queries, truth,
                )  # fmt: skip
                say(f"hnswlib {folders[at]} ef {ef}: {measured}")
                found.setdefault((at, ef), []).append(measured)
    if not rounds:
        return
    times: list[float] = []
    for at, data in enumerate(folders):
        recalls = [found[at, ef][0].recall for ef in EFS]
        medians = [float(np.median([each.p50 for each in found[at, ef]])) for ef in EFS]
        times.append(float(np.interp(RECALL, recalls, medians)))
        beam, ratio = float(np.interp(RECALL, recalls, EFS)), times[-1] / times[0]
        say(f"hnswlib {data}: recall {RECALL} takes ef {beam:.0f} and {times[-1]:.3f} ms, {ratio:.3f} times the first")


def faiss_peer(data: Path, spec: str, threads: int, rounds: int) -> None:
    """Plain faiss: the index of ``spec`` trained on 64 vectors a list, then int8 refinement of 20 times k."""
    import faiss as library

    faiss: Any = library
    index = _faiss_index(data, spec, threads)
    queries, truth = questions(data)
    faiss.omp_set_num_threads(1)
    for _ in range(rounds):
        for probes, factor in ((p, f) for p in (16, 32, 64, 96, 128, 192, 256, 384) for f in (10, 20, 40)):
            base = faiss.SearchParametersIVF(nprobe=probes)
            parameters = faiss.IndexRefineSearchParameters(k_factor=factor, base_index_params=base)
            measured = _measure(
                lambda query, parameters=parameters: index.search(query[None, :], K, params=parameters)[1][0],  # type: ignore[misc]
                queries, truth,
            )  # fmt: skip
            say(f"faiss {spec} probes {probes}, refining {factor * K}: {measured}")
    say(_memory())


def _hnswlib_index(data: Path, threads: int) -> Any:
    import hnswlib

    count, kept, began = count_of(data), data / "hnswlib.index", time.perf_counter()
    index = hnswlib.Index(space="ip", dim=DIMENSION)
    if kept.exists():
        index.load_index(str(kept))
        return index
    index.init_index(max_elements=count, M=16, ef_construction=200, random_seed=SEED)
    for rows, vectors in _blocks(data):
        index.add_items(vectors, rows, num_threads=threads)
    say(f"hnswlib over {count:,} of {data}: built in {time.perf_counter() - began:.0f} s by {threads} threads")
    index.save_index(str(data / "hnswlib.new"))
    (data / "hnswlib.new").replace(kept)
    return index


def _faiss_index(data: Path, spec: str, threads: int) -> Any:
    import faiss as library

    faiss: Any = library
    count, kept, began = count_of(data), data / f"faiss-{spec}.index", time.perf_counter()
    if kept.exists():
        return faiss.read_index(str(kept))
    faiss.omp_set_num_threads(threads)
    index = faiss.index_factory(DIMENSION, f"{spec},Refine(SQ8)", faiss.METRIC_INNER_PRODUCT)
    sample = min(count, 64 * faiss.extract_index_ivf(index.base_index).nlist)
    index.train(codes_of(data).vectors(np.arange(sample) * count // sample))
    say(f"faiss trained in {time.perf_counter() - began:.0f} s")
    for _, vectors in _blocks(data):
        index.add(vectors)
    say(f"faiss {spec} over {count:,}: built in {time.perf_counter() - began:.0f} s by {threads} threads")
    faiss.write_index(index, str(data / "faiss.new"))
    (data / "faiss.new").replace(kept)
    return index


def _blocks(data: Path) -> Iterator[tuple[Rows, Vectors]]:
    store = codes_of(data)
    for start in range(0, store.count, BLOCK):
        rows = np.arange(start, min(start + BLOCK, store.count))
        yield rows, store.vectors(rows)


def _worth(effort: dict[str, int]) -> bool:
    return effort.get("probes", 16) >= 16 and effort.get("candidates", 100) >= 100


def _measure(find: Callable[[NDArray[np.float32]], Rows], queries: Vectors, truth: Rows) -> Measured:
    times, found = [], 0
    for query, expected in zip(queries, truth[:, :K].tolist(), strict=True):
        began = time.perf_counter()
        rows = find(query)
        times.append(time.perf_counter() - began)
        found += len(set(rows.tolist()) & set(expected))
    ms = np.array(times) * 1000
    p50, p99 = np.percentile(ms, [50, 99]).tolist()
    return Measured(found / (K * len(queries)), p50, p99, float(ms.mean()))


def _memory() -> str:
    """The process's own pages, shared ones, and those of mapped files, in GB."""

    def fields() -> Iterator[str]:
        for line in Path("/proc/self/status").read_text().splitlines():
            name, _, value = line.partition(":")
            if name in {"VmHWM", "RssAnon", "RssShmem", "RssFile"}:
                yield f"{name} {int(value.split()[0]) / 1e6:.2f}"

    return "GB: " + ", ".join(fields())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    steps = parser.add_subparsers(dest="step", required=True)

    def step(name: str, *places: str, **options: str | int) -> None:
        each = steps.add_parser(name)
        for place in places:
            each.add_argument(place, type=Path, nargs="+" if place == "folders" else None)
        for option, default in options.items():
            each.add_argument(f"--{option}", type=Path if option == "out" else type(default), default=default)

    step("fit", "real")
    step("real", "real", out="real", count=1_000_000, threads=1)
    step("draw", out="made", count=10_000_000, threads=1)
    step("build", "data", spec="Graph32,SQ8", out="index", threads=2)
    step("search", "data", "index", rounds=1)
    step("hnswlib", "folders", threads=2, rounds=1)
    step("faiss", "data", spec="IVF16384,PQ96x4fsr", threads=2, rounds=1)
    chosen = parser.parse_args()
    match chosen.step:
        case "fit":
            fit_shape(chosen.real)
        case "real":
            take_real(chosen.real, Path(chosen.out), chosen.count, chosen.threads)
        case "draw":
            draw(Path(chosen.out), chosen.count, chosen.threads)
        case "build":
            build(chosen.data, chosen.spec, Path(chosen.out), chosen.threads)
        case "search":
            search(chosen.data, chosen.index, chosen.rounds)
        case "hnswlib":
            hnswlib_peer(chosen.folders, chosen.threads, chosen.rounds)
        case "faiss":
            faiss_peer(chosen.data, chosen.spec, chosen.threads, chosen.rounds)


if __name__ == "__main__":
    main()
