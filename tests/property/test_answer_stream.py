"""However a model's text is cut into pieces, the answer is the same, and no citation points nowhere."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from generation.abstain import Thresholds
from generation.answer import Answerer
from generation.citations import CitationStream
from generation.events import Citation, Delta, FinalAnswer
from generation.extractive import Extractive
from generation.prompted import STOPS, Until
from tests.fake_engines import FakeEngine
from tests.passages import candidates, check_spans

TEXTS = (
    "Middleware is a framework of hooks. It was added in version 1.10.\n\nSee RFC 9110 [3] for more.",
    "To activate it, add it to the list. The order matters!  长江全长约6300公里。黄河在北方。",
    "x = a[1] # [2]\n- one item\n- another item",
)
FRAGMENTS = st.sampled_from(
    [
        *(
            "[1]",
            "[2]",
            "[3]",
            "[9]",
            "[1, 2]",
            "[1",
            "]",
            "[",
            "【1】",
            " ",
            "\n",
            "\n\n",
            "`",
            "```",
            ".",
            "。",
            "!",
            "e.g. ",
        ),
        *("Middleware is a framework of hooks", "The order matters", "version 1.10", "长江全长约6300公里", "- ", "1. "),
        *(
            "\nQuestion:",
            "\nQues",
            "<passage",
            "The passages do not say.",
            "ship",
            "[1-3]",
            "Dr. Who",
            "…",
            "\u0301",
            "🚢",
        ),
    ]
)
MODEL_TEXT = st.one_of(st.lists(FRAGMENTS, max_size=25).map("".join), st.text(max_size=60))


def cut(text: str, places: Sequence[int]) -> list[str]:
    bounds = sorted({0, len(text), *(place % (len(text) + 1) for place in places)})
    return [text[a:b] for a, b in pairwise(bounds)]


def cited(pieces: Sequence[str]) -> tuple[str, list[Citation]]:
    shown = candidates(*TEXTS)
    stream = CitationStream([candidate.passage for candidate in shown])
    events = [event for piece in pieces for event in stream.feed(piece)] + stream.close()
    answer = ""
    for event in events:
        if isinstance(event, Delta):
            assert event.text
            answer += event.text
        else:
            assert event.answer_span[1] <= len(answer), "a citation came before the text it is of"
    citations = [event for event in events if isinstance(event, Citation)]
    check_spans(answer, citations, shown)
    return answer, citations


@given(text=MODEL_TEXT, places=st.lists(st.integers(0, 10_000), max_size=40))
def test_a_cut_stream_gives_the_same_answer_and_the_same_citations(text: str, places: list[int]) -> None:
    assert cited(cut(text, places)) == cited([text] if text else [])


@given(text=MODEL_TEXT)
def test_a_stream_of_single_characters_gives_the_same_answer(text: str) -> None:
    assert cited(list(text)) == cited([text])


@given(text=MODEL_TEXT)
def test_only_markers_and_white_space_are_taken_out_of_the_text(text: str) -> None:
    answer, _ = cited([text])
    kept = iter(text)
    assert all(character in kept for character in answer), "the answer is not a subsequence of the text"
    assert answer == answer.strip()


@given(text=MODEL_TEXT, places=st.lists(st.integers(0, 10_000), max_size=40))
def test_a_stop_is_found_wherever_the_stream_is_cut(text: str, places: list[int]) -> None:
    until = Until(STOPS)
    passed = "".join(until.feed(piece) for piece in cut(text, places)) + until.rest()
    first = min((text.find(stop) for stop in STOPS if stop in text), default=len(text))
    assert passed == text[:first]
    assert until.reached == (first < len(text))


@given(text=MODEL_TEXT, places=st.lists(st.integers(0, 10_000), max_size=20))
def test_the_final_answer_is_the_deltas_joined_whatever_the_model_says(text: str, places: list[int]) -> None:
    async def ask(pieces: list[str]) -> tuple[str, FinalAnswer]:
        shown = candidates(*TEXTS)
        answerer = Answerer([FakeEngine(pieces)], thresholds=Thresholds({}))
        events = [event async for event in answerer.answer("What is middleware?", shown)]
        final = events[-1]
        assert isinstance(final, FinalAnswer)
        check_spans(final.answer, final.citations, shown)
        return "".join(e.text for e in events if isinstance(e, Delta)), final

    deltas, final = asyncio.run(ask(cut(text, places)))
    _, whole = asyncio.run(ask([text]))
    assert deltas == final.answer == whole.answer
    assert final.citations == whole.citations


@given(
    texts=st.lists(MODEL_TEXT, min_size=1, max_size=4),
    question=st.sampled_from(["What is middleware?", "长江有多长？", "?", "ship [1]"]),
)
def test_a_quoted_answer_is_made_of_the_documents_own_words_whatever_they_hold(texts: list[str], question: str) -> None:
    async def quote() -> None:
        shown = candidates(*texts)
        answer, citations = "", []
        async for event in Extractive().write(question, shown, "en"):
            if isinstance(event, Delta):
                answer += event.text
            elif isinstance(event, Citation):
                citations.append(event)
        check_spans(answer, citations, shown)
        quoted = "".join(answer[slice(*citation.answer_span)] for citation in citations)
        assert "".join(quoted.split()) == "".join(answer.split())

    asyncio.run(quote())
