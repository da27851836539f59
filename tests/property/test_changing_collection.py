"""A collection under random changes, merges and restarts against a dictionary: what is excluded never comes back."""

from __future__ import annotations

import random
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from retrieval import upkeep
from retrieval.batch import write_generation
from retrieval.changes import Change, Delete, Upsert
from retrieval.collection import Collection
from retrieval.filters import Filter, Scope, parse_filter
from retrieval.live import CAPACITY
from retrieval.maintenance import Nothing, compact, maintain
from retrieval.manifest import CollectionSettings
from retrieval.segment import Part
from retrieval.snapshot import Snapshot
from retrieval.store import CollectionStore
from retrieval.types import Chunk, Document
from tests.fake_models import FakeEncoder

ENCODER = FakeEncoder(dimension=16)
WORDS = ["anchor", "basin", "cedar", "delta", "ember", "fjord", "grove", "数据库", "索引"]
PRINCIPALS = ("group:eng", "group:ops", "user:ada")
FILTERS: tuple[object, ...] = (
    None,
    {"type": "eq", "key": "lang", "value": "zh"},
    {"type": "ne", "key": "lang", "value": "zh"},
    {"type": "gte", "key": "year", "value": 2024},
    {"type": "in", "key": "tags", "value": ["red", "blue"]},
    {
        "type": "and",
        "filters": [{"type": "lt", "key": "year", "value": 2023}, {"type": "eq", "key": "ok", "value": True}],
    },
    {"type": "eq", "key": "rare", "value": "yes"},
)


def a_document(chance: random.Random, number: int) -> Document:
    text = " ".join(chance.choices(WORDS, k=chance.randint(2, 12)))
    metadata: dict[str, str | int | bool | list[str]] = {
        "lang": chance.choice(["zh", "en"]),
        "year": chance.randint(2020, 2026),
    }
    if chance.random() < 0.5:
        metadata["tags"] = chance.sample(["red", "blue", "green"], chance.randint(0, 2))
    if chance.random() < 0.3:
        metadata["ok"] = chance.random() < 0.5
    if chance.random() < 0.05:
        metadata["rare"] = "yes"
    acl = tuple(chance.sample(PRINCIPALS, chance.choice([0, 0, 1, 2])))
    return Document(f"d{number}", text, f"title {number}", metadata=metadata, acl=acl)


def an_upsert(document: Document) -> Upsert:
    words = document.text.split(" ")
    half = len(" ".join(words[: len(words) // 2]))
    spans = [(0, half), (half, len(document.text))] if half else [(0, len(document.text))]
    chunks = [Chunk(number, *span) for number, span in enumerate(spans)]
    texts = [document.text[chunk.start : chunk.end] for chunk in chunks]
    return Upsert(document, chunks, ENCODER.encode(texts, "passage"))


@dataclass
class Model:
    """What should be there: documents by id, with the versions that they should have."""

    held: dict[str, Document] = field(default_factory=dict)
    buried: dict[str, int] = field(default_factory=dict)

    def put(self, document: Document) -> None:
        last = self.held[document.document_id].version if document.document_id in self.held else 0
        last = max(last, self.buried.get(document.document_id, 0) if not last else 0)
        self.held[document.document_id] = replace(document, version=last + 1)

    def remove(self, name: str) -> None:
        if name in self.held:
            self.buried[name] = self.held.pop(name).version + 1

    def admitted(self, scope: Scope) -> set[str]:
        return {one.document_id for one in self.held.values() if scope.admits(one.metadata, one.acl)}


def scopes(chance: random.Random) -> Scope:
    tree = chance.choice(FILTERS)
    wanted: Filter | None = None if tree is None else parse_filter(tree)
    who = chance.choice(
        [None, frozenset({"public"}), frozenset({"public", "group:eng"}), frozenset({"public", *PRINCIPALS})]
    )
    return Scope(wanted, who)


def agrees(snapshot: Snapshot, model: Model, chance: random.Random) -> None:
    """Everything that is admitted is found by both channels and counted, and nothing else is."""
    assert snapshot.info.documents == len(model.held)
    for _ in range(3):
        scope = scopes(chance)
        admitted = model.admitted(scope)
        everything = 4 * len(model.held) + 10
        vector = ENCODER.encode([chance.choice(WORDS)], "query")[0]
        dense = snapshot.passages(snapshot.dense(vector, everything, scope).rows)
        assert {passage.document_id for passage in dense} == admitted
        word = chance.choice(WORDS)
        lexical = snapshot.passages(snapshot.lexical(word, everything, scope).rows)
        assert {passage.document_id for passage in lexical} == {
            name for name in admitted if word in model.held[name].text.split(" ")
        }
        short = snapshot.passages(snapshot.dense(vector, 3, scope).rows)
        assert {passage.document_id for passage in short} <= admitted
        assert len(short) == min(3, len(dense))
        assert snapshot.count(scope)[0] == len(admitted)
        facets = dict(snapshot.facets(["lang"], scope)["lang"])
        for value in ("zh", "en"):
            assert facets.get(value, 0) == sum(model.held[name].metadata["lang"] == value for name in admitted)
        name = f"d{chance.randint(0, 40)}"
        found = snapshot.find([name])[0]
        assert (found is not None) == (name in model.held)
        if found is not None:
            assert snapshot.document(name) == model.held[name]
    for passage in dense:
        assert passage.text == model.held[passage.document_id].text[slice(*passage.offsets)]


def changed(collection: Collection, model: Model, chance: random.Random) -> None:
    changes: list[Change] = []
    for _ in range(chance.choice([1, 1, 3, 20])):
        number = chance.randint(0, 40)
        if chance.random() < 0.65:
            document = a_document(chance, number)
            changes.append(an_upsert(document))
            model.put(document)
        else:
            changes.append(Delete(f"d{number}"))
            model.remove(f"d{number}")
    collection.write(changes)


def rebuilt(store: CollectionStore, model: Model, chance: random.Random) -> None:
    upserts = [an_upsert(a_document(chance, number)) for number in chance.sample(range(40), 12)]
    for each in upserts:
        model.put(each.document)
    part = Part(
        [u.document for u in upserts], [u.chunks for u in upserts], np.concatenate([u.vectors for u in upserts])
    )
    write_generation(store, "docs", [part], encoder=ENCODER.spec)


@pytest.mark.parametrize("seed", [*range(4), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(4, 16))])
def test_whatever_happens_the_collection_holds_what_a_dictionary_would(seed: int) -> None:
    chance, model = random.Random(seed), Model()
    with tempfile.TemporaryDirectory() as folder:
        store = CollectionStore(Path(folder), Nothing())
        collection = store.create("docs", CollectionSettings(), ENCODER.spec)
        other = CollectionStore(Path(folder), Nothing()).open("docs")
        for _ in range(40):
            what = chance.choices(["change", "freeze", "maintain", "compact", "build", "restart"], [20, 6, 4, 2, 2, 1])[
                0
            ]
            if what == "change":
                changed(collection if chance.random() < 0.7 else other, model, chance)
            elif what == "freeze":
                with collection.appending():
                    collection.freeze()
            elif what == "maintain":
                maintain(chance.choice([collection, other]))
            elif what == "build":
                rebuilt(store, model, chance)
            elif what == "compact":
                compact(chance.choice([collection, other]))
            else:
                store = CollectionStore(Path(folder), Nothing())
                collection = store.open("docs")
            for each in (collection, other):
                agrees(each.snapshot(), model, chance)
        other.close()
        collection.close()
        agrees(other.snapshot(), model, chance)
        assert upkeep.verify(collection).problems == ()


def test_a_snapshot_does_not_change_while_changes_go_on() -> None:
    chance, model = random.Random(5), Model()
    with tempfile.TemporaryDirectory() as folder:
        collection = CollectionStore(Path(folder), Nothing()).create("docs", CollectionSettings(), ENCODER.spec)
        changed(collection, model, chance)
        before, then = collection.snapshot(), Model(dict(model.held), dict(model.buried))
        for _ in range(10):
            changed(collection, model, chance)
        maintain(collection)
        compact(collection)
        agrees(before, then, chance)
        agrees(collection.snapshot(), model, chance)


def test_blocks_are_sealed_when_they_are_full() -> None:
    with tempfile.TemporaryDirectory() as folder:
        collection = CollectionStore(Path(folder), Nothing()).create("docs", CollectionSettings(), ENCODER.spec)
        vectors = ENCODER.encode(["one passage"], "passage")
        for start in range(0, CAPACITY + 1000, 500):
            numbers = range(start, start + 500)
            collection.write([Upsert(Document(f"d{n}", "one passage"), [Chunk(0, 0, 11)], vectors) for n in numbers])
        assert len(collection.snapshot().blocks) == 2
        assert maintain(collection) == 1
        snapshot = collection.snapshot()
        assert [view.passages for view in snapshot.segments] == [8000]
        assert snapshot.info.documents == CAPACITY // 500 * 500 + 1500
