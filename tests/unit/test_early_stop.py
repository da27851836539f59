"""Reading ends early where the rung below already knows the order, and goes on where it knows nothing."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ranking.early_stop import LEAST_READ, expected_gain, settled

K = 10


def ranked(agreement: float, seed: int) -> tuple[list[float], list[float]]:
    """Prior scores, best first, and the reranker's logits, which follow them as far as ``agreement`` says."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(0, 3, 100)
    prior = agreement * truth + math.sqrt(1 - agreement**2) * rng.normal(0, 3, 100)
    order = np.argsort(-prior, kind="stable")
    return prior[order].tolist(), truth[order].tolist()


def read_until_settled(prior: list[float], logits: list[float]) -> int:
    """How many are read in rounds of eight."""
    read = 16
    while read < len(prior) and not settled(logits[:read], prior, K):
        read += 8
    return min(read, len(prior))


def gain(logits: list[float], read: int) -> float:
    """DCG@10 of what was read, over that of all, the gain of a candidate its probability."""

    def dcg(scores: list[float]) -> float:
        return sum(1 / (1 + math.exp(-s)) / math.log2(i + 2) for i, s in enumerate(sorted(scores)[::-1][:K]))

    return dcg(logits[:read]) / dcg(logits)


def test_where_the_prior_is_good_reading_stops_early_and_loses_next_to_nothing() -> None:
    found = [(read_until_settled(*pair), pair) for pair in (ranked(0.97, seed) for seed in range(60))]
    assert np.mean([read for read, _ in found]) < 50
    assert np.mean([gain(logits, read) for read, (_, logits) in found]) > 0.995


def test_where_the_prior_knows_nothing_nearly_all_is_read() -> None:
    assert np.mean([read_until_settled(*ranked(0.0, seed)) for seed in range(30)]) > 90


def test_a_better_prior_never_costs_more_reading_on_average() -> None:
    depths = [np.mean([read_until_settled(*ranked(a, seed)) for seed in range(30)]) for a in (0.0, 0.6, 0.9, 0.99)]
    assert depths == sorted(depths, reverse=True)


def test_a_handful_of_scores_proves_nothing() -> None:
    prior, logits = ranked(0.99, 0)
    assert expected_gain(logits[: LEAST_READ - 1], prior, 3) == math.inf
    assert not settled(logits[:K], prior, K)


def test_when_all_is_read_it_is_settled() -> None:
    prior, logits = ranked(0.0, 3)
    assert settled(logits, prior, K)
    assert settled([], [], K)


@settings(deadline=None)
@given(st.integers(0, 10_000), st.floats(0.1, 50), st.floats(-20, 20))
def test_the_scale_of_the_prior_does_not_matter(seed: int, by: float, plus: float) -> None:
    prior, logits = ranked(0.8, seed)
    moved = [by * score + plus for score in prior]
    found, expected = expected_gain(logits[:30], moved, K), expected_gain(logits[:30], prior, K)
    assert math.isclose(found, expected, rel_tol=1e-6, abs_tol=1e-9)


def test_equal_priors_are_no_line() -> None:
    _, logits = ranked(0.5, 1)
    assert 0 < expected_gain(logits[:20], [1.0] * 100, K) < 80
