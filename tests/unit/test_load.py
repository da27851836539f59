"""Open-loop load against simulated services in virtual time: what they do is known, and so what must be measured."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from eval.load import USUAL, Ask, Asks, Patience, Reply, Sample, constant, offer, poisson
from eval.load_find import find, long_enough
from eval.load_report import Bound, LoadReport, RateResult, at_most, judged, result, times
from eval.load_run import LoadSettings, run_load
from retrieval.errors import InvalidRequest, Unavailable
from tests.virtual_time import in_virtual_time

QUERIES = ("alpha", "beta", "gamma")


@dataclass
class Queue:
    """One server that takes ``service_s`` for each request, in the order of their arrival; it may stall once."""

    service_s: float
    stall_at: float = float("inf")
    stall_s: float = 0.0
    first_share: float = 0.0
    """The share of the service after which the first words are there; 0 for none."""
    fails: Callable[[int], str] = lambda number: ""
    seen: list[tuple[float, Ask]] = field(default_factory=list)
    known: set[Ask] = field(default_factory=set)
    free: float = 0.0

    async def send(self, ask: Ask, first: Callable[[], None]) -> Reply:
        loop = asyncio.get_running_loop()
        again = ask in self.known
        self.known.add(ask)
        self.seen.append((loop.time(), ask))
        begins = max(loop.time(), self.free)
        if begins >= self.stall_at:
            begins, self.stall_at = begins + self.stall_s, float("inf")
        self.free = begins + self.service_s
        if self.first_share:
            await asyncio.sleep(begins + self.service_s * self.first_share - loop.time())
            first()
            first()
        await asyncio.sleep(self.free - loop.time())
        timings = {"rerank": self.service_s * 1000, "total": self.service_s * 1000}
        return Reply(self.fails(len(self.seen)), timings, "hit" if again else "miss")


def asks(cold: bool = True) -> Asks:
    return Asks(QUERIES, 10, cold=cold)


def offered(queue: Queue, due: list[float], patience: Patience = USUAL) -> tuple[Sample, ...]:
    return in_virtual_time(offer(queue, asks(), due, patience))


def test_requests_leave_when_they_are_due_however_slow_the_service_is() -> None:
    queue = Queue(service_s=7.0)
    offered(queue, constant(10, 2))
    began = queue.seen[0][0]
    assert [at - began for at, _ in queue.seen] == pytest.approx([number / 10 for number in range(20)])


def test_a_stall_is_charged_to_every_request_that_should_have_come_meanwhile() -> None:
    samples = offered(Queue(service_s=0.001, stall_at=5.0, stall_s=2.0), constant(100, 20))
    found = result(samples, 100, 20)
    # 200 of 2,000 requests were due in the two seconds: each waited for the rest of them, and the backlog drained.
    slow = sorted((sample.ms for sample in samples if sample.ms > 2.0), reverse=True)
    assert 200 <= len(slow) <= 225
    assert slow[0] == pytest.approx(2001, abs=10)
    assert slow[100] == pytest.approx(1000, rel=0.15)
    assert found.latency_ms["p50"] == pytest.approx(1.0)
    assert found.latency_ms["p95"] == pytest.approx(1000, rel=0.15)
    assert found.latency_ms["p99"] > 1700
    # A client that waits for each reply before it sends the next sees one slow request in two thousand.
    assert times([1.0] * 1999 + [2001.0])["p99"] == 1.0


def test_percentiles_are_those_of_a_queue_worked_out_by_hand() -> None:
    # 20 ms of work every 10 ms: request i waits i * 10 ms and is served in 20.
    found = result(offered(Queue(0.02), constant(100, 1)), 100, 1)
    assert found.latency_ms == pytest.approx(
        {"n": 100, "mean": 20 + 49.5 * 10, "p50": 510, "p95": 960, "p99": 1000, "max": 1010}
    )
    assert found.in_flight == 51
    assert found.throughput == pytest.approx(49 / 0.99)
    assert found.stages_ms["rerank"]["p50"] == 20.0


def test_the_warm_up_counts_nowhere() -> None:
    samples = offered(Queue(0.001, stall_at=0.0, stall_s=0.5), constant(10, 3))
    found = result(samples, 10, 2, warmup_s=1.0)
    assert (found.requests, found.warmup) == (20, 10)
    assert found.latency_ms["max"] == pytest.approx(1.0)


def test_what_fails_is_counted_by_kind_and_is_no_latency() -> None:
    def fails(number: int) -> str:
        return "503 unavailable" if number % 4 == 0 else "429 overloaded" if number % 10 == 1 else ""

    found = result(offered(Queue(0.001, fails=fails), constant(10, 2)), 10, 2, bound=Bound(50))
    assert (found.requests, found.failed) == (20, 7)
    assert list(found.errors.items()) == [("503 unavailable", 5), ("429 overloaded", 2)]
    assert found.latency_ms["n"] == 13
    assert found.verdict is not None
    assert (found.verdict.holds, found.verdict.slow) == (False, 7)


def test_a_reply_that_never_comes_is_given_up_and_counted() -> None:
    samples = offered(Queue(service_s=1e6), constant(1, 3), Patience(reply_s=2.5))
    assert [sample.reply.error for sample in samples] == ["no reply within 2.5 s"] * 3
    assert [sample.ms for sample in samples] == pytest.approx([2500] * 3)


def test_a_request_over_the_limit_of_those_under_way_is_a_failure_and_never_left_out() -> None:
    samples = offered(Queue(service_s=1.0), constant(10, 1), Patience(in_flight=4))
    errors = [sample.reply.error for sample in samples]
    assert errors == [""] * 4 + ["not sent: 4 were under way"] * 6
    assert result(samples, 10, 1).errors == {"not sent: 4 were under way": 6}


def test_the_first_words_of_an_answer_have_a_time_of_their_own() -> None:
    found = result(offered(Queue(0.1, first_share=0.25), constant(1, 4)), 1, 4)
    assert (found.first_ms["n"], found.first_ms["p99"]) == pytest.approx((4, 25.0))
    assert found.latency_ms["p50"] == pytest.approx(100.0)


def test_arrivals_by_chance_have_their_rate_and_are_the_same_for_a_seed() -> None:
    due = poisson(50, 40, seed=3)
    assert len(due) == 2000
    assert due == sorted(due) == poisson(50, 40, seed=3) != poisson(50, 40, seed=4)
    gaps = [after - before for before, after in itertools.pairwise(due)]
    mean = sum(gaps) / len(gaps)
    spread = (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5
    assert mean == pytest.approx(1 / 50, rel=0.02)
    assert spread == pytest.approx(mean, rel=0.1)  # exponential gaps deviate by their mean, constant ones by nothing


def test_cold_requests_never_come_twice_and_warm_ones_do() -> None:
    cold, warm = asks(), asks(cold=False)
    many = [cold() for _ in range(3000)]
    assert len(set(many)) == 3000
    assert {ask.k for ask in many} == {10}
    assert [warm() for _ in range(6)] == [Ask(query, 10) for query in QUERIES] * 2
    other = Asks(QUERIES, 10, cold=True, first_round=1000)
    assert not set(many) & {other() for _ in range(3000)}
    with pytest.raises(InvalidRequest, match="no query"):
        Asks((), 10, cold=True)


@pytest.mark.parametrize(
    ("slow", "requests", "holds", "sure"),
    [(0, 299, True, True), (0, 298, True, False), (3, 300, True, False), (4, 300, False, False), (9, 300, False, True),
     (0, 0, False, False), (1, 1, False, True)],
)  # fmt: skip
def test_a_verdict_is_sure_when_chance_would_hardly_bring_it(slow: int, requests: int, holds: bool, sure: bool) -> None:
    found = judged(slow, requests, Bound(100))
    assert (found.holds, found.sure) == (holds, sure)
    assert Bound(100).fewest == 299


def test_the_binomial_tail_is_that_of_counting() -> None:
    assert at_most(2, 4, 0.5) == pytest.approx(11 / 16)
    assert at_most(-1, 4, 0.5) == 0.0
    assert at_most(4, 4, 0.5) == 1.0
    draw = random.Random(5)
    drawn = [sum(draw.random() < 0.01 for _ in range(500)) for _ in range(4000)]
    assert at_most(3, 500, 0.01) == pytest.approx(sum(each <= 3 for each in drawn) / 4000, abs=0.02)


def measured(sender: Queue, settings: LoadSettings) -> LoadReport:
    return in_virtual_time(run_load(sender, QUERIES, settings, lambda found: None))


@pytest.mark.parametrize(("service_s", "start"), [(0.01, 10), (0.01, 200), (0.25, 1)])
def test_the_search_ends_at_the_capacity_of_a_server_with_constant_arrivals(service_s: float, start: float) -> None:
    # D/D/1: nobody waits below the capacity of 1 / service_s, and everybody above it.
    bound = Bound(service_s * 3000)
    report = measured(Queue(service_s), LoadSettings(start, 10, bound=bound))
    assert report.holds is not None
    assert report.fails is not None
    assert report.sure
    assert report.holds <= 1.05 / service_s
    assert report.fails >= 0.99 / service_s
    assert report.fails <= 1.1 * report.holds
    held = [each for each in report.rates if each.verdict and each.verdict.holds]
    assert all(each.requests >= bound.fewest for each in held)
    assert all(each.seconds >= 20 * bound.ms / 1000 for each in held)


def test_the_search_finds_where_chance_arrivals_make_a_queue_too_long() -> None:
    # M/D/1 at load r: P(wait > t) falls about as exp(-2 (1 - r) / r * t / s). For 1 % at t = 9 s: r = 0.80.
    bound = Bound(100)
    settings = LoadSettings(40, 60, bound=bound, arrivals="poisson", seed=11)
    report = measured(Queue(0.01), settings)
    assert report.holds is not None
    assert report.fails is not None
    assert 70 <= report.holds <= report.fails <= 92


def test_a_bound_that_nothing_keeps_is_said_to_be_so() -> None:
    report = measured(Queue(1.0), LoadSettings(0.2, 1, bound=Bound(100)))
    assert (report.holds, report.fails, report.rates) == (None, None, ())
    assert "none of 10 requests kept the bound of 100 ms when it was alone" in report.notes[0]


def test_a_bound_that_no_rate_keeps_is_said_too() -> None:
    every_other = Queue(0.01, fails=lambda number: "503" if number > 20 else "")
    report = measured(every_other, LoadSettings(1, 1, bound=Bound(100)))
    assert (report.holds, report.sure) == (None, False)
    assert "no rate held the bound" in report.notes


def test_a_hopeless_rate_is_ended_early_and_its_verdict_stays_what_it_was() -> None:
    bound = Bound(100)
    report = measured(Queue(0.01), LoadSettings(200, 30, bound=bound))
    first = report.rates[0]
    assert first.verdict is not None
    assert (first.verdict.holds, first.verdict.sure) == (False, True)
    assert first.seconds < 10
    assert 0.01 * 30 * 200 < first.verdict.slow <= first.requests < 2000


async def test_a_rate_in_doubt_is_offered_again_and_judged_by_all_of_it() -> None:
    bound = Bound(100)
    some = result([Sample(0.0, 1.0, 0.0, Reply())], 1, 1, bound=bound)

    def of(rate: float, slow: int) -> RateResult:
        return replace(some, rate=rate, verdict=judged(slow, 300, bound))

    given = {1.0: [of(1.0, 0)], 2.0: [of(2.0, 4), of(2.0, 9)]}

    async def measure(rate: float) -> RateResult:
        return given[rate].pop(0)

    found = await find(measure, 1.0, bound, precision=1.0)
    assert (found.holds, found.fails, found.sure) == (1.0, 2.0, True)
    assert [each.rate for each in found.results] == [1.0, 2.0, 2.0]
    assert long_enough(2.0, 5, bound) == 150.0
    assert long_enough(1000.0, 5, Bound(500)) == 10.0


def test_a_run_says_how_much_came_from_the_cache_and_whether_that_was_meant() -> None:
    cold = measured(Queue(0.001), LoadSettings(10, 5))
    warm = measured(Queue(0.001), LoadSettings(10, 5, cold=False))
    assert (cold.rates[0].hits, cold.primed, cold.notes) == (0.0, 0, ())
    assert (warm.rates[0].hits, warm.primed, warm.notes) == (1.0, 3, ())
    assert (cold.rates[0].requests, cold.rates[0].warmup) == (50, 20)
    held = Queue(0.001)
    earlier = asks()
    held.known = {earlier() for _ in range(70)}
    assert "70% of the replies came from the cache" in measured(held, LoadSettings(10, 10, warmup_s=0)).notes[0]


def test_a_service_that_answers_nothing_is_not_put_under_load() -> None:
    dead = Queue(0.001, fails=lambda number: "ConnectError")
    with pytest.raises(Unavailable, match="ConnectError"):
        measured(dead, LoadSettings(1000, 60))
    assert len(dead.seen) == 1
