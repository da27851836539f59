"""Encodings: what is read, and what is set aside with its reason."""

from __future__ import annotations

import pytest

from indexing.converters import convert_file, forced_format
from indexing.decoding import decode, encoding_of
from retrieval.errors import InvalidRequest, SourceUnreadable

TEXT = "水泵在盖子后面，请先关闭电源。Then open it."


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "gb18030"])
def test_text_in_the_usual_encodings_is_read(encoding: str) -> None:
    assert decode(TEXT.encode(encoding)) == TEXT
    assert TEXT.encode(encoding).decode(encoding_of(TEXT.encode(encoding))) == TEXT


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("café déjà vu".encode("latin-1"), "not UTF-8"),
        (b"abc\xff\xfe\xfd", "not UTF-8"),
        (b"\x89PNG\r\n\x1a\n", "PNG"),
        (b"ab\x00cd", "binary"),
        (b"\xff\xfea", "UTF-16 but broken"),
    ],
)
def test_what_is_no_text_is_set_aside_with_its_reason(data: bytes, reason: str) -> None:
    with pytest.raises(SourceUnreadable, match=reason):
        decode(data)


@pytest.mark.parametrize("data", [b"", b"  \n\t\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf \n"])
def test_empty_files_say_so(data: bytes) -> None:
    with pytest.raises(SourceUnreadable, match=r"empty|no text"):
        convert_file(data, "a.txt")


def test_control_characters_and_carriage_returns_do_not_reach_the_text() -> None:
    assert convert_file(b"one\r\ntwo\x07 \x1b[0m\rthree  \n", "a.txt").text == "one\ntwo [0m\nthree"


def test_a_sample_that_ends_within_a_character_tells_its_encoding() -> None:
    for cut in (1, 2, 3):
        assert encoding_of(TEXT.encode()[: 60 + cut]) == "utf-8"
        assert encoding_of(("水泵" * 40).encode("gb18030")[:-cut]) == "gb18030"


def test_an_unknown_format_names_those_there_are() -> None:
    assert forced_format("md") == "markdown"
    assert forced_format("") is None
    with pytest.raises(InvalidRequest, match="plain, markdown, rst, html"):
        forced_format("asciidoc")
