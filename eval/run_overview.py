"""What a run is known by, read from its small files alone: one line in a list of runs, one point of a frontier."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from eval.chart_rows import Choice, Dot
from eval.evaluate import ANSWER
from eval.runs import MANIFEST, METRICS, TIMINGS, Manifest, RunFolder
from eval.targets import FINAL
from retrieval.errors import RiddleError

HEADLINES = ("nDCG@10", "nDCG", "AP@100", "RR@10")
"""The metric that a run is known by, the first of them that it has; else its first."""

TOTALS = ("client", "total", "answer.client", "answer.total")
"""The stage of the timings that tells of a whole request, the first of them that a run has."""


@dataclass(frozen=True, slots=True)
class Overview:
    """One line of the list of runs. ``problem`` says why a folder cannot be read; the rest is empty then."""

    name: str
    path: Path
    created: str = ""
    dataset: str = ""
    target: str = ""
    queries: int = 0
    metric: str = ""
    value: float | None = None
    answers: Mapping[str, float] = field(default_factory=dict)
    p50_ms: float | None = None
    p95_ms: float | None = None
    cost: float | None = None
    """Seconds of searching and answering by question asked."""
    failures: int = 0
    finished: bool = False
    commit: str = ""
    problem: str = ""

    @property
    def folder(self) -> RunFolder:
        return RunFolder(self.path)


def overview(folder: RunFolder, name: str = "") -> Overview:
    """From the small files alone. A damaged folder is a line too."""
    name = name or folder.name
    try:
        manifest, metrics = folder.manifest(), folder.json(METRICS) or {}
        timings = folder.json(TIMINGS) or {}
    except RiddleError as error:
        return Overview(name, folder.path, problem=error.detail)
    stage, metric = headline(metrics)
    whole = whole_request(timings)
    return Overview(
        name,
        folder.path,
        manifest.created,
        dataset_name(manifest),
        target_name(manifest),
        int(manifest.dataset.get("queries") or 0),
        f"{stage} {metric}" if metric else "",
        metrics[stage][metric] if metric else None,
        metrics.get(ANSWER, {}),
        whole.get("p50"),
        whole.get("p95"),
        seconds_a_question(manifest),
        sum(manifest.failures.values()),
        manifest.finished,
        manifest.commit,
    )


def overviews(root: Path) -> list[Overview]:
    """All runs below ``root``, itself among them, oldest first; each named by its place, so that no two share one."""
    folders = [path.parent for path in root.rglob(MANIFEST)]
    named = {path: path.resolve().name if path == root else path.relative_to(root).as_posix() for path in folders}
    return sorted(
        (overview(RunFolder(path), name) for path, name in named.items()), key=lambda row: (row.created, row.name)
    )


def dataset_name(manifest: Manifest) -> str:
    """Such as ``scifact (test)``."""
    name, split = str(manifest.dataset.get("name", "")), manifest.dataset.get("split")
    return f"{name} ({split})" if split else name


def target_name(manifest: Manifest) -> str:
    """Such as ``riddle in process · eval-scifact``."""
    target = manifest.target
    where = next((target[key] for key in ("collection", "index", "url") if target.get(key)), "")
    return " · ".join(str(part) for part in (target.get("kind", ""), where) if part)


def headline(metrics: Mapping[str, Mapping[str, float]]) -> tuple[str, str]:
    """Stage and metric that a run is known by: of what the user sees, else of answers; empty for none."""
    stage = next((each for each in (FINAL, ANSWER, *metrics) if metrics.get(each)), "")
    if not stage:
        return "", ""
    return stage, next((name for name in HEADLINES if name in metrics[stage]), next(iter(metrics[stage])))


def whole_request(timings: Mapping[str, Mapping[str, float]]) -> Mapping[str, float]:
    """Percentiles of whole requests; empty where none was timed."""
    return next((timings[stage] for stage in TOTALS if timings.get(stage)), {})


def quality_dots(rows: Iterable[Overview]) -> list[Dot]:
    """Quality over time, for runs whose headline is the same metric."""
    return [Dot(row.dataset, row.created, row.value, row.name) for row in rows if row.value is not None]


def choices(rows: Iterable[Overview]) -> list[Choice]:
    """Runs as configurations of one frontier; those that no other beats in quality and latency are ``best``."""
    timed = [(row, row.value, row.p95_ms) for row in rows if row.value is not None and row.p95_ms is not None]
    return [
        Choice(row.name, value, ms, row.cost, not any(_beats((v, m), (value, ms)) for _, v, m in timed))
        for row, value, ms in timed
    ]


def seconds_a_question(manifest: Manifest) -> float | None:
    """What a run cost: seconds of searching and answering by question asked; None where it was not taken."""
    spent = [manifest.seconds[part] for part in ("search", "answer") if part in manifest.seconds]
    queries = int(manifest.dataset.get("queries") or 0)
    return sum(spent) / queries if spent and queries else None


def _beats(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one != other and one[0] >= other[0] and one[1] <= other[1]
