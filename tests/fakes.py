"""Ports, a cache and an answerer that need no disk, model or server: for tests of what stands in front of them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from generation.events import Citation, Delta, Event, FinalAnswer, Usage
from retrieval.changes import Delete, Outcome, Upsert, outcome
from retrieval.errors import CollectionNotFound, Conflict, DocumentNotFound, InvalidRequest, RiddleError
from retrieval.filters import EVERYTHING, Scope, check_metadata, parse_filter
from retrieval.fusion import fuse
from retrieval.types import (
    Candidate,
    CollectionInfo,
    Document,
    Hits,
    JSONScalar,
    Passage,
    Ranked,
    Recalled,
    StageScore,
)
from services.ports import CollectionView, NewCollection, Put, RecallRequest, Remove, Rights, Written
from tests.fake_models import words

DOCUMENTS = (
    Document("guide/install.md", "Install the package with pip.\n\nThen start the server.", "Install", "guide"),
    Document(
        "guide/search.md", "Search finds passages.\n\nA query is words.\n\nResults are ranked.", "Search", "guide"
    ),
    Document("faq?#1.md", "Why is the answer empty? Nothing relevant was found.", "Questions", "faq", {"year": 2024}),
)
"""A small collection. Paragraphs are passages; ids hold slashes and characters that URLs give a meaning."""


@dataclass
class Held:
    """A collection of the fake. ``buried`` keeps the versions at which documents were deleted."""

    documents: dict[str, Document]
    wanted: NewCollection = field(default_factory=NewCollection)
    number: int = 1
    buried: dict[str, int] = field(default_factory=dict)


class FakeRecall:
    """RecallPort over documents in memory; passages that share words with the query, most words first.

    Rights and filters are decided document by document, by the plain rule. ``fail_with`` is raised by every
    call while it is set, ``unencoded`` by those that would need the encoder. ``asked`` keeps the requests.
    """

    def __init__(self, collections: Mapping[str, Sequence[Document]] | None = None) -> None:
        self.held: dict[str, Held] = {}
        self.dropped: dict[str, int] = {}
        self.aliases: dict[str, str] = {}
        for name, documents in (collections or {"docs": DOCUMENTS}).items():
            self.publish(name, documents)
        self.fail_with: RiddleError | None = None
        self.unencoded: RiddleError | None = None
        self.degraded: tuple[str, ...] = ()
        self.state = "ok"
        self.asked: list[RecallRequest] = []

    def publish(self, collection: str, documents: Sequence[Document]) -> None:
        """The collection's next generation, with these documents and no others."""
        before = self.held.get(collection)
        stored = {each.document_id: each if each.version else replace(each, version=1) for each in documents}
        self.held[collection] = Held(stored, number=before.number + 1 if before else 1)

    async def collections(self, rights: Rights) -> list[CollectionView]:
        self._check()
        return [self._view(name, rights) for name in sorted(self.held)]

    async def view(self, collection: str, rights: Rights) -> CollectionView:
        self._check()
        return self._view(self._name(collection), rights)

    async def describe(self, collection: str) -> CollectionInfo:
        self._check()
        return self._info(self._name(collection), EVERYTHING)

    async def recall(self, request: RecallRequest) -> Recalled:
        self._check()
        self.asked.append(request)
        name = self._name(request.collection)
        fields = self.held[name].wanted.fields
        tree = None if request.filters is None else parse_filter(request.filters, fields)
        scope = Scope(tree, frozenset(request.rights.principals))
        admitted = self._admitted(name, scope)
        wanted = set(words(request.query))
        counted = [(len(wanted & set(words(p.text))), p) for each in admitted for p in passages_of(each)]
        found = sorted(((n, p) for n, p in counted if n), key=lambda pair: -pair[0])[: request.depth]
        hits = Hits(np.arange(len(found), dtype=np.int64), np.array([count for count, _ in found], np.float32))
        fused = fuse({"lexical": hits}, request.fusion, k=request.rrf_k, normalisation=request.normalisation)
        candidates = tuple(
            Candidate(
                passage, score, "fused", {"lexical": StageScore(rank, float(count)), "fused": StageScore(rank, score)}
            )
            for rank, ((count, passage), score) in enumerate(zip(found, fused.scores.tolist(), strict=True), start=1)
        )
        facets = {key: _counted(admitted, key) for key in request.facets}
        taken = candidates[: request.fetch]
        return Recalled(
            self._info(name, EVERYTHING),
            taken,
            {"lexical": 0.1, "fuse": 0.1},
            self.degraded,
            facets,
            more=len(candidates) - len(taken),
            order=" ".join(each.passage.passage_id for each in candidates),
        )

    async def document(self, collection: str, document_id: str, rights: Rights) -> Document:
        self._check()
        document = self.held[self._name(collection)].documents.get(document_id)
        if document is None or not _scope(rights).admits(document.metadata, document.acl):
            raise DocumentNotFound(f"no document has the id {document_id!r}")
        return document

    async def write(self, collection: str, changes: Sequence[Put | Remove]) -> Written:
        self._check()
        name = self._name(collection)
        if self.unencoded is not None and any(isinstance(each, Put) and each.vector is None for each in changes):
            raise self.unencoded
        outcomes = tuple(self._change(self.held[name], change) for change in changes)
        self.held[name].number += any(each.accepted for each in outcomes)
        return Written(f"{name}@{self.held[name].number}", outcomes)

    async def create(self, collection: str, wanted: NewCollection) -> bool:
        self._check()
        if collection in self.held and self.held[collection].wanted == wanted:
            return False
        if collection in self.held or collection in self.aliases:
            raise Conflict(f"{collection} is there already, and was made otherwise")
        self.held[collection] = Held({}, wanted, self.dropped.get(collection, 0) + 1)
        return True

    async def drop(self, collection: str) -> None:
        self._check()
        if collection not in self.held:
            raise CollectionNotFound(f"no collection is called {collection!r}")
        if collection in self.aliases.values():
            raise Conflict(f"an alias leads to {collection}")
        self.dropped[collection] = self.held.pop(collection).number

    async def set_alias(self, alias: str, collection: str) -> None:
        self._check()
        if alias in self.held:
            raise Conflict(f"{alias} is the name of a collection")
        self.aliases[alias] = self._name(collection)

    async def remove_alias(self, alias: str) -> None:
        self._check()
        if alias not in self.aliases:
            raise CollectionNotFound(f"no alias is called {alias!r}")
        del self.aliases[alias]

    async def ready(self) -> Mapping[str, str]:
        return {"encoder": self.state, "index": "ok"}

    def _check(self) -> None:
        if self.fail_with is not None:
            raise self.fail_with

    def _name(self, name: str) -> str:
        found = self.aliases.get(name, name)
        if found not in self.held:
            raise CollectionNotFound(f"no collection is called {name!r}")
        return found

    def _admitted(self, name: str, scope: Scope) -> list[Document]:
        held = self.held[name]
        return [each for each in held.documents.values() if scope.admits(each.metadata, each.acl, held.wanted.fields)]

    def _info(self, name: str, scope: Scope) -> CollectionInfo:
        admitted = self._admitted(name, scope)
        passages = sum(len(passages_of(each)) for each in admitted)
        return CollectionInfo(name, f"{name}@{self.held[name].number}", len(admitted), passages, "fake", 8, 1000)

    def _view(self, name: str, rights: Rights) -> CollectionView:
        wanted = self.held[name].wanted
        aliases = tuple(sorted(alias for alias, target in self.aliases.items() if target == name))
        return CollectionView(
            self._info(name, _scope(rights)), wanted.vectors, dict(wanted.fields), aliases, wanted.late or ""
        )

    def _change(self, held: Held, change: Put | Remove) -> Outcome:
        document_id = change.document_id if isinstance(change, Remove) else change.document.document_id
        if isinstance(change, Put):
            try:
                check_metadata(change.document.metadata, held.wanted.fields)
            except InvalidRequest as error:
                return Outcome(document_id, 422, 0, error.detail)
        stored = held.documents.get(document_id)
        asked: Upsert | Delete = (
            Delete(document_id, change.version, change.if_version)
            if isinstance(change, Remove)
            else Upsert(change.document, (), np.empty((0, 8), np.float32), change.if_version)
        )
        found = outcome(asked, stored.version if stored else None, held.buried.get(document_id, 0))
        if found.accepted and isinstance(change, Put):
            held.documents[document_id] = replace(change.document, version=found.version)
        elif found.accepted:
            held.buried[document_id] = found.version
            del held.documents[document_id]
        return found


def passages_of(document: Document) -> list[Passage]:
    passages = []
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


def _scope(rights: Rights) -> Scope:
    return Scope(principals=frozenset(rights.principals))


def _counted(documents: Sequence[Document], key: str) -> tuple[tuple[JSONScalar, int], ...]:
    """How many documents have each value of a key, most first; of equally many, by value."""
    counts: Counter[JSONScalar] = Counter()
    for document in documents:
        value = document.metadata.get(key)
        values = [value] if value is None or isinstance(value, str | int | float | bool) else list(value)
        counts.update({each for each in values if each is not None})
    return tuple(sorted(counts.items(), key=lambda pair: (-pair[1], str(pair[0]))))


class FakeRank:
    """RankPort that turns the first ``depth`` candidates around, so that its work is seen. Too late at 0 ms."""

    def __init__(self, version: str = "fake-1") -> None:
        self._version = version
        self.fail_with: RiddleError | None = None
        self.state = "ok"
        self.asked: list[float | None] = []
        self.most: int | None = None

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

    async def read(
        self, query: str, candidates: Sequence[Candidate], *, depth: int, whole: bool, deadline_ms: float | None
    ) -> Ranked:
        """Likes the last of the first ``depth`` best. There is time for ``most``, and for none at 0 ms."""
        if self.fail_with is not None:
            raise self.fail_with
        self.asked.append(deadline_ms)
        wanted = min(depth, len(candidates))
        most = 0 if deadline_ms is not None and deadline_ms <= 0 else self.most
        done = wanted if most is None else min(wanted, most)
        head = [
            replace(each, stages={**each.stages, "rerank": StageScore(done - at, (at + 1) / 1001)})
            for at, each in enumerate(candidates[:done])
        ]
        return Ranked((*head, *candidates[done:]), {"rerank": 0.1}, ("rerank",) if done < wanted else ())

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
