"""A load test from beginning to end: fill or avoid the cache, warm up, offer rates, give an account."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from eval.load import USUAL, Asks, Patience, Sender, constant, offer, one_after_another, poisson
from eval.load_find import find, long_enough
from eval.load_report import Bound, Hopeless, LoadReport, RateResult, result, too_slow
from retrieval.errors import Unavailable

SETTLE_TRIES = 60
"""Requests, one after another, in which a service may come to rest after a rate that was too high."""
ALONE = 10
"""So many requests, one after another, show whether the bound can be kept at all."""
LATE_MS = 5.0
"""A generator whose 99th percentile of lateness is beyond this is remarked upon."""


@dataclass(frozen=True, slots=True)
class LoadSettings:
    """What is offered."""

    rate: float
    """Requests a second; where a bound is looked for, the first of the rates."""
    seconds: float
    """For how long each rate is measured, at least."""
    warmup_s: float = 2.0
    """For how long each rate is offered before it counts."""
    k: int = 10
    cold: bool = True
    """Requests that no cache holds; else every query is sent once before, and then again and again."""
    answers: bool = False
    arrivals: Literal["constant", "poisson"] = "constant"
    seed: int = 0
    bound: Bound | None = None
    """Looked for: the highest rate that keeps to it."""
    patience: Patience = USUAL
    first_round: int = 0
    """Sets the cold requests of this run apart from those of runs before."""


async def run_load(
    sender: Sender, queries: Sequence[str], settings: LoadSettings, tell: Callable[[RateResult], None]
) -> LoadReport:
    """Raises InvalidRequest without queries, Unavailable when the service does not answer at all.

    ``tell`` hears of each rate when it is done.
    """
    asks = Asks(queries, settings.k, cold=settings.cold, first_round=settings.first_round)
    primed = await _prime(sender, asks, settings)
    bound, offers = settings.bound, 0

    async def measure(rate: float) -> RateResult:
        nonlocal offers
        seconds = settings.seconds if bound is None else long_enough(rate, settings.seconds, bound)
        due = _schedule(rate, seconds + settings.warmup_s, settings, offers)
        offers += 1
        if bound is None:
            samples = await offer(sender, asks, due, settings.patience)
        else:
            planned = sum(each >= settings.warmup_s for each in due)
            hopeless = Hopeless(planned, settings.warmup_s, bound)
            samples = await offer(sender, asks, due, settings.patience, hopeless)
            if len(samples) < len(due):
                seconds = max(0.0, samples[-1].due - settings.warmup_s)
        found = result(samples, rate, seconds, warmup_s=settings.warmup_s, bound=bound)
        tell(found)
        if bound is not None:
            await _settled(sender, asks, bound, settings.patience)
        return found

    report = LoadReport((), settings.cold, settings.answers, settings.arrivals, primed, bound)
    if bound is None:
        report = replace(report, rates=(await measure(settings.rate),))
    elif not await _settled(sender, asks, bound, settings.patience, tries=ALONE):
        alone = f"none of {ALONE} requests kept the bound of {bound.ms:g} ms when it was alone, so no rate was tried"
        return replace(report, notes=(alone,))
    else:
        found = await find(measure, settings.rate, bound)
        report = replace(report, rates=found.results, holds=found.holds, fails=found.fails, sure=found.sure)
    return replace(report, notes=tuple(_notes(report)))


async def _prime(sender: Sender, asks: Asks, settings: LoadSettings) -> int:
    """See whether the service answers; warm runs have every query sent once."""
    first = asks.each if not settings.cold else asks.each[:1]
    samples = await one_after_another(sender, first, settings.patience)
    failed = [sample.reply.error for sample in samples if sample.reply.error]
    if len(failed) == len(samples):
        raise Unavailable(f"the service answers no request, so it is not put under load: {failed[0]}")
    return 0 if settings.cold else len(samples)


def _schedule(rate: float, seconds: float, settings: LoadSettings, number: int) -> list[float]:
    if settings.arrivals == "poisson":
        return poisson(rate, seconds, settings.seed + number)
    return constant(rate, seconds)


async def _settled(sender: Sender, asks: Asks, bound: Bound, patience: Patience, tries: int = SETTLE_TRIES) -> bool:
    """Wait until a request by itself keeps the bound, so that no rate pays for the one before; for so many requests."""
    for _ in range(tries):
        (sample,) = await one_after_another(sender, [asks()], patience)
        if not too_slow(sample, bound):
            return True
    return False


def _notes(report: LoadReport) -> list[str]:
    notes = []
    late = max((each.sent_ms.get("p99", 0.0) for each in report.rates), default=0.0)
    if late > LATE_MS:
        notes.append(
            f"requests left up to {late:.0f} ms (p99) after they were due: the generator of the load had too little "
            "of the processor, and its lateness counts as the service's"
        )
    hits = [each.hits for each in report.rates if each.hits is not None]
    if report.cold and hits and max(hits) > 0.01:
        notes.append(f"up to {max(hits):.0%} of the replies came from the cache, though the run was to be cold")
    if not report.cold and hits and min(hits) < 0.99:
        notes.append(f"only {min(hits):.0%} of the replies came from the cache, though the run was to be warm")
    if report.bound is not None and report.holds is None:
        notes.append("no rate held the bound")
    if report.bound is not None and report.fails is None:
        notes.append("no rate was too high")
    return notes
