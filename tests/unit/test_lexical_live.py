"""The index in memory against tantivy's, whole and as one of several parts, and while it grows."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from retrieval.bitmap import Bitmap
from retrieval.lexical import Lexical, LexicalWriter, LiveLexical, parse_query

Row = tuple[str, tuple[str, ...], str]
QUERIES = (
    "w1",
    "w1 w2 w40",
    "w3 w3 w5 数据库",
    '"w1 w2"',
    '"w2 w1" w9',
    '"absent w1" w9',
    "w1*",
    "w4* w2",
    "Title w7",
    "劳动合同",
    '"合同法"',
    "absent",
    "",
)
TOLERANCE = 1e-5
"""Relative: tantivy adds in single precision, in an order of its own. Lengths are rounded alike."""


def passages(count: int, seed: int = 11) -> list[Row]:
    rng = np.random.default_rng(seed)
    words = [f"w{number}" for number in range(60)] + ["数据库", "劳动合同法", "max_length"]
    chance = 1 / np.arange(2, len(words) + 2)
    chance /= chance.sum()
    return [
        (
            "Title w7" if number % 3 else "",
            ("w2 head", "w5") if number % 4 == 0 else (),
            " ".join(rng.choice(words, rng.integers(0, 90), p=chance)),
        )
        for number in range(count)
    ]


def written(folder: Path, rows: Sequence[Row]) -> Lexical:
    with LexicalWriter(folder) as writer:
        for row in rows:
            writer.add(*row)
    return Lexical(folder)


def live(rows: Sequence[Row]) -> LiveLexical:
    index = LiveLexical()
    for row in rows:
        index.append(*row)
    return index


@pytest.mark.parametrize("query", QUERIES)
def test_scores_are_those_of_tantivy(tmp_path: Path, query: str) -> None:
    rows = passages(200)
    sealed, growing = written(tmp_path / "lexical", rows), live(rows)
    parsed = parse_query(query, sealed.analysis)
    assert growing.statistics(parsed, 200) == sealed.statistics(parsed)
    expected, found = sealed.search(parsed, 200), growing.search(parsed, 200, rows=200)
    assert sorted(found.rows.tolist()) == sorted(expected.rows.tolist())
    assert found.scores == pytest.approx(expected.scores, rel=TOLERANCE)
    by_row = dict(zip(expected.rows.tolist(), expected.scores.tolist(), strict=True))
    assert dict(zip(found.rows.tolist(), found.scores.tolist(), strict=True)) == pytest.approx(by_row, rel=TOLERANCE)


def test_a_reader_sees_the_rows_it_asks_for_and_none_that_came_later() -> None:
    rows = passages(120)
    earlier, later = live(rows[:70]), live(rows)
    for query in QUERIES:
        parsed = parse_query(query, later.analysis)
        assert later.statistics(parsed, 70).frequencies.items() >= earlier.statistics(parsed, 70).frequencies.items()
        expected, found = earlier.search(parsed, 10, rows=70), later.search(parsed, 10, rows=70)
        assert (found.rows.tolist(), found.scores.tolist()) == (expected.rows.tolist(), expected.scores.tolist())


def test_only_allowed_rows_are_returned_and_nothing_else_of_the_order_changes() -> None:
    index = live(passages(100))
    parsed = parse_query("w1 w2", index.analysis)
    allowed = Bitmap.of_rows(range(0, 100, 3), 100)
    every = index.search(parsed, 100, rows=100)
    found = index.search(parsed, 100, rows=100, allowed=allowed)
    assert found.rows.tolist() == [row for row in every.rows.tolist() if row % 3 == 0]


def test_statistics_of_other_parts_decide_the_scores(tmp_path: Path) -> None:
    rows = passages(300)
    sealed, growing = written(tmp_path / "lexical", rows[:200]), live(rows[200:])
    whole = live(rows)
    for query in ("w1 w2 w40", "w3 劳动合同"):
        parsed = parse_query(query, whole.analysis)
        common = sealed.statistics(parsed) + growing.statistics(parsed, 100)
        assert common == whole.statistics(parsed, 300)
        expected = whole.search(parsed, 300, rows=300)
        found = growing.search(parsed, 300, rows=100, statistics=common)
        tail = expected.rows >= 200
        assert (found.rows + 200).tolist() == expected.rows[tail].tolist()
        assert found.scores == pytest.approx(expected.scores[tail], rel=TOLERANCE)


def test_nothing_written_yet_is_searched_without_complaint() -> None:
    index = LiveLexical()
    for query in QUERIES:
        assert len(index.search(parse_query(query, index.analysis), 10, rows=0)) == 0


def test_searches_while_another_thread_writes_are_those_of_the_rows_they_ask_for() -> None:
    rows = passages(600)
    index, still = LiveLexical(), live(rows[:100])
    for row in rows[:100]:
        index.append(*row)
    parsed = [parse_query(query, still.analysis) for query in QUERIES if "*" not in query]
    expected = [still.search(query, 20, rows=100) for query in parsed]

    def write() -> None:
        for row in rows[100:]:
            index.append(*row)

    writer = threading.Thread(target=write)
    writer.start()
    while True:
        ended = not writer.is_alive()
        for query, hits in zip(parsed, expected, strict=True):
            found = index.search(query, 20, rows=100)
            assert (found.rows.tolist(), found.scores.tolist()) == (hits.rows.tolist(), hits.scores.tolist())
        if ended:
            break
    writer.join()
