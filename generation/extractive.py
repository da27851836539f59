"""Answers without a model: the sentences of the candidates that say most of what was asked, word for word."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

from generation.events import Citation, Delta, Usage
from generation.overlap import TermWeights, content_terms
from retrieval.analysis import sentences
from retrieval.types import Candidate, Language, Passage

LONGEST_QUOTE = 400
"""Code points; a longer sentence (a table, a listing) is quoted up to the last white space before this."""

RANK_WEIGHT = 0.35
"""What standing first among the candidates is worth, beside a full coverage of the question at 1."""

HEADING_WEIGHT = 0.3
"""What a question term is worth that stands in the passage around the sentence and not in it."""

WORTH_ADDING = 0.6
"""A further sentence is quoted when it scores at least this share of the best one."""

TOO_ALIKE = 0.6
"""Two sentences that share more of their terms than this (Jaccard) are not both quoted."""


@dataclass(frozen=True, slots=True)
class _Sentence:
    passage: Passage
    span: tuple[int, int]
    """In the passage's text."""
    terms: frozenset[str]
    around: frozenset[str]
    """Terms of the whole passage, its headings included."""
    place: int
    """Of the passage among the candidates, from 0."""

    @property
    def text(self) -> str:
        return self.passage.text[slice(*self.span)]


class Extractive:
    """The engine that needs nothing; every citation is ``quoted``, its two spans hold the same text."""

    name = "extractive"
    languages = ("*",)

    def __init__(self, most: int = 3) -> None:
        self._most = most

    async def write(
        self, question: str, candidates: Sequence[Candidate], language: Language
    ) -> AsyncGenerator[Delta | Citation | Usage, None]:
        """One delta and one citation a sentence; nothing at all when the candidates hold no text."""
        chosen = await asyncio.to_thread(best_sentences, question, [c.passage for c in candidates], self._most)
        position = 0
        previous: _Sentence | None = None
        for number, sentence in enumerate(chosen, 1):
            gap = _gap(previous, sentence, language)
            yield Delta(gap + sentence.text)
            start = position + len(gap)
            position = start + len(sentence.text)
            offset = sentence.passage.offsets[0]
            source = (offset + sentence.span[0], offset + sentence.span[1])
            yield Citation(f"c{number}", (start, position), sentence.passage.passage_id, source, "quoted")
            previous = sentence

    async def ready(self) -> str:
        return "ok"


def best_sentences(question: str, passages: Sequence[Passage], most: int) -> list[_Sentence]:
    """At most ``most`` sentences: the best first, then the others, by passage and in reading order.

    A sentence scores by the share of the question's weight that it covers, terms weighing by their
    rarity among all sentences, and by how well its passage ranked. Ties go to the earlier one.
    """
    pool = [sentence for place, passage in enumerate(passages) for sentence in _sentences(place, passage)]
    wanted = set(content_terms(question))
    weights = TermWeights(sentence.terms for sentence in pool)

    def score(sentence: _Sentence) -> float:
        direct = weights.coverage(wanted, sentence.terms)
        around = weights.coverage(wanted, sentence.around - sentence.terms)
        return direct + HEADING_WEIGHT * around + RANK_WEIGHT / (1 + sentence.place)

    ranked = sorted(pool, key=lambda s: (-score(s), s.place, s.span))
    chosen: list[_Sentence] = []
    for sentence in ranked:
        if len(chosen) == most or score(sentence) < WORTH_ADDING * score(ranked[0]):
            break
        if all(_alike(sentence.terms, other.terms) <= TOO_ALIKE for other in chosen):
            chosen.append(sentence)
    return chosen[:1] + sorted(chosen[1:], key=lambda s: (s.place, s.span))


def _sentences(place: int, passage: Passage) -> list[_Sentence]:
    around = frozenset(content_terms(passage.full_text))
    found = []
    for start, end in sentences(passage.text):
        span = (start, start + _quotable(passage.text[start:end]))
        terms = frozenset(content_terms(passage.text[slice(*span)]))
        if terms:
            found.append(_Sentence(passage, span, terms, around, place))
    return found


def _quotable(sentence: str) -> int:
    if len(sentence) <= LONGEST_QUOTE:
        return len(sentence)
    head = sentence[:LONGEST_QUOTE]
    cut = max(head.rfind(" "), head.rfind("\n"))
    return len(head[:cut].rstrip()) if cut > LONGEST_QUOTE // 2 else LONGEST_QUOTE


def _alike(a: frozenset[str], b: frozenset[str]) -> float:
    return len(a & b) / len(a | b) if a | b else 1.0


def _gap(previous: _Sentence | None, sentence: _Sentence, language: Language) -> str:
    if previous is None:
        return ""
    if previous.place != sentence.place:
        return "\n\n"
    return "" if language == "zh" else " "
