"""What becomes of the markers and the statements in a model's text."""

from __future__ import annotations

import pytest

from generation.citations import CitationStream
from generation.events import Citation, Delta
from tests.passages import LEAD, candidates, check_spans

TEXTS = (
    "Middleware is a framework of hooks into request processing. It was added in version 1.10 of Django.",
    "To activate a middleware component, add it to the MIDDLEWARE list. The order in that list matters.",
)


def cite(text: str, *texts: str) -> tuple[str, list[Citation]]:
    shown = candidates(*(texts or TEXTS))
    stream = CitationStream([candidate.passage for candidate in shown])
    events = [*stream.feed(text), *stream.close()]
    answer = "".join(event.text for event in events if isinstance(event, Delta))
    citations = [event for event in events if isinstance(event, Citation)]
    check_spans(answer, citations, shown)
    return answer, citations


def sources(citations: list[Citation], *texts: str) -> list[str]:
    by_id = {f"d{n}#0": LEAD + text for n, text in enumerate(texts or TEXTS)}
    return [by_id[c.passage_id][slice(*c.source_span)] for c in citations]


def test_a_marker_ties_its_sentence_to_the_nearest_sentence_of_that_passage() -> None:
    answer, citations = cite("You put it into a list [2]. It hooks into requests [1].")
    assert answer == "You put it into a list. It hooks into requests."
    assert [answer[slice(*c.answer_span)] for c in citations] == ["You put it into a list.", "It hooks into requests."]
    assert [c.passage_id for c in citations] == ["d1#0", "d0#0"]
    assert all(c.verdict == "closest" for c in citations)


def test_a_marker_behind_the_full_stop_belongs_to_the_sentence_before() -> None:
    answer, citations = cite("Order matters. [2] Hooks process requests. [1]")
    assert answer == "Order matters. Hooks process requests."
    assert [(answer[slice(*c.answer_span)], c.passage_id) for c in citations] == [
        ("Order matters.", "d1#0"),
        ("Hooks process requests.", "d0#0"),
    ]


@pytest.mark.parametrize("marker", ["[1, 2]", "[1][2]", "[1] [2]", "[1;2]", "【1】【2】", "[1，2]", "[1-2]"])
def test_several_numbers_give_several_citations_however_they_are_written(marker: str) -> None:
    answer, citations = cite(f"Both say something {marker}.")
    assert answer == "Both say something."
    assert [c.passage_id for c in citations] == ["d0#0", "d1#0"]


def test_numbers_of_no_passage_are_dropped_with_their_marker() -> None:
    answer, citations = cite("The moon is made of cheese [7]. So says everybody [0] [12].")
    assert answer == "The moon is made of cheese. So says everybody."
    assert citations == []


def test_an_index_in_code_is_not_a_marker() -> None:
    answer, citations = cite("Read `sys.argv[1]` first.\n\n```\nx = a[2]\n```\n\nDone [2].")
    assert answer == "Read `sys.argv[1]` first.\n\n```\nx = a[2]\n```\n\nDone."
    assert [answer[slice(*c.answer_span)] for c in citations][-1].endswith("Done.")


def test_brackets_that_hold_no_numbers_stay() -> None:
    answer, _ = cite("A list [such as this] or [x] or [ ] stays, and so does [1.5] or [2024].")
    assert answer == "A list [such as this] or [x] or [ ] stays, and so does [1.5] or [2024]."


def test_a_marker_cut_off_by_the_end_is_not_shown() -> None:
    assert cite("Order matters [")[0] == "Order matters"
    assert cite("Order matters. [1, ")[0] == "Order matters."


def test_a_statement_without_marker_is_tied_to_the_sentence_that_says_most_of_it() -> None:
    answer, citations = cite("Add the middleware component to the MIDDLEWARE list to activate it.")
    assert sources(citations) == ["To activate a middleware component, add it to the MIDDLEWARE list."]
    assert answer[slice(*citations[0].answer_span)] == answer


def test_a_statement_that_no_source_comes_near_is_not_tied_to_any() -> None:
    assert cite("Bananas grow in warm countries.")[1] == []


def test_a_statement_with_another_number_than_the_source_is_not_tied_to_it() -> None:
    assert len(cite("It was added in version 1.10 of Django.")[1]) == 1
    assert cite("It was added in version 1.11 of Django.")[1] == []


def test_a_marker_whose_passage_shares_no_word_cites_the_whole_passage() -> None:
    _, citations = cite("中间件很有用 [1]。")
    assert sources(citations) == [TEXTS[0]]


def test_a_marker_at_the_beginning_belongs_to_what_follows() -> None:
    answer, citations = cite("[2] Order matters.\n[1] Hooks process requests.")
    assert answer == "Order matters.\nHooks process requests." or answer == "Order matters.\n Hooks process requests."
    assert {c.passage_id for c in citations} == {"d0#0", "d1#0"}


def test_chinese_statements_are_cited_sentence_by_sentence() -> None:
    texts = ("太阳从东方升起。月亮绕地球转动。", "长江全长约6300公里，是中国最长的河流。")
    answer, citations = cite("中国最长的河流是长江[2]。月亮绕着地球转动。", *texts)
    assert answer == "中国最长的河流是长江。月亮绕着地球转动。"
    assert sources(citations, *texts) == ["长江全长约6300公里，是中国最长的河流。", "月亮绕地球转动。"]


def test_a_refusal_is_not_cited_even_when_the_model_marks_it() -> None:
    assert cite("The passages do not say [1].")[1] == []


def test_a_citation_comes_as_soon_as_its_statement_has_ended() -> None:
    stream = CitationStream([c.passage for c in candidates(*TEXTS)])
    assert not [e for e in stream.feed("Order in that list matters [2].") if isinstance(e, Citation)]
    assert [e.id for e in stream.feed(" And") if isinstance(e, Citation)] == ["c1"]
