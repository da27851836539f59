"""Runs that never were: rankings, times and failures drawn from a model, for tests of what compares runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eval.datasets import Question
from eval.evaluate import write_metrics
from eval.results import Results
from eval.runs import Failure, Manifest, RunFolder, SearchRecord
from eval.targets import FINAL, Searched

Floats = NDArray[np.float64]

NOISE = 0.5
"""Of a relevant document's log rank from one run to the next."""

STAGES_MS: Mapping[str, float] = {"embed": 6.0, "lexical": 4.0, "dense": 1.5, "fuse": 0.2, "rerank": 60.0}


@dataclass(frozen=True, slots=True)
class World:
    """Queries with one to three relevant documents each, and where these stand in the rankings of a usual system."""

    log_ranks: Floats
    """[queries, 3]; infinite where there is no further relevant document."""
    length: Floats
    """[queries]: how much longer than usual each takes to be searched."""


def world(queries: int, seed: int) -> World:
    random = np.random.default_rng(seed)
    hardness = random.normal(1.2, 1.4, (queries, 1))
    ranks = hardness + random.normal(0, 0.8, (queries, 3))
    ranks[np.arange(3) >= random.integers(1, 4, (queries, 1))] = np.inf
    return World(ranks, random.lognormal(0, 0.35, queries))


def scores(log_ranks: Floats) -> dict[str, Floats]:
    """nDCG@10, R@20 and RR@10 of binary judgements: [..., queries] from ranks [..., queries, 3], 0 being the first."""
    ranks = np.floor(np.exp(np.maximum(log_ranks, 0.0)))
    relevant = np.isfinite(log_ranks).sum(axis=-1)
    gains = np.where(ranks <= 10, 1 / np.log2(1 + ranks), 0.0).sum(axis=-1)
    ideal = np.cumsum(1 / np.log2(np.arange(2, 5)))[relevant - 1]
    best = ranks.min(axis=-1)
    return {
        "nDCG@10": np.minimum(gains / ideal, 1.0),
        "R@20": (ranks <= 20).sum(axis=-1) / relevant,
        "RR@10": np.where(best <= 10, 1 / best, 0.0),
    }


def searched(at: World, random: np.random.Generator, runs: int = 1, worse: float = 0.0) -> dict[str, Floats]:
    """The scores of ``runs`` runs [runs, queries]; ``worse`` is added to every log rank."""
    shape = (runs, *at.log_ranks.shape)
    return scores(at.log_ranks + worse + random.normal(0, NOISE, shape))


def times(
    at: World, random: np.random.Generator, slower: Mapping[str, float] | None = None, drift: float = 0.004
) -> dict[str, Floats]:
    """Milliseconds of each stage [queries]: long queries take longer, the machine drifts, and one in thirty stalls.

    ``drift`` is how much its speed changes from one query to the next: with 0.004, by 7 % over 300 queries, and the
    medians of two such runs differ by 6 %.
    """
    queries = len(at.length)
    machine = random.normal(0, 5 * drift) + np.cumsum(random.normal(0, drift, queries))
    found = {}
    for stage, usual in STAGES_MS.items():
        stall = np.where(random.random(queries) < 1 / 30, 1 + random.pareto(1.5, queries), 1.0)
        noise = np.exp(machine + random.normal(0, 0.1, queries))
        found[stage] = usual * at.length * noise * stall * (slower or {}).get(stage, 1.0)
    found["client"] = np.sum(list(found.values()), axis=0) + 1.0
    return found


def manifest(name: str, **changed: object) -> Manifest:
    """Of a finished run; ``changed`` are fields of the manifest."""
    fields: dict[str, object] = {
        "id": name,
        "created": "2026-01-01T00:00:00+00:00",
        "target": {"kind": "simulated"},
        "dataset": {"name": "simulated", "fingerprint": "f"},
        "settings": {"k": 100, "metrics": ["nDCG@10", "R@20"], "jobs": 1},
        "machine": "one",
        "commit": "c",
        "version": "v",
        "finished": True,
    } | changed
    return Manifest(**fields)  # type: ignore[arg-type]


def results(
    at: World,
    seed: int,
    worse: float = 0.0,
    slower: Mapping[str, float] | None = None,
    drift: float = 0.004,
    name: str = "run",
) -> Results:
    """One run in memory."""
    random = np.random.default_rng(seed)
    ids = [f"q{number}" for number in range(len(at.length))]
    found = {metric: values[0] for metric, values in searched(at, random, worse=worse).items()}
    return Results(
        name=name,
        manifest=manifest(name),
        questions={each: f"the words of {each}" for each in ids},
        qrels={each: {"d": 1} for each in ids},
        by_query={FINAL: {metric: dict(zip(ids, values.tolist(), strict=True)) for metric, values in found.items()}},
        times={
            stage: dict(zip(ids, values.tolist(), strict=True))
            for stage, values in times(at, random, slower, drift).items()
        },
    )


def write(run: Results, path: Path) -> RunFolder:
    """The same run as a folder."""
    folder = RunFolder(path)
    folder.write_manifest(run.manifest)
    folder.write_questions({each: Question(text) for each, text in run.questions.items()}, run.qrels)
    for query_id in run.questions:
        if query_id in run.failed.get("search", ()):
            folder.append(SearchRecord(query_id, error=Failure("unavailable", "it was not there")))
        else:
            spent = {stage: of[query_id] for stage, of in run.times.items()}
            folder.append(SearchRecord(query_id, Searched({}, (), spent, cache=run.caches.get(query_id, "miss"))))
    write_metrics(folder, run.by_query)
    return folder
