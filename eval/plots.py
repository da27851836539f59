"""The charts of the dashboard and of the reports, in one look; the only module that draws."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from eval.chart_rows import Bar, Choice, Dot, in_order
from retrieval.errors import Unavailable

Chart = Any
"""An altair chart. It says nothing of ink and background, so that it stands on a light page as on a dark one."""

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#8C8C8C")
"""Okabe and Ito's, told apart by colour-blind readers, without their yellow and black: one vanishes on each ground."""

BETTER, WORSE, NEUTRAL = COLOURS[0], COLOURS[4], COLOURS[6]

WIDTH, HEIGHT = 340, 220
"""Of a chart's plane, in pixels; a page stretches the width where it is free to."""

MOST_BARS = 500
LEAST_MS = 0.01
"""Where a logarithmic axis of milliseconds begins."""

INK = "currentColor"
"""In an SVG inside a page: the colour of the text around it."""


def quality_by_stage(bars: Sequence[Bar], metric: str) -> Chart:
    """Series are runs, categories are stages; from recall at the top to what the user sees."""
    order = in_order({bar.category for bar in bars})
    return _grouped(bars, order, "stage", metric, limit=(0.0, 1.0))


def quality_over_time(dots: Sequence[Dot], metric: str) -> Chart:
    """Series are sets of questions, ``x`` when the run was made, ``label`` its name."""
    alt = _altair()
    base = _base(dots, "A line for each set of questions").encode(
        x=alt.X("x:T", title="run made (UTC)", axis=alt.Axis(labelOverlap=True, tickCount=5)),
        y=alt.Y("y:Q", title=metric, scale=alt.Scale(domain=[0, 1])),
        color=_coloured("series", "set"),
        tooltip=[_tip("label", "run"), _tip("series", "set"), _tip("x", "made"), _tip("y", metric, ".3f")],
    )
    return _layers(base.mark_line(strokeWidth=2), base.mark_point(filled=True, size=60))


def latency_distribution(samples: Mapping[str, Sequence[float]]) -> Chart:
    """What share of requests took at most so long, for each series of milliseconds; logarithmic."""
    alt = _altair()
    dots = [dot for series, values in samples.items() for dot in _shares(series, values)]
    return (
        _base(dots, "Share of requests by the time that they took")
        .mark_line(interpolate="step-after", strokeWidth=2)
        .encode(
            x=alt.X("x:Q", title="at most (ms)", scale=alt.Scale(type="log", nice=False), axis=_log_axis()),
            y=alt.Y("y:Q", title="share of requests", axis=alt.Axis(format=".0%")),
            color=_coloured("series", None, tuple(samples)),
            tooltip=[_tip("series", "of"), _tip("x", "ms", ".1f"), _tip("y", "share", ".1%")],
        )
    )


def latency_by_stage(bars: Sequence[Bar]) -> Chart:
    """Series are runs or percentiles, categories are stages, values milliseconds."""
    return _grouped(bars, in_order({bar.category for bar in bars}), "stage", "milliseconds")


def difference_by_query(differences: Mapping[str, float], metric: str) -> Chart:
    """What the second run gained or lost at each query, from the greatest gain to the greatest loss.

    Of more than ``MOST_BARS`` queries the ends are shown, half of the bars each.
    """
    alt = _altair()
    ordered = sorted(differences.items(), key=lambda pair: (-pair[1], pair[0]))
    if len(ordered) > MOST_BARS:
        ordered = ordered[: MOST_BARS // 2] + ordered[-(MOST_BARS // 2) :]
    rows = [
        {"place": place, "query": query, "difference": value, "sign": "won" if value > 0 else "lost"}
        for place, (query, value) in enumerate(ordered, 1)
        if value
    ]
    return (
        _base(rows, "Difference between two runs by query")
        .mark_bar(size=max(1, WIDTH // (len(ordered) + 1)))
        .encode(
            x=alt.X(
                "place:Q",
                title=f"{len(ordered)} queries, greatest gain first",
                axis=alt.Axis(labels=False, ticks=False, grid=False),
                scale=alt.Scale(domain=[0, len(ordered) + 1], nice=False),
            ),
            y=alt.Y("difference:Q", title=f"change of {metric}"),
            color=alt.Color(
                "sign:N",
                title=None,
                scale=alt.Scale(domain=["won", "lost"], range=[BETTER, WORSE]),
                legend=alt.Legend(orient="bottom"),
            ),
            tooltip=[_tip("query", "query"), _tip("difference", metric, "+.3f")],
        )
    )


def frontier(choices: Sequence[Choice], quality: str, latency: str = "p95 (ms)", cost: str = "cost") -> Chart:
    """Quality against latency, a point for each configuration; a line joins those that no other beats in both."""
    alt = _altair()
    ranked = [asdict(choice) | {"kind": "best" if choice.best else "beaten"} for choice in choices]
    kinds = alt.Scale(domain=["best", "beaten"], range=[BETTER, NEUTRAL])
    size = alt.Size(
        "cost:Q",
        title=cost,
        scale=alt.Scale(range=[60, 400]),
        legend=alt.Legend(orient="bottom", tickCount=3, symbolFillColor=NEUTRAL, symbolStrokeColor=NEUTRAL),
    )
    base = _base(ranked, "Quality against latency of each configuration").encode(
        x=alt.X("latency_ms:Q", title=latency, scale=alt.Scale(type="log", nice=False, padding=24), axis=_log_axis()),
        y=alt.Y("quality:Q", title=quality, scale=alt.Scale(zero=False)),
    )
    points = base.mark_point(filled=True, opacity=0.9).encode(
        color=alt.Color("kind:N", title=None, scale=kinds, legend=alt.Legend(orient="bottom")),
        shape=alt.Shape("kind:N", title=None, scale=alt.Scale(domain=["best", "beaten"], range=["circle", "cross"])),
        size=size if any(choice.cost is not None for choice in choices) else alt.value(90),
        tooltip=[
            _tip("label", "configuration"), _tip("quality", quality, ".3f"),
            _tip("latency_ms", latency, ".1f"), _tip("cost", cost, ".3~g"),
        ],
    )  # fmt: skip
    best = base.transform_filter("datum.best").mark_line(color=BETTER, strokeDash=[4, 3])
    return _layers(best.encode(order="latency_ms:Q"), points)


def clicks_at_rank(bars: Sequence[Bar]) -> Chart:
    """Categories are ranks from 1, values clicks."""
    return _columns(bars, [bar.category for bar in bars], "rank of the result", "clicks")


def by_day(bars: Sequence[Bar], what: str = "requests") -> Chart:
    """Series are kinds of use, categories days as YYYY-MM-DD; the kinds stand on each other."""
    return _columns(bars, sorted({bar.category for bar in bars}), "day (UTC)", what)


def failures_by_kind(bars: Sequence[Bar]) -> Chart:
    """Series are runs, categories kinds of failure; the most frequent first."""
    totals: dict[str, float] = {}
    for bar in bars:
        totals[bar.category] = totals.get(bar.category, 0.0) + bar.value
    return _grouped(bars, sorted(totals, key=lambda kind: (-totals[kind], kind)), "kind", "failures")


def load_curve(dots: Sequence[Dot], bound_ms: float | None = None) -> Chart:
    """Series are percentiles, ``x`` requests a second, ``y`` milliseconds; ``bound_ms`` is what must be kept."""
    alt = _altair()
    lines = _base(dots, "Latency by the rate of requests").encode(
        x=alt.X("x:Q", title="requests a second"),
        y=alt.Y("y:Q", title="milliseconds", scale=alt.Scale(type="log"), axis=_log_axis()),
        color=_coloured("series", None),
        tooltip=[_tip("series", "percentile"), _tip("x", "a second", ".1f"), _tip("y", "ms", ".1f")],
    )
    drawn = [lines.mark_line(strokeWidth=2), lines.mark_point(filled=True, size=60)]
    if bound_ms is not None:
        bound = _base([{"bound": bound_ms}], "Bound").mark_rule(color=WORSE, strokeDash=[6, 4])
        drawn.append(bound.encode(y="bound:Q"))
    return _layers(*drawn)


def svg(chart: Chart) -> str:
    """The chart as an ``<svg>`` element that takes the colour of the text around it. Raises Unavailable."""
    _altair()
    try:
        import vl_convert
    except ImportError as error:
        raise Unavailable(NEEDS) from error
    words = {"labelColor": INK, "titleColor": INK}
    lines = {"domainColor": INK, "tickColor": INK, "gridColor": INK, "gridOpacity": 0.15}
    inked = chart.configure(
        background="transparent", font="Helvetica, Arial, sans-serif", axis=words | lines,
        legend=words | {"offset": 8}, view={"stroke": None},
    )  # fmt: skip
    drawn: str = vl_convert.vegalite_to_svg(inked.to_dict())
    return re.sub(r'\s(?:xmlns(?::\w+)?|version)="[^"]*"', "", drawn)  # names that HTML does without


_ABOVE = {"titleAngle": 0, "titleAlign": "right", "titleAnchor": "start", "titleX": -4, "titleY": -6}
"""An upright title above the axis: beside long labels a lying one is drawn over them."""

NEEDS = "drawing needs altair and vl-convert: pip install 'riddle-search[dashboard]'"


def _altair() -> Any:
    try:
        import altair
    except ImportError as error:
        raise Unavailable(NEEDS) from error
    return altair


def _base(rows: Sequence[Any], description: str) -> Chart:
    alt = _altair()
    values = [row if isinstance(row, dict) else asdict(row) for row in rows]
    return alt.Chart(alt.Data(values=values), description=description, width=WIDTH, height=HEIGHT)


def _layers(*charts: Chart) -> Chart:
    """Charts on each other; the size is said of the whole, where a page that stretches it looks."""
    return _altair().layer(*charts).properties(width=WIDTH, height=HEIGHT)


def _grouped(
    bars: Sequence[Bar], order: Sequence[str], category: str, value: str, limit: tuple[float, float] | None = None
) -> Chart:
    """Lying bars, a group for each category, a colour for each series."""
    alt = _altair()
    series = list(dict.fromkeys(bar.series for bar in bars))
    scale = alt.Scale(domain=list(limit)) if limit else alt.Undefined
    return (
        _base(bars, f"{value} by {category}")
        .mark_bar()
        .encode(
            y=alt.Y("category:N", title=category, sort=list(order), axis=alt.Axis(labelLimit=180, **_ABOVE)),
            yOffset=alt.YOffset("series:N", sort=series),
            x=alt.X("value:Q", title=value, scale=scale),
            color=_coloured("series", None, tuple(series)),
            tooltip=[_tip("series", "of"), _tip("category", category), _tip("value", value, ".4~g")],
        )
        .properties(height=alt.Step(max(9, 26 // max(1, len(series)))))
    )


def _columns(bars: Sequence[Bar], order: Sequence[str], category: str, value: str) -> Chart:
    """Standing bars, the series of a category on each other."""
    alt = _altair()
    series = tuple(dict.fromkeys(bar.series for bar in bars))
    return (
        _base(bars, f"{value} by {category}")
        .mark_bar()
        .encode(
            x=alt.X("category:O", title=category, sort=list(order), axis=alt.Axis(labelOverlap=True, labelAngle=0)),
            y=alt.Y("value:Q", title=value),
            color=_coloured("series", None, series),
            tooltip=[_tip("series", "of"), _tip("category", category), _tip("value", value)],
        )
    )


def _coloured(name: str, title: str | None, order: Sequence[str] = ()) -> Any:
    alt = _altair()
    scale = alt.Scale(range=list(COLOURS), domain=list(order) if order else alt.Undefined)
    return alt.Color(
        f"{name}:N", title=title, scale=scale, legend=alt.Legend(orient="bottom", columns=2, labelLimit=260)
    )


def _tip(name: str, title: str, how: str = "") -> Any:
    alt = _altair()
    kind = "Q" if how else "N"
    return alt.Tooltip(f"{name}:{kind}", title=title, format=how) if how else alt.Tooltip(f"{name}:{kind}", title=title)


def _log_axis() -> Any:
    return _altair().Axis(format="~s", labelOverlap=True, tickCount=5)


def _shares(series: str, values: Sequence[float], points: int = 200) -> list[Dot]:
    """The empirical distribution at ``points`` places at most, the greatest value among them."""
    ordered = sorted(max(LEAST_MS, value) for value in values)
    step = max(1, len(ordered) // points)
    places = sorted({*range(0, len(ordered), step), len(ordered) - 1}) if ordered else []
    return [Dot(series, ordered[place], (place + 1) / len(ordered)) for place in places]
