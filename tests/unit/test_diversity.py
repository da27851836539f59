"""Maximal marginal relevance: what it keeps, and that twins do not fill the first places."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranking.diversity import Likeness, by_terms, by_vectors, mmr


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


def test_likeness_of_other_candidates_is_refused() -> None:
    with pytest.raises(ValueError, match="not of one candidate to 2"):
        mmr([1.0, 0.5], _likeness(5, 3), 0.5)
