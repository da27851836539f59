"""How requests of many callers share a model: in one batch, in turn, and not at all beyond the queue."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from retrieval.errors import Overloaded, TooLarge, Unavailable
from services.batcher import Batch, Batcher, BatchLimits
from tests.virtual_time import in_virtual_time

LIMITS = BatchLimits(batch_tokens=10, batch_texts=100, wait_ms=2.0, queue_tokens=100)


@dataclass
class Model:
    """Doubles each number, at a token a millisecond; a text's tokens are its number, so that batches tell who is in."""

    batches: list[list[int]] = field(default_factory=list)
    refuse: int = -1

    async def __call__(self, items: Sequence[int]) -> list[int]:
        self.batches.append(list(items))
        await asyncio.sleep(sum(items) / 1000)
        if self.refuse in items:
            raise ValueError("not this one")
        return [2 * item for item in items]


def batcher(model: Model, limits: BatchLimits = LIMITS, seen: list[Batch] | None = None) -> Batcher[int, int]:
    return Batcher("toy", model, lambda item: item, limits, seen.append if seen is not None else lambda _: None)


def now() -> float:
    return asyncio.get_running_loop().time()


def test_requests_that_come_together_share_a_batch_and_each_gets_its_own_in_its_order() -> None:
    async def story() -> None:
        model, seen = Model(), list[Batch]()
        shared = batcher(model, seen=seen)
        found = tuple(await asyncio.gather(shared.run([1, 2]), shared.run([3]), shared.run([2, 1])))
        assert found == ([2, 4], [6], [4, 2])
        assert len(model.batches) == 1
        (batch,) = seen
        assert (batch.callers, batch.texts, batch.tokens) == (3, 5, 9)
        assert batch.waited_ms == pytest.approx(2.0)

    in_virtual_time(story())


def test_a_request_alone_waits_no_longer_than_it_was_said() -> None:
    async def story() -> None:
        shared = batcher(Model())
        assert await shared.run([4]) == [8]
        assert now() == pytest.approx(0.002 + 0.004)

    in_virtual_time(story())


def test_one_who_asks_alone_waits_once_and_then_no_more_until_others_come() -> None:
    async def story() -> None:
        model = Model()
        shared = batcher(model)
        await shared.run([4])
        began = now()
        await shared.run([4])
        assert now() - began == pytest.approx(0.004)
        crowd = [asyncio.create_task(shared.run([size])) for size in (5, 1, 2)]
        await asyncio.gather(*crowd)
        assert model.batches[2:] == [[5, 1, 2]]  # they were there before it began
        began = now()
        await shared.run([4])
        assert now() - began == pytest.approx(0.006)

    in_virtual_time(story())


def test_a_full_batch_does_not_wait_for_company() -> None:
    async def story() -> None:
        shared = batcher(Model())
        await shared.run([6, 4])
        assert now() == pytest.approx(0.010)

    in_virtual_time(story())


def test_a_later_request_joins_while_the_first_waits() -> None:
    async def story() -> None:
        model = Model()
        shared = batcher(model)
        first = asyncio.create_task(shared.run([1]))
        await asyncio.sleep(0.0015)
        assert await shared.run([2]) == [4]
        assert await first == [2]
        assert model.batches == [[1, 2]]

    in_virtual_time(story())


def test_what_comes_while_the_model_is_busy_shares_the_next_batch_at_once() -> None:
    async def story() -> None:
        model = Model()
        shared = batcher(model)
        first = asyncio.create_task(shared.run([10]))
        await asyncio.sleep(0.001)
        assert tuple(await asyncio.gather(shared.run([1]), shared.run([2]))) == ([2], [4])
        assert await first == [20]
        assert model.batches == [[10], [1, 2]]
        assert now() == pytest.approx(0.013)

    in_virtual_time(story())


def test_a_small_request_is_in_the_next_batch_whatever_large_one_stands_before_it() -> None:
    async def story() -> None:
        model = Model()
        shared = batcher(model)
        large = asyncio.create_task(shared.run([5] * 10))
        await asyncio.sleep(0.001)
        assert await shared.run([3]) == [6]
        assert now() == pytest.approx(0.010 + 0.008)
        assert await large == [10] * 10
        assert model.batches[:2] == [[5, 5], [5, 3]]

    in_virtual_time(story())


def test_no_batch_is_over_its_tokens_or_texts_but_one_of_a_single_larger_text() -> None:
    async def story() -> None:
        model = Model()
        shared = batcher(model, BatchLimits(batch_tokens=10, batch_texts=3, queue_tokens=100))
        assert await shared.run([1, 25, 1, 1, 1, 9, 4]) == [2, 50, 2, 2, 2, 18, 8]
        assert model.batches == [[25], [9], [4, 1, 1], [1, 1]]

    in_virtual_time(story())


def test_a_full_queue_refuses_and_says_when_to_come_again() -> None:
    async def story() -> None:
        shared = batcher(Model())
        await shared.run([10])
        assert now() == pytest.approx(0.010)
        busy = [asyncio.create_task(shared.run([10] * 10))]
        await asyncio.sleep(0.001)
        busy.append(asyncio.create_task(shared.run([10])))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match="the toy queue is full") as refused:
            await shared.run([1])
        # 100 tokens wait, and a token takes a millisecond.
        assert refused.value.retry_after_ms == 100
        await asyncio.gather(*busy)
        assert await shared.run([1]) == [2]

    in_virtual_time(story())


def test_what_the_queue_could_never_hold_is_too_large() -> None:
    async def story() -> None:
        with pytest.raises(TooLarge, match="101 tokens, and at most 100"):
            await batcher(Model()).run([101])

    in_virtual_time(story())


def test_a_cancelled_request_leaves_the_queue_and_the_others_go_on() -> None:
    async def story() -> None:
        model = Model()
        shared = batcher(model)
        first = asyncio.create_task(shared.run([10]))
        await asyncio.sleep(0.001)
        left, stays = asyncio.create_task(shared.run([7])), asyncio.create_task(shared.run([3]))
        await asyncio.sleep(0.001)
        left.cancel()
        assert await stays == [6]
        assert await first == [20]
        assert model.batches == [[10], [3]]
        assert left.cancelled()
        assert shared.waiting == 0

    in_virtual_time(story())


def test_a_request_that_is_cancelled_while_the_model_has_it_is_not_missed() -> None:
    async def story() -> None:
        model = Model()
        shared = batcher(model)
        left, stays = asyncio.create_task(shared.run([4])), asyncio.create_task(shared.run([3]))
        await asyncio.sleep(0.003)
        left.cancel()
        assert await stays == [6]
        assert model.batches == [[4, 3]]

    in_virtual_time(story())


def test_a_deadline_ends_the_wait_and_takes_the_request_out() -> None:
    async def story() -> None:
        model = Model()
        shared = batcher(model)
        first = asyncio.create_task(shared.run([10]))
        await asyncio.sleep(0.001)
        with pytest.raises(Unavailable, match="the time for this request ended") as late:
            await shared.run([5], deadline=now() + 0.004)
        assert now() == pytest.approx(0.005)
        assert late.value.retryable
        assert await first == [20]
        assert model.batches == [[10]]

    in_virtual_time(story())


def test_a_failure_is_told_to_those_whose_texts_were_in_the_batch_and_to_nobody_else() -> None:
    async def story() -> None:
        model = Model(refuse=7)
        shared = batcher(model)
        busy = asyncio.create_task(shared.run([10]))
        await asyncio.sleep(0.001)
        bad = asyncio.create_task(shared.run([7, 6, 6]))
        await asyncio.sleep(0)
        with pytest.raises(ValueError, match="not this one"):
            await bad
        assert await busy == [20]
        assert shared.waiting == 0
        assert await shared.run([3]) == [6]

    in_virtual_time(story())


def test_a_model_that_loses_texts_is_an_error_and_not_a_hang() -> None:
    async def short(items: Sequence[int]) -> list[int]:
        return [1]

    async def story() -> None:
        with pytest.raises(ValueError, match="shorter"):
            await Batcher("toy", short, lambda item: item, LIMITS).run([1, 2])

    in_virtual_time(story())


def test_at_the_end_those_who_wait_are_told() -> None:
    async def story() -> None:
        shared = batcher(Model())
        running, waiting = asyncio.create_task(shared.run([10])), None
        await asyncio.sleep(0.001)
        waiting = asyncio.create_task(shared.run([2]))
        await asyncio.sleep(0.001)
        await shared.aclose()
        for told in (running, waiting):
            with pytest.raises(Unavailable, match="ends"):
                await told
        with pytest.raises(Unavailable, match="ends"):
            await shared.run([1])

    in_virtual_time(story())


def test_a_request_without_texts_asks_nothing_of_the_model() -> None:
    async def story() -> None:
        model = Model()
        assert await batcher(model).run([]) == []
        assert model.batches == []

    in_virtual_time(story())


def test_under_a_steady_crowd_the_work_is_the_tokens_and_nobody_starves() -> None:
    """Twenty callers, each with the next request as soon as its last is done: all end within each other's sight."""

    async def story() -> None:
        model = Model()
        shared = batcher(model, BatchLimits(batch_tokens=40, queue_tokens=1000))
        ended: list[float] = []

        async def caller(texts: int) -> None:
            for _ in range(10):
                assert await shared.run([1] * texts) == [2] * texts
            ended.append(now())

        await asyncio.gather(*(caller(2) for _ in range(20)))
        assert sum(map(len, model.batches)) == 400
        assert len(model.batches) == 10
        assert max(ended) - min(ended) < 0.05

    in_virtual_time(story())


@pytest.mark.parametrize("broken", [{"batch_tokens": 0}, {"batch_texts": 0}, {"wait_ms": -1.0}, {"queue_tokens": 0}])
def test_limits_that_mean_nothing_are_refused(broken: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must hold at least 1"):
        BatchLimits(**broken)  # type: ignore[arg-type]
