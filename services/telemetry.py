"""What is measured while requests run, and how Prometheus reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

CONTENT_TYPE: str = CONTENT_TYPE_LATEST

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Telemetry:
    """The metrics of one application. Each has a registry of its own, so that several fit in a process."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self._requests = Histogram(
            "riddle_request_seconds",
            "Time from a request's arrival to the end of its response",
            ("route", "method", "status"),
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self._stages = Histogram(
            "riddle_stage_seconds",
            "Time that one stage of a search or an answer took",
            ("stage",),
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self._cache = Counter(
            "riddle_cache_lookups_total", "Look-ups in the cache of search results", ("result",), registry=self.registry
        )
        self._degraded = Counter(
            "riddle_degraded_total", "Searches that went without a stage", ("stage",), registry=self.registry
        )
        self._answers = Counter(
            "riddle_answers_total", "Answers by how they ended", ("outcome",), registry=self.registry
        )
        self._query_log = Counter(
            "riddle_query_log_lines_total",
            "Lines of the query log by what became of them",
            ("result",),
            registry=self.registry,
        )
        self._feedback = Counter("riddle_feedback_total", "Feedback taken, by kind", ("kind",), registry=self.registry)
        self._batches = Histogram(
            "riddle_batch_callers",
            "Requests that shared a batch of a model",
            ("stage",),
            buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=self.registry,
        )
        self._batch_tokens = Counter(
            "riddle_batch_tokens_total", "Tokens that models read in shared batches", ("stage",), registry=self.registry
        )
        self._answering = Gauge("riddle_answers_running", "Answers being written now", registry=self.registry)

    def observe_request(self, route: str, method: str, status: int, seconds: float) -> None:
        self._requests.labels(route, method, str(status)).observe(seconds)

    def observe_search(self, timings_ms: Mapping[str, float], cache: str, degraded: Sequence[str]) -> None:
        for stage, milliseconds in timings_ms.items():
            self.observe_stage(stage, milliseconds)
        self._cache.labels(cache).inc()
        for stage in degraded:
            self._degraded.labels(stage).inc()

    def observe_stage(self, stage: str, milliseconds: float) -> None:
        self._stages.labels(stage).observe(milliseconds / 1000)

    def observe_batch(self, stage: str, callers: int, tokens: int, waited_ms: float) -> None:
        """A model was given a batch of so many requests; the first of them had waited so long."""
        self._batches.labels(stage).observe(callers)
        self._batch_tokens.labels(stage).inc(tokens)
        self.observe_stage(f"{stage}_queue", waited_ms)

    def answer_began(self) -> None:
        self._answering.inc()

    def answer_ended(self, outcome: str) -> None:
        """``outcome``: ``answered``, ``abstained``, ``failed``, or ``left`` when the client went first."""
        self._answering.dec()
        self._answers.labels(outcome).inc()

    def query_log(self, result: str, lines: int) -> None:
        """``result``: ``written``, or ``dropped`` when the disk was too slow or refused."""
        self._query_log.labels(result).inc(lines)

    def feedback(self, kind: str) -> None:
        self._feedback.labels(kind).inc()

    def render(self) -> bytes:
        """All metrics in the Prometheus text format."""
        text: bytes = generate_latest(self.registry)
        return text
