"""Documents and passages come back from disk as they went in, whatever characters they hold."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.document_hashes import find
from retrieval.errors import DocumentNotFound, InvalidRequest
from retrieval.passages import ID_ROWS, IDS, Passages, PassageWriter
from retrieval.types import Chunk, Document

_TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=60)


@st.composite
def documents(draw: st.DrawFn) -> list[tuple[Document, list[Chunk]]]:
    made = []
    for document_id in draw(st.lists(_TEXT, unique=True, max_size=6)):
        text = draw(_TEXT)
        bounds = draw(st.lists(st.tuples(st.integers(0, len(text)), st.integers(0, len(text))), max_size=5))
        chunks = [
            Chunk(
                ordinal * 2,
                min(pair),
                max(pair),
                tuple(draw(st.lists(_TEXT, max_size=2))),
                draw(st.none() | st.integers(0, 999)),
                draw(_TEXT),
            )
            for ordinal, pair in enumerate(bounds)
        ]
        metadata = draw(st.dictionaries(_TEXT, st.none() | st.booleans() | st.integers() | _TEXT, max_size=2))
        made.append((Document(document_id, text, draw(_TEXT), draw(_TEXT), metadata), chunks))
    return made


def written(folder: Path, made: list[tuple[Document, list[Chunk]]]) -> Passages:
    with PassageWriter(folder) as writer:
        for document, chunks in made:
            writer.add(document, chunks)
    return Passages(folder)


@given(documents(), st.sampled_from([0, 2**26]))
def test_what_is_written_is_read_in_one_batch_or_many(made: list[tuple[Document, list[Chunk]]], batch: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        writer = PassageWriter(Path(folder), batch_bytes=batch)
        with writer:
            for document, chunks in made:
                writer.add(document, chunks)
        passages = Passages(Path(folder))
        flat = [(document, chunk) for document, chunks in made for chunk in chunks]
        assert passages.documents(range(len(made))) == [document for document, _ in made]
        assert passages.chunks(range(len(flat))) == [chunk for _, chunk in flat]
        for passage, (document, chunk) in zip(passages.passages(range(len(flat))), flat, strict=True):
            assert passage.text == document.text[chunk.start : chunk.end]
            assert passage.passage_id == f"{document.document_id}#{chunk.ordinal}"
            assert (passage.title, passage.source, passage.metadata) == (
                document.title,
                document.source,
                document.metadata,
            )
        for row, (document, chunks) in enumerate(made):
            assert passages.row_of(document.document_id) == row
            (rows,) = passages.passage_rows([row])
            assert [flat[at][1] for at in rows] == chunks


def test_passages_come_in_the_order_asked(tmp_path: Path) -> None:
    passages = written(tmp_path, [(Document(f"d{i}", f"text {i}"), [Chunk(0, 0, 6)]) for i in range(5)])
    assert [passage.document_id for passage in passages.passages([3, 0, 3])] == ["d3", "d0", "d3"]


def test_an_unknown_document_is_said_to_be_unknown(tmp_path: Path) -> None:
    with pytest.raises(DocumentNotFound, match="'other'"):
        written(tmp_path, [(Document("one", "text"), [])]).row_of("other")


def test_ids_with_equal_hashes_are_told_apart(tmp_path: Path) -> None:
    written(tmp_path, [(Document(name, name), []) for name in "abc"])
    hashes, rows = np.load(tmp_path / IDS), np.load(tmp_path / ID_ROWS)
    for row, name in enumerate("abc"):
        np.save(tmp_path / IDS, np.full(3, hashes[rows == row][0]))
        assert Passages(tmp_path).row_of(name) == row


def test_an_id_that_comes_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="'one' occurs twice"):
        written(tmp_path, [(Document("one", "a"), []), (Document("two", "b"), []), (Document("one", "c"), [])])


@pytest.mark.parametrize(
    "chunks", [[Chunk(0, 0, 5)], [Chunk(0, 3, 2)], [Chunk(0, -1, 2)], [Chunk(1, 0, 1), Chunk(1, 1, 2)]]
)
def test_chunks_outside_their_document_or_out_of_order_are_refused(tmp_path: Path, chunks: list[Chunk]) -> None:
    with pytest.raises(InvalidRequest, match="document 'd'"):
        written(tmp_path, [(Document("d", "four"), chunks)])


@pytest.mark.parametrize(
    ("document", "chunk"),
    [
        (Document("d", "bad \ud800 text"), Chunk(0, 0, 3)),
        (Document("d", "text", title="\ud800"), Chunk(0, 0, 3)),
        (Document("d", "text", metadata={"key": "\ud800"}), Chunk(0, 0, 3)),
        (Document("d", "text"), Chunk(0, 0, 3, headings=("\ud800",))),
        (Document("d", "text"), Chunk(0, 0, 3, context="\ud800")),
    ],
)
def test_half_a_surrogate_pair_is_refused_with_the_document_that_holds_it(
    tmp_path: Path, document: Document, chunk: Chunk
) -> None:
    with pytest.raises(InvalidRequest, match="document 'd'"):
        written(tmp_path, [(document, [chunk])])


def test_ids_of_one_hash_are_told_apart_by_their_names() -> None:
    ids, rows, names = np.array([3, 7, 7, 9], np.uint64), np.array([2, 0, 3, 1]), ["a", "d", "c", "b"]
    asked = ["b", "a", "x", "d", "c", "y"]
    hashes = np.array([7, 7, 7, 9, 3, 11], np.uint64)
    found = find(ids, rows, asked, hashes, lambda wanted: [names[row] for row in wanted.tolist()])
    assert found == [3, 0, -1, 1, 2, -1]
