"""What ``load.json`` of a run shows: latency by the rate that was offered, and the highest rate that held its bound."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter, ValidationError

from eval.chart_rows import Dot
from eval.load_report import LoadReport, Verdict
from eval.run_tables import Table

POINTS = ("p50", "p95", "p99")


def load_in(value: Any) -> LoadReport | None:
    """The report that a run's ``load.json`` holds; None where there is none."""
    try:
        found: LoadReport = _REPORT.validate_python(value)
    except ValidationError:
        return None
    return found


def load_dots(report: LoadReport) -> list[Dot]:
    """Milliseconds from when a request was due, by the rate that was offered; lowest rate first."""
    rates = sorted(report.rates, key=lambda each: each.rate)
    return [Dot(point, each.rate, each.latency_ms[point]) for point in POINTS for each in rates if each.latency_ms]


def load_table(report: LoadReport) -> Table:
    return Table(
        ("offered a second", "answered a second", "requests", "failed", "p50 ms", "p95 ms", "p99 ms", "first words p50",
         "cache hits", "bound"),
        tuple(
            (
                each.rate, each.throughput, each.requests, each.failed, *(each.latency_ms.get(p) for p in POINTS),
                each.first_ms.get("p50"), each.hits, _said(each.verdict),
            )
            for each in sorted(report.rates, key=lambda each: each.rate)
        ),
    )  # fmt: skip


def load_words(report: LoadReport) -> str:
    """What was offered, and the rate that held, in a sentence."""
    asked, cache = "answers" if report.answers else "searches", "cold" if report.cold else "warm"
    what = f"{asked}, {report.arrivals} arrivals, a {cache} cache"
    if report.bound is None:
        return f"Open loop: {what}."
    bound = f"p{report.bound.share * 100:g} within {report.bound.ms:g} ms"
    if report.holds is None:
        return f"Open loop: {what}. No rate that was offered kept {bound}."
    return f"Open loop: {what}. {report.holds:g} a second kept {bound}{'' if report.sure else ', which is not sure'}."


def _said(verdict: Verdict | None) -> str | None:
    if verdict is None:
        return None
    return ("held" if verdict.holds else "not held") + ("" if verdict.sure else ", not sure")


_REPORT = TypeAdapter(LoadReport)
