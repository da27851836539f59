"""What a build reads from files and folders, rows included, and what it sets aside."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from indexing.items import Item, convert_item, count_items, read_items
from indexing.records import FieldMap, parse_field_map
from indexing.sources import Rejected, Source, plan
from retrieval.errors import InvalidRequest, SourceUnreadable
from retrieval.types import Document


def read(*sources: Source | Path) -> tuple[list[Document], list[Rejected]]:
    planned = plan(sources)
    rejected = list(planned.rejected)
    documents: list[Document] = []
    for file in planned.files:
        for entry in read_items(file):
            if isinstance(entry, Item):
                try:
                    documents.append(convert_item(entry)[0])
                except SourceUnreadable as error:
                    rejected.append(Rejected(entry.name, error.detail))
            else:
                rejected.append(entry)
    return documents, rejected


def write_rows(path: Path, rows: list[Any]) -> Path:
    lines = "".join(f"{row if isinstance(row, str) else json.dumps(row, ensure_ascii=False)}\n" for row in rows)
    path.write_bytes(gzip.compress(lines.encode()) if path.suffix == ".gz" else lines.encode())
    return path


def test_a_folder_is_walked_in_order_and_ids_are_relative_paths(tmp_path: Path) -> None:
    for name in ("b.md", "a/z.txt", "a/b/c.html", "README", ".hidden.md", ".git/x.md", "x.png", "data.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("Some words.")
    documents, rejected = read(tmp_path)
    assert [each.document_id for each in documents] == ["README", "b.md", "a/z.txt", "a/b/c.html"]
    assert [each.source for each in documents] == [each.document_id for each in documents]
    assert {each.source: each.reason for each in rejected} == {
        "x.png": "not a kind of document that is read (.png)",
        "data.json": "not a kind of document that is read (.json); write one object a line and call it .jsonl",
    }


def test_a_file_named_by_itself_is_read_whatever_it_is_called(tmp_path: Path) -> None:
    path = tmp_path / "notes.log"
    path.write_text("Some words.")
    documents, _ = read(path)
    assert [(each.document_id, each.title) for each in documents] == [("notes.log", "notes")]


def test_text_files_are_told_to_be_restructuredtext(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Title\n=====\n\nText.")
    (tmp_path / "b.md").write_text("# Heading\n\nText.")
    documents, _ = read(Source(tmp_path, "rst"))
    assert [each.title for each in documents] == ["Title", "Heading"]


def test_unreadable_files_are_set_aside_one_by_one(tmp_path: Path) -> None:
    (tmp_path / "broken.pdf").write_bytes(b"%PDF-1.4")
    (tmp_path / "empty.md").write_bytes(b"")
    (tmp_path / "binary.txt").write_bytes(b"\0\1\2")
    (tmp_path / "latin.txt").write_bytes("déjà".encode("latin-1"))
    (tmp_path / "good.txt").write_text("Words.")
    documents, rejected = read(tmp_path)
    assert [each.document_id for each in documents] == ["good.txt"]
    assert sorted(each.source for each in rejected) == ["binary.txt", "broken.pdf", "empty.md", "latin.txt"]


def test_names_that_are_not_utf8_become_ids_that_are(tmp_path: Path) -> None:
    Path(f"{tmp_path}/caf\udce9.txt").write_text("Words.")
    assert [each.document_id for each in read(tmp_path)[0]] == ["caf\ufffd.txt"]


def test_files_of_one_name_in_several_sources_are_kept_apart_and_the_same_file_is_read_once(tmp_path: Path) -> None:
    for name in ("one/index.md", "two/index.md", "two/more.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    documents, _ = read(tmp_path / "one", tmp_path / "two", tmp_path / "two/more.md", tmp_path / "one")
    assert {each.document_id: each.text for each in documents} == {
        "one/index.md": "one/index.md",
        "two/index.md": "two/index.md",
        "more.md": "two/more.md",
    }


def test_a_source_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="no such file or folder"):
        plan([tmp_path / "gone"])


@pytest.mark.parametrize("name", ["corpus.jsonl", "corpus.jsonl.gz"])
def test_of_a_beir_folder_only_the_corpus_is_read_and_as_it_stands(tmp_path: Path, name: str) -> None:
    write_rows(tmp_path / name, [{"_id": "d1", "title": "# T", "text": "# one\n\n## two\n"}, {"_id": "d2", "text": ""}])
    write_rows(tmp_path / "queries.jsonl", [{"_id": "q1", "text": "a query"}])
    (tmp_path / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\n")
    documents, rejected = read(tmp_path)
    assert [(each.document_id, each.title, each.text) for each in documents] == [("d1", "# T", "# one\n\n## two")]
    assert rejected == [Rejected(f"{name} line 2", "no text in it")]


def test_a_document_of_which_there_is_only_the_title_is_kept(tmp_path: Path) -> None:
    documents, _ = read(write_rows(tmp_path / "a.jsonl", [{"id": 7, "title": "Pumps and valves", "text": ""}]))
    assert [(each.document_id, each.text) for each in documents] == [("7", "Pumps and valves")]


def test_bad_rows_are_set_aside_by_their_line_and_the_others_read(tmp_path: Path) -> None:
    path = write_rows(
        tmp_path / "a.jsonl",
        [
            {"_id": "1", "text": "one"},
            "{broken",
            "",
            "[1, 2]",
            {"_id": "5"},
            {"_id": "x" * 600, "text": "t"},
            {"text": "no id"},
        ],
    )
    with path.open("ab") as file:
        file.write(b'{"_id": "8", "text": "\xff\xfe"}\n')
    documents, rejected = read(path)
    assert [each.document_id for each in documents] == ["1", "a.jsonl:7"]
    assert [(each.source, each.reason.split(" (")[0]) for each in rejected] == [
        ("a.jsonl line 2", "not JSON"),
        ("a.jsonl line 4", "not a JSON object but list"),
        ("a.jsonl line 5", "no text in it"),
        ("a.jsonl line 6", "an id of 600 characters; the limit is 512"),
        ("a.jsonl line 8", "not UTF-8"),
    ]


def test_fields_are_guessed_in_any_case_and_the_rest_is_metadata(tmp_path: Path) -> None:
    row = {
        "ID": "d1",
        "Name": "The pump",
        "Body": "It pumps.",
        "URL": "https://example.org/p",
        "year": 2024,
        "tags": ["a", "b"],
        "metadata": {"lang": "en"},
        "nested": {"x": 1},
        "long": "x" * 3000,
        "none": None,
    }
    [document], _ = read(write_rows(tmp_path / "a.jsonl", [row]))
    assert document == Document(
        "d1",
        "It pumps.",
        "The pump",
        "https://example.org/p",
        {"year": 2024, "tags": ["a", "b"], "lang": "en", "url": "https://example.org/p"},
    )


def test_fields_are_mapped_and_joined(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.jsonl", [{"k": 1, "q": "Why?", "a": "Because.", "by": "Ada", "text": "no"}])
    [document], _ = read(Source(path, None, parse_field_map("id=k,title=q,text=q+a,metadata=by")))
    assert (document.document_id, document.title, document.text) == ("1", "Why?", "Why?\n\nBecause.")
    assert document.metadata == {"by": "Ada"}


@pytest.mark.parametrize("text", ["text", "text=", "colour=x", "=x"])
def test_a_mapping_that_cannot_be_read_is_an_error(text: str) -> None:
    with pytest.raises(InvalidRequest, match="FIELD=COLUMN"):
        parse_field_map(text)


def test_an_empty_mapping_guesses() -> None:
    assert parse_field_map("") == FieldMap()


def test_a_file_whose_text_field_cannot_be_told_is_set_aside_once(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "pairs.jsonl", [{"_id": str(i), "en": "a", "zh": "b"} for i in range(50)])
    documents, rejected = read(path)
    assert documents == []
    assert rejected == [
        Rejected("pairs.jsonl", "no field looks like the text; name it with --map text=FIELD. It has: _id, en, zh")
    ]


def test_a_mapped_field_that_no_row_has_names_the_nearest(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.jsonl", [{"body_text": "x"}])
    _, [rejected] = read(Source(path, None, parse_field_map("text=body_txt")))
    assert rejected.reason == "no field 'body_txt'; did you mean 'body_text'? It has: body_text"


def test_csv_of_several_kinds_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('id,title,text\n1,One,"two, ""quoted""\nlines"\n2,Two,x\n')
    (tmp_path / "b.csv").write_bytes("编号;text\n1;水泵在盖子后面\n".encode("gb18030"))
    (tmp_path / "c.tsv").write_text("id\ttext\n9\ta,b\n")
    (tmp_path / "d.csv.gz").write_bytes(gzip.compress(b"id,text\n5,packed\n"))
    documents, rejected = read(tmp_path)
    assert rejected == []
    assert [(each.document_id, each.text) for each in documents] == [
        ("1", 'two, "quoted"\nlines'),
        ("2", "x"),
        ("b.csv:1", "水泵在盖子后面"),
        ("9", "a,b"),
        ("5", "packed"),
    ]


def test_a_csv_row_in_another_encoding_is_set_aside_by_its_number(tmp_path: Path) -> None:
    rows = b"id,text\n" + b"".join(b"%d,%s\n" % (i, b"words " * 1000) for i in range(200)) + b"x,caf\xe9\ny,end\n"
    (tmp_path / "a.csv").write_bytes(rows)
    documents, rejected = read(tmp_path / "a.csv")
    assert documents[-1].document_id == "y"
    assert rejected == [Rejected("a.csv row 201", "not UTF-8")]


def test_parquet_is_read_with_its_types(tmp_path: Path) -> None:
    table = pyarrow.table({"_id": [1, 2], "text": ["one", None], "score": [0.5, 1.0], "tags": [["a"], []]})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    documents, rejected = read(tmp_path)
    assert documents == [Document("1", "one", "", "a.parquet row 1", {"score": 0.5, "tags": ["a"]})]
    assert rejected == [Rejected("a.parquet row 2", "no text in it")]


def test_damaged_containers_are_set_aside_with_what_could_be_read_kept(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 broken")
    lines = "".join(json.dumps({"_id": str(i), "text": f"{i * i}" * 50}) + "\n" for i in range(3000)).encode()
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(lines)[:-2000])
    documents, rejected = read(tmp_path)
    assert 100 < len(documents) < 3000
    assert [each.source for each in rejected] == ["a.parquet", "b.jsonl.gz"]
    assert "cannot be read beyond line" in rejected[1].reason


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_jsonl_with_a_byte_order_mark_is_read(tmp_path: Path, encoding: str) -> None:
    text = '{"_id": "1", "text": "水泵"}\n{"_id": "2", "text": "盖子"}\n'
    (tmp_path / "a.jsonl").write_bytes(text.encode(encoding))
    assert [each.text for each in read(tmp_path)[0]] == ["水泵", "盖子"]


def test_items_are_counted_without_reading_them(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.jsonl", [{"text": "x"}] * 5)
    write_rows(tmp_path / "b.jsonl.gz", [{"text": "x"}] * 7)
    (tmp_path / "c.csv").write_text("text\nx\ny\n")
    pyarrow.parquet.write_table(pyarrow.table({"text": ["a"] * 3}), tmp_path / "d.parquet")
    (tmp_path / "e.md").write_text("x")
    (tmp_path / "f.jsonl.gz").write_bytes(b"broken")
    assert [count_items(file) for file in plan([tmp_path]).files] == [5, 7, 2, 3, 1, 1]


def test_references_between_pages_show_the_titles_they_point_to(tmp_path: Path) -> None:
    (tmp_path / "topics").mkdir()
    (tmp_path / "topics/oil.txt").write_text(
        ".. _oil-kinds:\n.. _`Oil of Pumps`:\n\n.. setting:: OIL\n\n===========\nThe ``oil``\n===========\n\nWords.\n"
    )
    (tmp_path / "topics/pump.txt").write_text(
        "Pump\n====\n\nSee :ref:`oil-kinds`, :ref:`Oil of pumps`, :doc:`oil`, :doc:`/topics/oil`, :ref:`nowhere`,\n"
        ":doc:`../topics/oil` and :ref:`that <oil-kinds>`.\n"
    )
    documents, _ = read(tmp_path)
    assert documents[1].text.split("\n")[-1] == ("See The oil, The oil, The oil, The oil, nowhere, The oil and that.")


def test_a_row_may_bring_a_vector_principals_and_a_version_of_its_own(tmp_path: Path) -> None:
    (tmp_path / ".riddle-acl").write_text("group:all\n")
    rows = [
        {"_id": "1", "text": "one", "vector": [3, 4.0], "acl": ["group:eng", "group:eng"], "version": 7},
        {"_id": "2", "text": "two", "vector": None, "acl": [], "version": "5.2"},
        {"_id": "3", "text": "three", "acl": "user:ada, group:ops", "version": True},
    ]
    [file] = plan([write_rows(tmp_path / "a.jsonl", rows)]).files
    made = [convert_item(item) for item in read_items(file) if isinstance(item, Item)]
    assert [(each.acl, each.version) for each, _ in made] == [
        (("group:eng",), 7),
        (("group:all",), 0),
        (("group:ops", "user:ada"), 0),
    ]
    vectors = [form.vector for _, form in made]
    assert vectors[1] is vectors[2] is None
    assert vectors[0] is not None
    assert vectors[0].tolist() == pytest.approx([0.6, 0.8])
    assert [dict(each.metadata) for each, _ in made] == [{}, {"version": "5.2"}, {"version": True}]


@pytest.mark.parametrize(
    ("field", "reason"),
    [
        ({"vector": "north"}, "vector is no vector of finite numbers"),
        ({"vector": [0, 0]}, "vector is no vector of finite numbers"),
        ({"vector": [1e999]}, "vector is no vector of finite numbers"),
        ({"vector": [1, True]}, "vector is no vector of finite numbers"),
        ({"acl": {"eng": True}}, "acl is no list of principals"),
        ({"acl": ["group:eng", 7]}, "acl is no list of principals"),
        ({"acl": [" "]}, "acl names no principal"),
        ({"acl": ["group of two"]}, "'group of two' is no principal"),
    ],
)
def test_a_row_whose_vector_or_principals_cannot_be_read_is_set_aside(
    tmp_path: Path, field: dict[str, Any], reason: str
) -> None:
    documents, [rejected] = read(write_rows(tmp_path / "a.jsonl", [{"_id": "1", "text": "one", **field}]))
    assert documents == []
    assert reason in rejected.reason


def test_what_a_row_brings_of_its_own_is_taken_from_the_fields_named_or_from_none(tmp_path: Path) -> None:
    row = {"_id": "1", "text": "one", "vector": [1, 2], "acl": "x", "version": 2, "rev": "3", "who": ["group:a"]}
    path = write_rows(tmp_path / "a.jsonl", [row])
    [document], _ = read(Source(path, None, parse_field_map("vector=,acl=who,version=rev")))
    assert (document.acl, document.version) == (("group:a",), 3)
    assert dict(document.metadata) == {"vector": [1, 2], "acl": "x", "version": 2}
    _, [rejected] = read(Source(path, None, parse_field_map("version=text")))
    assert "versions are whole numbers from 1" in rejected.reason
