"""The way from a question and its candidates to a cited answer, or to the admission that there is none."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from generation.abstain import Thresholds, evidence, load_thresholds
from generation.engine import ChatModel, Engine
from generation.events import Citation, Delta, Event, FinalAnswer, SearchResults, Usage
from generation.extractive import Extractive
from generation.prompt import is_refusal
from generation.prompted import Prompted
from retrieval.analysis import language_of
from retrieval.errors import GenerationFailed, ModelMissing, Overloaded, Unavailable
from retrieval.types import Candidate, Language

__all__ = ["AnswerSettings", "Answerer", "Citation", "Delta", "Event", "FinalAnswer", "SearchResults", "Usage"]

NO_EVIDENCE: Mapping[Language, str] = {
    "en": "Nothing found in this collection answers that question.",
    "zh": "在这个文档集合中没有找到能回答这个问题的内容。",
}


@dataclass(frozen=True, slots=True)
class AnswerSettings:
    """How answers are made, whichever engine writes them."""

    passages: int = 8
    """At most so many candidates, best first, are read for an answer."""
    quoted_sentences: int = 3
    """At most so many sentences make an extractive answer."""
    abstain: bool = True
    """False answers whatever the evidence; with no candidate at all nothing can be answered either way."""


class Answerer:
    """Answers from candidates with the first engine that speaks the question's language and works.

    ``models`` come in order of preference; the extractive engine stands behind them all, and a
    fall onto it before the first delta is marked in ``FinalAnswer.degraded``.
    """

    def __init__(
        self,
        models: Iterable[ChatModel] = (),
        settings: AnswerSettings | None = None,
        thresholds: Thresholds | None = None,
    ) -> None:
        self.settings = settings or AnswerSettings()
        self._thresholds = thresholds if thresholds is not None else load_thresholds()
        self._engines: tuple[Engine, ...] = (
            *(Prompted(model) for model in models),
            Extractive(self.settings.quoted_sentences),
        )

    async def answer(self, question: str, candidates: Sequence[Candidate]) -> AsyncGenerator[Event, None]:
        """Deltas and citations as they come, then one FinalAnswer; closing it stops the engine.

        ``candidates`` best first, as ranking left them. Raises GenerationFailed when an engine
        breaks off after text was sent: that text cannot be taken back.
        """
        draft = _Draft()
        language = language_of(question)
        candidates = candidates[: self.settings.passages]
        carried = await asyncio.to_thread(self._carried, question, candidates, language)
        draft.ms["evidence"] = draft.elapsed_ms()
        for engine in self._engines if carried else ():
            if not {"*", language} & set(engine.languages):
                continue
            try:
                async with aclosing(engine.write(question, candidates, language)) as events:
                    async for event in events:
                        if draft.take(event):
                            yield event  # type: ignore[misc]  # take() is False for usage, the one that is no Event
            except (Unavailable, Overloaded, ModelMissing, GenerationFailed) as error:
                if draft.text:
                    raise GenerationFailed(f"{engine.name} broke off: {error.detail}", stage="generation") from error
                draft.degraded = ("generation",)
                continue
            if draft.text:
                yield draft.final(engine.name, abstained=is_refusal(draft.text))
                return
            draft.degraded = ("generation",)
        nothing = Delta(NO_EVIDENCE[language])
        draft.take(nothing)
        yield nothing
        yield draft.final("none", abstained=True)

    async def ready(self) -> Mapping[str, str]:
        """Engine name to ``ok`` or to the reason why it cannot write now."""
        return {engine.name: await engine.ready() for engine in self._engines}

    def _carried(self, question: str, candidates: Sequence[Candidate], language: Language) -> bool:
        if not candidates:
            return False
        return not self.settings.abstain or self._thresholds.carry(evidence(question, candidates, language))


@dataclass(slots=True)
class _Draft:
    """What has been sent so far, and when."""

    text: str = ""
    citations: list[Citation] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)
    degraded: tuple[str, ...] = ()
    ms: dict[str, float] = field(default_factory=dict)
    began: float = field(default_factory=time.perf_counter)

    def take(self, event: Delta | Citation | Usage) -> bool:
        """Note the event; True when the consumer should see it."""
        match event:
            case Usage():
                self.usage = event
                return False
            case Citation():
                self.citations.append(event)
            case Delta(text):
                if not self.text:
                    self.ms["first_delta"] = self.elapsed_ms()
                self.text += text
        return True

    def elapsed_ms(self) -> float:
        return round((time.perf_counter() - self.began) * 1000, 3)

    def final(self, engine: str, *, abstained: bool) -> FinalAnswer:
        self.ms["total"] = self.elapsed_ms()
        return FinalAnswer(
            self.text, tuple(self.citations), abstained, self.usage, dict(self.ms), engine, self.degraded
        )
