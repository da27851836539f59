"""Single changes: versions, outcomes, what is refused before it is written, and what waits in the log."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from retrieval import upkeep
from retrieval.batch import write_generation
from retrieval.changes import Change, Delete, Upsert, decode, encode
from retrieval.collection import Collection
from retrieval.errors import Conflict, IndexUnreadable, InvalidRequest
from retrieval.live import CAPACITY
from retrieval.maintenance import Background, Inline, Nothing, compact, maintain
from retrieval.manifest import CollectionSettings
from retrieval.reencode import reencode
from retrieval.store import CollectionStore
from retrieval.types import Chunk, Document
from tests.fake_models import FakeEncoder
from tests.parts import numbered, part

ENCODER = FakeEncoder(dimension=16)


def upsert(name: str, text: str = "some words", *, version: int = 0, if_version: int | None = None) -> Upsert:
    document = Document(name, text, version=version)
    return Upsert(document, [Chunk(0, 0, len(text))], ENCODER.encode([text], "passage"), if_version)


@pytest.fixture
def store(tmp_path: Path) -> CollectionStore:
    return CollectionStore(tmp_path, Nothing())


@pytest.fixture
def docs(store: CollectionStore) -> Collection:
    return store.create("docs", CollectionSettings(fields={"year": "number"}), ENCODER.spec)


def statuses(collection: Collection, *changes: Change) -> list[tuple[int, int]]:
    return [(outcome.status, outcome.version) for outcome in collection.write(changes)]


def test_versions_count_up_and_outlive_deletes(docs: Collection) -> None:
    assert statuses(docs, upsert("a"), upsert("a"), Delete("a"), Delete("a"), upsert("a")) == [
        (201, 1), (200, 2), (200, 3), (404, 3), (201, 4),
    ]  # fmt: skip
    assert docs.snapshot().document("a").version == 4


def test_a_callers_own_version_must_grow(docs: Collection) -> None:
    assert statuses(docs, upsert("a", version=7), upsert("a", version=7), upsert("a", version=6)) == [
        (201, 7), (409, 7), (409, 7),
    ]  # fmt: skip
    assert statuses(docs, Delete("a", version=9), upsert("a", version=8), upsert("a", version=10)) == [
        (200, 9), (409, 9), (201, 10),
    ]  # fmt: skip


def test_a_late_change_stays_refused_after_sealing_and_restart(store: CollectionStore, docs: Collection) -> None:
    docs.write([upsert("a", version=5), Delete("a", version=6), upsert("b")])
    compact(docs)
    again = CollectionStore(store.root, Nothing()).open("docs")
    assert statuses(again, upsert("a", version=6)) == [(409, 6)]


def test_if_version_compares_with_what_is_stored(docs: Collection) -> None:
    assert statuses(docs, upsert("a", if_version=0), upsert("a", if_version=0), upsert("a", if_version=1)) == [
        (201, 1), (409, 1), (200, 2),
    ]  # fmt: skip
    assert statuses(docs, Delete("a", if_version=1), Delete("a", if_version=2)) == [(409, 2), (200, 3)]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (upsert(""), "1 to 512 bytes"),
        (upsert("a" * 513), "1 to 512 bytes"),
        (upsert("\ud800"), "half a surrogate"),
        (replace(upsert("a"), vectors=np.ones((2, 16), np.float32)), "needs vectors"),
        (replace(upsert("a"), vectors=np.full((1, 16), np.nan, np.float32)), "not finite"),
        (replace(upsert("a"), document=Document("a", "some words", acl=("",))), "access list"),
        (replace(upsert("a"), document=Document("a", "some words", metadata={"year": "soon"})), "year"),
        (replace(upsert("a"), document=Document("a", "half words \ud800")), "cannot be stored"),
        (
            replace(upsert("a"), document=Document("a", "some words", metadata={"x": float("nan")})),
            "metadata.x holds a number",
        ),
        (replace(upsert("a"), chunks=[Chunk(0, 5, 99)]), "outside"),
    ],
)
def test_what_cannot_be_stored_is_refused_and_nothing_of_its_batch_is_written(
    docs: Collection, change: Change, reason: str
) -> None:
    with pytest.raises(InvalidRequest, match=reason):
        docs.write([upsert("good"), change])
    assert docs.info().documents == 0
    assert docs.info().generation == "docs@1.0"


def test_changes_come_out_of_the_log_as_they_went_in() -> None:
    document = Document("a#1", "文档 text", "title", "source", {"n": 1, "l": ["x", None]}, ("g", "h"), 3)
    changes: list[Change] = [
        Upsert(document, [Chunk(0, 0, 2, ("h1",), 4, "head")], np.ones((1, 4), np.float32)),
        Delete("b", 2),
    ]
    (put, removed) = decode(encode(changes), 4)
    assert isinstance(put, Upsert)
    assert (put.document, put.chunks) == (document, [Chunk(0, 0, 2, ("h1",), 4, "head")])
    assert np.array_equal(put.vectors, np.ones((1, 4), np.float32))
    assert removed == Delete("b", 2)
    with pytest.raises(IndexUnreadable, match="cannot be read"):
        decode(b"\x05\x00\x00\x00nonsense", 4)


def test_threads_of_two_stores_write_at_once_and_lose_nothing(store: CollectionStore, docs: Collection) -> None:
    other = CollectionStore(store.root, Nothing()).open("docs")

    def write(collection: Collection, first: int) -> None:
        for number in range(first, first + 25):
            collection.write([upsert(f"d{number}")])

    threads = [threading.Thread(target=write, args=pair) for pair in ((docs, 0), (other, 25), (docs, 50), (other, 75))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert docs.info() == other.info()
    assert docs.info().documents == 100
    assert docs.info().generation == "docs@1.100"


def filled(collection: Collection, first: int = 0) -> None:
    """More than one block."""
    words = [upsert(f"d{number}") for number in range(first, first + CAPACITY + 8)]
    for start in range(0, len(words), 1024):
        collection.write(words[start : start + 1024])


def test_a_process_beside_the_writer_seals_what_is_full(tmp_path: Path) -> None:
    background = Background(linger_s=0)
    docs = CollectionStore(tmp_path, background).create("docs", CollectionSettings(), ENCODER.spec)
    filled(docs)
    ends = time.monotonic() + 60
    while not docs.snapshot().segments and time.monotonic() < ends:
        time.sleep(0.05)
    snapshot = docs.snapshot()
    assert len(snapshot.segments) == 1
    assert (snapshot.info.documents, len(snapshot.blocks)) == (CAPACITY + 8, 1)
    background.wait()


def test_maintenance_of_a_collection_that_is_gone_ends_with_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "retrieval.maintenance_process", str(tmp_path), "nothing"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "no collection is called 'nothing'" in done.stderr
    assert "Traceback" not in done.stderr


def test_segments_of_a_tier_are_merged_and_deleted_space_comes_back(tmp_path: Path) -> None:
    docs = CollectionStore(tmp_path, Inline()).create("docs", CollectionSettings(), ENCODER.spec)
    for start in range(0, 60, 10):
        docs.write([upsert(f"d{number}", f"number{number}") for number in range(start, start + 10)])
        with docs.appending():
            docs.freeze()
        docs.write([upsert("again", f"text {start}")])
        maintain(docs)
    assert len(docs.snapshot().segments) == 1
    before = docs.info()
    docs.write([Delete(f"d{number}") for number in range(40)])
    maintain(docs)
    (view,) = docs.snapshot().segments
    assert (view.dead, view.documents) == (0, before.documents - 40 - 1)
    assert docs.info().documents == before.documents - 40
    assert docs.info().generation.split(".")[0] == before.generation.split(".")[0], "the same content, in fewer files"


def test_recall_after_deletes_is_what_it_was(tmp_path: Path) -> None:
    docs = CollectionStore(tmp_path, Nothing()).create("docs", CollectionSettings("HNSW16"), ENCODER.spec)
    chance = np.random.default_rng(7)
    vectors = chance.normal(size=(3000, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    docs.write([Upsert(Document(f"d{n}", "word"), [Chunk(0, 0, 4)], vectors[n : n + 1]) for n in range(3000)])
    compact(docs)
    gone = chance.permutation(3000)[:900]
    docs.write([Delete(f"d{n}") for n in gone.tolist()])
    alive = np.setdiff1d(np.arange(3000), gone)
    snapshot, found = docs.snapshot(), 0
    for query in vectors[gone[:50]]:
        best = {f"d{n}" for n in alive[np.argsort(-(vectors[alive] @ query))[:10]].tolist()}
        found += len(best & {passage.document_id for passage in snapshot.passages(snapshot.dense(query, 10).rows)})
    assert found >= 0.95 * 500


def test_rollback_takes_the_last_build_back_and_can_be_taken_back(docs: Collection, store: CollectionStore) -> None:
    write_generation(store, "docs", [part(numbered(range(5)), ENCODER)], encoder=ENCODER.spec)
    docs.write([upsert("live")])
    info = upkeep.rollback(docs)
    assert info.documents == 0
    assert docs.write([upsert("later")])[0].status == 201
    assert upkeep.rollback(docs).documents == 6


def test_a_rollback_keeps_what_was_changed_before_the_build(docs: Collection, store: CollectionStore) -> None:
    docs.write([upsert("before"), upsert("gone")])
    docs.write([Delete("gone")])
    write_generation(store, "docs", [part(numbered(range(5)), ENCODER)], encoder=ENCODER.spec, replace=True)
    assert docs.info().documents == 5
    assert upkeep.rollback(docs).documents == 1
    assert docs.snapshot().document("before").version == 1


def test_a_snapshot_restores_to_what_was_there(store: CollectionStore, docs: Collection, tmp_path: Path) -> None:
    docs.write([upsert(f"d{n}", f"number{n}") for n in range(20)])
    compact(docs)
    docs.write([upsert("d3", "changed"), Delete("d4")])
    folder = upkeep.snapshot_to(docs, tmp_path / "backup")
    docs.write([Delete(f"d{n}") for n in range(10)])
    upkeep.restore(store, folder, "back")
    back = store.open("back")
    assert back.info().documents == 19
    assert back.snapshot().document("d3").text == "changed"
    assert back.write([upsert("new")])[0].status == 201
    with pytest.raises(Conflict, match="already"):
        upkeep.restore(store, folder, "back")
    with pytest.raises(Conflict, match="exists already"):
        upkeep.snapshot_to(docs, folder)
    victim = next(path for path in sorted(folder.rglob("*.log")))
    victim.write_bytes(victim.read_bytes() + b"x")
    with pytest.raises(IndexUnreadable, match="damaged"):
        upkeep.restore(store, folder, "another")
    with pytest.raises(InvalidRequest, match="no snapshot"):
        upkeep.restore(store, tmp_path / "elsewhere", "another")


def test_another_encoder_takes_over_behind_the_same_name(store: CollectionStore, docs: Collection) -> None:
    docs.write([upsert(f"d{n}", f"number{n}") for n in range(300)])
    better = FakeEncoder(dimension=32, name="better")
    info = reencode(store, "docs", better)
    assert (info.encoder, info.dimension, info.documents) == ("better", 32, 300)
    assert store.aliases() == {"docs": info.name}
    snapshot = store.snapshot("docs")
    hits = snapshot.dense(better.encode(["number7"], "query")[0], 300)
    scores = dict(zip([each.document_id for each in snapshot.passages(hits.rows)], hits.scores.tolist(), strict=True))
    assert scores["d7"] == pytest.approx(1, abs=1e-3)
    assert len(store.names()) == 2, "the old one is kept under another name"
    again = reencode(store, "docs", ENCODER)
    assert store.aliases() == {"docs": again.name}
    assert again.dimension == 16


def test_verify_names_a_damaged_file(docs: Collection) -> None:
    docs.write([upsert(f"d{n}") for n in range(5)])
    compact(docs)
    assert upkeep.verify(docs).problems == ()
    path = next((docs.layout.folder / "segments").rglob("ids.npy"))
    path.write_bytes(path.read_bytes()[:-1] + b"\x00")
    (problem,) = upkeep.verify(docs).problems
    assert "ids.npy" in problem


def test_an_alias_is_swapped_in_one_step(store: CollectionStore, docs: Collection) -> None:
    docs.write([upsert("old")])
    store.create("docs-2", CollectionSettings(), ENCODER.spec).write([upsert("new")])
    store.set_alias("live", "docs")
    assert store.snapshot("live").document("old")
    store.set_alias("live", "docs-2")
    assert CollectionStore(store.root, Nothing()).snapshot("live").document("new")
    with pytest.raises(Conflict, match="alias"):
        store.drop("docs-2")
    store.remove_alias("live")
    store.drop("docs-2")
    assert store.names() == ["docs"]
