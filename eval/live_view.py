"""What a running service tells of itself by its Prometheus metrics: rates, times by stage, cache, degradation."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from eval.run_tables import Table, Value

REQUESTS, STAGES, CACHE = "riddle_request_seconds", "riddle_stage_seconds", "riddle_cache_lookups_total"
DEGRADED, ANSWERS, RUNNING = "riddle_degraded_total", "riddle_answers_total", "riddle_answers_running"


@dataclass(frozen=True, slots=True)
class Sample:
    """One line of the metrics, such as ``riddle_cache_lookups_total{result="hit"} 12``."""

    name: str
    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class Sighting:
    """One look at a service."""

    at: float
    """Seconds of a clock that never goes back."""
    ready: bool
    detail: str
    """What /readyz says, or why the service was not reached."""
    samples: tuple[Sample, ...] = ()


class Live(Protocol):
    """A service that is watched."""

    @property
    def url(self) -> str: ...

    def look(self) -> Sighting:
        """Never raises: a service that is not reached is a sighting too."""
        ...


def since(before: Sighting, after: Sighting) -> tuple[Sample, ...]:
    """What was counted between two sightings; all that ``after`` has, when the service was started anew meanwhile."""
    old = {_key(sample): sample.value for sample in before.samples}
    grown = tuple(Sample(each.name, each.labels, each.value - old.get(_key(each), 0.0)) for each in after.samples)
    counted = (each.value for each in grown if each.name != RUNNING and not each.name.endswith("_created"))
    return after.samples if any(value < 0 for value in counted) else grown


def request_table(samples: Iterable[Sample], seconds: float | None = None) -> Table:
    """Requests by route and status; a rate where the time that they took is known."""
    rows = [
        (each.labels.get("route", ""), each.labels.get("method", ""), each.labels.get("status", ""), each.value)
        for each in samples
        if each.name == f"{REQUESTS}_count" and each.value
    ]
    rows.sort(key=lambda row: (-row[3], row))
    rated: list[tuple[Value, ...]] = [
        (*row[:3], int(row[3]), None if not seconds else row[3] / seconds) for row in rows
    ]
    return Table(("route", "method", "status", "requests", "a second"), tuple(rated))


def stage_table(samples: Sequence[Sample]) -> Table:
    """Milliseconds by stage, from histograms: percentiles are of the bucket that holds them, as Prometheus has it."""
    rows: list[tuple[Value, ...]] = []
    for stage, buckets in histograms(samples, f"{STAGES}_bucket", "stage").items():
        count = buckets[-1][1] if buckets else 0.0
        if count:
            total = sum(s.value for s in samples if s.name == f"{STAGES}_sum" and s.labels.get("stage") == stage)
            points = (quantile(buckets, q) for q in (0.5, 0.95, 0.99))
            rows.append((stage, int(count), *(None if p is None else p * 1000 for p in points), total / count * 1000))
    return Table(("stage", "n", "p50 ms", "p95 ms", "p99 ms", "mean ms"), tuple(rows))


def histograms(samples: Iterable[Sample], name: str, label: str) -> dict[str, list[tuple[float, float]]]:
    """By the value of ``label``: ``(upper bound, how many at most so)``, ascending."""
    found: dict[str, dict[float, float]] = {}
    for each in samples:
        if each.name == name:
            bound = float(each.labels.get("le", "inf"))
            bounds = found.setdefault(each.labels.get(label, ""), {})
            bounds[bound] = bounds.get(bound, 0.0) + each.value
    return {value: sorted(bounds.items()) for value, bounds in found.items()}


def quantile(buckets: Sequence[tuple[float, float]], share: float) -> float | None:
    """As Prometheus' ``histogram_quantile``: linear within the bucket; of the last, its lower bound. None for none."""
    if not buckets or not buckets[-1][1]:
        return None
    wanted, low, below = share * buckets[-1][1], 0.0, 0.0
    for bound, count in buckets:
        if count >= wanted and count > below:
            return low if math.isinf(bound) else low + (bound - low) * (wanted - below) / (count - below)
        low, below = (low if math.isinf(bound) else bound), count
    return low


def shares(samples: Iterable[Sample], name: str, label: str) -> dict[str, float]:
    """How many were counted by the value of one label; those that were not are left out."""
    found: dict[str, float] = {}
    for each in samples:
        if each.name == name and each.value:
            found[each.labels.get(label, "")] = found.get(each.labels.get(label, ""), 0.0) + each.value
    return found


def cache_share(samples: Iterable[Sample]) -> float | None:
    """The share of look-ups that the cache answered; None where it was asked nothing."""
    found = {result: count for result, count in shares(samples, CACHE, "result").items() if result in ("hit", "miss")}
    return found.get("hit", 0.0) / sum(found.values()) if found else None


def _key(sample: Sample) -> tuple[str, tuple[tuple[str, str], ...]]:
    return sample.name, tuple(sorted(sample.labels.items()))
