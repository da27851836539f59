"""Which sentence of the sources a statement of the answer rests on, by the model's marker or by its words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from generation.events import Citation, Delta, Span
from generation.overlap import TermWeights, content_terms, numbers
from generation.prompt import is_refusal
from retrieval.analysis import sentences
from retrieval.types import Passage

LEAST_COVERAGE = 0.5
"""An unmarked statement is tied to a source sentence that holds at least this share of its weight."""

LEAST_SHARED = 2
"""…and at least so many of its content terms, so that one common name ties nothing."""

_NUMBERS = r"[0-9]{1,2}(?:\s?[,，、;；–-]\s?[0-9]{1,2}){0,7}"
_WHOLE_MARKER = re.compile(rf"(\s*)[\[【]({_NUMBERS})[\]】]")
_MARKER_BEGUN = re.compile(r"\s*(?:[\[【](?:[0-9]{1,2}(?:\s?[,，、;；–-]\s?[0-9]{1,2}){0,7}(?:\s?[,，、;；–-]?\s?))?)?")
_RANGE = re.compile(r"([0-9]{1,2})\s?[–-]\s?([0-9]{1,2})")


class CitationStream:
    """Turns a model's text, in pieces cut anywhere, into deltas without markers and citations.

    The result depends on the text alone and not on where it was cut: every character goes through
    the same steps. What might be the beginning of a marker, and the white space before it, is held
    back until the next character decides. Numbers of no passage are dropped, with their marker.
    """

    def __init__(self, passages: Sequence[Passage]) -> None:
        self._sources = Sources(passages)
        self._code = _CodeState()
        self._text = ""
        self._held = ""
        self._open = 0
        """Where the first statement begins that has not been cited yet."""
        self._markers: list[tuple[int, int]] = []
        """Position in the text and passage number, of the open statements."""
        self._cited = 0

    def feed(self, piece: str) -> list[Delta | Citation]:
        """What the next piece of the model's text adds, citations right behind the statement they are of."""
        out: list[Delta | Citation] = []
        shown = ""
        for character in piece:
            for released in self._release(character):
                self._text += released
                shown += released
                self._code.see(released)
                if closed := self._closed(released):
                    out.extend([Delta(shown)] if shown else [])
                    out.extend(closed)
                    shown = ""
        if shown:
            out.append(Delta(shown))
        return out

    def close(self) -> list[Delta | Citation]:
        """The citations of the last statements; a marker cut off by the end of the text is dropped."""
        self._held = ""
        base, self._open = self._open, len(self._text)
        return [citation for span in sentences(self._text[base:]) for citation in self._cite(span, base)]

    def _release(self, character: str) -> str:
        """Characters that are text for certain, now that ``character`` has come."""
        if self._code.inside and character != "`":
            return self._flush(character)
        held = self._held + character
        if marker := _WHOLE_MARKER.fullmatch(held):
            self._held = ""
            gap = marker[1] if "\n" in marker[1] and self._text else ""
            position = len(self._text) + len(gap)
            self._markers += [(position, n) for n in _listed(marker[2]) if n in self._sources]
            return gap
        if _MARKER_BEGUN.fullmatch(held):
            self._held = held
            return ""
        if _MARKER_BEGUN.fullmatch(character):
            released, self._held = self._held, character
            return released if self._text else released.lstrip()
        return self._flush(character)

    def _flush(self, character: str) -> str:
        released, self._held = self._held + character, ""
        return released if self._text else released.lstrip()

    def _closed(self, released: str) -> list[Citation]:
        """Citations of the statements that end before the word that ``released`` begins."""
        before = self._text[-2:-1]
        if released.isspace() or (before.isalnum() and before.isascii()):
            return []
        spans = sentences(self._text[self._open :])
        if len(spans) < 2:
            return []
        base = self._open
        self._open += spans[-1][0]
        return [citation for span in spans[:-1] for citation in self._cite(span, base)]

    def _cite(self, span: Span, base: int) -> list[Citation]:
        start, end = base + span[0], base + span[1]
        marked = list(dict.fromkeys(number for position, number in self._markers if position <= end))
        self._markers = [(position, number) for position, number in self._markers if position > end]
        statement = self._text[start:end]
        if is_refusal(statement):
            return []
        found: list[Source | None] = [self._sources.nearest(statement, number) for number in marked]
        found = found or [self._sources.aligned(statement)]
        citations = []
        for source in found:
            if source is not None:
                self._cited += 1
                citations.append(
                    Citation(f"c{self._cited}", (start, end), source.passage.passage_id, source.span, "closest")
                )
        return citations


@dataclass(frozen=True, slots=True)
class Source:
    """A stretch of a passage that a statement can rest on; ``span`` counts in the document's text."""

    passage: Passage
    span: Span
    terms: frozenset[str]
    numbers: frozenset[str]


class Sources:
    """The sentences of the passages that the model was shown, ready to be compared with."""

    def __init__(self, passages: Sequence[Passage]) -> None:
        self._passages = {number: passage for number, passage in enumerate(passages, 1) if passage.text.strip()}
        self._sentences = {number: _split(passage) for number, passage in self._passages.items()}
        self._weights = TermWeights((s.terms for found in self._sentences.values() for s in found), floor=1.0)

    def __contains__(self, number: int) -> bool:
        return number in self._passages

    def nearest(self, statement: str, number: int) -> Source:
        """The sentence of passage ``number`` nearest to the statement; the whole passage when none shares a word."""
        terms, stated = frozenset(content_terms(statement)), numbers(statement)
        best = max(self._sentences[number], key=lambda s: self._closeness(terms, stated, s))
        return best if terms & best.terms else _whole(self._passages[number])

    def aligned(self, statement: str) -> Source | None:
        """The sentence of any passage that says most of the statement; None below the floors.

        Every number of the statement must stand in the sentence: a changed figure is another claim.
        """
        terms, stated = frozenset(content_terms(statement)), numbers(statement)
        fitting = [
            source
            for found in self._sentences.values()
            for source in found
            if stated <= source.numbers
            and len(terms & source.terms) >= min(LEAST_SHARED, len(terms))
            and self._weights.coverage(terms, source.terms) >= LEAST_COVERAGE
        ]
        return max(fitting, key=lambda s: self._closeness(terms, stated, s), default=None)

    def _closeness(self, terms: frozenset[str], stated: frozenset[str], source: Source) -> tuple[float, float]:
        """Share of the statement's weight and of its numbers; then how little else the sentence says."""
        shared = len(stated & source.numbers) / len(stated) if stated else 1.0
        return self._weights.coverage(terms, source.terms) + 0.5 * shared, self._weights.coverage(source.terms, terms)


def _split(passage: Passage) -> list[Source]:
    return [_source(passage, span) for span in sentences(passage.text)]


def _whole(passage: Passage) -> Source:
    spans = sentences(passage.text)
    return _source(passage, (spans[0][0], spans[-1][1]))


def _source(passage: Passage, span: Span) -> Source:
    text = passage.text[slice(*span)]
    first = passage.offsets[0]
    return Source(passage, (first + span[0], first + span[1]), frozenset(content_terms(text)), numbers(text))


def _listed(numbers_text: str) -> list[int]:
    """``1, 3-5`` gives 1, 3, 4, 5."""
    spread = _RANGE.sub(lambda m: ",".join(map(str, range(int(m[1]), min(int(m[2]), int(m[1]) + 8) + 1))), numbers_text)
    return [int(number) for number in re.findall("[0-9]+", spread)]


class _CodeState:
    """Whether the text is inside a Markdown code span or fence, where ``[1]`` is an index and no marker."""

    def __init__(self) -> None:
        self._ticks = 0
        self._fence = False
        self._span = False

    @property
    def inside(self) -> bool:
        if self._ticks >= 3:
            return not self._fence
        return self._fence or self._span != (self._ticks > 0)

    def see(self, character: str) -> None:
        if character == "`":
            self._ticks += 1
            return
        if self._ticks >= 3:
            self._fence, self._span = not self._fence, False
        elif self._ticks and not self._fence:
            self._span = not self._span
        self._ticks = 0
        if character == "\n":
            self._span = False
