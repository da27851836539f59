"""Answers that are quotations."""

from __future__ import annotations

from generation.events import Citation, Delta
from generation.extractive import LONGEST_QUOTE, Extractive, best_sentences
from retrieval.types import Candidate, Language
from tests.passages import candidates, check_spans


async def quote(question: str, shown: list[Candidate], language: Language = "en", most: int = 3) -> tuple[str, int]:
    answer, citations = "", []
    async for event in Extractive(most).write(question, shown, language):
        if isinstance(event, Delta):
            answer += event.text
        elif isinstance(event, Citation):
            citations.append(event)
    check_spans(answer, citations, shown)
    assert all(c.verdict == "quoted" for c in citations)
    return answer, len(citations)


async def test_the_sentence_that_covers_the_question_comes_first_and_word_for_word() -> None:
    shown = candidates(
        "Harbours are busy places.\nThe harbour of Rotterdam is the largest in Europe. It has cranes.",
        "Hamburg also has a harbour.",
    )
    answer, count = await quote("What is the largest harbour in Europe?", shown)
    assert answer.startswith("The harbour of Rotterdam is the largest in Europe.")
    assert count >= 1


async def test_no_more_sentences_than_asked_for() -> None:
    shown = candidates(*(f"Harbour number {n} is large and old." for n in range(9)))
    assert (await quote("Which harbour is large?", shown, most=2))[1] <= 2


async def test_two_sentences_that_say_the_same_are_quoted_once() -> None:
    text = "The harbour of Rotterdam is the largest in Europe."
    answer, count = await quote("Which harbour is the largest in Europe?", candidates(text, text, text))
    assert (answer, count) == (text, 1)


async def test_chinese_sentences_are_quoted_without_a_blank_between() -> None:
    shown = candidates("长江是中国最长的河流。长江全长约6300公里。黄河在北方。")
    answer, _ = await quote("中国最长的河流长江有多长？", shown, "zh")
    assert "长江全长约6300公里。" in answer
    assert " " not in answer


async def test_a_question_without_content_words_still_gets_the_best_passage() -> None:
    answer, count = await quote("what is it?", candidates("Ships sail.", "Cars drive."))
    assert answer.startswith("Ships sail.")
    assert count


async def test_candidates_without_words_give_no_answer() -> None:
    assert await quote("Which harbour?", candidates("—", "   ")) == ("", 0)


def test_a_sentence_without_end_is_quoted_in_part() -> None:
    shown = candidates("harbour " * 300)
    (sentence,) = best_sentences("harbour", [shown[0].passage], 3)
    assert len(sentence.text) <= LONGEST_QUOTE
    assert sentence.text.endswith("harbour")


def test_a_word_of_the_question_that_stands_in_the_heading_counts_for_the_sentences_below() -> None:
    shown = candidates("It is opened with a key.", "It is opened with a crank.", title="The valve")
    other = candidates("It is opened with a lever.", title="The bridge")
    found = best_sentences("How is the valve opened?", [other[0].passage, shown[0].passage], 1)
    assert found[0].text == "It is opened with a key."
