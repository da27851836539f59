"""A collection searched and changed through a running gateway: cold, warm, under upserts and during a merge."""

from __future__ import annotations

import itertools
import multiprocessing
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from eval.bench.churn import Churn, Open, Queries, run_churn
from eval.bench.latency import Latencies, closed_loop, open_loop
from eval.bench.process import drop_from_page_cache, memory_of_tree
from retrieval.errors import RiddleError
from retrieval.maintenance import compact
from retrieval.store import CollectionStore
from retrieval.types import Vectors

Result = dict[str, Any]

TREES: tuple[Mapping[str, Any], ...] = (
    {"type": "eq", "key": "lang", "value": "en"},
    {"type": "lt", "key": "share", "value": 1000},
    {"type": "eq", "key": "tags", "value": "one-in-100"},
    {"type": "gte", "key": "published", "value": "2024-01-01"},
    {"type": "in", "key": "region", "value": ["r03", "r17", "r41"]},
)
"""Filters that hybrid searches take turns with: 90, 10, 1, some 15 and some 5 % of the collection."""

MERGE_ROUNDS = 60
"""Rounds of five seconds in which a merge is searched; one that takes longer is ended there, which loses nothing."""
UPSERTS, SEARCHES = 300, 5
"""A second. At ten million one search after another takes 50 ms on two cores, so that 20 a second only queue."""


class Running(Protocol):
    """A gateway that answers. Thread-safe."""

    @property
    def process(self) -> int: ...
    @property
    def ready_s(self) -> float:
        """Seconds from its start until it was ready."""
        ...

    @property
    def target(self) -> Open:
        """Opens searches and writes through it in another process."""
        ...

    def search(self, text: str, filters: Mapping[str, Any] | None) -> object:
        """One hybrid search without reranking, k = 10; raises when it fails, is degraded, or comes from the cache."""
        ...


Gateway = Callable[[], AbstractContextManager[Running]]


class _Asking:
    """Questions that never come twice, with filters in turn."""

    def __init__(self, running: Running, texts: Sequence[str]) -> None:
        self._running = running
        self._texts = iter(texts)

    def plain(self, number: int) -> None:
        self._running.search(next(self._texts), None)

    def filtered(self, number: int) -> None:
        self._running.search(next(self._texts), TREES[number % len(TREES)])


def cold(gateway: Gateway, collection: Path, texts: Sequence[str]) -> Result:
    """A gateway started with nothing of the collection in the page cache."""
    drop_from_page_cache(collection)
    with gateway() as running:
        asking = _Asking(running, texts)
        found = [
            closed_loop("the first search", asking.plain, 1),
            closed_loop("the next hundred, filtered", asking.filtered, 100),
        ]
        return _result(found, running) | {"ready_s": round(running.ready_s, 2)}


def warm(gateway: Gateway, texts: Sequence[str]) -> Result:
    """Hybrid searches with a filter through a warm gateway: one after another, then 20 a second."""
    with gateway() as running:
        asking = _Asking(running, texts)
        closed_loop("warming", asking.filtered, 100)
        found = [
            closed_loop("filtered, one after another", asking.filtered, 500),
            closed_loop("without a filter", asking.plain, 300),
            open_loop("filtered, 20 a second", asking.filtered, rate=20, seconds=40, workers=4),
        ]
        return _result(found, running)


def churned(gateway: Gateway, queries: Queries, fresh: Vectors) -> Result:
    """UPSERTS documents a second, with their vectors, through the gateway while it is searched."""
    with gateway() as running:
        churn = Churn(upserts=UPSERTS, searches=SEARCHES)
        report = run_churn(running.target, queries, fresh, churn, progress=lambda text: None)
        return {**report.as_json(), "memory": memory_of_tree(running.process).as_json()}


def merged(gateway: Gateway, root: Path, name: str, texts: Sequence[str]) -> Result:
    """Searches through the gateway while another process merges all segments."""
    with gateway() as running:
        asking = _Asking(running, texts)
        closed_loop("warming", asking.filtered, 100)
        idle = open_loop("idle", asking.filtered, rate=SEARCHES, seconds=40, workers=4)
        merging = multiprocessing.get_context("spawn").Process(target=_merge, args=(root, name), daemon=True)
        began = time.perf_counter()
        merging.start()
        rounds = [
            open_loop("while merging", asking.filtered, rate=SEARCHES, seconds=5, workers=4)
            for _ in itertools.takewhile(lambda _: merging.is_alive(), range(MERGE_ROUNDS))
        ]
        ended = not merging.is_alive()
        if not ended:
            merging.terminate()
        merging.join()
        if ended and merging.exitcode:
            raise RiddleError(f"the merge ended with {merging.exitcode}; see what it said")
        samples = tuple(itertools.chain.from_iterable(each.samples for each in rounds))
        failures = tuple(itertools.chain.from_iterable(each.failures for each in rounds))
        found = [idle, Latencies("while merging", samples, failures)]
        return _result(found, running) | {"merge_s": round(time.perf_counter() - began, 1), "merge_ended": ended}


def _merge(root: Path, name: str) -> None:
    compact(CollectionStore(root).open(name))


def _result(found: Sequence[Latencies], running: Running) -> Result:
    return {"latencies": [each.as_json() for each in found], "memory": memory_of_tree(running.process).as_json()}
