"""Load that arrives whether or not the last request was answered, and what it makes of latency."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Latencies:
    """Milliseconds of one kind of request, from the moment each was meant to arrive, and what failed."""

    what: str
    samples: tuple[float, ...]
    failures: tuple[str, ...] = ()
    """What the failed requests said; none of them counts among the samples."""

    def quantile(self, share: float) -> float:
        """The smallest sample that at least ``share`` of all do not exceed; infinite without samples."""
        if not self.samples:
            return float("inf")
        ordered = sorted(self.samples)
        return ordered[max(0, -int(-len(ordered) * share // 1) - 1)]

    @property
    def p50(self) -> float:
        return self.quantile(0.5)

    @property
    def p99(self) -> float:
        return self.quantile(0.99)

    def as_json(self) -> dict[str, object]:
        return {
            "what": self.what,
            "n": len(self.samples),
            "p50_ms": round(self.p50, 2),
            "p90_ms": round(self.quantile(0.9), 2),
            "p99_ms": round(self.p99, 2),
            "max_ms": round(self.quantile(1.0), 2),
            "failed": len(self.failures),
            "failures": list(self.failures[:5]),
        }


@dataclass
class _Taken:
    samples: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


def open_loop(
    what: str,
    request: Callable[[int], object],
    *,
    rate: float,
    seconds: float,
    workers: int = 1,
    now: Clock = time.perf_counter,
    sleep: Callable[[float], None] = time.sleep,
) -> Latencies:
    """Call ``request(i)`` ``rate`` times a second for ``seconds``, by ``workers`` threads.

    Request ``i`` is meant to begin at ``i / rate``. When all workers are busy it begins late, and the wait counts: a
    stall is charged to every request that it kept waiting (no coordinated omission). An exception is a failure.
    """
    count = round(rate * seconds)
    began = now() + 0.01
    numbers = iter(range(count))
    guard = threading.Lock()
    taken = _Taken()

    def work() -> None:
        while True:
            with guard:
                number = next(numbers, None)
            if number is None:
                return
            due = began + number / rate
            if (early := due - now()) > 0:
                sleep(early)
            try:
                request(number)
            except Exception as error:  # noqa: BLE001 - a failed request is what is counted
                taken.failures.append(f"request {number}: {type(error).__name__}: {error}")
            else:
                taken.samples.append((now() - due) * 1000)

    threads = [threading.Thread(target=work) for _ in range(workers - 1)]
    for thread in threads:
        thread.start()
    work()
    for thread in threads:
        thread.join()
    return Latencies(what, tuple(taken.samples), tuple(taken.failures))


def closed_loop(
    what: str, request: Callable[[int], object], count: int, *, now: Clock = time.perf_counter
) -> Latencies:
    """Call ``request(i)`` one after another; the first that raises ends it."""
    samples = []
    for number in range(count):
        began = now()
        request(number)
        samples.append((now() - began) * 1000)
    return Latencies(what, tuple(samples))


def table(rows: Sequence[Sequence[object]], head: Sequence[str]) -> str:
    """A table in Markdown, as BENCHMARKS.md keeps them; numbers as they are given."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(value: object) -> str:
    if isinstance(value, float):
        size = abs(value)
        return f"{value:,.0f}" if size >= 1000 else f"{value:.3g}" if size < 1 else f"{value:.2f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
