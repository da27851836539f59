"""A question to the lexical channel: which terms score, which phrases must stand there, which words only begin."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from retrieval.analysis import Analysis, language_of
from retrieval.lexical_scoring import BODY, FIELDS, Statistics

MAX_QUERY_TERMS: Final = 64
"""Of a longer query the rarest terms are kept: common ones cost most and say least."""

MAX_EXPANSIONS: Final = 32
"""Terms that one prefix stands for at most, the most frequent first."""

_PHRASE = re.compile(r'["＂]([^"＂]*)["＂]')
_PREFIX = re.compile(r"(?<!\S)([\w.\-]*\w)\*(?!\S)")


@dataclass(frozen=True, slots=True)
class LexicalQuery:
    """A query once analysed, the same for every part of a snapshot. Empty (and false) when nothing can match."""

    terms: Mapping[str, int]
    """Terms and how often the query holds them; each passage is scored by those it shares."""
    phrases: tuple[tuple[str, ...], ...] = ()
    """Runs of terms that must stand side by side in the body, each if it does so anywhere at all; they do not score,
    their terms do."""
    prefixes: tuple[str, ...] = ()
    """Beginnings of body terms; each stands for the most frequent terms that begin so."""

    def __bool__(self) -> bool:
        return bool(self.terms or self.prefixes)

    def keys(self) -> Iterator[tuple[str, str]]:
        """Field and term of everything whose frequency the scores need, prefixes apart."""
        return ((field, term) for term in self.terms for field in FIELDS)


@dataclass(frozen=True, slots=True)
class ScoredTerm:
    """One summand of BM25: ``weight`` holds the field's weight, the term's count in the query, and the idf."""

    field: str
    term: str
    weight: float


def parse_query(text: str, analysis: Analysis) -> LexicalQuery:
    """Read what a person typed: words, ``"phrases in quotes"`` that must stand there, and ``beginn*``.

    Any text is a query; a quote without its partner, or a star that ends no word, is punctuation. A single word in
    quotes is a word, since questions mention names so; in Chinese, without spaces between words, it is a phrase.
    Synonyms of what stands there are added with the count of one.
    """
    quoted = [match.group(1) for match in _PHRASE.finditer(text)]
    phrases = [
        piece
        for each in quoted
        if len(each.split()) > 1 or language_of(each) == "zh"
        for piece in analysis.pieces(each)
    ]
    plain = _PHRASE.sub(lambda match: f" {match.group(1)} ", text)
    prefixes = [analysis.prefix(match.group(1)) for match in _PREFIX.finditer(plain)]
    terms = Counter(analysis(plain))
    for term in _synonyms(plain, analysis):
        terms.setdefault(term, 1)
    return LexicalQuery(dict(terms), tuple(dict.fromkeys(phrases)), tuple(dict.fromkeys(prefixes)))


def widened(query: LexicalQuery, rewordings: Sequence[str], analysis: Analysis) -> LexicalQuery:
    """``query`` with the terms of other texts that mean the same: each that it lacks counts once; no phrase more."""
    terms = dict(query.terms)
    for text in rewordings:
        for term in analysis(text):
            terms.setdefault(term, 1)
    return LexicalQuery(terms, query.phrases, query.prefixes)


def scored_terms(query: LexicalQuery, statistics: Statistics) -> list[ScoredTerm]:
    """What a passage's score sums over, the rarest ``MAX_QUERY_TERMS`` terms when there are more.

    Depends on the query and on ``statistics`` alone, so that every part of a snapshot scores alike.
    """
    known = {term: statistics.frequencies.get((BODY, term), 0) for term in query.terms}
    held = sorted((frequency, term) for term, frequency in known.items() if frequency)
    scored = [
        ScoredTerm(field, term, weight * query.terms[term] * idf)
        for _, term in held[:MAX_QUERY_TERMS]
        for field, weight in FIELDS.items()
        if (idf := statistics.idf(field, term))
    ]
    return scored + [
        ScoredTerm(BODY, term, FIELDS[BODY] * statistics.idf(BODY, term))
        for term in _expansions(query, statistics)
        if term not in query.terms
    ]


def required_phrases(query: LexicalQuery, statistics: Statistics) -> list[tuple[str, ...]]:
    """The phrases that stand somewhere; one that stands nowhere was a mention, and its words count as words."""
    return [phrase for phrase in query.phrases if statistics.frequencies.get(phrase_key(phrase))]


def phrase_key(phrase: tuple[str, ...]) -> tuple[str, str]:
    """Under which statistics count a phrase: as a term of the body, with the spaces that no term has."""
    return BODY, " ".join(phrase)


def _expansions(query: LexicalQuery, statistics: Statistics) -> list[str]:
    """Terms that the prefixes stand for: those that ``statistics`` counted, the most frequent of each."""
    found: dict[str, None] = {}
    for prefix in query.prefixes:
        begin = [
            (-frequency, term)
            for (field, term), frequency in statistics.frequencies.items()
            if field == BODY and frequency and term.startswith(prefix)
        ]
        found |= dict.fromkeys(term for _, term in sorted(begin)[:MAX_EXPANSIONS])
    return list(found)


def _synonyms(text: str, analysis: Analysis) -> Iterator[str]:
    """Terms of the other members of each group of which one stands in ``text``."""
    if not analysis.settings.synonyms:
        return
    asked = analysis.pieces(text)
    for group in analysis.settings.synonyms:
        pieces = [analysis.pieces(member) for member in group]
        present = [all(any(_holds(run, part) for run in asked) for part in parts) for parts in pieces]
        if any(present):
            for member, stands in zip(group, present, strict=True):
                if not stands:
                    yield from analysis(member)


def _holds(run: tuple[str, ...], part: tuple[str, ...]) -> bool:
    """Whether ``part`` stands somewhere in ``run``, side by side."""
    return any(run[start : start + len(part)] == part for start in range(len(run) - len(part) + 1))
