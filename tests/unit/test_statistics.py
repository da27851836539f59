"""Tests of differences: as scipy computes them, whatever the order, and honest about what a set can show."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from eval.statistics import (
    EXACT,
    compare_times,
    holm,
    least_detectable,
    mean_intervals,
    sign_flip,
    t_quantile,
    wins_losses_ties,
)

STEPS = st.integers(-4, 4).map(lambda each: each / 4)


def drawn(queries: int, seed: int = 0, mean: float = 0.05) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, 0.2, queries)


@pytest.mark.parametrize("queries", [2, 5, 10, 13])
def test_few_differences_are_tried_in_all_their_signs_as_scipy_does(queries: int) -> None:
    differences = drawn(queries)
    theirs = stats.permutation_test((differences,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert sign_flip(differences)[0] == pytest.approx(theirs.pvalue, abs=1e-12)


@pytest.mark.parametrize("queries", [17, 40, 150])
def test_many_differences_are_drawn_and_agree_with_scipy(queries: int) -> None:
    differences = drawn(queries, seed=queries)
    theirs = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=30_000, rng=np.random.default_rng(1)
    )
    ours = sign_flip(differences)[0]
    assert ours == pytest.approx(theirs.pvalue, abs=5 * math.sqrt(theirs.pvalue / 20_000) + 1e-4)


def test_drawing_agrees_with_trying_all() -> None:
    differences = np.concatenate([drawn(EXACT, seed=3, mean=0.1), [1e-6]])
    exact = sign_flip(differences[:-1])[0]
    assert sign_flip(differences)[0] == pytest.approx(exact, abs=0.006)


def test_differences_of_one_size_are_a_binomial_test_though_they_round() -> None:
    differences = np.repeat([0.1, -0.1], [14, 4]) + np.repeat([1e-15, 0.0], [9, 9])
    assert sign_flip(differences)[0] == pytest.approx(stats.binomtest(14, 18).pvalue, abs=0.005)


@settings(max_examples=30, deadline=None)
@given(st.lists(STEPS, min_size=1, max_size=40), st.randoms(use_true_random=False))
def test_order_and_direction_change_no_p(differences: list[float], random: object) -> None:
    shuffled = sorted(differences, key=lambda each: random.random())  # type: ignore[attr-defined]
    p = sign_flip(differences)[0]
    assert sign_flip(shuffled)[0] == p
    assert sign_flip(np.negative(differences))[0] == p
    assert 0 < p <= 1
    low, high = mean_intervals(differences)[0]
    assert tuple(mean_intervals(shuffled)[0]) == (low, high)
    assert low <= np.mean(differences) + 1e-9
    assert high >= np.mean(differences) - 1e-9


def test_rows_are_tested_as_if_alone() -> None:
    rows = np.random.default_rng(2).normal(0.03, 0.2, (70, 60))
    assert sign_flip(rows).tolist() == [sign_flip(row)[0] for row in rows]
    np.testing.assert_allclose(mean_intervals(rows[:9]), [mean_intervals(row)[0] for row in rows[:9]])


def test_nothing_that_differs_is_chance() -> None:
    assert sign_flip(np.zeros(200))[0] == 1.0
    assert sign_flip(np.full(200, 1e-12))[0] == 1.0


@pytest.mark.parametrize("bad", [[], [0.1, math.nan]])
def test_what_cannot_be_compared_is_refused(bad: list[float]) -> None:
    with pytest.raises(ValueError, match=r"query to compare|is no number"):
        sign_flip(bad)


def test_holm_as_worked_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def test_the_interval_of_a_mean_agrees_with_scipy() -> None:
    differences = np.random.default_rng(5).gamma(0.5, 0.2, 120) - 0.05
    theirs = stats.bootstrap((differences,), np.mean, method="percentile", rng=np.random.default_rng(6))
    ours = mean_intervals(differences)[0]
    assert ours == pytest.approx(tuple(theirs.confidence_interval), abs=0.003)


def test_the_interval_of_a_mean_holds_it_as_often_as_it_says() -> None:
    rows = np.random.default_rng(7).laplace(0.02, 0.15, (1000, 80))
    low, high = mean_intervals(rows, level=0.1).T
    held = np.mean((low <= 0.02) & (high >= 0.02))
    assert 0.86 < held < 0.93


@pytest.mark.parametrize(("p", "degrees"), [(0.8, 5), (0.975, 5), (0.975, 29), (0.9995, 29), (0.99, 299)])
def test_students_t_agrees_with_scipy(p: float, degrees: int) -> None:
    assert t_quantile(p, degrees) == pytest.approx(stats.t.ppf(p, degrees), rel=0.004)


@pytest.mark.parametrize(("queries", "level"), [(30, 0.05), (100, 0.025), (300, 0.01)])
def test_what_is_called_detectable_is_found_four_times_in_five(queries: int, level: float) -> None:
    random = np.random.default_rng(8)
    # As between two rankings: most queries stay, the others move by much.
    moved = np.where(random.random((500, queries)) < 0.4, random.normal(0, 0.3, (500, queries)), 0.0)
    least = np.mean([least_detectable(row, np.linspace(0, 1, 100), level) for row in moved])
    found = np.mean(sign_flip(moved + least) < level)
    assert 0.74 < found < 0.88


def test_a_set_detects_no_less_than_its_steps_allow() -> None:
    binary = [0.0, 1.0] * 50
    # 2^(1 - 6) is the first below 0.05, so six queries of a hundred must change, by 1 each.
    assert least_detectable(np.zeros(100), binary, 0.05) == pytest.approx(0.06)
    assert sign_flip(np.repeat([1.0, 0.0], [6, 94]))[0] < 0.05 < sign_flip(np.repeat([1.0, 0.0], [5, 95]))[0]
    assert least_detectable(np.zeros(100), [1.0] * 100, 0.05) == pytest.approx(0.06)
    assert least_detectable(np.zeros(100), [0.5, 0.75, 1.0], 0.05) == pytest.approx(0.015)
    assert least_detectable(np.zeros(5), binary, 0.05) == math.inf


def test_wins_losses_and_ties_are_counted_beyond_rounding() -> None:
    assert wins_losses_ties([0.1, -0.2, 1e-12, 0.0, 0.3]) == (2, 1, 2)


def test_times_are_compared_as_ratios_that_turn_round() -> None:
    random = np.random.default_rng(9)
    a = random.lognormal(3, 0.6, 400)
    b = 1.3 * a * random.lognormal(0, 0.1, 400)
    forth, back = compare_times(a, b), compare_times(b, a)
    assert forth.paired.value == pytest.approx(1.3, rel=0.02)
    assert forth.p50.value == pytest.approx(1 / back.p50.value)
    assert forth.paired.low == pytest.approx(1 / back.paired.high, rel=0.01)
    assert forth.paired.low < 1.3 < forth.paired.high
    assert (forth.p, back.p) == (forth.p, forth.p)
    assert forth.p < 0.001
    # Queries of all lengths widen the interval of the medians, and not that of the queries' own ratios.
    assert forth.paired.high - forth.paired.low < (forth.p50.high - forth.p50.low) / 2


def test_times_compared_do_not_depend_on_the_order() -> None:
    random = np.random.default_rng(10)
    a, b, order = random.lognormal(3, 1, 50), random.lognormal(3, 1, 50), random.permutation(50)
    assert compare_times(a, b) == compare_times(a[order], b[order])


def test_a_slow_tail_is_seen_in_p95_and_not_in_the_median() -> None:
    a = np.random.default_rng(11).lognormal(3, 0.2, 500)
    b = a * np.where(np.arange(500) % 10 == 0, 5.0, 1.0)
    compared = compare_times(a, b)
    assert compared.p95.low > 1.5
    assert compared.paired.value == 1.0


def test_the_interval_of_a_ratio_holds_it_as_often_as_it_says() -> None:
    random = np.random.default_rng(12)
    held = 0
    for _ in range(100):
        a = random.lognormal(3, 0.5, 60)
        paired = compare_times(a, 1.1 * a * random.lognormal(0, 0.2, 60), draws=300).paired
        held += paired.low <= 1.1 <= paired.high
    assert 87 <= held <= 100


def test_a_time_of_zero_has_a_ratio() -> None:
    assert compare_times([0.0] * 8, [0.0] * 8).paired.value == 1.0
