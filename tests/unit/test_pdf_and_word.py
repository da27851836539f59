"""PDFs with their pages, scans, passwords and damage; Word documents."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from indexing.chunking import ChunkSettings, chunk
from indexing.converters import convert_file
from indexing.formats.docx import convert_docx
from indexing.formats.ocr import tesseract
from indexing.formats.pdf import convert_pdf
from retrieval.errors import SourceUnreadable
from tests.documents import Pdf, docx


def manual() -> Pdf:
    return (
        Pdf(outline=[("Setup", 0), ("Use", 1)], title="The Manual")
        .page(
            [
                (18, 72, 760, "Setup"),
                (11, 72, 720, "First install the pump. Then check the valve, which is be-"),
                (11, 72, 706, "hind the cover."),
                (11, 72, 660, "A second paragraph."),
            ]
        )
        .page([(18, 72, 760, "Use"), (11, 72, 720, "Press (start).")])
        .chinese_page([(12, 72, 700, "水泵在盖子后面。"), (12, 72, 684, "请先关闭电源。")])
        .page([(10, 72, 700, "def f():"), (10, 72, 688, "return 1")], font="F2")
    )


def test_a_pdf_gives_headings_paragraphs_and_code_with_their_pages() -> None:
    document = convert_pdf(manual().data())
    assert document.title == "The Manual"
    assert document.metadata == {"pages": 4}
    assert [(b.kind, b.page, b.headings, document.text[b.start : b.end]) for b in document.blocks] == [
        ("heading", 1, ("Setup",), "Setup"),
        ("paragraph", 1, ("Setup",), "First install the pump. Then check the valve, which is behind the cover."),
        ("paragraph", 1, ("Setup",), "A second paragraph."),
        ("heading", 2, ("Use",), "Use"),
        ("paragraph", 2, ("Use",), "Press (start)."),
        ("paragraph", 3, ("Use",), "水泵在盖子后面。请先关闭电源。"),
        ("code", 4, ("Use",), "def f():\nreturn 1"),
    ]


def test_passages_of_a_pdf_know_their_page() -> None:
    document = convert_pdf(manual().data())
    settings = ChunkSettings(target_tokens=12, max_tokens=40, min_tokens=2)
    pages = {document.text[each.start : each.end][:5]: each.page for each in chunk(document, settings)}
    assert pages["First"] == 1
    assert pages["Press"] == 2
    assert pages["水泵在盖子"] == 3


def test_headings_without_an_outline_are_told_by_size() -> None:
    pdf = Pdf().page([(24, 72, 780, "Pumps"), (16, 72, 740, "Oil"), (10, 72, 700, "Use oil that is clean. " * 4)])
    document = convert_pdf(pdf.data())
    assert document.title == "Pumps"
    assert document.blocks[-1].headings == ("Pumps", "Oil")


def test_running_heads_and_page_numbers_are_left_out() -> None:
    pdf = Pdf()
    for number in range(1, 6):
        pdf.page(
            [
                (9, 72, 810, f"The Manual, page {number}"),
                (11, 72, 700, f"Text number {number} of this manual."),
                (11, 72, 686, f"It goes on with the words of page {number} here."),
                (9, 290, 30, str(number)),
            ]
        )
    text = convert_pdf(pdf.data()).text
    assert "The Manual" not in text
    assert text.count("Text number") == 5


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"%PDF-1.4 and nothing more", "broken PDF"),
        (manual().data()[:900], "broken PDF"),
        (Pdf().page([(11, 72, 700, "secret")]).data(encrypted=True), "password"),
        (Pdf().picture_page().data(), "scan without text; install tesseract"),
        (Pdf().page([]).data(), "without any text"),
        (b"", "empty"),
        (b"not a pdf at all", "broken PDF"),
    ],
)
def test_a_pdf_that_cannot_be_read_says_why(data: bytes, reason: str) -> None:
    with pytest.raises(SourceUnreadable, match=reason):
        convert_file(data, "a.pdf")


def test_a_scan_is_read_by_the_recogniser_that_is_there() -> None:
    pdf = Pdf().page([(11, 72, 700, "Typed.")]).picture_page()
    document = convert_pdf(pdf.data(), lambda png: "Recognised\ntext." if png.startswith(b"\x89PNG") else "")
    assert [(block.page, document.text[block.start : block.end]) for block in document.blocks] == [
        (1, "Typed."),
        (2, "Recognised text."),
    ]
    assert document.metadata == {"pages": 2, "recognised_pages": 1}


def test_typed_pages_of_a_partly_scanned_pdf_are_read_without_a_recogniser() -> None:
    assert convert_pdf(Pdf().page([(11, 72, 700, "Typed.")]).picture_page().data()).text == "Typed."


def test_tesseract_is_asked_for_the_languages_it_has(tmp_path: Path) -> None:
    program = tmp_path / "tesseract"
    program.write_text(
        '#!/bin/sh\nif [ "$1" = --list-langs ]; then echo "List of languages"; echo eng; exit 0; fi\n'
        'cat >/dev/null; echo "read with $3 $4"\n'
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    recognise = tesseract(str(program))
    assert recognise is not None
    assert recognise(b"png") == "read with -l eng\n"


def test_a_tesseract_that_fails_sets_the_file_aside(tmp_path: Path) -> None:
    program = tmp_path / "tesseract"
    program.write_text('#!/bin/sh\n[ "$1" = --list-langs ] && exit 0\necho "no memory" >&2; exit 1\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    with pytest.raises(SourceUnreadable, match="no memory"):
        convert_file(Pdf().picture_page().data(), "a.pdf", recognise=tesseract(str(program)))


def test_without_the_program_there_is_no_recogniser(tmp_path: Path) -> None:
    assert tesseract(str(tmp_path / "tesseract")) is None


def test_a_word_document_gives_headings_and_tables() -> None:
    data = docx(
        [
            ("Title", "Pump"),
            ("", "The <valve> & more."),
            [["Part", "No"], ["Valve", "1"], ["Cover", "2"]],
            ("Heading2", "维护"),
            ("", "每年一次。"),
        ]
    )
    document = convert_docx(data)
    assert document.title == "Pump"
    assert [(b.kind, b.headings, document.text[b.start : b.end]) for b in document.blocks] == [
        ("heading", ("Pump",), "Pump"),
        ("paragraph", ("Pump",), "The <valve> & more."),
        ("table", ("Pump",), "Part | No\nValve | 1\nCover | 2"),
        ("heading", ("Pump", "维护"), "维护"),
        ("paragraph", ("Pump", "维护"), "每年一次。"),
    ]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1 old", "password, or an old .doc"),
        (b"PK\x03\x04 broken", "broken .docx"),
        (docx([("", "words")])[:200], "broken .docx"),
        (docx([]), "no text in it"),
    ],
)
def test_a_word_document_that_cannot_be_read_says_why(data: bytes, reason: str) -> None:
    with pytest.raises(SourceUnreadable, match=reason):
        convert_file(data, "a.docx")
