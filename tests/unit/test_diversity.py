"""Maximal marginal relevance: what it keeps, and that twins do not fill the first places."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranking.diversity import STAGE, Likeness, by_terms, by_vectors, diversified, mmr
from retrieval.types import Candidate
from tests.learned import candidate


def _likeness(seed: int, count: int) -> Likeness:
    vectors = np.random.default_rng(seed).normal(size=(count, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return by_vectors(vectors)


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=40), st.floats(0, 1), st.integers(0, 50))
def test_every_candidate_comes_out_once_and_the_best_stays_first(
    relevance: list[float], balance: float, k: int
) -> None:
    order = mmr(relevance, _likeness(1, len(relevance)), balance, k)
    assert sorted(order) == list(range(len(relevance)))
    if k and balance > 0.01 and np.ptp(relevance) > 1e-3:
        assert relevance[order[0]] == max(relevance)


@given(st.lists(st.floats(-10, 10), max_size=40))
def test_relevance_alone_keeps_the_order_and_ties_as_they_came(relevance: list[float]) -> None:
    rounded = [round(value, 2) for value in relevance]
    order = mmr(rounded, _likeness(2, len(rounded)), 1.0)
    assert order == sorted(range(len(rounded)), key=lambda place: -rounded[place])


def test_a_twin_makes_room_for_something_else() -> None:
    vectors = np.array([[1, 0], [1, 0], [0, 1]], np.float32)
    assert mmr([1.0, 0.9, 0.8], by_vectors(vectors), 0.5) == [0, 2, 1]
    assert mmr([1.0, 0.9, 0.8], by_vectors(vectors), 1.0) == [0, 1, 2]


def test_each_step_is_what_the_formula_says() -> None:
    relevance, likeness, balance = [0.9, 0.5, 0.4, 0.1], _likeness(3, 4), 0.6
    scaled = [(value - 0.1) / 0.8 for value in relevance]
    chosen: list[int] = []
    while len(chosen) < 4:
        left = [place for place in range(4) if place not in chosen]
        gains = {
            place: balance * scaled[place] - (1 - balance) * max((likeness(place)[at] for at in chosen), default=0)
            for place in left
        }
        chosen.append(max(left, key=lambda place: gains[place]))
    assert mmr(relevance, likeness, balance) == chosen


def test_places_behind_k_follow_by_relevance() -> None:
    vectors = np.array([[1, 0], [1, 0], [0, 1], [1, 0]], np.float32)
    assert mmr([1.0, 0.9, 0.8, 0.95], by_vectors(vectors), 0.5, k=2) == [0, 2, 3, 1]


def test_texts_are_compared_by_their_terms_in_both_languages() -> None:
    texts = ["index the documents", "documents are indexed", "delete the log", "索引文档", "文档的索引", "", ""]
    row = by_terms(texts)
    alike = np.stack([row(at) for at in range(len(texts))])
    assert alike[0, 1] > 0.5 > alike[0, 2] > 0
    assert alike[3, 4] > 0.5
    assert alike[3, 0] == alike[5, 6] == 0
    assert np.allclose(alike, alike.T)
    assert np.diag(alike).tolist() == [1, 1, 1, 1, 1, 0, 0]


@pytest.mark.parametrize("balance", [-0.1, 1.1, float("nan")])
def test_a_balance_outside_its_range_is_refused(balance: float) -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        mmr([1.0], _likeness(4, 1), balance)


def _passages(*texts: str) -> list[Candidate]:
    return [candidate(f"d{at}#0", text, {"fused": (at + 1, 1 / (61 + at))}) for at, text in enumerate(texts)]


def _names(candidates: Sequence[Candidate]) -> list[str]:
    return [each.passage.document_id for each in candidates]


_SOME = ["red", "fox", "ran", "over", "lazy", "dog", "in", "rain", "again"]
_WORDS = st.lists(st.sampled_from(_SOME), max_size=6).map(" ".join)


@given(st.lists(_WORDS, max_size=25), st.floats(0, 1), st.integers(0, 30))
def test_all_candidates_stay_with_their_scores_and_those_behind_the_window_where_they_are(
    texts: list[str], diversity: float, window: int
) -> None:
    before = _passages(*texts)
    after = diversified(before, diversity, window)
    assert sorted(_names(after)) == sorted(_names(before))
    assert list(after[window:]) == before[window:]
    assert _names(after)[:1] == _names(before)[:1]
    named = {each.passage.document_id: each for each in before}
    for each in after:
        was = named[each.passage.document_id]
        assert (each.score, each.scored_by, each.passage) == (was.score, was.scored_by, was.passage)
        assert {name: told for name, told in each.stages.items() if name != STAGE} == was.stages
    ranks = [each.stages[STAGE].rank for each in after if STAGE in each.stages]
    assert ranks in ([], list(range(1, min(window, len(after)) + 1)))
    assert all(0 <= each.stages[STAGE].score <= 1 for each in after if STAGE in each.stages)


@given(st.lists(_WORDS, max_size=25))
def test_without_diversity_nothing_moves_and_nothing_is_said(texts: list[str]) -> None:
    before = _passages(*texts)
    assert list(diversified(before, 0.0)) == before


def test_copies_of_a_passage_make_room_by_as_many_places_as_is_promised() -> None:
    texts = [
        "rotate the keys every ninety days",
        "rotate the keys each ninety days",
        *(f"w{n} x{n} y{n}" for n in range(80)),
    ]
    order = _names(diversified(_passages(*texts), 0.3))
    likeness = by_terms(texts)(0)[1]
    # From place 2 of 82 by diversity / (1 - diversity) places of 81 for each unit of likeness.
    assert order.index("d1") == pytest.approx(1 + 0.3 / 0.7 * likeness * 81, abs=1)


def test_the_first_of_each_kind_comes_before_the_second_of_any() -> None:
    texts = [f"{kind} {kind}" for kind in ("apples", "pears", "plums") for _ in range(4)]
    order = diversified(_passages(*texts), 0.9)
    assert {each.passage.text for each in order[:3]} == set(texts)
    assert [each.stages[STAGE].score for each in order[:3]] == [1, 1, 1]
    assert all(each.stages[STAGE].score == pytest.approx(0, abs=1e-6) for each in order[3:])


def test_likeness_of_other_candidates_is_refused() -> None:
    with pytest.raises(ValueError, match="not of one candidate to 2"):
        mmr([1.0, 0.5], _likeness(5, 3), 0.5)
