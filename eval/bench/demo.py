"""What a user of the demo collection feels: latency of search, recall, cache and answer, and quality by stage."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from eval.datasets import JudgedSet, load_judged_set
from eval.retrieval_metrics import DEFAULT_METRICS, best_passage_run, evaluate
from retrieval.errors import InvalidRequest

QUESTIONS = Path(__file__).parent / "demo_questions"
STAGES = ("lexical", "dense", "fused", "final")
QUALITY_K = 100


class Service(Protocol):
    """A running Riddle, spoken to over HTTP; injected, so that ``eval`` needs no HTTP library."""

    def post(self, path: str, body: Mapping[str, object]) -> Mapping[str, Any]:
        """The decoded answer to one POST; raises on a status of 400 or more."""
        ...

    def stream(self, path: str, body: Mapping[str, object]) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Server-sent events as they arrive: name and decoded data."""
        ...


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds of one kind of request, as the caller sees them, unless ``what`` says otherwise."""

    what: str
    samples: tuple[float, ...]
    target_ms: float

    @property
    def p50(self) -> float:
        return statistics.median(self.samples)

    @property
    def p95(self) -> float:
        return sorted(self.samples)[max(0, -(-len(self.samples) * 95 // 100) - 1)]

    def as_json(self) -> dict[str, object]:
        return {
            "what": self.what,
            "n": len(self.samples),
            "p50_ms": round(self.p50, 2),
            "p95_ms": round(self.p95, 2),
            "target_ms": self.target_ms,
            "met": self.p50 < self.target_ms,
        }


@dataclass(frozen=True, slots=True)
class DemoReport:
    """Latencies, quality by stage (``{stage: {"nDCG@10": …}}``), and what was measured."""

    latencies: tuple[Latency, ...]
    quality: Mapping[str, Mapping[str, float]]
    generation: str
    queries: int

    def as_json(self) -> dict[str, object]:
        return {
            "generation": self.generation,
            "queries": self.queries,
            "latencies": [latency.as_json() for latency in self.latencies],
            "quality": self.quality,
        }


def bench_demo(service: Service, collection: str, *, rounds: int = 3, answers: int = 10, depth: int = 20) -> DemoReport:
    """Measure a running service over the thirty judged questions.

    Every request that must not come from the cache differs from all before it in k, and the
    response's own ``cache`` field is checked. ``rounds`` times 30 searches, one after another.
    """
    judged = load_judged_set(QUESTIONS)
    texts = list(judged.queries.values())
    for text in texts[:5]:
        service.post("/v1/search", _body(collection, text, k=1, depth=depth))
    latencies = (
        Latency(f"search, rerank of {depth}", _searches(service, collection, texts, rounds, depth)[0], 400),
        Latency(
            "lexical plus dense recall alone (service's own clock)", _recalls(service, collection, texts, rounds), 15
        ),
        Latency("search from the cache", _cached(service, collection, texts, depth), 5),
        Latency("first answer delta", _first_deltas(service, collection, texts[:answers]), 3000),
    )
    quality, generation = _quality(service, collection, judged, depth)
    return DemoReport(latencies, quality, generation, len(texts))


def _body(collection: str, query: str, *, k: int, depth: int, explain: bool = False) -> dict[str, object]:
    return {
        "collection": collection,
        "query": query,
        "k": k,
        "explain": explain,
        "ranking": {"rerank": {"depth": depth}},
    }


def _searches(
    service: Service, collection: str, texts: Sequence[str], rounds: int, depth: int
) -> tuple[tuple[float, ...], list[Mapping[str, Any]]]:
    samples, responses = [], []
    for number in range(rounds):
        for text in texts:
            began = time.perf_counter()
            response = service.post("/v1/search", _body(collection, text, k=20 + number, depth=depth))
            samples.append((time.perf_counter() - began) * 1000)
            if response["cache"] != "miss":
                raise InvalidRequest("a search that should have been computed came from the cache; restart the service")
            responses.append(response)
    return tuple(samples), responses


def _recalls(service: Service, collection: str, texts: Sequence[str], rounds: int) -> tuple[float, ...]:
    """The service's clock from taking the query to holding fused candidates with their text."""
    _, responses = _searches(service, collection, texts, rounds, depth=0)
    return tuple(float(response["timings_ms"]["recall"]) for response in responses)


def _cached(service: Service, collection: str, texts: Sequence[str], depth: int) -> tuple[float, ...]:
    samples = []
    for text in texts:
        body = _body(collection, text, k=20, depth=depth)
        began = time.perf_counter()
        response = service.post("/v1/search", body)
        samples.append((time.perf_counter() - began) * 1000)
        if response["cache"] != "hit":
            raise InvalidRequest("a repeated search did not come from the cache: it is off, or the service is degraded")
    return tuple(samples)


def _first_deltas(service: Service, collection: str, texts: Sequence[str]) -> tuple[float, ...]:
    """From sending the question to the first ``message`` event; its search is new to the cache."""
    samples = []
    for text in texts:
        began = time.perf_counter()
        for name, data in service.stream("/v1/answer", {"collection": collection, "query": text, "k": 6}):
            if name == "error":
                raise InvalidRequest(f"the answer to {text!r} failed: {data.get('detail', data)}")
            if name == "message":
                samples.append((time.perf_counter() - began) * 1000)
                break
    if not samples:
        raise InvalidRequest("no question of the demo set was answered")
    return tuple(samples)


def _quality(
    service: Service, collection: str, judged: JudgedSet, depth: int
) -> tuple[dict[str, dict[str, float]], str]:
    """Each stage's ranking, read from ``explain``, scored against the judgements."""
    runs: dict[str, dict[str, dict[str, float]]] = {stage: {} for stage in STAGES}
    generation = ""
    for query_id, text in judged.queries.items():
        response = service.post("/v1/search", _body(collection, text, k=QUALITY_K, depth=depth, explain=True))
        generation = str(response["generation"])
        for stage in STAGES:
            runs[stage][query_id] = best_passage_run(list(_ranking(response["results"], stage)))
    return {stage: evaluate(judged.qrels, run, DEFAULT_METRICS) for stage, run in runs.items()}, generation


def _ranking(results: Sequence[Mapping[str, Any]], stage: str) -> Iterator[tuple[str, float]]:
    """Passages that ``stage`` ranked, scored by negated rank, so that ties and scales play no part."""
    for position, result in enumerate(results, 1):
        if stage == "final":
            yield str(result["document_id"]), -float(position)
        elif seen := result["explain"].get(stage):
            yield str(result["document_id"]), -float(seen["rank"])
