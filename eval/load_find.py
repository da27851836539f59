"""Looks for the highest rate of requests at which a service still keeps to a bound: doubling, then halving the gap."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from eval.load_report import Bound, RateResult, Verdict, judged

Measure = Callable[[float], Awaitable[RateResult]]
"""Offers a rate for as long as ``long_enough`` says, and judges it by the bound."""

HIGHEST, LOWEST = 20_000.0, 0.05
"""Rates beyond which nothing is looked for, a second."""
REPEATS = 3
"""A rate whose verdict is not sure is offered up to so many times, and judged by all of its requests."""
BOUNDS_LONG = 20.0
"""A rate is offered for at least so many times the bound: an overload of one part in so many then shows within it,
for a backlog grows by that part of the time."""


@dataclass(frozen=True, slots=True)
class Found:
    """Where the bound ceases to hold: between ``holds`` and ``fails``, None where no such rate was seen."""

    holds: float | None
    fails: float | None
    sure: bool
    results: tuple[RateResult, ...]
    """Everything that was offered, in order."""


def long_enough(rate: float, seconds: float, bound: Bound) -> float:
    """For how many seconds a rate must be offered, ``seconds`` at least, before its verdict can be sure."""
    return max(seconds, (bound.fewest + 1) / rate, BOUNDS_LONG * bound.ms / 1000)


async def find(measure: Measure, start: float, bound: Bound, *, precision: float = 0.1) -> Found:
    """Double ``start`` until a rate fails, or halve it until one holds; then try between the two.

    Ends when the rate that fails is at most ``1 + precision`` times the one that holds.
    """
    results: list[RateResult] = []
    verdicts: dict[float, Verdict] = {}
    low: float | None = None
    high: float | None = None
    rate = start
    while LOWEST <= rate <= HIGHEST:
        verdicts[rate] = await _judged(measure, rate, bound, results)
        if verdicts[rate].holds:
            low = rate
        else:
            high = rate
        if low is None or high is None:
            rate = rate * 2 if high is None else rate / 2
        elif high <= low * (1 + precision):
            break
        else:
            rate = math.sqrt(low * high)
    ends = [verdicts[each] for each in (low, high) if each is not None]
    return Found(low, high, len(ends) == 2 and all(each.sure for each in ends), tuple(results))


async def _judged(measure: Measure, rate: float, bound: Bound, results: list[RateResult]) -> Verdict:
    """The verdict on a rate by all that was offered at it; each offer is added to ``results``."""
    slow = requests = 0
    for _ in range(REPEATS):
        result = await measure(rate)
        results.append(result)
        if result.verdict is None:
            raise ValueError("a rate is judged by a bound, and this one was measured without")
        slow, requests = slow + result.verdict.slow, requests + result.verdict.requests
        together = judged(slow, requests, bound)
        if together.sure:
            break
    return together
