"""Ports, a cache and an answerer that need no disk, model or server: for tests of what stands in front of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from generation.events import Citation, Delta, Event, FinalAnswer, Usage
from retrieval.errors import CollectionNotFound, DocumentNotFound, RiddleError
from retrieval.types import (
    Candidate,
    CollectionInfo,
    Document,
    Passage,
    Ranked,
    Recalled,
    StageScore,
)
from services.ports import RecallRequest
from tests.fake_models import words

DOCUMENTS = (
    Document("guide/install.md", "Install the package with pip.\n\nThen start the server.", "Install", "guide"),
    Document(
        "guide/search.md", "Search finds passages.\n\nA query is words.\n\nResults are ranked.", "Search", "guide"
    ),
    Document("faq?#1.md", "Why is the answer empty? Nothing relevant was found.", "Questions", "faq", {"year": 2024}),
)
"""A small collection. Paragraphs are passages; ids hold slashes and characters that URLs give a meaning."""


class FakeRecall:
    """RecallPort over documents in memory; passages that share words with the query, most words first.

    ``fail_with`` is raised by every call while it is set. ``asked`` keeps the requests.
    """

    def __init__(self, collections: Mapping[str, Sequence[Document]] | None = None) -> None:
        self.held = {name: list(held) for name, held in (collections or {"docs": DOCUMENTS}).items()}
        self.numbers = dict.fromkeys(self.held, 1)
        self.fail_with: RiddleError | None = None
        self.degraded: tuple[str, ...] = ()
        self.state = "ok"
        self.asked: list[RecallRequest] = []

    def publish(self, collection: str, documents: Sequence[Document]) -> None:
        """The collection's next generation."""
        self.held[collection] = list(documents)
        self.numbers[collection] = self.numbers.get(collection, 0) + 1

    async def collections(self) -> list[CollectionInfo]:
        self._check()
        return [self._info(name) for name in sorted(self.held)]

    async def describe(self, collection: str) -> CollectionInfo:
        self._check()
        return self._info(collection)

    async def recall(self, request: RecallRequest) -> Recalled:
        self._check()
        self.asked.append(request)
        info = self._info(request.collection)
        wanted = set(words(request.query))
        counted = [(len(wanted & set(words(p.text))), p) for p in self._passages(request.collection)]
        found = sorted(((n, p) for n, p in counted if n), key=lambda pair: -pair[0])[: request.depth]
        candidates = tuple(
            Candidate(
                passage,
                1 / (request.rrf_k + rank),
                "fused",
                {"lexical": StageScore(rank, float(count)), "fused": StageScore(rank, 1 / (request.rrf_k + rank))},
            )
            for rank, (count, passage) in enumerate(found, start=1)
        )
        return Recalled(info, candidates, {"lexical": 0.1, "fuse": 0.1}, self.degraded)

    async def document(self, collection: str, document_id: str) -> Document:
        self._check()
        self._info(collection)
        for document in self.held[collection]:
            if document.document_id == document_id:
                return document
        raise DocumentNotFound(f"{collection} holds no document {document_id!r}")

    async def drop(self, collection: str) -> None:
        self._check()
        self._info(collection)
        del self.held[collection]

    async def ready(self) -> Mapping[str, str]:
        return {"encoder": self.state, "index": "ok"}

    def _check(self) -> None:
        if self.fail_with is not None:
            raise self.fail_with

    def _info(self, name: str) -> CollectionInfo:
        if name not in self.held:
            raise CollectionNotFound(f"no collection is called {name!r}")
        passages = self._passages(name)
        return CollectionInfo(name, f"{name}@{self.numbers[name]}", len(self.held[name]), len(passages), "fake", 8)

    def _passages(self, name: str) -> list[Passage]:
        passages = []
        for document in self.held[name]:
            start = 0
            for ordinal, text in enumerate(document.text.split("\n\n")):
                passages.append(
                    Passage(
                        f"{document.document_id}#{ordinal}",
                        document.document_id,
                        text,
                        (start, start + len(text)),
                        document.title,
                        source=document.source,
                        metadata=document.metadata,
                    )
                )
                start += len(text) + 2
        return passages


class FakeRank:
    """RankPort that turns the first ``depth`` candidates around, so that its work is seen. Too late at 0 ms."""

    def __init__(self, version: str = "fake-1") -> None:
        self._version = version
        self.fail_with: RiddleError | None = None
        self.state = "ok"
        self.asked: list[float | None] = []

    @property
    def version(self) -> str:
        return self._version

    async def rank(
        self, query: str, candidates: Sequence[Candidate], *, depth: int, deadline_ms: float | None
    ) -> Ranked:
        if self.fail_with is not None:
            raise self.fail_with
        self.asked.append(deadline_ms)
        if deadline_ms is not None and deadline_ms <= 0:
            return Ranked(tuple(candidates), {"rerank": 0.0}, ("rerank",))
        head = [
            replace(
                candidate,
                score=1 - rank / 1000,
                scored_by="rerank",
                stages={**candidate.stages, "rerank": StageScore(rank, 1 - rank / 1000)},
            )
            for rank, candidate in enumerate(reversed(candidates[:depth]), start=1)
        ]
        return Ranked((*head, *candidates[depth:]), {"rerank": 0.1})

    async def ready(self) -> Mapping[str, str]:
        return {"reranker": self.state}


@dataclass
class FakeAnswerer:
    """Says ``pieces`` one by one; before each it waits for ``gate``, when there is one, to be given a turn.

    ``closed`` is set when its generator has ended, for whatever reason. ``fail_after`` raises
    ``failure`` after so many pieces.
    """

    pieces: Sequence[str] = ("Install it ", "with pip.")
    gate: asyncio.Semaphore | None = None
    fail_after: int | None = None
    failure: RiddleError | None = None
    said: int = 0
    closed: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, question: str, candidates: Sequence[Candidate]) -> AsyncGenerator[Event, None]:
        text = ""
        try:
            for piece in self.pieces:
                if self.failure is not None and self.said == self.fail_after:
                    raise self.failure
                if self.gate is not None:
                    await self.gate.acquire()
                self.said += 1
                text += piece
                yield Delta(piece)
            citations = []
            if candidates:
                passage = candidates[0].passage
                citations.append(Citation("c1", (0, len(text)), passage.passage_id, passage.offsets, "closest"))
                yield citations[0]
            yield FinalAnswer(text, tuple(citations), not candidates, Usage(7, 2), {"total": 1.0}, "fake")
        finally:
            self.closed.set()
