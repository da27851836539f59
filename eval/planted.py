"""Plants an error into a statement: one number, name, unit, opposite or negation, so that its source contradicts it."""

from __future__ import annotations

import functools
import random
import re
from collections.abc import Callable, Mapping
from typing import Literal

from eval.planted_names import chinese_name_edits, english_name_edits
from eval.planted_numbers import Edit, number_edits
from eval.planted_words import CHINESE_NEGATIONS, CHINESE_OPPOSITES, CHINESE_UNITS, ENGLISH_OPPOSITES, ENGLISH_UNITS
from retrieval.analysis_han import SIMPLIFIED

Language = Literal["en", "zh"]
Kind = Literal["number", "name", "negation", "unit", "antonym"]
KINDS: tuple[Kind, ...] = ("number", "name", "negation", "unit", "antonym")

_AUXILIARY = re.compile(
    r"\b(is|are|was|were|can|could|will|would|should|must|does|did|do|"
    r"(?:has|have|had)(?= (?:been|become|shown|made|\w+ed)\b))\b(?! (?:not|never|no)\b)(?!n't)"
)
_VERB = re.compile(
    r"(?<=\w )(increase|decrease|reduce|promote|inhibit|induce|cause|lead|regulate|require|play|contribute|affect|"
    r"improve|enhance|suppress|control|mediate|activate|block|protect|produce|contain|provide|support|depend|act|"
    r"interact|bind|result|predict|prevent|impair|modulate|drive|alter|encode|express|participate|display|exhibit|"
    r"occur|remain|need|live|lie|include|belong|appear|work|allow|use|influence|determine|represent|correlate)s\b"
    r"(?= (?!of\b|in the number\b))"
)
_NEGATED = re.compile(r"\b(?:not|no|never|cannot|neither|nor|none|nothing|without|hardly|only)\b|n't", re.IGNORECASE)
_REMOVALS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\bcannot\b"), "can"),
    (
        re.compile(r"\b(is|are|was|were|has|have|had|can|could|will|would|should|must|does|did|do) not (?!only\b)"),
        r"\1 ",
    ),
    (re.compile(r"\b(is|are|was|were|has|have|had|could|would|should|does|did)n't "), r"\1 "),
    (re.compile(r"\bnever (?=\w+ed\b)"), ""),
    (re.compile(r"\b(has|have|had|is|was|shows|showed|plays) no (?!longer\b|more\b|less\b|one\b)"), r"\1 a clear "),
    (re.compile(r"\bno longer\b"), "still"),
)
_UNIT = re.compile(
    r"(?<=\d )(" + "|".join(sorted(map(re.escape, ENGLISH_UNITS), key=len, reverse=True)) + r")\b"
)  # fmt: skip
_HAN_UNIT = re.compile(
    r"(?<=[\d十百千万]) ?(" + "|".join(sorted(CHINESE_UNITS, key=len, reverse=True)) + r")(?![年月日])"
)  # fmt: skip
_HAN_NEGATED = re.compile(r"[不没沒未無无非]")
_HAN_YES_OR_NO = re.compile(r"是否|是不是|不仅|不只|不但|不仅仅|之一")
_KEPT = frozenset("面里台周困克出曲干谷只向才同占佣表升布采西系志舍丑")
"""Characters that are their own traditional form in the tables' words."""


def planted(statement: str, passage: str, language: Language, rng: random.Random) -> tuple[str, Kind] | None:
    """``statement`` with one planted error, and its kind; None when nothing can safely be changed.

    ``statement`` is one that ``passage`` supports; the passage (better, the article around it) gives the
    other names and numbers. The kinds are tried in random order, those that few sentences allow more often
    first. Chinese stays in its script, simplified or traditional.
    """
    for kind in sorted(KINDS, key=lambda each: rng.random() * (0.5 if each in ("antonym", "unit") else 1.0)):
        changed = planted_as(kind, statement, passage, language, rng)
        if changed is not None:
            return changed, kind
    return None


def planted_as(kind: Kind, statement: str, passage: str, language: Language, rng: random.Random) -> str | None:
    """The same for one kind. What comes out differs from the statement and does not stand in the passage."""
    edits = _EDITS[language][kind](statement, passage, rng)
    rng.shuffle(edits)
    for start, end, new in edits:
        if language == "zh" and folded(statement) != statement:
            new = traditional(new)
        changed = statement[:start] + new + statement[end:]
        if folded(changed).lower() != folded(statement).lower() and changed not in passage:
            return changed
    return None


def folded(text: str) -> str:
    """Chinese in simplified characters, one for one; other text stays."""
    return text.translate(SIMPLIFIED)


def traditional(text: str) -> str:
    """The words of this module's tables in traditional characters; no converter for running text."""
    return text.translate(_traditional())


@functools.cache
def _traditional() -> Mapping[int, str]:
    table: dict[int, str] = {}
    for code, simplified in SIMPLIFIED.items():
        if simplified not in _KEPT:
            table.setdefault(ord(simplified), chr(code))
    return table | {ord("钟"): "鐘", ord("并"): "並"}


def _english_negations(statement: str, passage: str, rng: random.Random) -> list[Edit]:
    removed: list[Edit] = []
    for pattern, new in _REMOVALS:
        match = pattern.search(statement)
        if match:
            removed.append((*match.span(), match.expand(new)))
    if removed or _NEGATED.search(statement):
        return removed
    added = [
        (*match.span(1), "cannot" if match.group(1) == "can" else f"{match.group(1)} not")
        for match in _AUXILIARY.finditer(statement)
    ]
    verbs = [(*match.span(), f"does not {match.group(1)}") for match in _VERB.finditer(statement)]
    # The first is the main clause's more often than a later one.
    return (added or verbs)[:1]


def _english_opposites(statement: str, passage: str, rng: random.Random) -> list[Edit]:
    edits = []
    for match in _english_opposite().finditer(statement):
        old = match.group()
        new = ENGLISH_OPPOSITES[old.lower()]
        edits.append((*match.span(), new.capitalize() if old[0].isupper() else new))
    return edits


@functools.cache
def _english_opposite() -> re.Pattern[str]:
    words = "|".join(sorted(map(re.escape, ENGLISH_OPPOSITES), key=len, reverse=True))
    # Not in names ("North Carolina", "World War I first") nor in compounds.
    return re.compile(rf"(?<![-\w])(?:(?<=\A)|(?<=\s)|(?<=\())(?:{words})(?![-\w])(?! (?-i:[A-Z]))", re.IGNORECASE)


def _english_units(statement: str, passage: str, rng: random.Random) -> list[Edit]:
    return [(*match.span(1), ENGLISH_UNITS[match.group(1)]) for match in _UNIT.finditer(statement)]


def _chinese_negations(statement: str, passage: str, rng: random.Random) -> list[Edit]:
    simple = folded(statement)
    if _HAN_YES_OR_NO.search(simple):
        return []
    negative = _HAN_NEGATED.search(simple) is not None
    for old, new in CHINESE_NEGATIONS:
        if (_HAN_NEGATED.search(old) is not None) != negative:
            continue
        at = simple.find(old)
        # 是 and 会 stand inside other words (于是, 社会); they count where the word is cut so.
        if at >= 0 and (len(old) > 1 or at in _word_starts(simple, old)):
            return [(at, at + len(old), new)]
    return []


def _word_starts(text: str, word: str) -> set[int]:
    import rjieba

    at, found = 0, set()
    for piece in rjieba.cut(text):
        if piece == word:
            found.add(at)
        at += len(piece)
    return found


def _chinese_opposites(statement: str, passage: str, rng: random.Random) -> list[Edit]:
    return [
        (*match.span(), CHINESE_OPPOSITES[match.group()]) for match in _chinese_opposite().finditer(folded(statement))
    ]


@functools.cache
def _chinese_opposite() -> re.Pattern[str]:
    return re.compile("|".join(sorted(CHINESE_OPPOSITES, key=len, reverse=True)))


def _chinese_units(statement: str, passage: str, rng: random.Random) -> list[Edit]:
    return [(*match.span(1), CHINESE_UNITS[match.group(1)]) for match in _HAN_UNIT.finditer(folded(statement))]


def _chinese_names(statement: str, passage: str, rng: random.Random) -> list[Edit]:
    return chinese_name_edits(statement, folded(statement), passage, rng)


_EDITS: Mapping[Language, Mapping[Kind, Callable[[str, str, random.Random], list[Edit]]]] = {
    "en": {
        "number": number_edits,
        "name": english_name_edits,
        "negation": _english_negations,
        "unit": _english_units,
        "antonym": _english_opposites,
    },
    "zh": {
        "number": number_edits,
        "name": _chinese_names,
        "negation": _chinese_negations,
        "unit": _chinese_units,
        "antonym": _chinese_opposites,
    },
}
