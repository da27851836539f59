"""What `benchmarks/vectors_10m.py` searches: real or generated vectors as int8, held-out queries, and the truth."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from eval.bench.synthetic import BLOCK, PACKAGED, Shape, Synthetic, fit
from retrieval.graph_cells import in_threads, spans
from retrieval.types import Rows, Vectors
from retrieval.vector_store import Codes, StoreWriter, open_store, store_of

SEED, QUERIES, DEPTH, DIMENSION = 20261124, 1000, 100, 384
"""Of the truth the best DEPTH are kept."""

HELD_OUT = 10_000
"""The last rows of the real vectors: no index holds them."""

STORE = ("vectors.i8", "scales.f32")
"""The files that a StoreWriter of bytes writes."""

SHARES = (0.16, 0.18, 0.235)
"""With these, and themes as uneven as ``eval/bench/synthetic.py`` makes them, hnswlib takes 1.12 times as long for a
recall of 0.95 on a million generated vectors as on a million real ones (the nearest has a mean cosine of 0.787, real
0.794; the tenth 0.666, 0.671). Shares of 0.13, 0.165, 0.223 and themes more uneven (0.49) take 1.36 times, 0.1, 0.14,
0.18 and 0.6 1.64 times. Cosines alone do not tell: (0.2, 0.2, 0.25) with 0.4 match as well and are too easy."""

_AT_ONCE = 128
"""Queries whose products with a block are in memory at a time, in each thread."""


def say(text: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {text}", flush=True)


def fit_shape(real: Path) -> None:
    """Fit the packaged shape to 200,000 of the real vectors."""
    fit(_real(real, 0, 200_000), SHARES).save(PACKAGED)


def take_real(real: Path, out: Path, count: int, threads: int, *, held_out: int = HELD_OUT) -> None:
    """``count`` real vectors, and as queries some of the last of the file, which are held out."""
    total = len(np.load(real / "vectors.i8.npy", mmap_mode="r"))
    if count > total - held_out:
        raise SystemExit(f"{real} holds {total:,} vectors, the last {held_out:,} of them held out")
    queries = _real(real, total - held_out, min(total, total - held_out + QUERIES))
    _write(out, count, queries, lambda block: _real(real, block * BLOCK, min((block + 1) * BLOCK, count)), threads)


def draw(out: Path, count: int, threads: int, *, asked: int = QUERIES) -> None:
    """``count`` generated vectors and ``asked`` held-out queries; the same with any number of threads."""
    source = Synthetic(Shape.load(), SEED)
    queries = source.queries(asked)
    _write(out, count, queries, lambda b: source.block(b, min(BLOCK, count - b * BLOCK)).vectors, threads)


def questions(data: Path) -> tuple[Vectors, Rows]:
    """The queries of a folder, and the rows nearest to each by their float32 vectors."""
    return np.load(data / "queries.npy"), np.load(data / "truth.npy")


def count_of(data: Path) -> int:
    return int((data / STORE[1]).stat().st_size // 4)


def codes_of(data: Path) -> Codes:
    store = open_store(data, "i8", count_of(data), DIMENSION)
    assert isinstance(store, Codes)
    return store


def _write(out: Path, count: int, queries: Vectors, block: Callable[[int], Vectors], threads: int) -> None:
    """Codes, queries and the truth over them, block by block; ``state.npz`` says how far both are."""
    out.mkdir(parents=True, exist_ok=True)
    state, done = out / "state.npz", 0
    rows, scores = np.full((len(queries), DEPTH), -1), np.full((len(queries), DEPTH), -np.inf, np.float32)
    if state.exists():
        with np.load(state) as kept:
            done, rows, scores = int(kept["done"]), kept["rows"], kept["scores"]
    np.save(out / "queries.npy", queries)
    writer = StoreWriter(out, DIMENSION, "i8", keep=min(done * BLOCK, count))

    def drawn(number: int, _: int) -> tuple[Codes, Rows, Vectors]:
        vectors = block(number)
        return store_of(vectors), *_nearest(queries, vectors)

    blocks = in_threads(drawn, spans(done, -(-count // BLOCK), 1), threads)
    for number, (codes, near, products) in enumerate(blocks, done):
        writer.copy(codes, np.arange(codes.count))
        writer.flush()
        rows = np.concatenate([rows, number * BLOCK + near], axis=1)
        scores = np.concatenate([scores, products], axis=1)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :DEPTH]
        rows, scores = np.take_along_axis(rows, order, axis=1), np.take_along_axis(scores, order, axis=1)
        np.savez(out / "state.new.npz", done=number + 1, rows=rows, scores=scores)
        (out / "state.new.npz").replace(state)
        if number % 16 == 15:
            say(f"{(number + 1) * BLOCK:,} of {count:,} vectors")
    writer.close()
    np.save(out / "truth.npy", rows)
    say(f"{count:,} vectors; cosine of the best {scores[:, 0].mean():.3f}, of the tenth {scores[:, 9].mean():.3f}")


def _nearest(queries: Vectors, vectors: Vectors) -> tuple[Rows, Vectors]:
    """The best DEPTH rows of a block for each query, in no order, and their products."""
    depth = min(DEPTH, len(vectors))
    rows, scores = [], []
    for first, last in spans(0, len(queries), _AT_ONCE):
        products = queries[first:last] @ vectors.T
        near = np.argpartition(-products, depth - 1, axis=1)[:, :depth]
        rows.append(near)
        scores.append(np.take_along_axis(products, near, axis=1))
    return np.concatenate(rows), np.concatenate(scores)


def _real(folder: Path, first: int, last: int) -> Vectors:
    codes = np.load(folder / "vectors.i8.npy", mmap_mode="r")[first:last]
    scales = np.load(folder / "scales.npy", mmap_mode="r")[first:last]
    return np.asarray(codes * scales[:, None], np.float32)
