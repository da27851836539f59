"""What charts are drawn from: bars, dots and configurations as plain values, and the order of stages."""

from __future__ import annotations

from dataclasses import dataclass

from eval.targets import STAGES


@dataclass(frozen=True, slots=True)
class Bar:
    """One value of one series under one category."""

    series: str
    category: str
    value: float


@dataclass(frozen=True, slots=True)
class Dot:
    """One value of one series at one place: a number, or a moment as ISO 8601."""

    series: str
    x: float | str
    y: float
    label: str = ""


@dataclass(frozen=True, slots=True)
class Choice:
    """One configuration of the frontier. ``best`` are those that no other beats in both quality and latency."""

    label: str
    quality: float
    latency_ms: float
    cost: float | None = None
    """Seconds of processor, bytes, money: whatever the caller names; it sets the size of the point."""
    best: bool = False


def in_order(stages: set[str]) -> list[str]:
    """Stages in the order of the funnel, others behind them by name."""
    return sorted(stages, key=lambda stage: (STAGES.index(stage) if stage in STAGES else len(STAGES), stage))
