"""The whole ranking stack beside each of its parts and the usual reranker, over the same candidates; and its ladder.

    python -m benchmarks.ranking_stack table --out FOLDER
    python -m benchmarks.ranking_stack ladder --data DATA --home .riddle --out FOLDER --set scifact

``table`` reads what ``benchmarks.blend_study`` collected and scored. Blend and weights are the shipped ones, but on the
sets that they were fitted to: those are ranked by a blend of the other sets alone. ``ladder`` asks a real gateway over
HTTP with budgets, one caller or several at once, and holds what it gets against no budget and against fusion.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from benchmarks.blend_report import (
    load,
    measured,
    shipped,
    stage,
    usual,
    with_model,
    without,
)
from benchmarks.blend_study import ALL, CHECKED, SETS, kept, opened, scores_file, settings_of
from eval.retrieval_metrics import evaluate_by_query
from eval.stages import as_run, best_passages
from eval.statistics import mean_intervals, sign_flip
from eval.tuning import METRIC, Asked
from ranking.stage_table import BLENDED, Floats, StageTable
from ranking.tuned import Tuned, defaults

PEER, PEER_DEPTH = "ms-marco-minilm-l12-v2", 100
BUDGETS = (50, 100, 300)


def depth_cut(asked: Sequence[Asked], told: Tuned, models: Mapping[str, str], depth: int) -> list[Asked]:
    """As if only the first ``depth`` in reading order had been read."""
    found = []
    for each in asked:
        order, _ = told.reading_order(each.table, models)
        scores = each.table.scores.copy()
        scores[order[depth:], each.table.names.index("rerank")] = np.nan
        found.append(replace(each, table=StageTable(each.table.query, each.table.names, scores)))
    return found


@dataclass(frozen=True, slots=True)
class Row:
    """One set: nDCG@10 of each query by each way to rank."""

    name: str
    ways: Mapping[str, Floats]


def rows(out: Path, window: int, depth: int) -> list[Row]:
    """All sets that were collected and scored."""
    sets = {name: asked for name, asked in load(out).items() if name in ALL}
    students = {
        name: with_model(asked, kept(scores_file(out, name, ALL[name].reranker, window)))
        for name, asked in sets.items()
        if scores_file(out, name, ALL[name].reranker, window).is_file()
    }
    fit = {name: asked for name, asked in students.items() if name in SETS}
    found = []
    for name, asked in students.items():
        told = defaults()
        if name in SETS:
            rest = without(fit, name)
            told = Tuned(shipped(rest), (), usual(rest))
        models = {"dense": ALL[name].encoder, "rerank": ALL[name].reranker}
        scales = told.usual_of(models)
        whole = depth_cut(asked, told, models, depth)
        ways = {each: measured(asked, stage(each)) for each in ("lexical", "dense", "fused")}
        ways["fused + L12"] = ways["fused"]
        path = scores_file(out, name, PEER, 0)
        if path.is_file():
            ways["fused + L12"] = measured(with_model(asked, kept(path)), _behind("rerank"))
        ways["fused + student"] = measured(asked, _behind("rerank"))
        for label, stages in (("no student", ("rerank",)), ("no late", ("late",)), ("no model", ("rerank", "late"))):
            left = [each for each in BLENDED if each not in stages]
            ways[label] = measured(whole, lambda table, left=left, told=told, scales=scales: told.blend.scores(
                table.only(left), scales))  # type: ignore[misc]  # fmt: skip
        ways["stack"] = measured(whole, lambda table, told=told, scales=scales: told.blend.scores(table, scales))  # type: ignore[misc]
        found.append(Row(name, ways))
    return found


def _behind(name: str) -> Any:
    """One stage's order; what it did not read follows in fused order."""

    def scores(table: StageTable) -> Floats:
        column, below = table.of(name), table.of("fused")
        found: Floats = np.where(np.isfinite(column), column + 1e6, np.nan_to_num(below, nan=-1.0))
        return found

    return scores


def table(out: Path, window: int, depth: int) -> None:
    """Set by set, then pooled: the stack against each way, with 95 % intervals and sign-flip p."""
    found = rows(out, window, depth)
    for row in found:
        told = "  ".join(f"{way} {values.mean():.4f}" for way, values in row.ways.items())
        print(f"{row.name:<10}{len(row.ways['stack']):4}  {told}")
    against = ("lexical", "dense", "fused", "fused + L12")
    for label, some in (
        ("all", found),
        ("held apart", [row for row in found if row.name in CHECKED and row.name != "cosqa"]),
        ("checked", [row for row in found if row.name in CHECKED]),
    ):
        for way in (*against, "fused + student", "no late"):
            if not some:
                continue
            gains = np.concatenate([row.ways["stack"] - row.ways[way] for row in some])
            low, high = mean_intervals(gains)[0]
            p = float(sign_flip(gains)[0])
            print(f"{label}: stack against {way}: {gains.mean():+.4f} ({low:+.4f} to {high:+.4f}) p {p:.4f}")
    for row in found:
        best = max(against, key=lambda way: row.ways[way].mean())
        gains = row.ways["stack"] - row.ways[best]
        p = float(sign_flip(gains)[0])
        print(f"  {row.name}: against its best, {best}: {gains.mean():+.4f} p {p:.3f}")


async def _ask(
    client: httpx.AsyncClient, url: str, body: Mapping[str, Any], times: list[float], degraded: list[str]
) -> list[str]:
    began = time.perf_counter()
    reply = await client.post(f"{url}/v1/search", json=body)
    times.append((time.perf_counter() - began) * 1000)
    reply.raise_for_status()
    told = reply.json()
    degraded.append("+".join(told["degraded"]) or "whole")
    return [each["document_id"] for each in told["results"]]


async def ask_all(
    url: str, collection: str, queries: Mapping[str, str], budget: int | None, callers: int
) -> tuple[dict[str, list[str]], list[float], list[str]]:
    """Documents by query, the milliseconds of every request at its caller, and what was degraded."""
    waiting = list(queries.items())
    random.Random(budget or 0).shuffle(waiting)
    found: dict[str, list[str]] = {}
    times: list[float] = []
    degraded: list[str] = []

    async def caller() -> None:
        while waiting:
            name, text = waiting.pop()
            body: dict[str, Any] = {"query": text, "collection": collection, "k": 50}
            if budget is not None:
                body["budget_ms"] = budget
            found[name] = await _ask(client, url, body, times, degraded)

    async with httpx.AsyncClient(timeout=120) as client:
        await asyncio.gather(*(caller() for _ in range(callers)))
    return found, times, degraded


def ladder(data: Path, home: Path, out: Path, url: str, name: str, queries: int, callers: int) -> None:
    """Ask one set with every budget of a gateway at ``url``; appended to ``out/ladder.jsonl``."""
    from services.evaluation import indexed

    dataset = opened(name, data, out, queries)
    collection = indexed(dataset, settings_of(name, home), lambda progress: None).collection
    texts = {query_id: asked.text for query_id, asked in dataset.questions.items()}
    asyncio.run(ask_all(url, collection, dict(list(texts.items())[:20]), 100, callers))  # warm
    told: dict[str, Any] = {"set": name, "callers": callers}
    for budget in (*BUDGETS, None):
        label = str(budget or "none")
        found, times, degraded = asyncio.run(ask_all(url, collection, texts, budget, callers))
        run = {
            query_id: as_run(best_passages((document, 0.0) for document in some)) for query_id, some in found.items()
        }
        grades = {query_id: dict(some) for query_id, some in dataset.qrels.items()}
        by_query = evaluate_by_query(grades, run, [METRIC])[METRIC]
        times.sort()
        told[label] = {
            "ndcg": by_query,
            "p50": statistics.median(times),
            "p99": times[int(0.99 * (len(times) - 1))],
            "in_time": None if budget is None else sum(each <= budget for each in times) / len(times),
            "degraded": {each: degraded.count(each) for each in sorted(set(degraded))},
        }
        shown = {key: value for key, value in told[label].items() if key != "ndcg"}
        print(f"{name} {label}: nDCG@10 {np.mean(list(by_query.values())):.4f} {json.dumps(shown)}", flush=True)
    with (out / "ladder.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(told) + "\n")


def rungs(out: Path, callers: int) -> None:
    """What part of the unlimited stack's gain over fusion each budget keeps, over all sets that were asked."""
    lines = [json.loads(line) for line in (out / "ladder.jsonl").read_text(encoding="utf-8").splitlines()]
    latest = {line["set"]: line for line in lines if line.get("callers", 2) == callers}
    fused = {}
    for name, asked in load(out).items():
        values = measured(asked, stage("fused"))
        fused[name] = {each.query_id: value for each, value in zip(asked, values, strict=True)}
    gains: dict[str, list[float]] = {str(budget or "none"): [] for budget in (*BUDGETS, None)}
    in_time: dict[str, list[float]] = {}
    for name, line in latest.items():
        for label, some in gains.items():
            some += [value - fused[name][query_id] for query_id, value in line[label]["ndcg"].items()]
            in_time.setdefault(label, []).append(line[label]["in_time"])
    whole = float(np.mean(gains["none"]))
    for label, some in gains.items():
        kept_part = float(np.mean(some)) / whole
        print(f"{label:>5}: {np.mean(some):+.4f} over fusion, {kept_part:.1%} of the whole gain, {len(some)} queries; "
              f"in time by set {in_time[label]}")  # fmt: skip


def precision(out: Path, window: int, depth: int = 20) -> None:
    """nDCG@10 of each student's order of the first ``depth`` candidates, by our int8 kernel and in float32."""
    for name, asked in load(out).items():
        model = ALL[name].reranker
        exact = scores_file(out, name, f"{model}@sentence-transformers", window)
        if not exact.is_file():
            continue
        ours = kept(scores_file(out, name, model, window))
        told = {}
        for label, scores in (("int8", ours), ("float32", kept(exact))):
            some = [each for each in asked if each.query_id in kept(exact)]
            first = {key: values[:depth] for key, values in scores.items()}
            told[label] = measured(with_model(some, first), _behind("rerank"))
        gains = told["int8"] - told["float32"]
        print(f"{name}: {model} int8 {told['int8'].mean():.4f}, float32 {told['float32'].mean():.4f}, "
              f"{gains.mean():+.4f}, p {float(sign_flip(gains)[0]):.3f}, {len(gains)} queries")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("table", "ladder", "rungs", "precision"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--home", type=Path, default=Path(".riddle"))
    parser.add_argument("--url", default="http://127.0.0.1:8080")
    parser.add_argument("--set", dest="sets", action="append", choices=tuple(ALL))
    parser.add_argument("--queries", type=int, default=150)
    parser.add_argument("--callers", type=int, default=2, help="ladder, rungs: who ask at once")
    parser.add_argument("--window", type=int, default=48)
    parser.add_argument("--depth", type=int, default=100)
    asked = parser.parse_args()
    if asked.what == "table":
        table(asked.out, asked.window, asked.depth)
        return
    if asked.what in ("rungs", "precision"):
        rungs(asked.out, asked.callers) if asked.what == "rungs" else precision(asked.out, asked.window)
        return
    if asked.data is None:
        parser.error("ladder needs --data")
    for name in asked.sets or SETS:
        ladder(asked.data, asked.home, asked.out, asked.url, name, asked.queries, asked.callers)


if __name__ == "__main__":
    main()
