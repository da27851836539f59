"""Pairs of a statement and a passage whose verdict is known, made of a statement and the sentences it rests on."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from eval.directions import directions, opposed, reversed_
from eval.planted import Language, folded, planted
from retrieval.analysis import analyse

SUPPORTED, CONTRADICTED, ABSENT = range(3)

_CHARS_PER_TOKEN = {"en": 4.2, "zh": 1.5}


@dataclass(frozen=True, slots=True)
class Pair:
    """One thing to judge. ``label`` is its place in LABELS of eval/grounding.py.

    ``kind`` says how it came about: ``gold``, ``question``, ``sentence``, ``title``; a planted kind;
    ``answer`` (another answer to the same sort of question); ``elsewhere`` and ``removed`` of absent ones.
    """

    statement: str
    passage: str
    label: int
    language: Language
    kind: str
    source: str
    article: str


@dataclass(frozen=True, slots=True)
class Case:
    """A statement that sentence ``at`` of a paragraph says. ``article`` is text to take other names from,
    ``elsewhere`` paragraphs that do not say it, ``others`` statements with another answer, which are wrong."""

    statement: str
    sentences: tuple[str, ...]
    at: int
    language: Language
    kind: str
    source: str
    key: str
    article: str
    elsewhere: tuple[str, ...]
    answer: str = ""
    others: tuple[str, ...] = ()


def pairs_of(case: Case, tokens: int, rng: random.Random) -> Iterator[Pair]:
    """One pair of each verdict, as far as the case allows; passages of about ``tokens`` tokens or fewer.

    Where the statement is a sentence of the passage, the error is as often planted into the passage, and
    now and then into both: a planted error alone must not tell the verdict.
    """
    size = rng.uniform(0.4, 1.0) * tokens
    passage = around(case.sentences, [case.at], size, case.language, rng)
    wrong = _wrong(case, rng)
    turn = rng.random()
    if wrong and case.kind == "sentence" and turn < 0.5 and case.sentences[case.at] in passage:
        statement, other = case.sentences[case.at], wrong[0]
        swapped = passage.replace(statement, other)
        if turn < 0.3:
            yield _pair(case, case.statement, passage, SUPPORTED, case.kind)
            yield _pair(case, statement, swapped, CONTRADICTED, wrong[1])
        else:
            yield _pair(case, other, swapped, SUPPORTED, case.kind)
            yield _pair(case, other, passage, CONTRADICTED, wrong[1])
    elif (
        case.kind == "title" and turn < 0.4 and (turned := turned_around(case.statement, case.sentences[case.at], rng))
    ):
        yield _pair(case, case.statement, passage, SUPPORTED, case.kind)
        yield _pair(case, case.statement, passage.replace(case.sentences[case.at], turned), CONTRADICTED, "antonym")
    else:
        yield _pair(case, case.statement, passage, SUPPORTED, case.kind)
        if wrong:
            yield _pair(case, wrong[0], passage, CONTRADICTED, wrong[1])
    said = wrong[0] if wrong and rng.random() < 0.3 else case.statement
    rest = _without(case, size, rng)
    # A title's abstract says it in more places than one: it is absent only elsewhere.
    if rest and case.kind != "title" and rng.random() < (0.5 if case.elsewhere else 1.0):
        yield _pair(case, said, rest, ABSENT, "removed")
    elif case.elsewhere:
        far = _closest(said, case.elsewhere, size, case.language)
        yield _pair(case, said, far, ABSENT, "elsewhere")


def around(sentences: Sequence[str], kept: Sequence[int], size: float, language: Language, rng: random.Random) -> str:
    """The sentences ``kept``, what lies between them, and neighbours at random while it fits ``size`` tokens."""
    first, last = min(kept), max(kept)
    if length(" ".join(sentences[first : last + 1]), language) > size:
        return _joined([sentences[at] for at in sorted(set(kept))], language)
    while True:
        ends = [at for at in (first - 1, last + 1) if 0 <= at < len(sentences)]
        fits = [
            at for at in ends
            if length(" ".join(sentences[min(first, at) : max(last, at) + 1]), language) <= size
        ]  # fmt: skip
        if not fits:
            return _joined(sentences[first : last + 1], language)
        at = rng.choice(fits)
        first, last = min(first, at), max(last, at)


def length(text: str, language: Language) -> float:
    """Tokens of a text in the XLM-R vocabulary, estimated."""
    return len(text) / _CHARS_PER_TOKEN[language]


def turned_around(statement: str, evidence: str, rng: random.Random) -> str | None:
    """A sentence that rests a statement, with its only word of direction turned around, so that it contradicts it.

    None when it has none or several, or when the statement has none: it may then be about something else.
    """
    return reversed_(evidence, rng) if directions(statement) else None


def _joined(sentences: Sequence[str], language: Language) -> str:
    return ("" if language == "zh" else " ").join(sentences)


def _pair(case: Case, statement: str, passage: str, label: int, kind: str) -> Pair:
    return Pair(statement, passage, label, case.language, kind, case.source, case.key)


def _wrong(case: Case, rng: random.Random) -> tuple[str, str] | None:
    if case.kind == "sentence":
        # The whole sentence, so that either side can carry the error.
        return planted(case.sentences[case.at], case.article, case.language, rng)
    if case.others and rng.random() < 0.4:
        return rng.choice(case.others), "answer"
    if case.kind == "title" and rng.random() < 0.6 and (other := opposed(case.statement, rng)):
        return other, "antonym"
    return planted(case.statement, case.article, case.language, rng)


def _without(case: Case, size: float, rng: random.Random) -> str:
    """The paragraph's other sentences that stand nearest, unless they hold the answer too; "" when none is left."""
    rest = [sentence for at, sentence in enumerate(case.sentences) if at != case.at]
    if not rest or (case.answer and case.answer in _joined(rest, case.language)):
        return ""
    return around(rest, [min(max(case.at - rng.randint(0, 1), 0), len(rest) - 1)], size, case.language, rng)


def _closest(statement: str, passages: Sequence[str], size: float, language: Language) -> str:
    """Of passages the one that shares most words with the statement, cut at its beginning."""
    wanted = set(analyse(folded(statement)))
    best = max(passages, key=lambda passage: len(wanted & set(analyse(folded(passage)))))
    return best[: int(size * _CHARS_PER_TOKEN[language])]
