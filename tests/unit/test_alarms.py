"""How often comparing raises a false alarm, and how often it sees a true loss: over runs drawn from a model."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from eval.gate import CODES, LOST, PASSED, Policy, gate_results
from eval.statistics import holm, least_detectable, sign_flip
from tests.simulated_runs import results, searched, world

LEVEL, PAIRS = 0.05, 1000
LEAST = 0.1
"""So that a hundred questions are enough."""
METRICS = ("nDCG@10", "R@20", "RR@10")
MOST = int(stats.binom.ppf(0.999, PAIRS, LEVEL))
"""More alarms than this come once in a thousand times from a test that keeps its level."""


def corrected(queries: int, worse: float = 0.0, pairs: int = PAIRS, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """p after Holm of three metrics, and their differences, for many pairs of runs: [pairs, 3] each."""
    at, random = world(queries, seed), np.random.default_rng(seed + 1)
    before = searched(at, random, pairs)
    after = searched(at, random, pairs, worse)
    differences = np.stack([after[name] - before[name] for name in METRICS])
    ps = sign_flip(differences.reshape(-1, queries)).reshape(len(METRICS), pairs).T
    return np.array([holm(row.tolist()) for row in ps]), differences.mean(axis=2).T


@pytest.mark.parametrize(
    "queries", [12, 30, pytest.param(100, marks=pytest.mark.slow), pytest.param(300, marks=pytest.mark.slow)]
)
def test_an_unchanged_system_raises_no_alarm_more_often_than_the_level_says(queries: int) -> None:
    ps, differences = corrected(queries)
    assert (ps < LEVEL).any(axis=1).sum() <= MOST
    # Only losses stop a release: half of that.
    assert ((ps < LEVEL) & (differences < 0)).any(axis=1).sum() <= stats.binom.ppf(0.999, PAIRS, LEVEL / 2)


def test_the_test_of_one_metric_uses_its_level_up() -> None:
    """It is not right by never saying anything."""
    at, random = world(100, 3), np.random.default_rng(4)
    before, after = searched(at, random, PAIRS)["nDCG@10"], searched(at, random, PAIRS)["nDCG@10"]
    alarms = int((sign_flip(after - before) < LEVEL).sum())
    assert stats.binom.ppf(0.001, PAIRS, LEVEL) <= alarms <= MOST


def test_without_the_correction_the_level_would_be_broken() -> None:
    """The metrics hang together as real ones do, and yet three chances are more than one."""
    at, random = world(100, 5), np.random.default_rng(6)
    before, after = searched(at, random, PAIRS), searched(at, random, PAIRS)
    differences = np.stack([after[name] - before[name] for name in METRICS])
    ndcg, recall, reciprocal = differences.reshape(len(METRICS), -1)
    assert stats.pearsonr(ndcg, recall).statistic > 0.1
    assert stats.pearsonr(ndcg, reciprocal).statistic > 0.7
    uncorrected = (sign_flip(differences.reshape(-1, 100)).reshape(len(METRICS), -1) < LEVEL).any(axis=0).sum()
    assert uncorrected > MOST


def test_a_run_and_itself_with_its_queries_shuffled_or_its_scores_dealt_out_anew_raise_no_alarm() -> None:
    scores = searched(world(60, 7), np.random.default_rng(8))["nDCG@10"][0]
    random = np.random.default_rng(9)
    assert sign_flip(scores - scores)[0] == 1.0
    dealt = np.array([random.permutation(scores) - scores for _ in range(PAIRS)])
    assert (sign_flip(dealt) < LEVEL).sum() <= MOST


@pytest.mark.parametrize(("queries", "worse", "share"), [(50, 0.5, 0.9), (100, 0.3, 0.8), (200, 0.3, 0.97)])
def test_a_planted_loss_is_seen(queries: int, worse: float, share: float) -> None:
    ps, differences = corrected(queries, worse, pairs=150)
    seen = ((ps < LEVEL) & (differences < 0)).any(axis=1)
    assert seen.mean() >= share


def test_the_power_against_a_loss_is_what_the_least_detectable_difference_says() -> None:
    """Over runs whose loss is about that difference, four in five are seen."""
    at, random, pairs = world(200, 10), np.random.default_rng(11), 300
    before, after = searched(at, random, pairs)["nDCG@10"], searched(at, random, pairs, worse=0.14)["nDCG@10"]
    differences = after - before
    values = np.concatenate([before[0], after[0]])
    least = np.mean([least_detectable(row, values, LEVEL) for row in differences])
    # The planted loss is not exactly the least one: what is said of another follows from its distance in spreads.
    spread = differences.std(axis=1).mean() / np.sqrt(200)
    expected = stats.norm.cdf(stats.norm.ppf(0.8) + (-differences.mean() - least) / spread)
    assert 0.6 < expected < 0.95
    assert np.mean(sign_flip(differences) < LEVEL) == pytest.approx(expected, abs=0.07)


def outcomes(
    pairs: int, worse: float = 0.0, slower: float = 1.0, drift: float = 0.004, queries: int = 300
) -> list[tuple[int, bool, bool]]:
    """Of gates over pairs of runs: exit code, whether quality was lost, whether the reranker was found slower."""
    at, policy = world(queries, 12), Policy(least=LEAST)
    found = []
    for seed in range(pairs):
        before = results(at, 2 * seed, drift=drift)
        after = results(at, 2 * seed + 1, worse, {"rerank": slower}, drift)
        verdict = gate_results(before, after, policy)
        text = "\n".join(verdict.reasons)
        found.append((verdict.exit_code, "fell by" in text, "rerank takes" in text))
    return found


def test_the_gate_lets_an_unchanged_system_pass_and_stops_a_worse_and_a_slower_one() -> None:
    assert [code for code, *_ in outcomes(6, queries=100)].count(CODES[PASSED]) >= 5
    assert [code for code, *_ in outcomes(2, worse=0.8, queries=100)] == [CODES[LOST]] * 2
    assert all(slow and code == CODES[LOST] for code, _, slow in outcomes(2, slower=1.4, drift=0.001, queries=100))


@pytest.mark.slow
def test_of_a_hundred_gates_over_an_unchanged_system_ninety_five_are_passed() -> None:
    """Though the machine drifts by 7 % within each run, and by 6 % between them."""
    codes = [code for code, *_ in outcomes(100)]
    assert codes.count(CODES[PASSED]) >= 95


@pytest.mark.slow
def test_of_a_hundred_rerankers_that_are_30_percent_slower_ninety_five_are_caught() -> None:
    """On a machine whose medians differ by 2 % from run to run; where it is 5 %, one in ten is missed."""
    found = outcomes(100, slower=1.3, drift=0.001)
    assert sum(slow for *_, slow in found) >= 95


@pytest.mark.slow
def test_of_a_hundred_losses_of_quality_ninety_five_are_caught() -> None:
    found = outcomes(100, worse=0.3)
    assert sum(lost for _, lost, _ in found) >= 95
