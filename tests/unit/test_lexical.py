"""The lexical channel against BM25 worked out by hand, and what it does with odd queries."""

from __future__ import annotations

import gzip
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from retrieval.analysis import analyse
from retrieval.errors import IndexUnreadable
from retrieval.lexical import FIELDS, MAX_QUERY_TERMS, Lexical, LexicalWriter
from tests.requires import need

Row = tuple[str, tuple[str, ...], str]


def indexed(folder: Path, rows: Sequence[Row]) -> Lexical:
    with LexicalWriter(folder / "lexical") as writer:
        for title, headings, text in rows:
            writer.add(title, headings, text)
    return Lexical(folder / "lexical")


def bm25(rows: Sequence[Row], queries: Sequence[str]) -> list[dict[int, float]]:
    """Sum over fields of weight times BM25 (Robertson's idf plus one, k1 1.2, b 0.75), straight from the formula."""
    scores: list[dict[int, float]] = [{} for _ in queries]
    analysed = [_terms(row) for row in rows]
    for field, weight in FIELDS.items():
        bags = [Counter(terms[field]) for terms in analysed]
        lengths = [sum(bag.values()) for bag in bags]
        mean = sum(lengths) / len(lengths) or 1.0
        for of_query, query in zip(scores, queries, strict=True):
            for term in analyse(query):
                held = [row for row, bag in enumerate(bags) if term in bag]
                idf = math.log(1 + (len(rows) - len(held) + 0.5) / (len(held) + 0.5))
                for row in held:
                    tf = bags[row][term]
                    gain = tf * 2.2 / (tf + 1.2 * (1 - 0.75 + 0.75 * rounded(lengths[row]) / mean))
                    of_query[row] = of_query.get(row, 0.0) + weight * idf * gain
    return scores


def rounded(length: int) -> int:
    """tantivy keeps a length in one byte, as Lucene does: of what is over 24, the four highest bits."""
    over = max(0, length - 24)
    cut = max(0, over.bit_length() - 4)
    return length if length <= 24 else 24 + (over >> cut << cut)


def _terms(row: Row) -> Mapping[str, list[str]]:
    title, headings, text = analyse(row[0]), [term for heading in row[1] for term in analyse(heading)], analyse(row[2])
    return {"title": title, "headings": headings, "body": title + headings + text}


@pytest.mark.parametrize(
    "query", ["red apple", "apple apple pie", "苹果 pie", "title red", "max_length", "the red and the green"]
)
def test_scores_are_those_of_the_formula(tmp_path: Path, query: str) -> None:
    rng = np.random.default_rng(7)
    vocabulary = ["red", "apple", "pie", "green", "苹果", "数据库", "the", "and", "max_length", "tree"]
    rows = [
        ("Title red" if i % 3 else "", ("Apple",) if i % 4 == 0 else (), " ".join(rng.choice(vocabulary, 1 + i % 14)))
        for i in range(40)
    ]
    hits = indexed(tmp_path, rows).search(query, 100)
    (expected,) = bm25(rows, [query])
    assert dict(zip(hits.rows.tolist(), hits.scores.tolist(), strict=True)) == pytest.approx(expected, rel=1e-5)


def test_ties_are_ordered_by_row(tmp_path: Path) -> None:
    hits = indexed(tmp_path, [("", (), "same words here")] * 9).search("words", 9)
    assert hits.rows.tolist() == list(range(9))


def test_no_more_than_the_depth_is_returned_best_first(tmp_path: Path) -> None:
    lexical = indexed(tmp_path, [("", (), "pear " * (i + 1) + "other " * 30) for i in range(20)])
    assert lexical.search("pear", 5).rows.tolist() == [19, 18, 17, 16, 15]


@pytest.mark.parametrize("query", ["", "?!", "absent", " \n"])
def test_a_query_that_shares_no_term_finds_nothing(tmp_path: Path, query: str) -> None:
    assert len(indexed(tmp_path, [("", (), "some words")]).search(query, 10)) == 0


def test_an_empty_index_is_searched_without_complaint(tmp_path: Path) -> None:
    assert len(indexed(tmp_path, []).search("words", 10)) == 0


def test_of_a_very_long_query_the_rarest_terms_decide(tmp_path: Path) -> None:
    common = [f"common{i}x" for i in range(MAX_QUERY_TERMS + 20)]
    rows = [("", (), " ".join(common)) for _ in range(5)] + [("", (), "needle")]
    hits = indexed(tmp_path, rows).search(" ".join([*common, "needle", "unknown"]), 10)
    assert 5 in hits.rows.tolist()


def test_a_folder_that_holds_no_index_is_called_unreadable(tmp_path: Path) -> None:
    with pytest.raises(IndexUnreadable, match="cannot be read"):
        Lexical(tmp_path)


def test_the_order_on_cranfield_is_that_of_bm25_by_hand(tmp_path: Path) -> None:
    folder = need.data("cranfield")
    with gzip.open(folder / "corpus.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [(found["title"], (), found["text"]) for found in map(json.loads, lines)][:500]
    with gzip.open(folder / "queries.jsonl.gz", "rt", encoding="utf-8") as lines:
        queries = [json.loads(line)["text"] for line in lines][:30]
    lexical = indexed(tmp_path, rows)
    for query, expected in zip(queries, bm25(rows, queries), strict=True):
        hits = lexical.search(query, 100)
        assert hits.scores == pytest.approx(sorted(expected.values(), reverse=True)[:100], rel=1e-4)
        assert [expected[row] for row in hits.rows.tolist()] == pytest.approx(hits.scores.tolist(), rel=1e-4)
