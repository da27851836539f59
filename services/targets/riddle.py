"""A Riddle as `riddle eval` measures it: the collections of a home folder in this process, or a running server."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx

from eval.stages import rankings_of
from eval.targets import Answered, Cited, Searched, Shown
from eval.usage_rows import MACHINES
from retrieval.errors import GenerationFailed
from services.asking import Asker, RemoteAsker, Text
from services.local import local_asker
from services.settings import Settings
from services.wire import (
    AnswerRequest,
    FinalAnswerEvent,
    Result,
    SearchRequest,
    SearchResultsEvent,
    WireCitation,
)
from services.wire_ranking import RankingOptions, Rerank

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Asking:
    """What every request of a run says."""

    collection: str
    depth: int
    """How many passages are reranked."""
    passages: int
    """How many passages an answer may rest on."""

    @property
    def ranking(self) -> RankingOptions:
        return RankingOptions(rerank=Rerank(depth=self.depth))


class RiddleTarget:
    """SearchTarget and AnswerTarget over an Asker, which lives in an event loop of its own thread. Thread-safe."""

    def __init__(self, asker: Asker, asking: Asking, loop: Loop, about: Mapping[str, Any]) -> None:
        self._asker, self._asking, self._loop, self._about = asker, asking, loop, about

    def describe(self) -> Mapping[str, Any]:
        return self._about

    def search(self, query: str, k: int) -> Searched:
        asked = self._asking
        request = SearchRequest(query=query, collection=asked.collection, k=k, ranking=asked.ranking, explain=True)
        began = time.perf_counter()
        response = self._loop.run(self._asker.search(request))
        client = _since(began)
        shown = _shown(response.results)
        return Searched(
            rankings_of(shown),
            shown[:KEPT],
            {**response.timings_ms, "client": client},
            response.generation,
            response.cache,
            tuple(response.degraded),
        )

    def answer(self, question: str) -> Answered:
        return self._loop.run(self._answer(question))

    async def _answer(self, question: str) -> Answered:
        asked = self._asking
        request = AnswerRequest(
            query=question, collection=asked.collection, k=asked.passages, ranking=asked.ranking, explain=True
        )
        began, first = time.perf_counter(), None
        found: SearchResultsEvent | None = None
        final: FinalAnswerEvent | None = None
        citations: list[WireCitation] = []
        async with contextlib.aclosing(self._asker.ask(request)) as events:
            async for event in events:
                match event:
                    case SearchResultsEvent():
                        found = event
                    case Text():
                        first = _since(began) if first is None else first
                    case WireCitation():
                        citations.append(event)
                    case FinalAnswerEvent():
                        final = event
        if final is None or found is None:
            raise GenerationFailed("the answer ended before it was complete", stage="generation")
        timings = {**final.timings_ms, "client": _since(began)}
        if first is not None:
            timings["client_first"] = first
        return Answered(
            final.answer,
            final.abstained,
            tuple(_cited(each, found.results) for each in citations),
            _shown(found.results),
            timings,
            final.engine,
            found.generation,
            tuple(final.degraded),
            final.usage.model_dump(),
        )


KEPT = 20
"""Passages of a search that are kept with their text; rankings are kept whole."""


class Loop:
    """An event loop in a thread of its own, for a client that is not asynchronous."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="riddle-eval", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Carry out ``work`` and wait for it; interrupted, it is cancelled."""
        waiting = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return waiting.result()
        except BaseException:
            waiting.cancel()
            raise

    @contextmanager
    def entered(self, manager: AbstractAsyncContextManager[T]) -> Iterator[T]:
        """Hold an asynchronous context. One task enters and leaves it, as task groups and cancel scopes ask."""
        leave = asyncio.Event()
        held: asyncio.Future[T] = self._loop.create_future()

        async def hold() -> None:
            try:
                async with manager as value:
                    held.set_result(value)
                    await leave.wait()
            except BaseException as error:  # whoever entered is told, whatever it is
                if held.done():
                    raise
                held.set_exception(error)

        async def value_of() -> T:
            return await held

        holding = asyncio.run_coroutine_threadsafe(hold(), self._loop)
        try:
            yield self.run(value_of())
        finally:
            self._loop.call_soon_threadsafe(leave.set)
            holding.result()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@contextmanager
def local_target(
    settings: Settings, asking: Asking, *, write: bool, at_once: int, about: Mapping[str, Any]
) -> Iterator[RiddleTarget]:
    """A collection of the home folder in this process; ``write`` loads the model that answers too."""
    with contextlib.closing(Loop()) as loop:
        asker = local_asker(settings, collection=asking.collection, write=write, at_once=at_once)
        with loop.entered(asker) as opened:
            yield RiddleTarget(opened, asking, loop, about)


@contextmanager
def remote_target(url: str, key: str, asking: Asking, timeout_s: float = 300.0) -> Iterator[RiddleTarget]:
    """A collection of a running server, asked with an API key if one is given. Raises what asking for it raises."""
    headers = {"X-Riddle-Session": f"{MACHINES}-run"} | ({"Authorization": f"Bearer {key}"} if key else {})
    client = httpx.AsyncClient(base_url=url, headers=headers, timeout=timeout_s)
    with contextlib.closing(Loop()) as loop, loop.entered(client) as http:
        asker = RemoteAsker(http)
        collection = loop.run(asker.collection(asking.collection))
        about = {
            "kind": "riddle",
            "url": url,
            "collection": collection.name,
            "generation": collection.generation,
            "encoder": collection.encoder,
            "documents": collection.documents,
            "passages": collection.passages,
        }
        yield RiddleTarget(asker, asking, loop, about)


def _shown(results: Sequence[Result]) -> tuple[Shown, ...]:
    return tuple(
        Shown(
            each.passage_id,
            each.document_id,
            each.score,
            each.text,
            each.title,
            {stage: (seen.rank, seen.score) for stage, seen in (each.explain or {}).items()},
        )
        for each in results
    )


def _cited(citation: WireCitation, results: Sequence[Result]) -> Cited:
    source = next((each for each in results if each.passage_id == citation.passage_id), None)
    if source is None:
        return Cited(citation.answer_span, citation.passage_id, verdict=citation.verdict)
    begin, end = (at - source.offsets[0] for at in citation.source_span)
    return Cited(
        citation.answer_span,
        citation.passage_id,
        source.document_id,
        source.text[max(0, begin) : max(0, end)],
        citation.verdict,
    )


def _since(began: float) -> float:
    return round((time.perf_counter() - began) * 1000, 3)
