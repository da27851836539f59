"""A query log and feedback for tests: days of searches, answers, clicks and ratings, the same for the same seed."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

from eval.usage_rows import (
    FEEDBACK_FOLDER,
    FEEDBACK_ROW,
    LOG_FOLDER,
    QUERY_ROW,
    AnswerFacts,
    FeedbackRow,
    QueryRow,
    ServedPassage,
)

FIRST_DAY = datetime(2026, 4, 20, 8)

QUERIES = (
    "lighthouse keeper wages",
    "who built the lighthouse",
    "lamp oil 1844",
    "granite from tiree",
    "sourdough starter feeding",
    "estuary ice january",
)
REWORDED = {"lighthouse keeper wages": "what did a lighthouse keeper earn", "lamp oil 1844": "lamp first lit 1844"}
NOTHING = "fog horn wiring diagram"
"""A query that never finds anything."""


def write_usage(home: Path, *, days: int = 14, a_day: int = 24, seed: int = 0) -> None:
    """``a_day`` sessions a day; one search in twelve finds nothing, and every fourth session asks for an answer."""
    draw = random.Random(seed)
    for number in range(days):
        day = FIRST_DAY + timedelta(days=number)
        lines: list[bytes] = []
        said: list[bytes] = []
        for visit in range(round(a_day * (0.7 + 0.6 * draw.random()))):
            at = day + timedelta(minutes=9 * visit)
            for row in _visit(f"s{number}-{visit}", at, draw):
                lines.append(QUERY_ROW.dump_json(row))
                said.extend(FEEDBACK_ROW.dump_json(each) for each in _feedback(row, draw))
        for folder, written in ((LOG_FOLDER, lines), (FEEDBACK_FOLDER, said)):
            path = home / folder / f"{day.date().isoformat()}-0001.jsonl"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"".join(line + b"\n" for line in written))


def _visit(session: str, at: datetime, draw: random.Random) -> list[QueryRow]:
    query = NOTHING if draw.random() < 0.08 else draw.choice(QUERIES)
    rows = [_row(session, at, query, "search", draw)]
    if query in REWORDED and draw.random() < 0.4:
        rows.append(_row(session, at + timedelta(seconds=40), REWORDED[query], "search", draw))
    if draw.random() < 0.25:
        rows.append(_row(session, at + timedelta(seconds=90), query, "answer", draw))
    return rows


def _row(session: str, at: datetime, query: str, kind: Literal["search", "answer"], draw: random.Random) -> QueryRow:
    found = () if query == NOTHING else tuple(
        ServedPassage(f"d{rank}#1", f"d{rank}", 1 / rank, {"lexical": (rank, 9.0 / rank)}) for rank in range(1, 11)
    )  # fmt: skip
    answer = None
    if kind == "answer":
        outcome = draw.choices(("answered", "abstained", "left"), (8, 2, 1))[0]
        first = draw.lognormvariate(5.6, 0.3)
        answer = AnswerFacts(outcome, "smollm2", 2, first, first * 4)  # type: ignore[arg-type]
    return QueryRow(
        f"{at.isoformat()}+00:00", f"{session}-{kind}-{at:%M%S}", session, kind, "", "docs", "docs@3", "p1", query,
        False, 10, 0, "hit" if draw.random() < 0.2 else "miss", ("rerank",) if draw.random() < 0.03 else (),
        {"total": draw.lognormvariate(4.5, 0.4)}, found, "unavailable" if draw.random() < 0.01 else "", answer,
    )  # fmt: skip


def _feedback(row: QueryRow, draw: random.Random) -> list[FeedbackRow]:
    if not row.results:
        return []
    told: list[FeedbackRow] = []
    if row.kind == "search" and draw.random() < 0.6:
        rank = min(10, 1 + int(draw.expovariate(0.7)))
        told.append(_told(row, "click", rank, None))
    if draw.random() < 0.2:
        told.append(_told(row, "rating" if row.kind == "search" else "answer", 1, draw.choice((1.0, 1.0, -1.0))))
    return told


def _told(row: QueryRow, kind: Literal["click", "rating", "answer"], rank: int, value: float | None) -> FeedbackRow:
    whole = kind == "answer"
    passage = row.results[rank - 1]
    return FeedbackRow(
        row.time, row.request_id, row.session, kind, row.query, row.collection, row.generation, row.pipeline,
        "" if whole else passage.passage_id, "" if whole else passage.document_id, 0 if whole else rank, value,
        {} if whole else passage.features, tuple(each.passage_id for each in row.results),
    )  # fmt: skip
