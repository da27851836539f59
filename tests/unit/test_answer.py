"""Which engine answers, when nobody does, and what is sent on the way."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing

import pytest

from generation.abstain import Thresholds
from generation.answer import NO_EVIDENCE, Answerer, AnswerSettings
from generation.events import Citation, Delta, Event, FinalAnswer, Usage
from retrieval.errors import GenerationFailed, ModelMissing, Overloaded, RiddleError, Unavailable
from retrieval.types import Candidate
from tests.fake_engines import FakeEngine
from tests.passages import candidates, check_spans

TEXTS = ("Middleware is a framework of hooks.", "Add it to the MIDDLEWARE list in the settings.")
ANYTHING = Thresholds({})
QUESTION = "How is middleware added to the settings?"


async def ask(answerer: Answerer, question: str, shown: Sequence[Candidate]) -> tuple[list[Event], FinalAnswer]:
    events = [event async for event in answerer.answer(question, shown)]
    final = events[-1]
    assert isinstance(final, FinalAnswer)
    assert "".join(e.text for e in events if isinstance(e, Delta)) == final.answer
    assert tuple(e for e in events if isinstance(e, Citation)) == final.citations
    assert sum(isinstance(e, FinalAnswer) for e in events) == 1
    check_spans(final.answer, final.citations, shown)
    return events, final


async def test_a_model_answers_with_deltas_citations_and_usage() -> None:
    engine = FakeEngine(["Add it to the ", "MIDDLEWARE list", " [2", "]."])
    events, final = await ask(Answerer([engine], thresholds=ANYTHING), QUESTION, candidates(*TEXTS))
    assert (final.answer, final.engine, final.abstained) == ("Add it to the MIDDLEWARE list.", "fake", False)
    assert final.degraded == ()
    assert [c.passage_id for c in final.citations] == ["d1#0"]
    assert final.usage == Usage(final.usage.prompt_tokens, 4)
    assert final.usage.prompt_tokens > 0
    assert sum(isinstance(e, Delta) for e in events) >= 3
    assert final.timings_ms.keys() == {"evidence", "first_delta", "total"}


async def test_without_a_model_the_answer_is_quoted_and_not_degraded() -> None:
    _, final = await ask(Answerer(thresholds=ANYTHING), QUESTION, candidates(*TEXTS))
    assert (final.engine, final.degraded) == ("extractive", ())
    assert {c.verdict for c in final.citations} == {"quoted"}


async def test_a_model_of_another_language_is_passed_over_and_that_is_no_degradation() -> None:
    english = FakeEngine(["Yes."], languages=("en",))
    _, final = await ask(Answerer([english], thresholds=ANYTHING), "长江有多长？", candidates("长江全长约6300公里。"))
    assert (final.engine, final.answer, final.degraded) == ("extractive", "长江全长约6300公里。", ())
    assert english.asked == []


@pytest.mark.parametrize(
    "error", [Unavailable("gone"), Overloaded("full"), ModelMissing("none"), GenerationFailed("no")]
)
async def test_a_model_that_fails_before_the_first_delta_is_replaced_and_that_is_marked(error: RiddleError) -> None:
    _, final = await ask(Answerer([FakeEngine([], error=error)], thresholds=ANYTHING), QUESTION, candidates(*TEXTS))
    assert (final.engine, final.degraded) == ("extractive", ("generation",))
    assert final.citations


async def test_the_next_model_is_asked_before_quoting() -> None:
    models = [FakeEngine([], error=Unavailable("gone"), name="first"), FakeEngine(["Yes."], name="second")]
    _, final = await ask(Answerer(models, thresholds=ANYTHING), QUESTION, candidates(*TEXTS))
    assert (final.engine, final.degraded) == ("second", ("generation",))


async def test_a_model_that_says_nothing_is_replaced() -> None:
    _, final = await ask(Answerer([FakeEngine([" \n"])], thresholds=ANYTHING), QUESTION, candidates(*TEXTS))
    assert (final.engine, final.degraded) == ("extractive", ("generation",))


async def test_a_model_that_breaks_off_after_a_delta_is_an_error_because_text_cannot_be_taken_back() -> None:
    answerer = Answerer([FakeEngine(["Add it", " to"], error=GenerationFailed("out of memory"))], thresholds=ANYTHING)
    events = answerer.answer(QUESTION, candidates(*TEXTS))
    assert await anext(events) == Delta("Add it")
    assert await anext(events) == Delta(" to")
    with pytest.raises(GenerationFailed, match="out of memory"):
        await anext(events)


@pytest.mark.parametrize(("question", "language"), [(QUESTION, "en"), ("中间件是什么？", "zh")])
async def test_without_candidates_the_answer_is_a_plain_sentence_and_no_model_is_called(
    question: str, language: str
) -> None:
    engine = FakeEngine(["Yes."])
    _, final = await ask(Answerer([engine], AnswerSettings(abstain=False), ANYTHING), question, [])
    assert (final.abstained, final.citations, final.engine) == (True, (), "none")
    assert final.answer == NO_EVIDENCE["zh" if language == "zh" else "en"]
    assert engine.asked == []


async def test_weak_evidence_abstains_without_calling_the_model_unless_told_to_answer_anyway() -> None:
    engine = FakeEngine(["Yes."])
    strict = Thresholds({("en", "rerank"): 0.0})
    weak = candidates(*TEXTS, scored_by="rerank", scores=[0.4, 0.3])
    _, final = await ask(Answerer([engine], thresholds=strict), QUESTION, weak)
    assert (final.abstained, final.answer, engine.asked) == (True, NO_EVIDENCE["en"], [])
    _, final = await ask(Answerer([engine], AnswerSettings(abstain=False), strict), QUESTION, weak)
    assert (final.abstained, final.engine) == (False, "fake")


async def test_a_model_that_refuses_has_abstained() -> None:
    engine = FakeEngine(["The passages ", "do not say."])
    _, final = await ask(Answerer([engine], thresholds=ANYTHING), QUESTION, candidates(*TEXTS))
    assert (final.abstained, final.citations, final.engine) == (True, (), "fake")


async def test_candidates_without_a_word_are_no_evidence() -> None:
    _, final = await ask(Answerer(thresholds=ANYTHING), QUESTION, candidates("—"))
    assert (final.abstained, final.engine) == (True, "none")


async def test_a_model_that_goes_on_to_ask_itself_is_cut_off_and_stopped() -> None:
    engine = FakeEngine(["Add it.", "\n", "\nQues", "tion: How", " else?", " More", " and more"])
    _, final = await ask(Answerer([engine], thresholds=ANYTHING), QUESTION, candidates(*TEXTS))
    assert final.answer == "Add it."
    assert (engine.sent, engine.stopped) == (4, 1)


async def test_closing_the_answer_stops_the_model() -> None:
    engine = FakeEngine(["word "] * 1000)
    async with aclosing(Answerer([engine], thresholds=ANYTHING).answer(QUESTION, candidates(*TEXTS))) as events:
        async for _ in events:
            break
    assert engine.stopped == 1
    assert engine.sent <= 2


async def test_cancelling_the_consumer_stops_the_model() -> None:
    engine = FakeEngine(["word "] * 1000, delay_s=0.01)
    answerer = Answerer([engine], thresholds=ANYTHING)
    begun = asyncio.Event()

    async def consume() -> None:
        async with aclosing(answerer.answer(QUESTION, candidates(*TEXTS))) as events:
            async for _ in events:
                begun.set()

    task = asyncio.create_task(consume())
    await begun.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert engine.stopped == 1


async def test_only_as_many_candidates_as_the_settings_say_are_read() -> None:
    engine = FakeEngine(["Yes."])
    answerer = Answerer([engine], AnswerSettings(passages=1), ANYTHING)
    await ask(answerer, QUESTION, candidates(*TEXTS))
    assert "<passage 1>" in engine.asked[0][1].content
    assert "<passage 2>" not in engine.asked[0][1].content


async def test_readiness_names_every_engine() -> None:
    assert await Answerer([FakeEngine([])]).ready() == {"fake": "ok", "extractive": "ok"}
