"""Where passages begin and end, and what they know of their place."""

from __future__ import annotations

from itertools import pairwise

import pytest

from indexing.chunking import ChunkSettings, chunk, count_tokens
from indexing.converted import Converted, TextBuilder
from indexing.formats.markdown import convert_markdown

SMALL = ChunkSettings(target_tokens=30, max_tokens=45, min_tokens=6)


def pieces(document: Converted, settings: ChunkSettings = SMALL) -> list[tuple[tuple[str, ...], str]]:
    return [(each.headings, document.text[each.start : each.end]) for each in chunk(document, settings)]


def test_passages_follow_headings_and_carry_their_path() -> None:
    body = "The pump has a valve that opens when it starts."
    text = f"# Pump\n\n{body}\n\n## Oil\n\n{body}\n\n### Kinds\n\n{body}\n\n## Care\n\n{body}\n"
    assert [path for path, _ in pieces(convert_markdown(text))] == [
        ("Pump",),
        ("Pump", "Oil"),
        ("Pump", "Oil", "Kinds"),
        ("Pump", "Care"),
    ]


def test_sections_too_small_to_stand_alone_are_joined_with_their_headings_in_the_text() -> None:
    text = "# Words\n\n## valve\n\nIt opens.\n\n## cover\n\nIt hides.\n"
    assert pieces(convert_markdown(text)) == [(("Words",), "valve\n\nIt opens.\n\ncover\n\nIt hides.")]


def test_a_long_paragraph_is_cut_between_sentences_english_and_chinese() -> None:
    english = [f"Sentence number {i} tells of pumps, e.g. of small ones." for i in range(6)]
    chinese = [f"第{i}句讲的是水泵在盖子后面的情况。" for i in range(6)]
    for sentences, glue in ((english, " "), (chinese, "")):
        document = convert_markdown(glue.join(sentences))
        cut = [text for _, text in pieces(document)]
        assert len(cut) > 1
        assert all(text.startswith(("Sentence", "第")) and text.endswith((".", "。")) for text in cut)


def test_parts_of_a_table_after_the_first_carry_its_header() -> None:
    builder = TextBuilder()
    builder.table([["Name", "Litre"]], [[f"pump {i}", str(i)] for i in range(30)])
    document = builder.finish()
    chunks = chunk(document, SMALL)
    assert len(chunks) > 2
    assert document.text[chunks[0].start :].startswith("Name | Litre\npump 0")
    assert chunks[0].context == ""
    assert {each.context for each in chunks[1:]} == {"Name | Litre"}
    assert all(document.text[each.start : each.end].startswith("pump ") for each in chunks[1:])


def test_code_stays_whole_and_with_the_sentence_that_introduces_it() -> None:
    code = "\n".join(f"call_{i}()" for i in range(6))
    document = convert_markdown(f"Run this:\n\n```\n{code}\n```\n\nThen wait.\n")
    assert pieces(document)[0][1] == f"Run this:\n\n{code}"


def test_code_that_is_too_long_is_cut_between_lines() -> None:
    code = "\n".join(f"    call_number_{i}(first, second)" for i in range(40))
    document = convert_markdown(f"```\n{code}\n```\n")
    cut = [text for _, text in pieces(document)]
    assert len(cut) > 3
    assert "\n".join(cut).split("\n") == document.text.split("\n")


@pytest.mark.parametrize("text", ["x" * 9000, "水" * 2000, "a,b" * 900, "word " * 900])
def test_text_without_sentences_is_cut_all_the_same(text: str) -> None:
    document = convert_markdown(text)
    cut = pieces(document)
    assert all(count_tokens(piece) <= SMALL.max_tokens for _, piece in cut)
    assert "".join(piece for _, piece in cut).replace(" ", "") == text.replace(" ", "")


def test_a_passage_knows_the_page_it_begins_on_and_does_not_run_on_to_the_next() -> None:
    builder = TextBuilder()
    for page in (1, 2):
        builder.page = page
        builder.paragraph("The pump has a valve that opens when it starts.")
    assert [each.page for each in chunk(builder.finish(), SMALL)] == [1, 2]


def test_overlap_repeats_the_last_sentence() -> None:
    document = convert_markdown(" ".join(f"This is the sentence with number {i}." for i in range(12)))
    chunks = chunk(document, ChunkSettings(30, 45, 6, overlap_sentences=1))
    for before, after in pairwise(chunks):
        assert after.start < before.end
        assert document.text[after.start : before.end].endswith(".")


def test_a_document_of_headings_alone_is_still_found() -> None:
    assert pieces(convert_markdown("# One\n\n## Two\n\n# Three\n")) == [(("One",), "Two"), ((), "Three")]


def test_an_empty_document_has_no_passages() -> None:
    assert chunk(Converted("", ()), ChunkSettings()) == []


def test_the_estimate_counts_words_parts_of_long_words_and_chinese_characters() -> None:
    assert count_tokens("The pump, unbelievable!") == 3 + 1 + 2 - 1 + 1
    assert count_tokens("水泵 v2") == 4


@pytest.mark.parametrize("wrong", [(0, 10), (20, 10), (10, 20, 11), (10, 20, 5, 9)])
def test_settings_that_cannot_be_are_refused(wrong: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"chunk\."):
        ChunkSettings(*wrong)
