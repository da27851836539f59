"""The lexical channel: quality on judged sets beside bm25s, indexing rates, and search over millions of passages.

    python -m benchmarks.lexical quality ../shared/data
    python -m benchmarks.lexical rates ../shared/data --folder .cache/lexical
    python -m benchmarks.lexical search ../shared/data --folder .cache/lexical --passages 10_000_000

Texts come from the seeded generator of ``eval.bench.texts``; a tenth of those searched is Chinese. ``search`` can be
ended and started again: blocks of texts that are drawn are kept, and so is a finished index. bm25s (a library of the
dev extra) is given the very terms of our analysis, title and text as one field, so that only the scoring differs.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from eval.bench.latency import Latencies
from eval.bench.texts import Pieces, Texts, read_pieces
from eval.datasets import load_judged_set
from eval.retrieval_metrics import Run, evaluate
from retrieval.analysis import analyse, default_analysis
from retrieval.bitmap import Bitmap
from retrieval.filters import EVERYTHING, Compare, Scope
from retrieval.lexical import Lexical, LexicalWriter, parse_query

SETS = {
    "adi": None,
    "cranfield": None,
    "scifact": "train",
    "cosqa": "dev",
    "nl2bash-tldr": "dev",
    "law-zh-stard": "train",
}
METRICS = ("nDCG@10", "R@100")
BLOCK = 100_000
SHARES = (1, 10, 100, 1000, 5000)
"""Of 10,000 passages that many pass the filter."""
SEED = 2024


def quality(data: Path, folder: Path) -> None:
    print("| set | nDCG@10 | R@100 | one field | bm25s |\n|---|---|---|---|---|")
    for name, split in SETS.items():
        with gzip.open(data / name / "corpus.jsonl.gz", "rt", encoding="utf-8") as lines:
            rows = [(row["_id"], row.get("title") or "", row["text"]) for row in map(json.loads, lines)]
        judged = load_judged_set(data / name, split)
        runs = [
            _run(folder, [(title, text) for _, title, text in rows], judged.queries),
            _run(folder, [("", f"{title}\n{text}") for _, title, text in rows], judged.queries),
            _peer_run([f"{title}\n{text}" for _, title, text in rows], judged.queries),
        ]
        ours, single, peer = (evaluate(judged.qrels, _named(run, [row[0] for row in rows]), METRICS) for run in runs)
        print(
            f"| {name} {split or ''} | {ours['nDCG@10']:.3f} | {ours['R@100']:.3f} "
            f"| {single['nDCG@10']:.3f} | {peer['nDCG@10']:.3f} |",
            flush=True,
        )


def _run(folder: Path, rows: Sequence[tuple[str, str]], queries: dict[str, str]) -> dict[str, Any]:
    with LexicalWriter(_emptied(folder / "judged")) as writer:
        for title, text in rows:
            writer.add(title, (), text)
    lexical = Lexical(folder / "judged")
    found = {query: lexical.search(parse_query(text, lexical.analysis), 100) for query, text in queries.items()}
    return {query: (hits.rows.tolist(), hits.scores.tolist()) for query, hits in found.items()}


def _peer_run(texts: Sequence[str], queries: dict[str, str]) -> dict[str, Any]:
    import bm25s

    peer = bm25s.BM25(k1=1.2, b=0.75, method="lucene")
    peer.index([analyse(text) for text in texts], show_progress=False)
    depth = min(100, len(texts))
    rows, scores = peer.retrieve([analyse(text) for text in queries.values()], k=depth, show_progress=False)
    return {query: (rows[row].tolist(), scores[row].tolist()) for row, query in enumerate(queries)}


def _named(run: dict[str, Any], ids: Sequence[str]) -> Run:
    return {query: {ids[row]: score for row, score in zip(*found, strict=True)} for query, found in run.items()}


def rates(data: Path, folder: Path) -> None:
    """Analysis and indexing together by two processes, fed from memory; processor time includes the processes'."""
    texts = Texts(_pieces(data, folder), SEED)
    words = " ".join(texts.block(0, np.zeros(200_000, bool))).split()
    kinds = {
        "15 words": [" ".join(words[start : start + 15]) for start in range(0, len(words), 15)],
        "100 words": [" ".join(words[start : start + 100]) for start in range(0, len(words), 100)],
        "Chinese, 119 characters": _statutes(data),
    }
    print("| passages | of | passages/s | processor µs a passage | bytes a passage |\n|---|---|---|---|---|")
    for name, passages in kinds.items():
        index = _emptied(folder / "rates")
        began, used = time.perf_counter(), _processor_seconds()
        with LexicalWriter(index, workers=2) as writer:
            for text in passages:
                writer.add("", (), text)
        took, used = time.perf_counter() - began, _processor_seconds() - used
        size = sum(path.stat().st_size for path in index.iterdir())
        count = len(passages)
        print(
            f"| {count:,} | {name} | {count / took:,.0f} | {used / count * 1e6:.1f} | {size / count:.0f} |", flush=True
        )


def search(data: Path, folder: Path, passages: int) -> None:
    texts = Texts(_pieces(data, folder), SEED)
    index = folder / f"index-{passages}"
    if not index.exists():
        _build(texts, folder, index, passages)
    began = time.perf_counter()
    lexical = Lexical(index)
    print(f"opened in {(time.perf_counter() - began) * 1e3:.0f} ms, {_segments(index)} tantivy segments", flush=True)
    queries = texts.queries(SEED, 500)
    found = _timed("k = 10", queries, lambda query: lexical.search(query, 10))
    _print(found)
    _print(_timed("k = 100", queries, lambda query: lexical.search(query, 100)))
    _print(_timed("phrase", [f'"{" ".join(query.split()[:2])}"' for query in queries], lambda q: lexical.search(q, 10)))
    _print(_timed("prefix", [f"{query.split()[1]}*" for query in queries], lambda q: lexical.search(q, 10)))
    ranks = _ranks(passages)
    for share in SHARES:
        allowed = Bitmap.of_flags(ranks < share)
        scopes = {"inside": Scope(Compare("lt", "rank", share)), "checked only": EVERYTHING}
        for how, scope in scopes.items():
            if how == "inside" or share not in SHARES[1:3]:  # checking alone takes seconds there: what inside is for
                filtered = partial(lexical.search, depth=100, allowed=allowed, scope=scope)
                _print(_timed(f"k = 100, {share / 100:g} % pass, {how}", queries[:200], filtered))


def _build(texts: Texts, folder: Path, index: Path, passages: int) -> None:
    """Drawn texts are on disk before the clock starts; the ranks that filters ask for are metadata."""
    for block in range(-(-passages // BLOCK)):
        path = folder / f"texts-{block:04}.txt"
        if not path.exists():
            drawn = texts.block(block, np.arange(BLOCK) % 10 == 0)
            path.with_suffix(".tmp").write_text("\n".join(drawn), encoding="utf-8")
            path.with_suffix(".tmp").rename(path)
    ranks = _ranks(passages).tolist()
    began, used = time.perf_counter(), _processor_seconds()
    with LexicalWriter(_emptied(index.with_suffix(".tmp")), workers=2) as writer:
        for row, text in enumerate(_read(folder, passages)):
            writer.add("", (), text, {"rank": ranks[row]})
    took, used = time.perf_counter() - began, _processor_seconds() - used
    index.with_suffix(".tmp").rename(index)
    size = sum(path.stat().st_size for path in index.iterdir())
    print(
        f"{passages:,} passages, a tenth Chinese, indexed in {took:.0f} s: {passages / took:,.0f} a second, "
        f"{used / passages * 1e6:.1f} µs of processor each, {size / 1e9:.2f} GB",
        flush=True,
    )


def _read(folder: Path, passages: int) -> Iterator[str]:
    for row in range(0, passages, BLOCK):
        lines = (folder / f"texts-{row // BLOCK:04}.txt").read_text(encoding="utf-8").split("\n")
        yield from lines[: passages - row]


def _ranks(passages: int) -> Any:
    return np.random.default_rng(SEED).integers(0, 10_000, passages)


def _timed(what: str, queries: Sequence[str], one: Callable[[Any], Any]) -> Latencies:
    """Reading the query included; each is asked once before the clock starts, so that files are in memory."""
    analysis = default_analysis()
    samples = []
    for again in (False, True):
        for query in queries:
            began = time.perf_counter()
            one(parse_query(query, analysis))
            if again:
                samples.append((time.perf_counter() - began) * 1e3)
    return Latencies(what, tuple(samples))


def _print(found: Latencies) -> None:
    mean = sum(found.samples) / len(found.samples)
    print(f"| {found.what} | p50 {found.p50:.2f} ms | p99 {found.p99:.2f} ms | mean {mean:.2f} ms |", flush=True)


def _statutes(data: Path) -> list[str]:
    """Real texts, since drawn ones repeat their clauses and would be remembered."""
    with gzip.open(data / "law-zh-stard" / "corpus.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line)["text"] for line in lines]


def _pieces(data: Path, folder: Path) -> Pieces:
    path = folder / "pieces.json"
    if not path.exists():
        read_pieces(data).save(path)
    return Pieces.load(path)


def _segments(index: Path) -> int:
    return len(json.loads((index / "meta.json").read_text())["segments"])


def _emptied(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def _processor_seconds() -> float:
    """Of this process and of those it has waited for."""

    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("quality", "rates", "search"))
    parser.add_argument("data", type=Path, help="the folder of data sets (RIDDLE_DATA)")
    parser.add_argument("--folder", type=Path, default=Path(".cache/lexical"), help="where texts and indexes go")
    parser.add_argument("--passages", type=int, default=10_000_000)
    chosen = parser.parse_args()
    chosen.folder.mkdir(parents=True, exist_ok=True)
    if chosen.part == "quality":
        quality(chosen.data, chosen.folder)
    elif chosen.part == "rates":
        rates(chosen.data, chosen.folder)
    else:
        search(chosen.data, chosen.folder, chosen.passages)


if __name__ == "__main__":
    main()
