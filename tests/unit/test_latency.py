"""Load with constant arrivals: a stall is charged to everything that it kept waiting."""

from __future__ import annotations

import pytest

from eval.bench.latency import Latencies, closed_loop, open_loop, table


class Clock:
    """Time that passes only when somebody sleeps or works."""

    def __init__(self) -> None:
        self.at = 0.0

    def now(self) -> float:
        return self.at

    def pass_by(self, seconds: float) -> None:
        self.at += seconds


def test_a_quantile_is_the_smallest_sample_that_so_many_do_not_exceed() -> None:
    latencies = Latencies("", tuple(map(float, range(1, 101))))
    assert (latencies.p50, latencies.p99, latencies.quantile(1.0)) == (50.0, 99.0, 100.0)
    assert Latencies("", (7.0,)).p99 == 7.0
    assert Latencies("", ()).p50 == float("inf")


def test_a_stall_is_charged_to_the_requests_that_it_delays() -> None:
    clock = Clock()

    def request(number: int) -> None:
        clock.pass_by(0.95 if number == 2 else 0.0)

    found = open_loop("", request, rate=10, seconds=1.5, now=clock.now, sleep=clock.pass_by)
    assert len(found.samples) == 15
    assert [round(sample) for sample in found.samples] == [
        0,
        0,
        950,
        850,
        750,
        650,
        550,
        450,
        350,
        250,
        150,
        50,
        0,
        0,
        0,
    ]


def test_requests_begin_at_equal_distances() -> None:
    clock, starts = Clock(), []
    open_loop("", lambda number: starts.append(clock.at), rate=4, seconds=1, now=clock.now, sleep=clock.pass_by)
    assert starts == pytest.approx([0.01, 0.26, 0.51, 0.76])


def test_a_failed_request_is_counted_and_is_no_sample() -> None:
    def request(number: int) -> None:
        if number % 2:
            raise ValueError("no")

    found = open_loop("", request, rate=1000, seconds=0.01, workers=2)
    assert (len(found.samples), len(found.failures)) == (5, 5)
    assert found.as_json()["failed"] == 5


def test_a_closed_loop_waits_for_each_answer() -> None:
    clock = Clock()
    found = closed_loop("", lambda number: clock.pass_by(0.002), 3, now=clock.now)
    assert found.samples == pytest.approx((2.0, 2.0, 2.0))


def test_a_table_keeps_numbers_readable() -> None:
    assert table([("x", 12345, 0.1234, 3.14159)], ("a", "b", "c", "d")) == (
        "| a | b | c | d |\n| --- | --- | --- | --- |\n| x | 12,345 | 0.123 | 3.14 |"
    )
