"""The Python API, beginning with the examples in its documentation."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

import retrieval
from retrieval import Chunk, Collection, Document, library
from retrieval.errors import CollectionNotFound, Conflict, InvalidRequest
from tests.fake_late import FakeLate
from tests.fake_models import FakeEncoder
from tests.parts import cut

ENCODER = FakeEncoder()


@pytest.fixture
def books(tmp_path: Path) -> Collection:
    made = Collection.create(tmp_path / "books", ENCODER, chunker=lambda document: cut(document.text, 4))
    made.upsert(
        [
            Document("whale", "A captain hunts a white whale across all oceans."),
            {"id": "road", "text": "Two friends drive."},
        ]
    )
    return made


def test_the_examples_in_the_documentation_hold() -> None:
    assert doctest.testmod(library) == doctest.TestResults(failed=0, attempted=13)


def test_everything_that_the_package_offers_can_be_had() -> None:
    assert all(getattr(retrieval, name) for name in retrieval.__all__)
    with pytest.raises(AttributeError, match="nothing"):
        retrieval.nothing  # noqa: B018


def test_passages_are_found_by_meaning_and_cut_by_the_chunker(books: Collection) -> None:
    (best, *_) = books.search("oceans")
    assert (best.document_id, best.text) == ("whale", "oceans.")
    assert books["whale"].text[slice(*best.offsets)] == best.text
    assert len(books.search("whale", per_document=1)) == 2
    assert books.info.encoder == "fake-encoder"


def test_another_object_of_the_same_folder_sees_changes_at_once(books: Collection, tmp_path: Path) -> None:
    other = Collection(tmp_path / "books", ENCODER)
    books.delete(["whale", "unknown"])
    assert "whale" not in other
    assert len(other) == 1
    with pytest.raises(KeyError):
        other["whale"]


def test_rows_may_bring_vectors_rights_and_versions(tmp_path: Path) -> None:
    made = Collection.create(tmp_path / "docs", ENCODER)
    vector = ENCODER.encode(["something else"], "passage")[0]
    made.upsert({"id": "a", "text": "words", "vector": vector.tolist(), "acl": ["group:eng"], "version": 7})
    assert [hit.document_id for hit in made.search("something else")] == ["a"]
    assert made.search("something else", principals=["public"]) == []
    assert len(made.search("something else", principals=["group:eng"])) == 1
    with pytest.raises(Conflict, match="version 7 is not greater than 7"):
        made.upsert({"id": "a", "text": "words", "version": 7})


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"id": "a"}, "both must be text"),
        ({"id": 3, "text": "x"}, "both must be text"),
        ({"id": "a", "text": "x", "year": 2024}, "put it under `metadata`"),
        ({"id": "a", "text": "x", "metadata": {"inner": {"deep": 1}}}, "must be text, number"),
        ({"id": "", "text": "x"}, "1 to 512 bytes"),
        ({"id": "a", "text": "x", "vector": [1.0, 2.0]}, "needs vectors"),
    ],
)
def test_a_document_that_is_none_is_refused_and_said_why(
    books: Collection, given: dict[str, object], reason: str
) -> None:
    before = books.info.generation
    with pytest.raises(InvalidRequest, match=reason):
        books.upsert(given)
    assert books.info.generation == before


def test_opening_with_the_wrong_encoder_or_nothing_there_is_an_error(books: Collection, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="open it with that encoder"):
        Collection(tmp_path / "books")
    with pytest.raises(CollectionNotFound):
        Collection(tmp_path / "nothing")
    with pytest.raises(Conflict):
        Collection.create(tmp_path / "books")


def test_passages_get_token_vectors_with_a_late_encoder(tmp_path: Path) -> None:
    late = FakeLate()
    made = Collection.create(tmp_path / "docs", ENCODER, late=late, chunker=lambda document: cut(document.text, 4))
    vector = ENCODER.encode(["a white whale"], "passage")[0].tolist()
    made.upsert(
        [Document("whale", "A captain hunts a white whale."), {"id": "own", "text": "a white whale", "vector": vector}]
    )
    snapshot = made.snapshot()
    rows = snapshot.lexical("white whale captain", 10).rows
    texts = [each.full_text for each in snapshot.passages(rows)]
    query = late.query("white whale")
    assert len(texts) == 3
    assert snapshot.late(rows, query).tolist() == late.encode(texts).scores(query).tolist()
    assert {hit.document_id for hit in made.search("white whale")} == {"own", "whale"}
    bare = Collection(tmp_path / "docs", ENCODER)
    bare.upsert({"id": "later", "text": "another whale"})
    assert "later" in bare
    with pytest.raises(InvalidRequest, match="not made for the token vectors of another"):
        Collection(tmp_path / "docs", ENCODER, late=FakeLate(model="another"))


def test_a_chunker_may_leave_a_document_without_passages(tmp_path: Path) -> None:
    made = Collection.create(tmp_path / "docs", ENCODER, chunker=lambda document: list[Chunk]())
    assert made.upsert(Document("a", "words")) == 1
    assert made.search("words") == []
    assert made["a"].text == "words"
