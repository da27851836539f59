"""Pieces of a call run side by side, each once, and stop together."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from retrieval.lanes import Lanes


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("pieces", [0, 1, 2, 40])
def test_every_piece_is_done_once(count: int, pieces: int) -> None:
    done: list[int] = []
    Lanes(count).run(done.append, range(pieces))
    assert sorted(done) == list(range(pieces))


def test_two_lanes_work_at_the_same_time() -> None:
    # Each waits for the other: one lane alone would stop at the barrier.
    barrier = threading.Barrier(2, timeout=30)

    def meet(piece: int) -> None:
        barrier.wait()

    Lanes(2).run(meet, range(2))


def test_no_piece_is_begun_once_it_should_stop() -> None:
    done: list[int] = []
    Lanes(1).run(done.append, range(10), lambda: len(done) >= 3)
    assert done == [0, 1, 2]


@pytest.mark.parametrize("count", [1, 3])
def test_what_a_piece_raises_comes_out_and_ends_the_rest(count: int) -> None:
    done: list[int] = []

    def work(piece: int) -> None:
        if piece == 3:
            raise ValueError("three")
        done.append(piece)

    with pytest.raises(ValueError, match="three"):
        Lanes(count).run(work, range(1000))
    assert 3 not in done
    assert len(done) < 1000


def test_calls_from_many_threads_share_the_lanes() -> None:
    lanes = Lanes(2)

    def call(number: int) -> list[int]:
        done: list[int] = []
        lanes.run(done.append, range(number))
        return sorted(done)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(call, range(40))) == [list(range(number)) for number in range(40)]
