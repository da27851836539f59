"""Collections: publishing, reading while another generation is published, dropping, and refusing what is damaged."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from retrieval.batch import Gate, write_generation
from retrieval.changes import Upsert
from retrieval.errors import CollectionNotFound, Conflict, DocumentNotFound, GateFailed, IndexUnreadable, InvalidRequest
from retrieval.manifest import FORMAT, CollectionSettings
from retrieval.segment import Part
from retrieval.snapshot import Snapshot
from retrieval.store import CollectionStore
from retrieval.types import CollectionInfo, Document
from tests.fake_models import FakeEncoder
from tests.parts import numbered, part

ENCODER = FakeEncoder()


@pytest.fixture
def store(tmp_path: Path) -> CollectionStore:
    return CollectionStore(tmp_path / "collections")


def publish(
    store: CollectionStore, numbers: range, name: str = "docs", settings: CollectionSettings | None = None
) -> CollectionInfo:
    return write_generation(store, name, [part(numbered(numbers))], encoder=ENCODER.spec, settings=settings)


def generations(store: CollectionStore, name: str = "docs") -> list[str]:
    return sorted(path.name for path in (store.root / name / "generations").glob("*.json"))


def held(store: CollectionStore, name: str = "docs") -> Snapshot:
    return store.snapshot(name)


def test_what_is_published_can_be_searched_and_read(store: CollectionStore) -> None:
    info = publish(store, range(20))
    assert info == store.info("docs")
    assert (info.name, info.generation, info.documents, info.dimension) == ("docs", "docs@1.0", 20, 64)
    generation = held(store)
    lexical = generation.passages(generation.lexical("number7", 5).rows)
    assert [passage.document_id for passage in lexical] == ["d7"]
    wanted = generation.passages([3])[0]
    nearest = generation.dense(ENCODER.encode([wanted.full_text], "query")[0], 5)
    assert nearest.rows[0] == 3
    assert nearest.scores[0] == pytest.approx(1, abs=1e-3)
    assert generation.document("d7") == replace(numbered([7])[0], version=1)
    with pytest.raises(DocumentNotFound):
        generation.document("d20")


@pytest.mark.parametrize("vectors", ["Flat", "HNSW16", "HNSW16,SQ8"])
def test_every_kind_of_vector_index_is_published_and_opened(store: CollectionStore, vectors: str) -> None:
    publish(store, range(5), settings=CollectionSettings(vectors))
    hits = CollectionStore(store.root).snapshot("docs").dense(ENCODER.encode(["number3"], "query")[0], 100)
    assert len(hits) == store.info("docs").passages


def test_an_empty_collection_is_legal_and_finds_nothing(store: CollectionStore) -> None:
    info = write_generation(store, "empty", [], encoder=ENCODER.spec)
    generation = held(store, "empty")
    assert (info.documents, info.passages) == (0, 0)
    assert len(generation.lexical("anything", 10)) == len(generation.dense(np.ones(64, np.float32), 10)) == 0
    assert list(generation.parts()) == []
    assert store.names() == ["empty"]


def test_documents_without_passages_are_kept(store: CollectionStore) -> None:
    write_generation(store, "docs", [part([Document("blank", "  ")])], encoder=ENCODER.spec)
    assert held(store).document("blank").text == "  "


def test_a_reader_keeps_its_generation_while_others_are_published(store: CollectionStore) -> None:
    publish(store, range(5), settings=CollectionSettings("HNSW16"))
    before = held(store)
    for _ in range(2):
        write_generation(store, "docs", [part(numbered(range(5, 12)))], encoder=ENCODER.spec, replace=True)
    assert generations(store) == ["000002.json", "000003.json"]
    assert before.document("d2").document_id == "d2"
    assert len(before.lexical("number2", 5)) == 1
    assert len(before.dense(ENCODER.encode(["x"], "query")[0], 5)) == 5
    assert held(store).info.generation == "docs@3.0"


def test_another_process_sees_what_was_published(store: CollectionStore) -> None:
    publish(store, range(2))
    other = CollectionStore(store.root)
    assert other.info("docs").generation == "docs@1.0"
    publish(store, range(3))
    assert other.info("docs").generation == "docs@2.0"
    assert other.snapshot("docs").info.documents == 3


def test_a_collection_is_opened_once(store: CollectionStore) -> None:
    publish(store, range(2))
    assert store.open("docs") is store.open("docs")


def test_a_build_adds_replaces_and_removes(store: CollectionStore) -> None:
    publish(store, range(600))
    before = held(store)
    changed = Document("d5", "A wholly new text about submarines.")
    write_generation(store, "docs", [part([changed])], encoder=ENCODER.spec, delete=["d7", "unknown"])
    after = held(store)
    assert after.info.documents == 599
    assert after.document("d5") == replace(changed, version=2)
    assert len(after.lexical("submarines", 5)) == 1
    with pytest.raises(DocumentNotFound):
        after.document("d7")
    assert len(after.lexical("number7", 5)) == len(after.lexical("number5", 5)) == 0
    row = int(after.lexical("number400", 1).rows[0])
    old = int(before.lexical("number400", 1).rows[0])
    assert after.passages([row]) == before.passages([old])
    (vector,) = ENCODER.encode([after.passages([row])[0].full_text], "query")
    assert after.dense(vector, 1).rows.tolist() == [row]


def test_a_build_keeps_what_was_changed_one_by_one(store: CollectionStore) -> None:
    publish(store, range(3))
    live = part([Document("live", "Only in the log until now."), Document("d1", "Changed in the log.")])
    rows = zip(live.documents, live.chunks, live.vectors, strict=True)
    store.open("docs").write([Upsert(document, chunks, vector[None]) for document, chunks, vector in rows])
    publish(store, range(1, 5))
    after = held(store)
    assert (after.info.documents, len(after.blocks)) == (6, 0)
    assert after.document("live").text == "Only in the log until now."
    assert after.document("d1").text == numbered([1])[0].text
    assert after.document("d1").version == 3


def test_a_build_that_was_killed_goes_on_where_it_was(store: CollectionStore) -> None:
    class Killed(BaseException):
        """Stands for SIGKILL: nothing catches it."""

    def stop(stage: str, done: int) -> None:
        if stage == "graph":
            raise Killed

    settings = CollectionSettings("HNSW16")
    with pytest.raises(Killed):
        write_generation(
            store, "docs", [part(numbered(range(9)))], encoder=ENCODER.spec, settings=settings, key="k1", progress=stop
        )
    assert store.names() == []

    asked = iter([part(numbered(range(100)))])
    info = write_generation(store, "docs", asked, encoder=ENCODER.spec, settings=settings, key="k1")
    assert info.documents == 9
    assert len(list(asked)) == 1, "what was written is not asked for again"
    assert list(store.staging("docs").iterdir()) == []


def test_a_vector_index_below_the_gate_is_not_published(store: CollectionStore) -> None:
    publish(store, range(3))
    with pytest.raises(GateFailed, match="nothing was published"):
        write_generation(
            store,
            "docs",
            [part(numbered(range(200)))],
            encoder=ENCODER.spec,
            settings=CollectionSettings("HNSW2"),
            gate=Gate(recall=1.01),
        )
    assert store.info("docs").documents == 3


def test_two_writers_of_one_collection_are_told_apart_from_two_of_two(store: CollectionStore) -> None:
    def slow() -> Iterator[Part]:
        publish(store, range(2), name="other")
        with pytest.raises(Conflict, match="being written"):
            publish(store, range(2))
        with pytest.raises(Conflict, match="being written"):
            store.drop("docs")
        yield part(numbered(range(3)))

    write_generation(store, "docs", slow(), encoder=ENCODER.spec)
    assert store.info("docs").documents == 3


def test_a_source_that_fails_leaves_the_old_generation_and_no_rest(store: CollectionStore) -> None:
    publish(store, range(2))

    def failing() -> Iterator[Part]:
        yield part(numbered(range(5)))
        raise KeyError("the source is gone")

    with pytest.raises(KeyError):
        write_generation(store, "docs", failing(), encoder=ENCODER.spec)
    assert generations(store) == ["000001.json"]
    assert store.info("docs").documents == 2
    assert list(store.staging("docs").iterdir()) == []


def test_progress_counts_up_and_may_cancel(store: CollectionStore) -> None:
    seen: list[tuple[str, int]] = []

    def progress(stage: str, done: int) -> None:
        seen.append((stage, done))
        if stage == "graph":
            raise InterruptedError

    parts = [part(numbered(range(5))), part(numbered(range(5, 10)))]
    with pytest.raises(InterruptedError):
        write_generation(
            store, "docs", parts, encoder=ENCODER.spec, settings=CollectionSettings("HNSW16"), progress=progress
        )
    total = sum(len(chunks) for one in parts for chunks in one.chunks)
    assert seen == [("write", total // 2), ("write", total), ("graph", total)]
    assert store.names() == []


def test_a_dropped_collection_is_gone_and_its_numbers_never_come_back(store: CollectionStore) -> None:
    publish(store, range(2))
    publish(store, range(2))
    before = held(store)
    store.drop("docs")
    assert store.names() == []
    for forgotten in (store.info, store.open, store.drop):
        with pytest.raises(CollectionNotFound, match="'docs'"):
            forgotten("docs")
    assert before.document("d1").document_id == "d1"
    assert publish(store, range(2)).generation == "docs@3.0", "a cache goes by the number"


@pytest.mark.parametrize("name", ["", "Docs", "a/b", "..", "_a", "a" * 65, "a\n", "文档"])
def test_a_bad_name_is_refused(store: CollectionStore, name: str) -> None:
    for refuse in (store.info, store.open, store.drop):
        with pytest.raises(InvalidRequest, match="no name for a collection"):
            refuse(name)
    with pytest.raises(InvalidRequest, match="no name for a collection"):
        publish(store, range(1), name=name)


def test_vectors_that_do_not_fit_are_refused(store: CollectionStore) -> None:
    whole = part(numbered(range(2)))
    broken = whole.vectors.copy()
    broken[1, 3] = np.nan
    for vectors, reason in ((whole.vectors[:1], "needs vectors"), (broken, "not finite")):
        with pytest.raises(InvalidRequest, match=reason):
            write_generation(store, "docs", [replace(whole, vectors=vectors)], encoder=ENCODER.spec)
    publish(store, range(1))
    generation = held(store)
    with pytest.raises(InvalidRequest, match="64-d vectors"):
        generation.dense(np.ones(3, np.float32), 1)


def test_another_encoder_is_told_apart_by_fingerprint_name_or_dimension(store: CollectionStore) -> None:
    publish(store, range(1))
    spec = ENCODER.spec
    held(store).check_encoder(replace(spec, name="the same under another name"))
    held(store).check_encoder(replace(spec, fingerprint=""))
    for other in (
        replace(spec, fingerprint="0123"),
        replace(spec, dimension=32),
        replace(spec, name="other", fingerprint=""),
    ):
        with pytest.raises(IndexUnreadable, match="was built with the encoder fake-encoder"):
            held(store).check_encoder(other)


def test_a_newer_format_and_another_analysis_are_named(store: CollectionStore) -> None:
    publish(store, range(1))
    path = store.root / "docs" / "generations" / "000001.json"
    manifest = json.loads(path.read_text())
    for change, message in (
        ({"format": FORMAT + 1}, "written by a newer Riddle"),
        ({"format": 1}, "no longer reads"),
        ({"analysis": "x"}, "analysed by version"),
        ({"segments": 3}, "is damaged"),
        ({"unheard_of": 1}, "is damaged"),
    ):
        path.write_text(json.dumps(manifest | change))
        with pytest.raises(IndexUnreadable, match=message):
            CollectionStore(store.root).info("docs")


@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_damage_to_any_file_is_noticed_and_named(store: CollectionStore, damage: str) -> None:
    publish(store, range(30), settings=CollectionSettings("HNSW16"))
    (folder,) = (store.root / "docs" / "segments").iterdir()
    names = json.loads((folder / "segment.json").read_text())["files"]
    assert {"documents.arrow", "passages.arrow", "ids.npy"} <= set(names)
    assert {name.split("/")[0] for name in names} >= {"lexical", "metadata", "vectors"}
    for name in names:
        path = folder / name
        whole = path.read_bytes()
        if not whole:
            continue
        if damage == "remove":
            path.unlink()
        else:
            path.write_bytes(whole[:-1] if damage == "cut" else whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(IndexUnreadable, match=name.replace(".", r"\.")):
            CollectionStore(store.root).open("docs")
        path.write_bytes(whole)
    assert CollectionStore(store.root).info("docs").documents == 30


def test_a_damaged_pointer_is_named_and_a_fresh_build_mends_it(store: CollectionStore) -> None:
    publish(store, range(3))
    (store.root / "docs" / "CURRENT").write_text("{")
    with pytest.raises(IndexUnreadable, match="CURRENT is damaged"):
        CollectionStore(store.root).info("docs")
    fresh = CollectionStore(store.root)
    write_generation(fresh, "docs", [part(numbered(range(4)))], encoder=ENCODER.spec, replace=True)
    assert CollectionStore(store.root).info("docs").documents == 4


def test_readers_never_fail_while_generations_are_published(store: CollectionStore) -> None:
    publish(store, range(3))
    done = threading.Event()
    failures: list[BaseException] = []
    seen: set[str] = set()

    def read() -> None:
        reader = CollectionStore(store.root)
        while not done.is_set():
            try:
                generation = reader.snapshot("docs")
                number = int(generation.info.generation.split("@")[1].split(".")[0])
                assert len(generation.lexical("number1", 5)) == 1
                assert generation.info.documents == 2 + number
                seen.add(generation.info.generation)
                done.wait(0.005)
            except BaseException as error:  # a thread's failure must reach the test  # noqa: BLE001
                failures.append(error)
                return

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(2, 6):
        publish(store, range(2 + number))
    done.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(seen) > 1
