"""Token vectors: what compression loses, their files, and how they follow documents through a collection's life."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from indexing.build import Progress, build
from indexing.progress import Cancelled
from indexing.settings import BuildSettings
from retrieval.batch import write_generation
from retrieval.changes import Change, Delete, Upsert, decode, encode
from retrieval.collection import Collection
from retrieval.encoders import unit
from retrieval.errors import IndexUnreadable, InvalidRequest, ModelMissing
from retrieval.maintenance import Nothing, compact, maintain
from retrieval.manifest import CollectionSettings
from retrieval.reencode import reencode
from retrieval.segment import Part
from retrieval.snapshot import Snapshot
from retrieval.store import CollectionStore
from retrieval.token_codec import CodecTables, LateFile, read_late_file, write_late_file
from retrieval.token_vectors import TokenCodes, TokenStore, TokenWriter, joined
from retrieval.types import Document
from services.ports import Put, Remove
from services.preparing import Preparation, prepared
from tests.fake_late import FakeLate, fake_codec, with_tokens, word_vectors
from tests.fake_models import FakeEncoder
from tests.parts import numbered, part

ENCODER, LATE = FakeEncoder(), FakeLate()
SETTINGS = CollectionSettings(late=LATE.spec)


def told(documents: Sequence[Document], late: FakeLate | None = LATE) -> Part:
    return part(documents) if late is None else with_tokens(part(documents), late)


def upserts(documents: Sequence[Document], late: FakeLate | None = LATE) -> list[Upsert]:
    found = []
    for document in documents:
        own = told([document], late)
        found.append(Upsert(document, own.chunks[0], own.vectors, tokens=own.tokens))
    return found


@pytest.fixture
def store(tmp_path: Path) -> CollectionStore:
    return CollectionStore(tmp_path / "collections", Nothing())


def scores(snapshot: Snapshot, query: str = "walden number3") -> dict[str, float]:
    """Late scores of all passages that a search can find, by their ids."""
    hits = snapshot.dense(ENCODER.encode([query], "query")[0], 10_000)
    found = snapshot.late(hits.rows, LATE.query(query))
    return dict(zip(snapshot.passage_ids(hits.rows), found.tolist(), strict=True))


def expected(documents: Sequence[Document], query: str = "walden number3") -> dict[str, float]:
    """The same worked out from the vectors, through the codec and not through a file or a kernel."""
    words, found = word_vectors(query), {}
    for document in documents:
        own = told([document])
        assert own.tokens is not None
        for chunk, codes in zip(own.chunks[0], own.tokens.split([1] * len(own.chunks[0])), strict=True):
            products = words @ LATE.codec.decode(codes.tokens).T
            found[f"{document.document_id}#{chunk.ordinal}"] = float(products.max(1).mean())
    return found


@pytest.mark.parametrize(("bits", "near"), [(2, 0.93), (4, 0.995)])
def test_more_bits_keep_more_of_a_vector(bits: int, near: float) -> None:
    codec = fake_codec(bits)
    vectors = unit(np.random.default_rng(9).standard_normal((500, codec.spec.dimension), dtype=np.float32))
    tokens = codec.encode(vectors)
    assert tokens.shape == (500, codec.spec.width)
    kept = codec.decode(tokens)
    assert np.median(np.abs(np.linalg.norm(kept, axis=1) - 1)) < 2e-3
    assert near < (kept * vectors).sum(1).mean() < 1


def test_tokens_come_out_of_their_files_bit_by_bit_and_score_alike(tmp_path: Path) -> None:
    codes = LATE.encode(["a b c", "d", "e f g h", "walden pond"])
    writer = TokenWriter(tmp_path, LATE.spec)
    for one in codes.split([1, 3]):
        writer.add(one, len(one))
    writer.add(None, 2)
    writer.close()
    kept = TokenStore(tmp_path, LATE.spec, 6)
    rows = np.array([3, 0, 3, 5, 2])
    taken = kept.codes(rows)
    assert taken.counts.tolist() == [2, 3, 2, 0, 4]
    assert np.array_equal(taken.tokens[:2], codes.tokens[8:10])
    query = LATE.query("walden")
    found = kept.scores(rows, query)
    assert np.array_equal(found, taken.scores(query), equal_nan=True)
    assert np.isnan(found).tolist() == [False, False, False, True, False]
    assert found[0] > max(found[1], found[4])


def test_files_that_are_cut_are_refused(tmp_path: Path) -> None:
    writer = TokenWriter(tmp_path, LATE.spec)
    writer.add(LATE.encode(["a b c"]), 1)
    writer.close()
    with pytest.raises(IndexUnreadable, match="ends"):
        TokenStore(tmp_path, LATE.spec, 2)
    with (tmp_path / "tokens.u8").open("r+b") as file:
        file.truncate(7)
    with pytest.raises(IndexUnreadable, match="tokens"):
        TokenStore(tmp_path, LATE.spec, 1)


def test_counts_that_do_not_fit_their_tokens_are_refused(tmp_path: Path) -> None:
    right = LATE.encode(["a b", "c"])
    writer = TokenWriter(tmp_path, LATE.spec)
    with pytest.raises(InvalidRequest, match="passages need token vectors"):
        writer.add(right, 3)
    with pytest.raises(InvalidRequest, match="passages need token vectors"):
        writer.add(TokenCodes(LATE.spec, right.counts + 1, right.tokens), 2)
    writer.close()


def test_tokens_of_another_model_or_compression_count_as_unknown() -> None:
    other, finer = FakeLate(model="another"), FakeLate(bits=4)
    texts = ["a b"]
    mixed = joined(LATE.spec, [LATE.encode(texts), other.encode(texts), finer.encode(texts), None], [1, 1, 1, 2])
    assert mixed.counts.tolist() == [2, 0, 0, 0, 0]


def test_a_change_keeps_its_tokens_in_the_log() -> None:
    changes: list[Change] = [*upserts(numbered([1, 2])), *upserts(numbered([3]), None), Delete("d9", 4)]
    for before, after in zip(changes, decode(encode(changes), ENCODER.spec.dimension), strict=True):
        if isinstance(before, Upsert) and isinstance(after, Upsert) and before.tokens is not None:
            assert after.tokens is not None
            assert after.tokens.spec == before.tokens.spec
            assert np.array_equal(after.tokens.counts, before.tokens.counts)
            assert np.array_equal(after.tokens.tokens, before.tokens.tokens)
        elif isinstance(after, Upsert):
            assert after.tokens is None


def test_late_scores_follow_documents_through_builds_changes_seals_and_merges(store: CollectionStore) -> None:
    write_generation(store, "docs", [told(numbered(range(5))), told(numbered(range(5, 9)))],
                     encoder=ENCODER.spec, settings=SETTINGS)  # fmt: skip
    write_generation(store, "docs", [told(numbered(range(9, 12)))], encoder=ENCODER.spec)
    collection = store.open("docs")
    assert scores(collection.snapshot()) == pytest.approx(expected(numbered(range(12))), rel=1e-2)
    collection.write(
        [Delete("d0"), *upserts(numbered([20, 21])), *upserts([replace(numbered([1])[0], text="new walden")])]
    )
    now = [replace(numbered([1])[0], text="new walden"), *numbered([*range(2, 12), 20, 21])]
    wanted = pytest.approx(expected(now), rel=1e-2)
    live = scores(collection.snapshot())
    assert live == wanted
    again = Collection(store.root / "docs", Nothing())
    assert scores(again.snapshot()) == live  # from the log alone
    with collection.appending():
        collection.freeze()
    collection.write(upserts(numbered([30])))
    assert maintain(collection) == 1
    assert compact(collection)
    merged = store.snapshot("docs")
    assert len(merged.segments) == 1
    found = scores(merged)
    assert found.pop("d30#0") > 0
    assert {name: score for name, score in found.items() if not name.startswith("d30#")} == live


def test_a_change_without_tokens_is_found_and_has_no_late_score(store: CollectionStore) -> None:
    collection = store.create("docs", SETTINGS, ENCODER.spec)
    collection.write([*upserts(numbered([1])), *upserts(numbered([2]), None)])
    for _ in range(2):
        found = scores(collection.snapshot())
        assert all(np.isnan(score) == name.startswith("d2#") for name, score in found.items())
        compact(collection)


def test_a_collection_may_do_without(store: CollectionStore) -> None:
    write_generation(store, "docs", [told(numbered(range(3)))], encoder=ENCODER.spec)
    snapshot = store.snapshot("docs")
    assert snapshot.late_spec is None
    assert np.isnan(list(scores(snapshot).values())).all()
    assert not list(store.root.rglob("tokens.u8"))
    reencode(store, "docs", ENCODER, late=LATE)
    assert store.snapshot("docs").late_spec == LATE.spec
    assert scores(store.snapshot("docs")) == pytest.approx(expected(numbered(range(3))), rel=1e-2)


def test_what_no_other_model_is_named_for_is_kept(store: CollectionStore) -> None:
    texts: list[str] = []

    class Counting(FakeLate):
        def encode(self, given: Sequence[str]) -> TokenCodes:
            texts.extend(given)
            return super().encode(given)

    write_generation(store, "docs", [told(numbered(range(3)))], encoder=ENCODER.spec, settings=SETTINGS)
    before, wanted = scores(store.snapshot("docs")), FakeEncoder(dimension=32, name="better")
    reencode(store, "docs", wanted, late=Counting())
    assert store.info("docs").encoder == "better"
    hits = store.snapshot("docs").dense(wanted.encode(["x"], "query")[0], 100)
    assert sorted(store.snapshot("docs").late(hits.rows, LATE.query("walden number3"))) == sorted(before.values())
    assert texts == []
    vectors = [each.vectors for each in store.snapshot("docs").parts()]
    finer = FakeLate(bits=4)
    reencode(store, "docs", None, late=finer)
    assert store.snapshot("docs").late_spec == finer.spec
    assert store.info("docs").encoder == "better"
    for one, other in zip(vectors, [each.vectors for each in store.snapshot("docs").parts()], strict=True):
        assert np.allclose(one, other, atol=1e-2)
    reencode(store, "docs", None)
    assert store.snapshot("docs").late_spec is None


def test_token_files_are_checked_like_the_others_of_a_segment(store: CollectionStore) -> None:
    write_generation(store, "docs", [told(numbered(range(3)))], encoder=ENCODER.spec, settings=SETTINGS)
    (path,) = store.root.rglob("tokens.u8")
    listed = json.loads((path.parent.parent / "segment.json").read_text())["files"]
    assert {"late/tokens.u8", "late/ends.i64"} <= set(listed)
    damaged = bytearray(path.read_bytes())
    damaged[5] ^= 1
    path.write_bytes(bytes(damaged))
    with pytest.raises(IndexUnreadable, match=r"tokens\.u8 is damaged"):
        Collection(store.root / "docs", Nothing())


def test_what_is_shipped_with_a_model_is_read_as_it_was_written(tmp_path: Path) -> None:
    numbers = np.random.default_rng(2)
    tables = {
        bits: CodecTables(
            unit(numbers.standard_normal((10, 8), dtype=np.float32)),
            numbers.random(8, dtype=np.float32),
            np.sort(numbers.standard_normal(2**bits)).astype(np.float32),
        )
        for bits in (2, 4)
    }
    tables[4] = CodecTables(tables[2].centroids, tables[2].spread, tables[4].levels)
    late = LateFile(
        unit(numbers.standard_normal((8, 12), dtype=np.float32)),
        tables,
        "[Q]",
        "[D]",
        32,
        frozenset({7, 9}),
        np.array([0, 1], np.float32),
    )
    write_late_file(tmp_path / "late.safetensors", late)
    read = read_late_file(tmp_path / "late.safetensors")
    assert (read.query_mark, read.passage_mark, read.query_tokens) == ("[Q]", "[D]", 32)
    assert read.without == {7, 9}
    assert read.importance.tolist() == [0, 1]
    assert read.projection == pytest.approx(late.projection, abs=1e-3)
    assert read.tables[2].centroids == pytest.approx(tables[2].centroids, abs=1e-2)
    assert np.array_equal(read.tables[4].levels, tables[4].levels)
    with pytest.raises(InvalidRequest, match="2 or 4 bits"):
        read.codec("m", "f", 3)
    (tmp_path / "other").write_bytes(b"nothing")
    with pytest.raises(ModelMissing, match="late interaction"):
        read_late_file(tmp_path / "other")


def test_a_build_gives_passages_token_vectors_and_takes_up_those_that_are_made(
    store: CollectionStore, tmp_path: Path
) -> None:
    source = tmp_path / "pages"
    source.mkdir()
    for number in range(6):
        (source / f"page{number}.md").write_text(f"# Page {number}\n\nOn walden{number} and ponds.\n", encoding="utf-8")
    calls: list[int] = []

    class Counting(FakeLate):
        def encode(self, texts: Sequence[str]) -> TokenCodes:
            calls.append(len(texts))
            return super().encode(texts)

    cancelled = threading.Event()

    def watch(progress: Progress) -> None:
        if calls and progress.stage == "indexing":
            cancelled.set()

    how = BuildSettings(partition_documents=2)
    for cancel, watching in ((cancelled, watch), (None, lambda progress: None)):
        with contextlib.suppress(Cancelled):
            build([source], "docs", store=store, encoder=ENCODER, work=tmp_path / "work", settings=how, late=Counting(),
                  progress=watching, cancel=cancel)  # fmt: skip
    assert calls == [2, 2, 2]
    snapshot = store.snapshot("docs")
    assert snapshot.late_spec == LATE.spec
    hits = snapshot.dense(ENCODER.encode(["x"], "query")[0], 10)
    best = hits.rows[int(np.nanargmax(snapshot.late(hits.rows, LATE.query("walden3"))))]
    assert "walden3" in snapshot.passages([best])[0].text


def test_a_document_that_comes_by_itself_is_prepared_with_its_tokens() -> None:
    puts: list[Put | Remove] = [Put(Document("a", "walden pond")), Remove("b"), Put(Document("c", "another one"))]
    ready = prepared(puts, ENCODER.spec.dimension, {}, lambda: ENCODER, Preparation(), lambda: LATE)
    first, _, last = ready
    assert isinstance(first, Upsert)
    assert isinstance(last, Upsert)
    assert first.tokens is not None
    assert last.tokens is not None
    assert np.array_equal(first.tokens.tokens, LATE.encode(["walden pond"]).tokens)
    assert np.array_equal(last.tokens.tokens, LATE.encode(["another one"]).tokens)
