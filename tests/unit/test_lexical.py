"""The lexical channel against BM25 worked out by hand, and what it does with odd queries."""

from __future__ import annotations

import gzip
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from retrieval.analysis import Analysis, AnalysisSettings, analyse
from retrieval.errors import IndexUnreadable
from retrieval.lexical import FIELDS, Lexical, LexicalWriter, parse_query
from retrieval.lexical_query import MAX_QUERY_TERMS
from retrieval.types import Hits
from tests.requires import need

Row = tuple[str, tuple[str, ...], str]


def indexed(folder: Path, rows: Sequence[Row], workers: int = 1) -> Lexical:
    with LexicalWriter(folder / "lexical", workers=workers) as writer:
        for title, headings, text in rows:
            writer.add(title, headings, text)
    return Lexical(folder / "lexical")


def searched(lexical: Lexical, query: str, depth: int) -> Hits:
    return lexical.search(parse_query(query, lexical.analysis), depth)


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
    hits = searched(indexed(tmp_path, rows), query, 100)
    (expected,) = bm25(rows, [query])
    assert dict(zip(hits.rows.tolist(), hits.scores.tolist(), strict=True)) == pytest.approx(expected, rel=1e-5)


def test_ties_are_ordered_by_row(tmp_path: Path) -> None:
    hits = searched(indexed(tmp_path, [("", (), "same words here")] * 9), "words", 9)
    assert hits.rows.tolist() == list(range(9))


def test_no_more_than_the_depth_is_returned_best_first(tmp_path: Path) -> None:
    lexical = indexed(tmp_path, [("", (), "pear " * (i + 1) + "other " * 30) for i in range(20)])
    assert searched(lexical, "pear", 5).rows.tolist() == [19, 18, 17, 16, 15]


@pytest.mark.parametrize("query", ["", "?!", "absent", " \n"])
def test_a_query_that_shares_no_term_finds_nothing(tmp_path: Path, query: str) -> None:
    assert len(searched(indexed(tmp_path, [("", (), "some words")]), query, 10)) == 0


def test_an_empty_index_is_searched_without_complaint(tmp_path: Path) -> None:
    assert len(searched(indexed(tmp_path, []), "words", 10)) == 0


def test_of_a_very_long_query_the_rarest_terms_decide(tmp_path: Path) -> None:
    common = [f"common{i}x" for i in range(MAX_QUERY_TERMS + 20)]
    rows = [("", (), " ".join(common)) for _ in range(5)] + [("", (), "needle")]
    hits = searched(indexed(tmp_path, rows), " ".join([*common, "needle", "unknown"]), 10)
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
        hits = searched(lexical, query, 100)
        assert hits.scores == pytest.approx(sorted(expected.values(), reverse=True)[:100], rel=1e-4)
        assert [expected[row] for row in hits.rows.tolist()] == pytest.approx(hits.scores.tolist(), rel=1e-4)


def test_a_phrase_in_quotes_must_stand_there(tmp_path: Path) -> None:
    rows = ["red apple pie", "apple red", "a pie of red apple", "apple"]
    lexical = indexed(tmp_path, [("", (), text) for text in rows])
    assert sorted(searched(lexical, '"red apple"', 9).rows.tolist()) == [0, 2]
    assert searched(lexical, '"red apple" "apple pie"', 9).rows.tolist() == [0]
    assert len(searched(lexical, 'red apple "', 9)) == 4


def test_a_phrase_that_stands_nowhere_and_a_word_in_quotes_count_as_words(tmp_path: Path) -> None:
    lexical = indexed(tmp_path, [("", (), text) for text in ("red apple pie", "apple red", "pie")])
    assert sorted(searched(lexical, '"pie apple"', 9).rows.tolist()) == [0, 1, 2]
    assert sorted(searched(lexical, 'a "pie" is "red"', 9).rows.tolist()) == [0, 1, 2]


def test_a_chinese_phrase_is_found_wherever_words_are_cut(tmp_path: Path) -> None:
    rows = ["根据劳动合同法的规定", "合同法劳动", "劳动关系与合同法", "勞動合同法施行"]
    lexical = indexed(tmp_path, [("", (), text) for text in rows])
    assert sorted(searched(lexical, '"劳动合同"', 9).rows.tolist()) == [0, 3]
    assert sorted(searched(lexical, '"動合同"', 9).rows.tolist()) == [0, 3]


def test_a_phrase_scores_what_its_terms_score(tmp_path: Path) -> None:
    lexical = indexed(tmp_path, [("", (), "red apple pie"), ("", (), "green apple"), ("", (), "red tree")])
    plain, quoted = searched(lexical, "red apple", 9), searched(lexical, '"red apple"', 9)
    assert quoted.scores.tolist() == plain.scores[plain.rows == 0].tolist()


def test_a_star_finds_words_that_begin_so(tmp_path: Path) -> None:
    rows = ["kubernetes", "kubectl apply", "kubelet", "docker"]
    lexical = indexed(tmp_path, [("", (), text) for text in rows])
    assert sorted(searched(lexical, "kube*", 9).rows.tolist()) == [0, 1, 2]
    assert sorted(searched(lexical, "Kubec* docker", 9).rows.tolist()) == [1, 3]
    assert len(searched(lexical, "kube * c*d", 9)) == 0


def test_parts_written_by_processes_give_the_index_that_one_writes(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    words = [f"word{number}" for number in range(300)] + ["数据库", "劳动合同法"]
    rows: list[Row] = [
        (str(rng.choice(words)), (str(rng.choice(words)),), " ".join(rng.choice(words, 9))) for _ in range(5000)
    ]
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    one, two = indexed(tmp_path / "one", rows), indexed(tmp_path / "two", rows, workers=2)
    assert (one.passages, two.passages) == (5000, 5000)
    for query in ("word1 word2", "数据库 word7", '"word3 word4"', "word29*"):
        parsed = parse_query(query, one.analysis)
        assert one.statistics(parsed) == two.statistics(parsed)
        alone, joined = one.search(parsed, 5000), two.search(parsed, 5000)
        assert alone.rows.tolist() == joined.rows.tolist()
        assert alone.scores.tolist() == joined.scores.tolist()


def test_a_worker_that_fails_fails_the_writer_and_leaves_no_index(tmp_path: Path) -> None:
    no_text = cast(str, None)
    with pytest.raises(OSError, match=r"ended with|Broken pipe"):
        indexed(tmp_path, [("", (), "words"), ("", (), no_text)], workers=2)
    with pytest.raises(IndexUnreadable):
        Lexical(tmp_path / "lexical")


def test_segments_that_score_with_common_statistics_agree_with_one_index_of_all(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    rows: list[Row] = [("", (), " ".join(f"w{int(rank)}" for rank in rng.zipf(1.4, 12) % 500)) for _ in range(600)]
    for name in ("all", "first", "second"):
        (tmp_path / name).mkdir()
    whole = indexed(tmp_path / "all", rows)
    parts = [indexed(tmp_path / "first", rows[:400]), indexed(tmp_path / "second", rows[400:])]
    for query in ("w1 w2 w17", "w3 w40 w41", "w5*"):
        parsed = parse_query(query, whole.analysis)
        common = parts[0].statistics(parsed) + parts[1].statistics(parsed)
        if "*" not in query:
            assert common == whole.statistics(parsed)
        expected = dict(zip(*map(np.ndarray.tolist, _pair(whole.search(parsed, 600))), strict=True))
        found = [part.search(parsed, 600, statistics=common) for part in parts]
        scores = dict(zip(found[0].rows.tolist(), found[0].scores.tolist(), strict=True))
        scores |= dict(zip((found[1].rows + 400).tolist(), found[1].scores.tolist(), strict=True))
        assert scores == pytest.approx(expected, rel=1e-4)


def _pair(hits: Hits) -> tuple[Any, Any]:
    return hits.rows, hits.scores


def test_a_synonym_is_looked_for_where_one_of_its_group_is_asked(tmp_path: Path) -> None:
    analysis = Analysis(AnalysisSettings(synonyms=(("k8s", "kubernetes"), ("电脑", "计算机"))))
    with LexicalWriter(tmp_path / "lexical", analysis) as writer:
        for text in ("kubernetes cluster", "a k8s pod", "docker", "买一台计算机", "电脑坏了"):
            writer.add("", (), text)
    lexical = Lexical(tmp_path / "lexical", analysis)
    assert sorted(searched(lexical, "k8s", 9).rows.tolist()) == [0, 1]
    assert sorted(searched(lexical, "我的电脑多少钱", 9).rows.tolist()) == [3, 4]
    assert searched(lexical, "docker", 9).rows.tolist() == [2]
