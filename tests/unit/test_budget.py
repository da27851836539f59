"""Plans keep their time on a machine that is noisy, shared, and slower than it was when it was measured."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranking.budget import Budget, BudgetSettings, CostModel, Sample, estimated_tokens, fit
from retrieval.batching import token_batches
from retrieval.errors import InvalidRequest
from tests.virtual_time import in_virtual_time

TRUE = CostModel(fixed_ms=0.4, pair_ms=0.05, token_ms=0.03)


def samples(count: int, noise: float = 0.1, slower: float = 1.0) -> list[Sample]:
    rng = np.random.default_rng(4)
    found = []
    for _ in range(count):
        pairs, in_flight = int(rng.integers(1, 100)), int(rng.integers(1, 3))
        tokens = int(pairs * rng.integers(20, 200))
        ms = TRUE.expected_ms(pairs, tokens, in_flight) * slower * float(np.exp(rng.normal(0, noise)))
        found.append(Sample(pairs, tokens, ms, in_flight))
    return found


def test_a_fit_finds_what_the_samples_were_made_of() -> None:
    model = fit(samples(200))
    for pairs, tokens in ((1, 60), (20, 1000), (100, 12_800)):
        assert model.expected_ms(pairs, tokens) == pytest.approx(TRUE.expected_ms(pairs, tokens), rel=0.05)
    assert 1.1 < model.ratio(0.95) < 1.3


def test_no_part_of_a_cost_is_negative() -> None:
    model = fit([Sample(1, 100, 5.0), Sample(10, 1000, 50.0), Sample(20, 1000, 49.0), Sample(50, 100, 4.0)])
    assert min(model.fixed_ms, model.pair_ms, model.token_ms) >= 0


def test_too_few_measurements_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="too few"):
        fit(samples(2))


def test_a_lasting_change_is_learned_and_one_stall_is_not() -> None:
    model = fit(samples(100))
    stalled = model.refined(Sample(10, 1000, 3000.0))
    assert stalled.level < model.level * 1.05
    for sample in samples(150, slower=2.0):
        model = model.refined(sample)
    assert model.expected_ms(10, 1000) == pytest.approx(2 * TRUE.expected_ms(10, 1000), rel=0.15)
    assert len(model.ratios) <= 512


def test_a_machine_that_was_busy_once_is_tried_again() -> None:
    budget = Budget(fit(samples(100)))
    for _ in range(100):
        budget.end(4, 200, 2000.0, budget.begin())
    refused = 0
    while not budget.plan(50.0, [60] * 40).count:
        budget.end(0, 0, 0.1, budget.begin())
        refused += 1
    assert 0 < refused < 1500


def test_a_model_is_stored_and_read_and_nonsense_is_not() -> None:
    model = fit(samples(20)).refined(Sample(3, 100, 9.0))
    assert CostModel.from_json(model.to_json()) == model
    for text in ("", "[]", "{}", model.to_json().replace('"level": ', '"level": -'), "null"):
        with pytest.raises(InvalidRequest, match="riddle calibrate"):
            CostModel.from_json(text)


@given(st.floats(0, 500), st.lists(st.integers(1, 256), max_size=60), st.integers(1, 4))
def test_more_time_reads_no_less_and_more_callers_no_more(left: float, lengths: list[int], in_flight: int) -> None:
    budget = Budget(CostModel(0.4, 0.05, 0.03, ratios=(0.9, 1.0, 1.0, 1.3)))
    plan = budget.plan(left, lengths, in_flight)
    assert 0 <= plan.count <= len(lengths)
    assert plan.count <= budget.plan(left + 10, lengths, in_flight).count
    assert plan.count >= budget.plan(left, lengths, in_flight + 1).count
    assert plan.expected_ms <= max(left, 0)
    assert 0 <= plan.stop_ms <= left


def test_without_time_nothing_is_read() -> None:
    assert Budget(TRUE).plan(0.0, [60] * 10).count == 0
    assert Budget(TRUE).plan(-5.0, [60] * 10).count == 0
    assert Budget(TRUE).plan(1e9, []).count == 0


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot be planned"):
        BudgetSettings(quantile=1.0)


def test_estimates_count_characters_and_know_chinese() -> None:
    short, long, chinese = estimated_tokens("what is it", ["a few words", "word " * 1000, "民事法律行为的效力"], 256)
    assert 6 < short < 14
    assert long == 256
    assert 10 < chinese < 20


@dataclass
class Machine:
    """Two cores that micro-batches share, noise on each batch, and a stall now and then."""

    rng: np.random.Generator
    slower: float
    running: int = 0

    async def run(self, pairs: int, tokens: int) -> None:
        self.running += 1
        ms = (0.05 * pairs + 0.03 * tokens) * self.slower * self.running * float(np.exp(self.rng.normal(0, 0.15)))
        if self.rng.random() < 0.0005:
            ms += 40
        await asyncio.sleep(ms / 1000)
        self.running -= 1


def _ms(seconds: float) -> float:
    return seconds * 1000


async def _serve(machine: Machine, budget: Budget, allowed_ms: float, requests: int) -> tuple[list[float], list[float]]:
    """Requests one after another: what each took, and the part of what there was time for that it read."""
    loop, rng = asyncio.get_running_loop(), np.random.default_rng(9)
    took: list[float] = []
    read: list[float] = []
    for _ in range(requests):
        began, lengths = loop.time(), rng.integers(20, 130, 100).tolist()
        await asyncio.sleep(float(rng.uniform(5, 15)) / 1000)  # recall
        in_flight = budget.begin()
        started = _ms(loop.time() - began)
        plan = budget.plan(allowed_ms - started, lengths, in_flight)
        done = tokens = 0
        for batch in token_batches(lengths[: plan.count], 128):
            if _ms(loop.time() - began) - started >= plan.stop_ms:
                break
            await machine.run(len(batch), sum(lengths[row] for row in batch))
            done, tokens = done + len(batch), tokens + sum(lengths[row] for row in batch)
        budget.end(done, tokens, max(_ms(loop.time() - began) - started, 1e-6), in_flight)
        took.append(_ms(loop.time() - began))
        read.append(tokens)
    return took, read


@pytest.mark.parametrize("allowed_ms", [50.0, 100.0, 300.0])
@pytest.mark.parametrize("slower", [1.0, 1.6, 0.7])
def test_99_of_100_requests_of_two_callers_end_in_time(allowed_ms: float, slower: float) -> None:
    async def both() -> list[tuple[list[float], list[float]]]:
        machine, budget = Machine(np.random.default_rng(1), slower), Budget(fit(samples(100)))
        return await asyncio.gather(*(_serve(machine, budget, allowed_ms, 400) for _ in range(2)))

    finished = in_virtual_time(both())
    took = np.concatenate([each[0] for each in finished])
    assert np.mean(took <= allowed_ms) >= 0.99
    # And the time is used: of 100 candidates or of what two callers could read, most is read.
    tokens = np.concatenate([each[1] for each in finished])
    possible = min(100 * 75.0, (allowed_ms - 25) / (2 * 0.031 * slower))
    assert np.median(tokens) > 0.45 * possible
