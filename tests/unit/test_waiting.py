"""What waits, refuses and tries again: breaker, pool, and parts that load beside the requests."""

from __future__ import annotations

import asyncio
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.errors import ModelMissing, Overloaded, Unavailable
from services.breaker import Breaker
from services.loading import Deferred
from services.pool import Pool
from tests.live import wait_until


class Now:
    """A clock that moves when told."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_a_breaker_opens_after_failures_in_a_row_only() -> None:
    breaker = Breaker(threshold=3)
    for failure in (True, True, False, True, True):
        breaker.failed() if failure else breaker.succeeded()
        assert not breaker.open
    breaker.failed()
    assert breaker.open


def test_an_open_breaker_lets_one_trial_through_each_time_and_waits_longer_and_longer() -> None:
    now = Now()
    breaker = Breaker(threshold=1, cooldown_s=1, longest_s=4, clock=now)
    breaker.failed()
    waited = []
    for _ in range(5):
        began = now.seconds
        while not breaker.trial_due():
            now.seconds += 0.25
        assert not breaker.trial_due()
        breaker.failed()
        waited.append(now.seconds - began)
    assert waited == [1, 2, 4, 4, 4]
    breaker.succeeded()
    assert not breaker.open
    breaker.failed()
    assert breaker.wait_ms == 1000


@given(st.lists(st.booleans()), st.integers(1, 5))
def test_a_breaker_is_open_exactly_when_the_last_so_many_failed(outcomes: list[bool], threshold: int) -> None:
    breaker = Breaker(threshold=threshold)
    for failed in outcomes:
        breaker.failed() if failed else breaker.succeeded()
    run = 0
    for failed in outcomes:
        run = run + 1 if failed else 0
    assert breaker.open == (run >= threshold)


async def test_a_pool_refuses_what_does_not_fit_and_takes_more_when_there_is_room() -> None:
    pool = Pool("rerank", workers=1, queue=1)
    go_on = threading.Event()

    def work() -> str:
        go_on.wait(60)
        return "done"

    inside = [asyncio.create_task(pool.run(work)) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded, match="the rerank queue is full"):
        await pool.run(work)
    go_on.set()
    assert await asyncio.gather(*inside) == ["done", "done"]
    await asyncio.sleep(0)
    assert await pool.run(lambda: 7) == 7
    await pool.aclose()


async def test_a_caller_that_gives_up_leaves_its_place_in_the_queue() -> None:
    pool = Pool("rerank", workers=1, queue=1)
    go_on, begun = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        go_on.wait(60)

    running = asyncio.create_task(pool.run(work))
    await asyncio.to_thread(begun.wait, 60)
    ran: list[bool] = []
    waiting = asyncio.create_task(pool.run(lambda: ran.append(True)))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await asyncio.sleep(0)
    next_one = asyncio.create_task(pool.run(lambda: "let in"))
    await asyncio.sleep(0)
    go_on.set()
    assert await next_one == "let in"
    await running
    assert ran == []
    await pool.aclose()


async def test_a_pool_raises_what_its_work_raises() -> None:
    pool = Pool("recall", workers=1, queue=0)

    def work() -> None:
        raise ModelMissing("gone")

    with pytest.raises(ModelMissing, match="gone"):
        await pool.run(work)
    await pool.aclose()


def test_a_part_says_that_it_loads_and_then_that_it_is_there() -> None:
    may_load = threading.Event()

    def load() -> str:
        may_load.wait(60)
        return "made"

    part = Deferred("encoder", load)
    assert part.state == "loading"
    with pytest.raises(Unavailable, match="still loading"):
        part.get()
    may_load.set()
    assert part.wait() == "made"
    assert (part.state, part.get()) == ("ok", "made")


def test_a_part_is_loaded_once_however_many_ask() -> None:
    loads: list[int] = []
    part = Deferred("encoder", lambda: loads.append(1))
    threads = [threading.Thread(target=part.wait) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert loads == [1]


def test_a_part_that_failed_says_why_and_is_tried_again_when_its_time_has_come() -> None:
    tries: list[int] = []

    def load() -> str:
        tries.append(1)
        if len(tries) == 1:
            raise ModelMissing("riddle models pull it")
        return "made"

    patient = Deferred("encoder", load, retry_s=1000)
    with pytest.raises(ModelMissing):
        patient.wait()
    assert patient.state == "riddle models pull it"
    assert len(tries) == 1

    tries.clear()
    eager = Deferred("encoder", load, retry_s=0)
    with pytest.raises(ModelMissing):
        eager.wait()
    wait_until(lambda: eager.state == "ok")
    assert len(tries) == 2


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_part_that_fails_in_a_way_nobody_foresaw_points_to_the_log() -> None:
    def load() -> str:
        raise ZeroDivisionError

    part = Deferred("encoder", load)
    with pytest.raises(Unavailable, match="see the log"):
        part.wait()
