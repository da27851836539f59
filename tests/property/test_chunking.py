"""Whatever the document: chunks are in order, reproduce the text, stay within bounds, and lose nothing."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from indexing.chunking import ChunkSettings, chunk, count_tokens
from indexing.converted import Converted, TextBuilder
from indexing.converters import convert_text
from retrieval.types import Chunk

WORDS = st.text(alphabet="abcdeXY019.,;:!?()“”水泵在盖子后面。！？；，é\U00020000 \t\n-*#|`", min_size=0, max_size=160)
CELLS = st.lists(st.text(alphabet="ab1水 .", max_size=12), min_size=1, max_size=3)
BLOCKS = st.one_of(
    st.tuples(st.just("heading"), st.text(alphabet="ABc 水", min_size=1, max_size=12), st.integers(1, 4)),
    st.tuples(st.sampled_from(["paragraph", "list", "code"]), WORDS, st.just(0)),
    st.tuples(st.just("table"), st.lists(CELLS, min_size=1, max_size=12), st.integers(0, 1)),
    st.tuples(st.just("page"), st.just(""), st.just(0)),
)
SETTINGS = st.builds(
    lambda target, more, least: ChunkSettings(target, target + more, min(least, target)),
    st.integers(4, 40),
    st.integers(0, 30),
    st.integers(0, 12),
)


@st.composite
def documents(draw: st.DrawFn) -> Converted:
    builder = TextBuilder()
    for kind, content, number in draw(st.lists(BLOCKS, max_size=14)):
        if kind == "heading":
            builder.heading(str(content), number)
        elif kind == "table":
            rows = [list(row) for row in content]
            builder.table(rows[:number], rows[number:])
        elif kind == "page":
            builder.page = (builder.page or 0) + 1
        else:
            {"paragraph": builder.paragraph, "list": builder.list, "code": builder.code}[kind](str(content))
    return builder.finish()


def uncovered(document: Converted, chunks: list[Chunk]) -> str:
    """What is in no chunk, and in no heading of a path that some chunk names."""
    seen = bytearray(len(document.text))
    paths = {each.headings[:depth] for each in chunks for depth in range(len(each.headings) + 1)}
    spans = [(each.start, each.end) for each in chunks]
    spans += [(b.start, b.end) for b in document.blocks if b.kind == "heading" and b.headings in paths]
    for start, end in spans:
        seen[start:end] = b"\1" * (end - start)
    return "".join(char for char, known in zip(document.text, seen, strict=True) if not known).strip()


@given(documents(), SETTINGS)
def test_chunks_are_in_order_disjoint_and_lose_nothing_but_white_space(document: Converted, how: ChunkSettings) -> None:
    chunks = chunk(document, how)
    assert [each.ordinal for each in chunks] == list(range(len(chunks)))
    ends = 0
    for each in chunks:
        assert ends <= each.start < each.end <= len(document.text)
        assert document.text[each.start : each.end].strip()
        ends = each.end
    assert uncovered(document, chunks) == ""


@given(documents(), SETTINGS)
def test_no_chunk_is_larger_than_the_limit(document: Converted, how: ChunkSettings) -> None:
    for each in chunk(document, how):
        assert count_tokens(document.text[each.start : each.end]) <= how.max_tokens


@given(documents(), SETTINGS, st.integers(1, 3))
def test_with_overlap_chunks_still_advance_and_lose_nothing(document: Converted, how: ChunkSettings, over: int) -> None:
    overlapping = ChunkSettings(how.target_tokens, how.max_tokens, how.min_tokens, over)
    chunks = chunk(document, overlapping)
    for before, after in pairwise(chunks):
        assert before.start < after.start
        assert before.end < after.end
    assert uncovered(document, chunks) == ""
    for each in chunks:
        assert count_tokens(document.text[each.start : each.end]) <= how.max_tokens


@given(st.text(max_size=600), st.sampled_from(["plain", "markdown", "html", "rst", None]))
def test_any_text_converts_and_its_blocks_tell_what_stands_where(text: str, form: str | None) -> None:
    document = convert_text(text, form)  # type: ignore[arg-type]
    ends = 0
    for block in document.blocks:
        assert ends <= block.start < block.end
        assert not document.text[ends : block.start].strip()
        assert block.start <= block.header_end <= block.end
        ends = block.end
    assert not document.text[ends:].strip()
    assert uncovered(document, chunk(document, ChunkSettings(20, 30, 5))) == ""
    document.text.encode("utf-8")


@given(st.text(max_size=400))
def test_plain_text_keeps_every_character_that_can_be_read(text: str) -> None:
    document = convert_text(text, "plain")
    kept = "".join(char for char in text if char.isprintable() and not char.isspace())
    assert "".join(char for char in document.text if char.isprintable() and not char.isspace()) == kept
