"""Charts: drawn from plain rows, legible on light and dark pages, bounded in size."""

from __future__ import annotations

import re

import pytest

from eval.chart_rows import Bar, Choice, Dot
from eval.plots import (
    MOST_BARS,
    by_day,
    clicks_at_rank,
    difference_by_query,
    failures_by_kind,
    frontier,
    latency_by_stage,
    latency_distribution,
    load_curve,
    quality_by_stage,
    quality_over_time,
    svg,
)

DRAWN = {
    "quality": lambda: quality_by_stage([Bar("a", "lexical", 0.4), Bar("a", "final", 0.7)], "nDCG@10"),
    "time": lambda: quality_over_time([Dot("scifact", "2026-05-03T10:00:00Z", 0.7, "a")], "nDCG@10"),
    "latency": lambda: latency_distribution({"client": [12.0, 30.0, 0.0], "rerank": []}),
    "stages": lambda: latency_by_stage([Bar("p50", "dense", 3.0), Bar("p99", "dense", 9.0)]),
    "difference": lambda: difference_by_query({"q1": 0.5, "q2": -0.25, "q3": 0.0}, "nDCG@10"),
    "frontier": lambda: frontier([Choice("k=10", 0.7, 20.0, best=True), Choice("k=20", 0.6, 30.0)], "nDCG@10"),
    "clicks": lambda: clicks_at_rank([Bar("clicks", "1", 3), Bar("clicks", "2", 1)]),
    "days": lambda: by_day([Bar("searches", "2026-05-03", 8)]),
    "failures": lambda: failures_by_kind([Bar("a", "search: timeout", 2)]),
    "load": lambda: load_curve([Dot("p99", 5.0, 80.0), Dot("p99", 10.0, 300.0)], 200.0),
}


@pytest.mark.parametrize("name", DRAWN)
def test_a_chart_is_drawn_with_words_on_its_axes_and_no_ink_of_its_own(name: str) -> None:
    drawn = svg(DRAWN[name]())
    assert drawn.startswith("<svg")
    titles = re.findall(r'role-axis-title[^>]*>.*?<text[^>]*fill="([^"]*)"', drawn)
    assert len(titles) >= 2
    assert set(titles) == {"currentColor"}
    assert not re.search(r'(?:fill|stroke)="(?:black|white|#000|#fff)', drawn)


def test_a_drawing_asks_for_nothing_from_elsewhere() -> None:
    assert "http" not in svg(DRAWN["frontier"]())


def test_hostile_names_stay_text_in_a_drawing() -> None:
    drawn = svg(failures_by_kind([Bar("<script>alert(1)</script>", "</svg><img src=x onerror=alert(1)>", 1)]))
    assert "<script" not in drawn
    assert "<img" not in drawn


def test_stages_stand_in_the_order_of_the_funnel() -> None:
    chart = quality_by_stage([Bar("a", stage, 0.5) for stage in ("final", "answer", "lexical", "fused")], "nDCG@10")
    assert chart.to_dict()["encoding"]["y"]["sort"] == ["lexical", "fused", "final", "answer"]


def test_of_very_many_queries_the_greatest_changes_are_drawn() -> None:
    changes = {f"q{number}": (number - 2000) / 2000 for number in range(4000)}
    rows = difference_by_query(changes, "nDCG@10").to_dict()["data"]["values"]
    assert len(rows) == MOST_BARS
    assert {rows[0]["query"], rows[-1]["query"]} == {"q3999", "q0"}


def test_a_distribution_of_many_requests_keeps_its_slowest() -> None:
    rows = latency_distribution({"client": [float(ms) for ms in range(1, 10_001)]}).to_dict()["data"]["values"]
    assert len(rows) <= 202
    assert rows[-1] == {"series": "client", "x": 10_000.0, "y": 1.0, "label": ""}


def test_the_best_configurations_are_joined_and_the_cost_sets_the_size() -> None:
    chart = frontier([Choice("a", 0.7, 20.0, 3.0, True), Choice("b", 0.8, 40.0, 9.0, True)], "nDCG@10").to_dict()
    line, points = chart["layer"]
    assert line["transform"] == [{"filter": "datum.best"}]
    assert points["encoding"]["size"]["field"] == "cost"
