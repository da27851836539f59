"""Changes of documents and of rights, merges and cached searches in random order: what is shown is true then."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from retrieval.changes import Delete
from retrieval.filters import Scope, parse_filter
from retrieval.maintenance import Inline, compact
from retrieval.store import CollectionStore
from retrieval.types import Document, Metadata
from services.cache import MemoryCache
from services.embedded import EmbeddedRecall
from services.gateway.search import Found, Search
from services.pool import Pool
from services.ports import NewCollection, Put, Remove, Rights
from services.shelf import EncoderShelf
from services.telemetry import Telemetry
from services.wire import SearchRequest
from tests.fake_models import FakeEncoder
from tests.fakes import FakeRank
from tests.service.conftest import LIMITS

IDS = [f"d{number}" for number in range(14)]
GROUPS = ("group:a", "group:b", "group:c")
CALLERS = [Rights(tuple(sorted({"public", *groups}))) for groups in ((), GROUPS[:1], GROUPS[1:], GROUPS)]
LANGUAGES = ("en", "de", "zh")
FILTERS: list[dict[str, Any] | None] = [
    None,
    {"type": "eq", "key": "lang", "value": "en"},
    {
        "type": "and",
        "filters": [{"type": "gte", "key": "year", "value": 2}, {"type": "ne", "key": "lang", "value": "de"}],
    },
]
Shown = frozenset[tuple[str, str]]
"""Ids and texts. Every text holds the word that is looked for and the number of the step that wrote it."""


@dataclass
class World:
    """The service over a real collection, and beside it what the collection should hold, as plain documents."""

    root: Path
    seed: int
    documents: dict[str, Document] = field(default_factory=dict)
    done: Counter[str] = field(default_factory=Counter)
    question: tuple[Rights, dict[str, Any] | None] = (CALLERS[0], None)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        shelf = EncoderShelf("fake-encoder", lambda name: FakeEncoder(8))
        shelf.wait("fake-encoder")
        self.store = CollectionStore(self.root, Inline())
        self.other = CollectionStore(self.root, Inline())
        """As another process would have it open."""
        self.recall = EmbeddedRecall(self.store, shelf, "docs", Pool("recall", workers=2, queue=64))
        self.search = Search(self.recall, FakeRank(), MemoryCache(3600, 1000), LIMITS, Telemetry())

    def expected(self, rights: Rights, filters: dict[str, Any] | None) -> Shown:
        """By the plain rule, document by document."""
        scope = Scope(None if filters is None else parse_filter(filters), frozenset(rights.principals))
        admitted = (each for each in self.documents.values() if scope.admits(each.metadata, each.acl))
        return frozenset((each.document_id, each.text) for each in admitted)

    async def step(self, number: int) -> None:
        kinds = (self.ask, self.change, self.change_rights, self.race, self.change_elsewhere, self.seal, self.merge)
        kind = self.chance.choices(kinds, (50, 22, 10, 10, 6, 0.6, 0.2))[0]
        self.done[kind.__name__] += 1
        await kind(number)

    async def ask(self, number: int) -> None:
        if self.chance.random() < 0.5:  # the same again, as people do, which the cache may answer
            self.question = self.chance.choice(CALLERS), self.chance.choice(FILTERS)
        rights, filters = self.question
        found = await self.searched(rights, filters)
        self.done[found.cache] += 1
        assert shown(found) == self.expected(rights, filters), number
        counted = Counter(self.documents[document_id].metadata["lang"] for document_id, _ in shown(found))
        assert {each.value: each.count for each in found.facets()["lang"]} == counted, number

    async def searched(self, rights: Rights, filters: dict[str, Any] | None) -> Found:
        request = SearchRequest(query="lighthouse", collection="docs", k=50, filters=filters, facets=["lang"])
        return await self.search(request, rights)

    def drawn(self, number: int) -> list[Put | Remove]:
        changes: list[Put | Remove] = []
        for document_id in self.chance.sample(IDS, self.chance.randint(1, 3)):
            if document_id in self.documents and self.chance.random() < 0.35:
                changes.append(Remove(document_id))
            else:
                metadata: Metadata = {"lang": self.chance.choice(LANGUAGES), "year": self.chance.randrange(5)}
                changes.append(Put(Document(document_id, f"lighthouse {number}", metadata=metadata, acl=self.acl())))
        return changes

    def acl(self) -> tuple[str, ...]:
        return tuple(self.chance.sample(GROUPS, self.chance.choice((0, 0, 1, 2))))

    def apply(self, changes: list[Put | Remove]) -> None:
        for change in changes:
            if isinstance(change, Put):
                self.documents[change.document.document_id] = change.document
            else:
                del self.documents[change.document_id]

    async def change(self, number: int) -> None:
        changes = self.drawn(number)
        written = await self.recall.write("docs", changes)
        assert all(each.accepted for each in written.outcomes), written
        self.apply(changes)

    async def change_rights(self, number: int) -> None:
        """The same text under another access list."""
        if not self.documents:
            return
        document = self.documents[self.chance.choice(sorted(self.documents))]
        moved = Document(document.document_id, document.text, metadata=document.metadata, acl=self.acl())
        await self.recall.write("docs", [Put(moved)])
        self.documents[moved.document_id] = moved

    async def race(self, number: int) -> None:
        """A search that runs while something changes shows the state before it or after it; the next one, after it."""
        rights, filters = self.chance.choice(CALLERS), self.chance.choice(FILTERS)
        changes = self.drawn(number)
        before = self.expected(rights, filters)
        found, _ = await asyncio.gather(self.searched(rights, filters), self.recall.write("docs", changes))
        self.apply(changes)
        assert shown(found) in (before, self.expected(rights, filters)), number
        again = await self.searched(rights, filters)
        assert shown(again) == self.expected(rights, filters), number

    async def change_elsewhere(self, number: int) -> None:
        if not self.documents:
            return
        document_id = self.chance.choice(sorted(self.documents))
        await asyncio.to_thread(self.other.open("docs").write, [Delete(document_id)])
        del self.documents[document_id]

    async def seal(self, number: int) -> None:
        collection = self.store.open("docs")
        with collection.appending():
            collection.freeze()

    async def merge(self, number: int) -> None:
        await asyncio.to_thread(compact, self.store.open("docs"))


def shown(found: Found) -> Shown:
    return frozenset((each.passage.document_id, each.passage.text) for each in found.page.candidates)


async def interleave(root: Path, steps: int, seed: int) -> World:
    world = World(root, seed)
    await world.recall.create("docs", NewCollection(fields={"lang": "keyword", "year": "number"}))
    for number in range(steps):
        await world.step(number)
    await world.recall.aclose()
    return world


@pytest.mark.parametrize("steps", [300, pytest.param(10_000, marks=[pytest.mark.slow, pytest.mark.timeout(900)])])
async def test_no_search_shows_what_was_or_what_is_hidden(steps: int, tmp_path: Path) -> None:
    world = await interleave(tmp_path, steps, seed=20261124)
    assert min(world.done[kind] for kind in ("ask", "change", "change_rights", "race", "change_elsewhere")) > 0
    assert min(world.done["hit"], world.done["miss"]) > steps / 20, world.done
