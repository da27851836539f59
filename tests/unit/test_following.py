"""Several processes at one collection, played by several handles: each sees what others wrote, however late."""

from __future__ import annotations

from pathlib import Path

import pytest

from eval.bench.kill_plan import ENCODER, content, marker, name
from retrieval.changes import Upsert
from retrieval.collection import Collection
from retrieval.maintenance import Nothing, maintain
from retrieval.manifest import CollectionSettings
from retrieval.store import CollectionStore


def another(root: Path) -> Collection:
    return CollectionStore(root, Nothing()).open("docs")


def put(collection: Collection, batch: int) -> None:
    collection.write([Upsert(*content(batch, batch))])


def seal(collection: Collection) -> None:
    """The block ends, its file of the log is sealed into a segment, and removed when the next one was begun."""
    with collection.appending():
        collection.freeze()


def found(collection: Collection, batches: range) -> list[str]:
    snapshot = collection.snapshot()
    assert snapshot.info.documents == len(batches)
    rows = [snapshot.lexical(marker(batch, batch), 1).rows for batch in batches]
    return [passage.document_id for own in rows for passage in snapshot.passages(own)]


@pytest.mark.parametrize("files", [1, 2, 3])
def test_who_slept_while_the_log_was_sealed_and_removed_sees_and_adds_to_what_was_written(
    tmp_path: Path, files: int
) -> None:
    writer = CollectionStore(tmp_path, Nothing()).create("docs", CollectionSettings(), ENCODER)
    put(writer, 0)
    sleeper = another(tmp_path)
    assert sleeper.snapshot().info.documents == 1
    for batch in range(1, files + 1):
        seal(writer)
        put(writer, batch)
    maintain(writer)
    batches = range(files + 1)
    assert found(sleeper, batches) == [name(batch) for batch in batches]
    put(sleeper, files + 1)
    batches = range(files + 2)
    for collection in (sleeper, writer, another(tmp_path)):
        assert found(collection, batches) == [name(batch) for batch in batches]


def test_a_sleeper_that_writes_first_adds_to_the_log_that_the_others_read(tmp_path: Path) -> None:
    writer = CollectionStore(tmp_path, Nothing()).create("docs", CollectionSettings(), ENCODER)
    put(writer, 0)
    sleeper = another(tmp_path)
    seal(writer)
    put(writer, 1)
    maintain(writer)
    put(sleeper, 2)
    for collection in (writer, another(tmp_path), sleeper):
        assert found(collection, range(3)) == [name(batch) for batch in range(3)]
