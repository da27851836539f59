"""Search while the collection changes a thousand times a second: nothing fails, nothing is late, nothing is stale."""

from __future__ import annotations

import itertools
import multiprocessing
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnContext
from typing import Any, Protocol

import numpy as np

from eval.bench.latency import Latencies, open_loop
from eval.bench.texts import coined
from retrieval.analysis import analyse
from retrieval.changes import Change, Delete, Upsert
from retrieval.errors import RiddleError
from retrieval.pauses import keep_pauses_short
from retrieval.types import Chunk, Document, Vectors

DELETES = 5
"""Documents that a batch removes, beside what it puts."""

DISTANCE = 20
"""A document is replaced that many batches after it was put, and of those some are removed as many later."""

WARM = 50
"""Searches before the first that counts."""


@dataclass(frozen=True, slots=True)
class Churn:
    """How much happens, and for how long."""

    upserts: int = 1000
    """Documents a second, of one passage each, in batches of ``batch``."""
    batch: int = 100
    searches: int = 50
    """Searches a second, at equal distances, by one thread; every fifth looks for a document changed just before."""
    seconds: float = 60.0
    idle_s: float = 20.0


@dataclass(frozen=True, slots=True)
class News:
    """One acknowledged change: what finds the document, and which batch wrote or deleted it."""

    document_id: str
    marker: str
    vector: Vectors
    batch: int
    deleted: bool


@dataclass(frozen=True, slots=True)
class Found:
    """One document of a search's answer."""

    document_id: str
    batch: int
    """The batch that wrote what was found; -1 for a document that no batch wrote."""
    channels: frozenset[str]


class Target(Protocol):
    """What is searched and changed: a collection in this process, or a service. Made in the process that uses it."""

    def search(self, text: str, vector: Vectors) -> Sequence[Found]:
        """The first ten by both channels, fused."""
        ...

    @property
    def channels(self) -> frozenset[str]:
        """Those that must have seen a document which is asked for by its own word and vector."""
        ...

    def write(self, changes: Sequence[Change]) -> None:
        """Returns when all are acknowledged; raises when one is refused."""
        ...


class Incoming(Protocol):
    """Where news comes from: one end of a pipe."""

    def poll(self) -> bool: ...
    def recv(self) -> Any: ...


Open = Callable[[], Target]
"""Must be picklable: searcher and writer are processes of their own."""


@dataclass(frozen=True, slots=True)
class ChurnReport:
    idle: Latencies
    busy: Latencies
    writes: Latencies
    probes: int
    """Searches for something acknowledged just before; ``stale`` tells those that did not find what they should."""
    stale: tuple[str, ...]

    @property
    def ratio(self) -> float:
        """p99 while the collection changes, by that when it does not."""
        return self.busy.p99 / self.idle.p99

    def as_json(self) -> dict[str, object]:
        return {
            "idle": self.idle.as_json(),
            "busy": self.busy.as_json(),
            "writes": self.writes.as_json(),
            "p99_ratio": round(self.ratio, 2),
            "probes": self.probes,
            "stale": len(self.stale),
            "stale_examples": list(self.stale[:5]),
        }


class Batches:
    """What each numbered batch changes. Half of a batch is new documents, the other half replaces older ones."""

    def __init__(self, vectors: Vectors, size: int) -> None:
        self._vectors, self._size = vectors, size

    def vectors(self, batch: int) -> Vectors:
        rows = np.arange(batch * self._size, (batch + 1) * self._size) % len(self._vectors)
        return self._vectors[rows]

    def __call__(self, batch: int) -> tuple[list[Change], list[News]]:
        """The changes of a batch, and those of them that no batch soon after it touches again."""
        changes: list[Change] = []
        news: list[News] = []
        vectors, half, draw = self.vectors(batch), self._size // 2, random.Random(batch)
        for row in range(self._size):
            replaces = row < half and batch >= DISTANCE
            document_id = f"churn{batch - DISTANCE}-{row + half}" if replaces else f"churn{batch}-{row}"
            marker = self._marker(batch, row)
            text = f"{marker} {' '.join(draw.choices(_WORDS, k=15))}"
            metadata = {"batch": batch, "share": draw.randrange(10_000)}
            document = Document(document_id, text, title="Changed", metadata=metadata)
            changes.append(Upsert(document, [Chunk(0, 0, len(text))], vectors[row : row + 1]))
            news.append(News(document_id, marker, vectors[row], batch, False))
        before = batch - DISTANCE
        if before >= DISTANCE:
            older = self.vectors(before)
            for row in range(DELETES):
                document_id = f"churn{before - DISTANCE}-{row + half}"
                changes.append(Delete(document_id))
                news.append(News(document_id, self._marker(before, row), older[row], batch, True))
        return changes, news

    def _marker(self, batch: int, row: int) -> str:
        """A word that only this document has, as this batch writes it."""
        return coined("zv", batch * self._size + row)


_WORDS = ("river", "stone", "bridge", "lantern", "harbour", "market", "garden", "signal", "数据库", "集合", "版本")


class Searcher:
    """Sends plain queries, none a second time before all were sent, and between them looks for what was acknowledged
    since."""

    def __init__(self, target: Target, texts: Sequence[str], vectors: Vectors, news: Incoming | None) -> None:
        self._target, self._texts, self._vectors, self._news = target, texts, vectors, news
        self._fresh: deque[News] = deque()
        self._rows = itertools.cycle(range(len(texts)))
        self.probes = 0
        self.stale: list[str] = []

    def __call__(self, number: int) -> None:
        self._hear()
        if number % 5 == 0 and self._fresh:
            self._probe(self._fresh.pop())
            self._fresh.clear()
            return
        row = next(self._rows)
        if not self._target.search(self._texts[row], self._vectors[row]):
            raise ValueError("a search found nothing")

    def _hear(self) -> None:
        while self._news is not None and self._news.poll():
            self._fresh.extend(self._news.recv())

    def _probe(self, change: News) -> None:
        found = {each.document_id: each for each in self._target.search(change.marker, change.vector)}
        self.probes += 1
        here = found.get(change.document_id)
        if change.deleted:
            if here is not None:
                self.stale.append(f"{change.document_id} was deleted by batch {change.batch}, and found")
        elif here is None or here.batch < change.batch or not here.channels >= self._target.channels:
            self.stale.append(f"{change.document_id} of batch {change.batch} was acknowledged, and found as {here}")


@dataclass(frozen=True, slots=True)
class Queries:
    """The plain queries: a vector for each text."""

    texts: Sequence[str]
    vectors: Vectors

    def part(self, first: int, last: int) -> Queries:
        return Queries(self.texts[first:last], self.vectors[first:last])


Searched = tuple[Latencies, int, list[str]]


def searching(
    open_target: Open, queries: Queries, news: Connection | None, rate: int, seconds: float, answer: Connection
) -> None:
    """The searcher's process: says when it is warm, waits for the word, sends latencies, probes and what was stale."""
    searcher = Searcher(open_target(), queries.texts, queries.vectors, news)
    for number in range(WARM):
        searcher(5 * number + 1)
    analyse("数据库")  # loads the dictionary of the segmenter, as a service does before it is ready
    keep_pauses_short()
    answer.send("warm")
    answer.recv()
    latencies = open_loop("search", searcher, rate=rate, seconds=seconds)
    answer.send((latencies, searcher.probes, searcher.stale))


def writing(open_target: Open, vectors: Vectors, news: Connection, churn: Churn, answer: Connection) -> None:
    """The writer's process. What was acknowledged is told to the searcher before the next batch is sent."""
    target, batches, draw = open_target(), Batches(vectors, churn.batch), random.Random(7)

    def send(number: int) -> None:
        changes, seen = batches(number)
        target.write(changes)
        news.send(draw.sample(seen, 3))

    analyse("数据库")
    keep_pauses_short()
    answer.send("warm")
    answer.recv()
    what = f"batch of {churn.batch} upserts and {DELETES} deletes"
    answer.send(open_loop(what, send, rate=churn.upserts / churn.batch, seconds=churn.seconds))


def run_churn(
    open_target: Open, queries: Queries, fresh: Vectors, churn: Churn, *, progress: Callable[[str], None]
) -> ChurnReport:
    """Search an idle collection for ``idle_s``, then search and change it for ``seconds``, by processes of their own.

    ``fresh`` are vectors for what is written, used again when they run out. Raises RiddleError when a process dies.
    """
    context = multiprocessing.get_context("spawn")
    progress(f"{churn.idle_s:.0f} s of searches alone")
    third = len(queries.texts) // 3  # what was asked before may be cached
    asked, unasked = queries.part(0, third), queries.part(third, len(queries.texts))
    alone = _Other(context, searching, open_target, asked, None, churn.searches, churn.idle_s)
    idle: Searched = _together(alone)[0]
    progress(f"{churn.seconds:.0f} s of searches and {churn.upserts} upserts a second")
    heard, told = context.Pipe(duplex=False)
    searcher = _Other(context, searching, open_target, unasked, heard, churn.searches, churn.seconds)
    writer = _Other(context, writing, open_target, fresh, told, churn)
    (busy, probes, stale), writes = _together(searcher, writer)
    return ChurnReport(idle[0], busy, writes, probes, tuple(stale))


class _Other:
    """A process that says when it is warm, begins on a word, and sends one result."""

    def __init__(self, context: SpawnContext, work: Callable[..., None], *arguments: object) -> None:
        self._here, there = context.Pipe()
        self._process = context.Process(target=work, args=(*arguments, there), daemon=True)
        self._process.start()
        there.close()

    def hear(self) -> Any:
        try:
            return self._here.recv()
        except EOFError:
            self._process.join()
            raise RiddleError(f"a process of the bench ended with {self._process.exitcode}; see what it said") from None

    def begin(self) -> None:
        self._here.send("begin")

    def join(self) -> None:
        self._process.join()


def _together(*others: _Other) -> list[Any]:
    """Begin all when all are warm; their results, in order."""
    for each in others:
        each.hear()
    for each in others:
        each.begin()
    results = [each.hear() for each in others]
    for each in others:
        each.join()
    return results
