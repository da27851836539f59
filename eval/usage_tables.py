"""What users do, as the dashboard shows it: bars by day, by rank, and the queries that did not get what they wanted."""

from __future__ import annotations

from eval.chart_rows import Bar
from eval.run_tables import Table, Value
from eval.usage import Usage

TROUBLES = (
    ("found nothing", "empty"),
    ("asked again in other words", "reworded"),
    ("answer refused", "abstained"),
    ("left before the answer's end", "left"),
    ("failed", "failed"),
    ("without a stage", "degraded"),
)
"""Words for people, and the field of a ``Day`` that counts them."""


def day_bars(usage: Usage) -> list[Bar]:
    return [
        Bar(kind, day.day, count)
        for day in usage.days
        for kind, count in (("searches", day.searches), ("answers", day.answers))
    ]


def trouble_bars(usage: Usage) -> list[Bar]:
    """Days on which nothing of a kind happened have no bar of it."""
    return [
        Bar(words, day.day, getattr(day, name)) for words, name in TROUBLES for day in usage.days if getattr(day, name)
    ]


def click_bars(usage: Usage) -> list[Bar]:
    return [Bar("clicks", str(rank), count) for rank, count in usage.clicks.by_rank.items()]


def summary_table(usage: Usage) -> Table:
    """Everything over all days, with the share that it is of what it is counted among."""
    days, ratings, clicks = usage.days, usage.ratings, usage.clicks
    searches, answers = sum(day.searches for day in days), sum(day.answers for day in days)
    rows: list[tuple[str, int, int]] = [
        ("searches", searches, 0),
        ("· found nothing", sum(day.empty for day in days), searches),
        ("· asked again in other words", sum(day.reworded for day in days), searches),
        ("· went without a stage", sum(day.degraded for day in days), searches),
        ("· served from the cache", sum(day.cached for day in days), searches),
        ("· in sessions, led to a click", clicks.clicked, clicks.searches),
        ("answers", answers, 0),
        ("· refused for want of evidence", sum(day.abstained for day in days), answers),
        ("· left before the end", sum(day.left for day in days), answers),
        ("searches and answers that failed", sum(day.failed for day in days), searches + answers),
        ("passages rated good", ratings.passages_good, ratings.passages_good + ratings.passages_bad),
        ("answers rated good", ratings.answers_good, ratings.answers_good + ratings.answers_bad),
        ("judgements", ratings.judgements, 0),
    ]
    return Table(
        ("what", "count", "share"),
        tuple((what, count, f"{count / among:.1%}" if among else None) for what, count, among in rows),
    )


def latency_table(usage: Usage) -> Table:
    """Milliseconds by day, by the service's own clock."""
    rows: list[tuple[Value, ...]] = [
        (
            day.day, day.search_ms.get("p50"), day.search_ms.get("p95"), day.first_ms.get("p50"),
            day.first_ms.get("p95"), day.answer_ms.get("p50"), day.answer_ms.get("p95"),
        )
        for day in reversed(usage.days)
    ]  # fmt: skip
    columns = ("search p50", "search p95", "first words p50", "first words p95", "answer p50", "answer p95")
    return Table(("day (UTC)", *columns), tuple(rows))


def failing_table(usage: Usage) -> Table:
    return Table(
        ("query", "collection", "searches", "found nothing", "failed", "refused", "reworded", "rated bad"),
        tuple(
            (
                each.query, each.collection, each.searches, each.empty, each.failed, each.abstained, each.reworded,
                each.disliked,
            )
            for each in usage.failing
        ),
    )  # fmt: skip


def rewording_table(usage: Usage) -> Table:
    return Table(
        ("asked first", "asked then", "times"),
        tuple((each.before, each.after, each.times) for each in usage.rewordings),
    )
