"""Rounds of reading: all of it, as much as there is time for, or until the top is settled."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from ranking.budget import Budget, BudgetSettings, CostModel
from ranking.reading import ROUND, read
from retrieval.errors import Unavailable

COST = CostModel(fixed_ms=0.0, pair_ms=1.0, token_ms=0.0)


class Reader:
    """Takes a millisecond for each text, ``slower`` times as long as was measured; looks at the clock before each."""

    def __init__(self, truth: Sequence[float], slower: float = 1.0) -> None:
        self.truth = truth
        self.slower = slower
        self.now = 50.0
        self.rounds: list[int] = []

    def score_round(
        self, query: str, texts: Sequence[str], deadline: float | None = None
    ) -> tuple[NDArray[np.float32], int]:
        self.rounds.append(len(texts))
        scores = np.full(len(texts), np.nan, np.float32)
        for at, text in enumerate(texts):
            if deadline is not None and self.now >= deadline:
                break
            scores[at] = self.truth[int(text)]
            self.now += self.slower / 1000
        return scores, 0


def candidates(agreement: float) -> tuple[list[str], list[float], list[float]]:
    """Texts, prior and truth of a hundred candidates, best prior first."""
    rng = np.random.default_rng(8)
    truth = rng.normal(0, 3, 100)
    prior = agreement * truth + (1 - agreement) * rng.normal(0, 3, 100)
    order = np.argsort(-prior, kind="stable")
    return [str(at) for at in range(100)], prior[order].tolist(), truth[order].tolist()


def budget() -> Budget:
    return Budget(COST, BudgetSettings(keep_ms=0.0))


def test_without_a_deadline_and_a_prior_that_knows_nothing_all_is_read_in_few_rounds() -> None:
    texts, prior, truth = candidates(0.0)
    reader = Reader(truth)
    found = read(reader, budget(), "q", texts, prior, k=10, left_ms=None, clock=lambda: reader.now)
    assert found.logits.tolist() == pytest.approx(truth, abs=1e-5)
    assert (found.read, found.settled, found.late) == (100, False, False)
    assert reader.rounds == [16, 16, 32, 36]


def test_where_the_top_is_settled_reading_ends() -> None:
    texts, prior, truth = candidates(0.99)
    reader = Reader(truth)
    found = read(reader, budget(), "q", texts, prior, k=10, left_ms=None, clock=lambda: reader.now)
    assert ROUND <= found.read < 60
    assert (found.settled, found.late) == (True, False)
    assert np.isnan(found.logits[found.read :]).all()


def test_a_deadline_reads_as_many_as_fit() -> None:
    texts, prior, truth = candidates(0.0)
    reader = Reader(truth)
    found = read(reader, budget(), "q", texts, prior, k=10, left_ms=40.0, clock=lambda: reader.now)
    assert 35 <= found.read == found.planned <= 40
    assert (found.settled, found.late) == (False, True)
    assert reader.now <= 50.0 + 0.040 + 1e-9


def test_on_a_machine_that_became_slower_reading_stops_in_time_and_less_is_planned_next() -> None:
    texts, prior, truth = candidates(0.0)
    reader, shared = Reader(truth, slower=3.0), budget()
    found = read(reader, shared, "q", texts, prior, k=10, left_ms=40.0, clock=lambda: reader.now)
    assert found.late
    assert 5 < found.read < found.planned
    assert reader.now <= 50.0 + 0.040 + 0.003
    for _ in range(60):
        reader.now = 50.0
        found = read(reader, shared, "q", texts, prior, k=10, left_ms=40.0, clock=lambda: reader.now)
    assert found.planned < 25


def test_without_time_nothing_is_read_and_the_reranker_not_asked() -> None:
    texts, prior, truth = candidates(0.0)
    reader = Reader(truth)
    found = read(reader, budget(), "q", texts, prior, k=10, left_ms=0.0, clock=lambda: reader.now)
    assert (found.read, found.late, reader.rounds) == (0, True, [])
    assert read(reader, budget(), "q", [], [], k=10, left_ms=5.0, clock=lambda: reader.now).read == 0


def test_a_reranker_that_fails_leaves_no_call_in_flight() -> None:
    class Broken(Reader):
        def score_round(
            self, query: str, texts: Sequence[str], deadline: float | None = None
        ) -> tuple[NDArray[np.float32], int]:
            raise Unavailable("gone")

    texts, prior, truth = candidates(0.0)
    shared = budget()
    with pytest.raises(Unavailable):
        read(Broken(truth), shared, "q", texts, prior, k=10, left_ms=40.0)
    assert shared.begin() == 1
    assert shared.model.expected_ms(3, 50) == COST.expected_ms(3, 50)
