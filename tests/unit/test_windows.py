"""The cross-encoder reads the stretch that the query is about."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ranking.windows import CHARS_PER_TOKEN, Windows
from retrieval.types import Passage

FILLER = "Nothing of interest is said here, only words that fill the page. " * 20


def passage(text: str, context: str = "") -> Passage:
    return Passage("d#0", "d", text, (0, len(text)), title="Title", headings=("Part",), context=context)


def test_the_sentence_that_holds_the_querys_terms_is_read() -> None:
    found = passage(FILLER + "A migration is reversed with the backwards command. " + FILLER)
    window = Windows("how to reverse a migration", [found]).text(found, 40)
    assert "A migration is reversed" in window
    assert window.startswith("Title > Part\n")


def test_a_short_passage_is_read_whole_with_its_context() -> None:
    found = passage("| a | 1 |", context="| name | value |")
    assert Windows("value of a", [found]).text(found, 40) == found.full_text


def test_a_rare_term_decides_over_one_that_every_candidate_has() -> None:
    target = passage("Django has forms. " + FILLER + "Formsets validate together. " + FILLER)
    others = [passage(f"Django page {number}. {FILLER}") for number in range(9)]
    assert "Formsets validate" in Windows("django formsets", [target, *others]).text(target, 30)


def test_a_query_without_a_shared_term_takes_the_beginning() -> None:
    found = passage("The beginning stands here. " + FILLER)
    assert "The beginning stands here." in Windows("zebra", [found]).text(found, 20)


@given(st.text(min_size=1, max_size=600), st.text(max_size=40), st.integers(8, 60))
def test_a_window_is_a_stretch_of_the_passage_no_longer_than_asked(text: str, query: str, tokens: int) -> None:
    found = Passage("d#0", "d", text, (0, len(text)))
    window = Windows(query, [found]).text(found, tokens)
    assert window in text
    assert len(window) <= max(tokens * CHARS_PER_TOKEN, 0)
