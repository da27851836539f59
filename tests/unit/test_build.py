"""A build from sources to a searchable generation: adding, replacing, resuming, stopping, failing."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import numpy as np
import pytest

from indexing.build import BuildSettings, BuildSummary, Progress, Source, build
from indexing.chunking import ChunkSettings
from indexing.embedding import EncoderBroken, embed
from indexing.ledger import open_file
from indexing.progress import Cancelled
from retrieval.durable import exclusive
from retrieval.errors import CollectionNotFound, Conflict, DiskFull, GateFailed, InvalidRequest, Unavailable
from retrieval.manifest import CollectionSettings
from retrieval.store import CollectionStore
from retrieval.types import Role, Vectors
from tests.fake_models import FakeEncoder


class Counting(FakeEncoder):
    """A fake encoder that counts what it encodes, and may fail after so many texts."""

    def __init__(self, fail_after: int | None = None, name: str = "fake-encoder") -> None:
        super().__init__(name=name)
        self.encoded = 0
        self.fail_after = fail_after

    def encode(self, texts: Sequence[str], role: Role) -> Vectors:
        assert role == "passage"
        if self.fail_after is not None and self.encoded >= self.fail_after:
            raise Unavailable("the embedding server is gone", stage="embed")
        self.encoded += len(texts)
        return super().encode(texts, role)


class Home:
    """A folder with a store, and builds into it in small partitions."""

    def __init__(self, folder: Path) -> None:
        self.store = CollectionStore(folder / "collections")
        self.work = folder / "builds"
        self.told: list[Progress] = []

    def build(self, *sources: Path | Source, encoder: FakeEncoder | None = None, **more: object) -> BuildSummary:
        return build(
            sources,
            "docs",
            store=self.store,
            encoder=encoder or Counting(),
            work=self.work,
            settings=BuildSettings(partition_documents=10),
            progress=self.told.append,
            **more,  # type: ignore[arg-type]
        )

    def text(self, document_id: str) -> str:
        return self.store.snapshot("docs").document(document_id).text

    def partitions(self) -> list[str]:
        """Names of what lies in the work folder: prepared partitions, embedded or not, and what is half written."""
        folder = self.work / "docs"
        return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []

    def embedded(self) -> list[Path]:
        """The partitions that have their vectors."""
        return sorted(path.parent for path in (self.work / "docs").glob("*/vectors-*.npy"))


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def rows(folder: Path, count: int, name: str = "rows.jsonl", text: str = "Row number {} tells of pumps.") -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text("".join(json.dumps({"_id": f"d{i}", "text": text.format(i)}) + "\n" for i in range(count)))
    return path


def test_a_build_makes_a_collection_that_can_be_searched(home: Home, tmp_path: Path) -> None:
    (tmp_path / "pump.md").write_text("# Pumps\n\nThe hand pump needs oil.\n\n## 维护\n\n每年检查一次水泵。\n")
    (tmp_path / "broken.pdf").write_bytes(b"%PDF-1.4")
    summary = home.build(tmp_path / "pump.md", tmp_path / "broken.pdf")
    assert (summary.documents, summary.passages, len(summary.rejected)) == (1, 1, 1)
    assert summary.rejected[0].source == "broken.pdf"
    assert summary.generation == "docs@1.0"
    generation = home.store.snapshot("docs")
    [passage] = generation.passages(generation.lexical("oil for the hand pump", 5).rows)
    assert passage.headings == ("Pumps",)
    start, end = passage.offsets
    assert generation.document("pump.md").text[start:end] == passage.text
    assert generation.document("pump.md").title == "Pumps"


def test_a_second_build_adds_and_replaces_documents_of_the_same_id(home: Home, tmp_path: Path) -> None:
    home.build(rows(tmp_path, 15))
    summary = home.build(rows(tmp_path / "more", 3, text="New row {}."), rows(tmp_path / "b", 1, "x.jsonl", "Also."))
    assert summary.documents == 3
    info = home.store.info("docs")
    assert (info.generation, info.documents) == ("docs@2.0", 15)
    assert home.text("d0") == "Also."
    assert home.text("d1") == "New row 1."
    assert home.text("d9") == "Row number 9 tells of pumps."


def test_replace_starts_afresh(home: Home, tmp_path: Path) -> None:
    home.build(rows(tmp_path, 15))
    home.build(rows(tmp_path, 2), replace=True, encoder=Counting(name="another"))
    assert (home.store.info("docs").documents, home.store.info("docs").encoder) == (2, "another")


def test_of_documents_with_one_id_the_last_wins_and_the_others_are_named(home: Home, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    texts = ["first", "second"] + [f"filler {i}" for i in range(20)] + ["third"]
    ids = ["same", "same"] + [f"f{i}" for i in range(20)] + ["same"]
    path.write_text("".join(json.dumps({"_id": i, "text": t}) + "\n" for i, t in zip(ids, texts, strict=True)))
    summary = home.build(path)
    assert summary.documents == home.store.info("docs").documents == 21
    assert summary.passages == home.store.info("docs").passages == 21
    assert home.text("same") == "third"
    assert sorted(each.source for each in summary.rejected) == ["document same", "document same"]
    assert all("the last one was kept" in each.reason for each in summary.rejected)


def test_the_same_file_given_twice_is_built_once(home: Home, tmp_path: Path) -> None:
    path = rows(tmp_path, 10)
    summary = home.build(path, path)
    assert summary.documents == summary.passages == home.store.info("docs").documents == 10


def test_a_build_that_fails_midway_is_continued_by_the_same_call(home: Home, tmp_path: Path) -> None:
    path = rows(tmp_path, 45)
    with pytest.raises(Unavailable, match="gone"):
        home.build(path, encoder=Counting(fail_after=25))
    with pytest.raises(CollectionNotFound):
        home.store.info("docs")
    assert (len(home.partitions()), len(home.embedded())) == (5, 3)
    encoder = Counting()
    summary = home.build(path, encoder=encoder)
    assert (summary.documents, summary.reused, encoder.encoded) == (45, 30, 15)
    assert home.store.info("docs").documents == 45
    assert home.partitions() == []


def test_a_cancelled_build_leaves_the_collection_and_what_it_has_finished(home: Home, tmp_path: Path) -> None:
    home.build(rows(tmp_path, 3))
    cancel = threading.Event()

    class Stopping(Counting):
        def encode(self, texts: Sequence[str], role: Role) -> Vectors:
            found = super().encode(texts, role)
            if self.encoded >= 20:
                cancel.set()
            return found

    path = rows(tmp_path / "more", 45, text="Another row {}.")
    with pytest.raises(Cancelled, match="goes on from here"):
        home.build(path, encoder=Stopping(), cancel=cancel)
    assert home.store.info("docs").documents == 3
    encoder = Counting()
    assert home.build(path, encoder=encoder).documents == 45
    assert encoder.encoded < 45


@pytest.mark.parametrize(
    "changed",
    [{"encoder": Counting(name="another")}, {"chunk": ChunkSettings(50, 60)}],
)
def test_partitions_of_another_encoder_or_other_chunks_are_not_taken_up(
    home: Home, tmp_path: Path, changed: dict[str, object]
) -> None:
    path = rows(tmp_path, 30)
    with pytest.raises(Unavailable):
        home.build(path, encoder=Counting(fail_after=15))
    assert home.build(path, **changed).reused == 0  # type: ignore[arg-type]


def test_changed_sources_are_read_again_and_the_others_taken_up(home: Home, tmp_path: Path) -> None:
    path = rows(tmp_path, 30)
    with pytest.raises(Unavailable):
        home.build(path, encoder=Counting(fail_after=20))
    path.write_text(path.read_text().replace("number 15 tells", "number 15 now tells"))
    assert home.build(path).reused == 10
    assert "now tells" in home.text("d15")


def test_a_partition_half_written_by_a_killed_build_is_made_again(home: Home, tmp_path: Path) -> None:
    path = rows(tmp_path, 30)
    with pytest.raises(Unavailable):
        home.build(path, encoder=Counting(fail_after=20))
    [one, two] = home.embedded()
    (one / "summary.json").unlink()
    two.rename(two.with_name(f".aside-{two.name}"))
    assert home.build(path).documents == 30


def test_adding_with_another_encoder_is_refused_before_any_work(home: Home, tmp_path: Path) -> None:
    home.build(rows(tmp_path, 3))
    encoder = Counting(name="another")
    with pytest.raises(Conflict, match=r"built with the encoder fake-encoder.*--replace"):
        home.build(rows(tmp_path, 3), encoder=encoder)
    assert encoder.encoded == 0


def test_a_second_build_of_the_same_collection_at_once_is_refused(home: Home, tmp_path: Path) -> None:
    with (
        exclusive(home.work / "docs.lock", "held by the test"),
        pytest.raises(Conflict, match="another build of the collection docs is running"),
    ):
        home.build(rows(tmp_path, 3))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({}, "the sources hold no files"),
        ({"a.pdf": b"%PDF-1.4"}, r"all 1 files or rows were set aside \(a.pdf\): a broken PDF"),
        ({"a.txt": b"", "b.txt": b" "}, r"all 2 .* such as a.txt: empty \(2 times\)"),
    ],
)
def test_a_build_without_a_single_document_publishes_nothing_and_says_why(
    home: Home, tmp_path: Path, names: dict[str, bytes], message: str
) -> None:
    (tmp_path / "in").mkdir()
    for name, data in names.items():
        (tmp_path / "in" / name).write_bytes(data)
    with pytest.raises(InvalidRequest, match=message):
        home.build(tmp_path / "in")
    assert home.store.names() == []
    assert home.partitions() == []


@pytest.mark.parametrize("name", ["Docs", "", "a/b", "../x", "x" * 65])
def test_a_name_that_no_collection_can_have_is_refused_first(home: Home, tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidRequest, match="name for a collection"):
        build([tmp_path], name, store=home.store, encoder=Counting(), work=home.work)
    assert not home.work.exists()


def test_a_full_disk_is_said_plainly_and_the_build_goes_on_when_there_is_space(home: Home, tmp_path: Path) -> None:
    home.build(rows(tmp_path, 3))
    writes: list[Path] = []

    def filling(path: Path, mode: str) -> IO[bytes]:
        if mode == "wb":
            writes.append(path)
        # The kernel's own device for it: every write fails with ENOSPC.
        return open_file(Path("/dev/full") if len(writes) > 27 and mode == "wb" else path, mode)

    path = rows(tmp_path / "more", 45, text="Another row {}.")
    with pytest.raises(DiskFull, match=r"no space left while writing .* free some space and try again"):
        home.build(path, opener=filling)
    assert home.store.info("docs").documents == 3
    assert [name for name in home.partitions() if name.startswith(".")] == []
    assert home.build(path).reused == 20
    assert home.store.info("docs").documents == 45


def test_progress_counts_up_to_the_total_and_tells_rate_and_checkpoint(home: Home, tmp_path: Path) -> None:
    path = rows(tmp_path, 45)
    with path.open("a") as file:
        file.write("broken\n")
    home.build(path)
    assert home.told[0].stage == "reading"
    embedding = [each for each in home.told if each.stage == "embedding"]
    assert [each.done for each in embedding] == sorted(each.done for each in embedding)
    assert (embedding[-1].done, embedding[-1].total, embedding[-1].failed) == (45, 45, 1)
    reading = [each for each in home.told if each.stage == "reading"]
    assert (reading[0].total, reading[-1].done, reading[-1].total) == (None, 46, 46)
    assert embedding[-1].checkpoint == "part-5"
    assert {each.stage for each in home.told} == {"reading", "embedding", "indexing", "publishing"}


def test_near_duplicates_are_left_out_and_a_report_names_what_stayed_instead(home: Home, tmp_path: Path) -> None:
    texts = [f"Row {i} is about part {i * 7919} of machine {i * 104729}, kept in hall {i * 31}." for i in range(40)]
    texts += [texts[3], texts[7] + " Or so.", "Row nine is about nothing of the kind."]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"_id": f"d{i}", "text": t}) + "\n" for i, t in enumerate(texts)))
    encoder = Counting()
    settings = BuildSettings(partition_documents=10, near_duplicates=0.8)
    summary = build([path], "docs", store=home.store, encoder=encoder, work=home.work, settings=settings)
    assert (summary.documents, summary.near_duplicates, encoder.encoded) == (41, 2, 41)
    assert home.store.info("docs").documents == 41
    assert summary.report is not None
    lines = [json.loads(line) for line in summary.report.read_text().splitlines()]
    assert [(line["dropped"], line["kept"]) for line in lines] == [("d40", "d3"), ("d41", "d7")]
    assert lines[0]["similarity"] == 1
    assert home.build(path).documents == 43


def test_near_duplicates_that_others_may_see_stay(home: Home, tmp_path: Path) -> None:
    rows = [{"_id": str(i), "text": "The same words for all of them.", "acl": [f"group:{i % 2}"]} for i in range(4)]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = BuildSettings(near_duplicates=0.85)
    build([path], "docs", store=home.store, encoder=Counting(), work=home.work, settings=settings)
    snapshot = home.store.snapshot("docs")
    found = {one: snapshot.document(one).acl for listed in snapshot.listed() for one, _ in listed}
    assert found == {"0": ("group:0",), "1": ("group:1",)}


def test_a_row_brings_its_vector_rights_and_version(home: Home, tmp_path: Path) -> None:
    vector = [0.0] * 63 + [2.0]
    rows: list[dict[str, object]] = [
        {"_id": "own", "text": "First sentence. " * 200, "vector": vector, "acl": ["group:eng"], "version": 7},
        {"_id": "plain", "text": "Words of pumps."},
        {"_id": "short", "text": "Words.", "vector": [1.0, 2.0]},
    ]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    encoder = Counting()
    summary = home.build(path, encoder=encoder)
    assert (summary.documents, summary.passages, encoder.encoded) == (2, 2, 1)
    [rejected] = summary.rejected
    assert "has 2 dimensions, and those of the encoder fake-encoder have 64" in rejected.reason
    snapshot = home.store.snapshot("docs")
    hits = snapshot.dense(np.array([0.0] * 63 + [1.0], np.float32), 1)
    assert snapshot.passages(hits.rows)[0].document_id == "own"
    assert hits.scores[0] == pytest.approx(1, abs=1e-3)
    document = snapshot.document("own")
    assert (document.acl, document.version) == (("group:eng",), 7)
    assert snapshot.document("plain").version == 1


def test_a_folder_says_who_may_see_it(home: Home, tmp_path: Path) -> None:
    (tmp_path / "in" / "hr").mkdir(parents=True)
    (tmp_path / "in" / "hr" / ".riddle-acl").write_text("group:hr\n")
    for name in ("a.md", "hr/b.md"):
        (tmp_path / "in" / name).write_text("Words of pumps.")
    home.build(tmp_path / "in")
    snapshot = home.store.snapshot("docs")
    assert (snapshot.document("a.md").acl, snapshot.document("hr/b.md").acl) == ((), ("group:hr",))


def test_an_index_that_misses_the_gate_is_not_published(home: Home, tmp_path: Path) -> None:
    home.build(rows(tmp_path, 3))
    path = rows(tmp_path / "more", 600, text="Another row {0} of {0}00.")
    index = CollectionSettings(vectors="HNSW2,SQ8")
    settings = BuildSettings(recall_gate=1.0)
    with pytest.raises(GateFailed, match="nothing was published"):
        build([path], "docs", store=home.store, encoder=Counting(), work=home.work, settings=settings, index=index)
    assert home.store.info("docs").documents == 3
    encoder = Counting()
    settings = BuildSettings(recall_gate=0)
    build([path], "docs", store=home.store, encoder=encoder, work=home.work, settings=settings, index=index)
    assert (home.store.info("docs").documents, encoder.encoded) == (600, 0)


def test_an_encoder_that_breaks_its_promise_is_named() -> None:
    class Wrong(FakeEncoder):
        def encode(self, texts: Sequence[str], role: Role) -> Vectors:
            return np.full((len(texts), 64), np.nan, np.float32)

    with pytest.raises(EncoderBroken, match="fake-encoder gave vectors"):
        embed(Wrong(), ["a", "b"])


def test_vectors_come_in_the_order_of_the_texts_whatever_their_length() -> None:
    texts = ["word " * length for length in (50, 1, 30, 2, 90, 3)] + ["水泵" * 40]
    encoder = FakeEncoder()
    done: list[int] = []
    found = embed(encoder, texts, batch_tokens=64, progress=done.append)
    assert np.array_equal(found, encoder.encode(texts, "passage"))
    assert done[-1] == len(texts)
    assert len(done) > 2
    assert embed(encoder, []).shape == (0, 64)
