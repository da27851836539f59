"""Metrics of answers that need no judge: nearness to gold, citations, abstentions, and ids as RAGAS counts them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from eval.answer_scores import answer_scores, id_context
from eval.answer_spans import contains, exact_match, f1
from eval.citation_scores import citation_scores, statements_of
from eval.datasets import Question
from eval.runs import AnswerRecord, Failure
from eval.targets import Answered, Cited, Shown


def answered(
    text: str, shown: Sequence[Shown] = (), cited: Sequence[tuple[str, str]] = (), *, abstained: bool = False
) -> Answered:
    """``cited`` are pairs of a sentence of ``text`` and a passage id."""
    spans = [(text.index(sentence), text.index(sentence) + len(sentence), passage) for sentence, passage in cited]
    citations = tuple(Cited((start, end), passage, source_text=f"words of {passage}") for start, end, passage in spans)
    return Answered(text, abstained, citations, tuple(shown), {"client": 1.0})


def shown(name: str, text: str) -> Shown:
    return Shown(f"{name}#0", name, 1.0, text)


def check(pairs: Sequence[tuple[str, str]]) -> NDArray[np.float32]:
    """Supported when every word of the statement is in the passage."""
    rows = [
        [1.0, 0.0, 0.0] if set(s.lower().strip(".").split()) <= set(p.split()) else [0.0, 0.0, 1.0] for s, p in pairs
    ]
    return np.array(rows, np.float32).reshape(-1, 3)


@pytest.mark.parametrize(
    ("answer", "golds", "em", "overlap"),
    [
        ("The  Eiffel-Tower!", ["eiffeltower"], 1.0, 1.0),
        ("a cat", ["the cat.", "dog"], 1.0, 1.0),
        ("It was Alan Stevenson.", ["Alan Stevenson"], 0.0, 2 * 0.5 * 1 / 1.5),
        ("Stevenson Stevenson", ["Alan Stevenson"], 0.0, 0.5),
        ("nobody", ["Alan Stevenson", "Nobody"], 1.0, 1.0),
        ("nothing of it", ["Alan"], 0.0, 0.0),
        ("", ["Alan"], 0.0, 0.0),
        ("Alan", [], 0.0, 0.0),
    ],
)
def test_english_answers_are_compared_as_squad_compares_them(
    answer: str, golds: list[str], em: float, overlap: float
) -> None:
    assert exact_match(answer, golds, "en") == em
    assert f1(answer, golds, "en") == pytest.approx(overlap)


@pytest.mark.parametrize(
    ("answer", "golds", "em", "overlap"),
    [
        ("《长城》，", ["长城"], 1.0, 1.0),
        ("在1998年。", ["1998年"], 0.0, 2 * 2 / (3 + 2)),  # a number is one piece
        ("使用 iPhone 手机", ["iPhone手机"], 0.0, 2 * 3 / (5 + 3)),
        # The longest common run counts, not the bag: 海南 and 南海 share one character in a row.
        ("海南", ["南海"], 0.0, 0.5),
        ("上海海洋大学", ["上海大学", "北京"], 0.0, 2 * 2 / (6 + 4)),
        ("", ["北京"], 0.0, 0.0),
    ],
)
def test_chinese_answers_are_compared_as_cmrc_compares_them(
    answer: str, golds: list[str], em: float, overlap: float
) -> None:
    assert exact_match(answer, golds, "zh") == em
    assert f1(answer, golds, "zh") == pytest.approx(overlap)


def test_a_gold_answer_is_contained_as_whole_words_or_as_a_run_of_characters() -> None:
    assert contains("It was designed by Alan Stevenson, I think.", ["the alan stevenson"], "en")
    assert not contains("It was designed by Alan Stevensons.", ["Alan Stevenson"], "en")
    assert not contains("anything", ["the"], "en")  # nothing is left of it
    assert contains("据说，长城长21196千米。", ["21196千米"], "zh")
    assert not contains("据说，长城长21196千米。", ["96千米"], "zh")


async def test_ids_are_counted_as_ragas_counts_them() -> None:
    from ragas.dataset_schema import SingleTurnSample
    from ragas.metrics._context_precision import IDBasedContextPrecision
    from ragas.metrics._context_recall import IDBasedContextRecall

    draws = random.Random(7)
    for _ in range(50):
        seen = draws.choices("abcdefgh", k=draws.randint(1, 6))
        relevant = set(draws.choices("abcdefgh", k=draws.randint(1, 4)))
        sample = SingleTurnSample(retrieved_context_ids=seen, reference_context_ids=sorted(relevant))
        assert id_context(seen, relevant) == {
            "id_context_precision": await IDBasedContextPrecision()._single_turn_ascore(sample, None),
            "id_context_recall": await IDBasedContextRecall()._single_turn_ascore(sample, None),
        }
    assert id_context([], {"a"}) == {"id_context_precision": 0.0, "id_context_recall": 0.0}
    assert id_context(["a"], set()) == {}


def test_citations_are_counted_as_alce_counts_them() -> None:
    passages = [shown("a", "one two"), shown("b", "three four"), shown("c", "one two three"), shown("d", "nine")]
    text = "One two. One four. Five six. Three."
    found = answered(
        text,
        passages,
        [
            ("One two.", "a#0"),  # carries it alone
            ("One two.", "d#0"),  # adds nothing
            ("One four.", "a#0"),  # only together with the next
            ("One four.", "b#0"),
            ("Five six.", "a#0"),  # does not carry it
        ],
    )
    scores = citation_scores(found, check)
    assert scores is not None
    assert scores.recall == 2 / 4  # the third is not carried, the fourth cites nothing
    assert scores.precision == 3 / 5
    assert scores.groundedness == 2 / 4  # one two, and three; "one four" is in no single passage


def test_citations_that_carry_a_statement_each_alone_are_all_of_use() -> None:
    passages = [shown("a", "one two"), shown("c", "one two three")]
    scores = citation_scores(answered("one two.", passages, [("one two.", "a#0"), ("one two.", "c#0")]), check)
    assert scores is not None
    assert (scores.recall, scores.precision) == (1.0, 1.0)


def test_a_cited_passage_that_was_not_shown_is_read_by_its_own_words() -> None:
    (statement,) = statements_of(answered("one two.", [], [("one two.", "x#0")]))
    assert statement.cited == ("words of x#0",)
    scores = citation_scores(answered("words.", [], [("words.", "x#0")]), check)
    assert scores is not None
    assert (scores.recall, scores.precision, scores.groundedness) == (1.0, 1.0, 0.0)


def test_an_answer_without_a_statement_has_no_citation_scores() -> None:
    assert citation_scores(answered(""), check) is None


WHO = Question("Who built it?", ("Alan Stevenson",))
RIGHT, WRONG = shown("d1", "Alan Stevenson built it."), shown("d2", "Nobody knows.")


def scores_of(question: Question, found: Answered | None, qrels: dict[str, int] | None = None) -> dict[str, Any]:
    error = None if found else Failure("unavailable", "away")
    scores = answer_scores([AnswerRecord("q", found, error)], {"q": question}, {"q": qrels} if qrels else {})
    return {metric: values["q"] for metric, values in scores.items()}


def test_a_right_answer_scores() -> None:
    text = "Alan Stevenson built it. So they say."
    scores = scores_of(WHO, answered(text, [WRONG, RIGHT], [("Alan Stevenson built it.", "d1#0")]), {"d1": 1})
    assert scores == {
        "answered": 1.0,
        "exact_match": 0.0,
        "f1": pytest.approx(2 * 2 / (7 + 2)),
        "gold_contained": 1.0,
        "evidence_shown": 1.0,
        "evidence_answered": 1.0,
        "statements_cited": 0.5,
        "citation_gold_precision": 1.0,
        "citation_gold_recall": 1.0,
        "id_context_precision": 0.5,
        "id_context_recall": 1.0,
    }


def test_a_refusal_is_right_where_no_passage_held_the_answer() -> None:
    refused = scores_of(WHO, answered("I cannot tell.", [WRONG], abstained=True))
    assert (refused["abstention_right"], refused["f1"], refused["evidence_shown"]) == (1.0, 0.0, 0.0)
    assert "evidence_answered" not in refused
    wrongly = scores_of(WHO, answered("I cannot tell.", [RIGHT], abstained=True))
    assert (wrongly["abstention_right"], wrongly["evidence_answered"]) == (0.0, 0.0)


def test_an_unanswerable_question_is_right_when_it_is_refused() -> None:
    asked = Question("Who is nobody?", answerable=False)
    assert scores_of(asked, answered("Nothing.", abstained=True)) == {
        "answered": 0.0, "exact_match": 1.0, "f1": 1.0, "unanswerable_refused": 1.0, "abstention_right": 1.0,
    }  # fmt: skip
    made_up = scores_of(asked, answered("He was a king."))
    assert (made_up["unanswerable_refused"], made_up["f1"], made_up["answered"]) == (0.0, 0.0, 1.0)


def test_an_error_counts_zero_wherever_it_is_counted() -> None:
    scores = scores_of(WHO, None, {"d1": 1})
    assert set(scores.values()) == {0.0}
    assert {"exact_match", "f1", "answered", "id_context_recall", "evidence_shown"} <= set(scores)
    assert "abstention_right" not in scores
    assert scores_of(Question("Who is nobody?", answerable=False), None)["unanswerable_refused"] == 0.0


def test_without_gold_answers_citations_are_right_by_the_judged_documents() -> None:
    asked = Question("Who built it?")
    found = answered("A. B.", [RIGHT, WRONG], [("A.", "d1#0"), ("B.", "d2#0")])
    scores = scores_of(asked, found, {"d2": 1, "d1": 0})
    assert (scores["citation_gold_precision"], scores["citation_gold_recall"]) == (0.5, 1.0)
    assert not {"f1", "abstention_right", "evidence_shown"} & set(scores)
    assert "citation_gold_precision" not in scores_of(asked, found)
