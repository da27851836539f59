"""What a service did under load: latencies from when requests were due, errors by kind, stages, a bound held or not."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from eval.load import Sample
from eval.runs import percentiles

Times = Mapping[str, float]
"""``n``, ``mean``, ``p50``, ``p95``, ``p99``, ``max`` in milliseconds; empty without samples."""


@dataclass(frozen=True, slots=True)
class Bound:
    """What a rate has to keep to: the ``share`` quantile of all requests, failed ones never in time, within ``ms``."""

    ms: float
    share: float = 0.99
    confidence: float = 0.95

    @property
    def fewest(self) -> int:
        """So many requests must be in time, and none late, before the confidence is reached; 299 at 99 and 95 %."""
        return math.ceil(math.log(1 - self.confidence) / math.log(self.share))


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a rate keeps to a bound. ``slow`` of ``requests`` were late or failed."""

    holds: bool
    sure: bool
    """At the bound's confidence: were the share of slow ones just the one allowed, so few (or so many) would be seen
    at most once in twenty times. Takes requests as independent, which in a queue they are only nearly."""
    slow: int
    requests: int


@dataclass(frozen=True, slots=True)
class RateResult:
    """One rate, offered for a while. Latencies are of requests that were answered; what failed is counted."""

    rate: float
    """Requests offered a second."""
    seconds: float
    """For which it was offered; less than was planned when it was hopeless before."""
    requests: int
    warmup: int
    """Requests before these, which count nowhere."""
    failed: int
    errors: Mapping[str, int]
    """Failed requests by kind, most first."""
    throughput: float
    """Replies without error a second, of those that came before the last request was due."""
    latency_ms: Times
    first_ms: Times
    """To an answer's first words."""
    stages_ms: Mapping[str, Times]
    """By the service's own clock."""
    hits: float | None
    """Share of replies that came from the cache; None where the service does not say."""
    degraded: Mapping[str, int]
    abstained: int
    sent_ms: Times
    """How late the generator sent requests: a generator that cannot keep up measures itself."""
    in_flight: int
    """Requests under way when the last one was due."""
    verdict: Verdict | None = None


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What ``load.json`` holds."""

    rates: tuple[RateResult, ...]
    """In the order in which they were offered."""
    cold: bool
    answers: bool
    arrivals: str
    """``constant`` or ``poisson``."""
    primed: int
    """Requests that filled the cache before, one after another; only of warm runs."""
    bound: Bound | None = None
    holds: float | None = None
    """The highest rate that held the bound; None when none did, or when none was looked for."""
    fails: float | None = None
    """The lowest rate that did not."""
    sure: bool = False
    """Whether both verdicts are, at the bound's confidence."""
    notes: tuple[str, ...] = field(default=())
    """What a reader should know before believing it."""


def result(
    samples: Sequence[Sample], rate: float, seconds: float, *, warmup_s: float = 0.0, bound: Bound | None = None
) -> RateResult:
    """The account of one rate; requests that were due in the first ``warmup_s`` seconds are left out."""
    kept = [sample for sample in samples if sample.due >= warmup_s]
    good = [sample for sample in kept if not sample.reply.error]
    last = max((sample.due for sample in kept), default=0.0)
    told = [sample.reply.cache for sample in good if sample.reply.cache]
    stages: dict[str, list[float]] = {}
    for sample in good:
        for stage, ms in sample.reply.timings_ms.items():
            stages.setdefault(stage, []).append(ms)
    in_time = sum(sample.due + sample.ms / 1000 <= last for sample in good)
    return RateResult(
        rate=rate,
        seconds=seconds,
        requests=len(kept),
        warmup=len(samples) - len(kept),
        failed=len(kept) - len(good),
        errors=dict(Counter(sample.reply.error for sample in kept if sample.reply.error).most_common()),
        throughput=in_time / (last - warmup_s) if last > warmup_s else 0.0,
        latency_ms=times([sample.ms for sample in good]),
        first_ms=times([sample.first_ms for sample in good if sample.first_ms is not None]),
        stages_ms={stage: times(found) for stage, found in stages.items()},
        hits=told.count("hit") / len(told) if told else None,
        degraded=dict(Counter(stage for sample in good for stage in sample.reply.degraded).most_common()),
        abstained=sum(sample.reply.abstained for sample in good),
        sent_ms=times([sample.sent_ms for sample in kept]),
        in_flight=sum(sample.due + sample.ms / 1000 > last for sample in kept),
        verdict=None if bound is None else verdict(kept, bound),
    )


def times(samples: Sequence[float]) -> Times:
    return {**percentiles(samples), "max": max(samples)} if samples else {}


def verdict(samples: Sequence[Sample], bound: Bound) -> Verdict:
    """Whether these requests kept to the bound, and whether that can be told from so many."""
    return judged(sum(too_slow(sample, bound) for sample in samples), len(samples), bound)


def too_slow(sample: Sample, bound: Bound) -> bool:
    return bool(sample.reply.error) or sample.ms > bound.ms


class Hopeless:
    """Whether so many of ``planned`` requests were slow already that the verdict is sure whatever the others do."""

    def __init__(self, planned: int, warmup_s: float, bound: Bound) -> None:
        self._warmup_s, self._bound = warmup_s, bound
        self._slow = 0
        verdicts = (judged(slow, planned, bound) for slow in range(planned + 1))
        self._too_many = next((each.slow for each in verdicts if each.sure and not each.holds), planned + 1)

    def __call__(self, sample: Sample) -> bool:
        self._slow += sample.due >= self._warmup_s and too_slow(sample, self._bound)
        return self._slow >= self._too_many


def judged(slow: int, requests: int, bound: Bound) -> Verdict:
    allowed, doubt = 1 - bound.share, 1 - bound.confidence
    holds = requests > 0 and slow <= allowed * requests
    chance = at_most(slow, requests, allowed) if holds else 1 - at_most(slow - 1, requests, allowed)
    return Verdict(holds, requests > 0 and chance <= doubt, slow, requests)


def at_most(count: int, trials: int, p: float) -> float:
    """The probability of at most ``count`` successes in ``trials``, each with probability ``p`` between 0 and 1."""
    if count >= trials:
        return 1.0
    whole = math.lgamma(trials + 1)
    logs = [
        whole - math.lgamma(k + 1) - math.lgamma(trials - k + 1) + k * math.log(p) + (trials - k) * math.log1p(-p)
        for k in range(count + 1)
    ]
    return min(1.0, math.fsum(math.exp(each) for each in logs))
