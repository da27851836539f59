"""Offers requests to a service at moments that are fixed beforehand, whatever becomes of the ones before."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from retrieval.errors import InvalidRequest

LEAD_S = 0.05
"""Between the decision to begin and the first request, so that the first is not late already."""
USUAL_RRF_K, RRF_KS = 60, 9_000
"""A cold request's fusion constant is one of so many from the usual one on: it costs no more than any other, and is
part of the cache's key."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One request. ``rrf_k`` None leaves the fusion to the server."""

    query: str
    k: int
    rrf_k: int | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of one request; ``error`` is empty when it went well, else its kind in a few words."""

    error: str = ""
    timings_ms: Mapping[str, float] = field(default_factory=dict)
    """The service's own stages."""
    cache: str = ""
    """``hit`` or ``miss``; empty where the service does not say."""
    degraded: tuple[str, ...] = ()
    abstained: bool = False


class Sender(Protocol):
    """Sends requests, any number at once."""

    async def send(self, ask: Ask, first: Callable[[], None]) -> Reply:
        """The whole reply; ``first`` is called when the first words of an answer are there.

        Raises nothing for a service that fails: that is a Reply with an ``error``.
        """
        ...


@dataclass(frozen=True, slots=True)
class Sample:
    """One request that was due ``due`` seconds after the beginning; all times count from that moment."""

    due: float
    ms: float
    """To the end of the reply; to when it was given up, if it was."""
    sent_ms: float
    """To when it was really sent: how late the generator of the load itself was."""
    reply: Reply
    first_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Patience:
    """What the generator puts up with; whatever goes beyond it is counted as failed."""

    reply_s: float = 30.0
    """For one reply, from when its request was due."""
    in_flight: int = 2_000
    """Requests under way at once; one that is due when there are so many is not sent."""


USUAL = Patience()


class Asks:
    """Queries in turn. Cold ones never come twice, so that no cache holds them; warm ones come again and again."""

    def __init__(self, queries: Sequence[str], k: int, *, cold: bool, first_round: int = 0) -> None:
        """``first_round`` sets this run's cold requests apart from those of runs before. Raises InvalidRequest."""
        if not queries:
            raise InvalidRequest("there is no query to send")
        self._queries = tuple(queries)
        self._k = k
        self._cold = cold
        self._first_round = first_round
        self._numbers = itertools.count()

    def __call__(self) -> Ask:
        turn, place = divmod(next(self._numbers), len(self._queries))
        rrf_k = USUAL_RRF_K + (self._first_round + turn) % RRF_KS if self._cold else None
        return Ask(self._queries[place], self._k, rrf_k)

    @property
    def each(self) -> tuple[Ask, ...]:
        """Every query once, as it is asked warm."""
        return tuple(Ask(query, self._k) for query in self._queries)


def constant(rate: float, seconds: float) -> list[float]:
    """When requests are due that come ``rate`` times a second at equal distances, in seconds from the beginning."""
    return [number / rate for number in range(round(rate * seconds))]


def poisson(rate: float, seconds: float, seed: int = 0) -> list[float]:
    """The same for callers that know nothing of each other: exponential distances, as many in all as ``constant``.

    Given their number, the arrivals of a Poisson process are uniform over its time.
    """
    draw = random.Random(seed)
    return sorted(draw.uniform(0, seconds) for _ in range(round(rate * seconds)))


async def offer(
    sender: Sender,
    asks: Callable[[], Ask],
    due: Sequence[float],
    patience: Patience = USUAL,
    enough: Callable[[Sample], bool] = lambda sample: False,
) -> tuple[Sample, ...]:
    """Send a request at each moment of ``due``, and wait for what is still under way at the end.

    A request's time counts from when it was due, not from when it could be sent, and none waits for another:
    a service that stalls is charged for every request that should have come meanwhile (no coordinated omission;
    G. Tene, "How NOT to Measure Latency", 2013). In the order of ``due``. Once ``enough``, asked about each sample
    as it comes, says so, nothing more is sent, and what was not due yet is in no sample.
    """
    loop = asyncio.get_running_loop()
    began = loop.time() + LEAD_S
    samples: list[Sample | None] = [None] * len(due)
    under_way = 0
    ended = False

    def done(number: int, sample: Sample) -> None:
        nonlocal ended
        samples[number] = sample
        ended = enough(sample) or ended

    async def one(number: int, ask: Ask) -> None:
        nonlocal under_way
        moment, first_ms = began + due[number], None
        sent_ms = (loop.time() - moment) * 1000

        def first() -> None:
            nonlocal first_ms
            first_ms = (loop.time() - moment) * 1000 if first_ms is None else first_ms

        try:
            async with asyncio.timeout_at(moment + patience.reply_s):
                reply = await sender.send(ask, first)
        except TimeoutError:
            reply = Reply(f"no reply within {patience.reply_s:g} s")
        finally:
            under_way -= 1
        done(number, Sample(due[number], (loop.time() - moment) * 1000, sent_ms, reply, first_ms))

    async with asyncio.TaskGroup() as group:
        for number, after in enumerate(due):
            # Also when it is late already: the replies need their turns.
            await asyncio.sleep(max(0.0, began + after - loop.time()))
            if ended:
                break
            if under_way >= patience.in_flight:
                late = (loop.time() - began - after) * 1000
                done(number, Sample(after, late, late, Reply(f"not sent: {under_way} were under way")))
                continue
            under_way += 1
            group.create_task(one(number, asks()))
    return tuple(sample for sample in samples if sample is not None)


async def one_after_another(sender: Sender, asks: Sequence[Ask], patience: Patience = USUAL) -> tuple[Sample, ...]:
    """Each request when the one before has been answered: for what is not measured, such as filling a cache."""
    return tuple([(await offer(sender, lambda ask=ask: ask, [0.0], patience))[0] for ask in asks])  # type: ignore[misc]
