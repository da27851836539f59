"""One drafted question: what it rests on, what is wrong with it, and the file in which drafts wait for a person."""

from __future__ import annotations

import dataclasses
import json
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from generation.overlap import content_terms, numbers
from retrieval.analysis import analyse
from retrieval.errors import InvalidRequest
from retrieval.types import Language, Passage

LEAST_IN_PASSAGE = 0.8
"""Share of an answer's words that must stand in the passage for it to rest on it."""
LONGEST = 200
"""Characters of a question."""

_NOT_BY_ITSELF = re.compile(
    r"\b(?:(?:this|the|that|given|above) (?:passage|text|excerpt|paragraph|snippet)|according to the passage)\b"
    r"|本文|上文|下文|这段|该段|这篇|文中|资料中",
    re.IGNORECASE,
)
_LETTERS = re.compile(r"[\W_]+")


@dataclass(frozen=True, slots=True)
class Drafted:
    """What a writer makes of a passage. ``evidence`` is the passage's own words that prove the answer."""

    question: str
    answer: str
    evidence: str


@dataclass(frozen=True, slots=True)
class Draft:
    """A line of the file; `eval.datasets.open_dataset` reads those that are ``accepted``."""

    id: str
    question: str
    answers: tuple[str, ...]
    document_id: str
    passage_id: str
    evidence: str
    title: str
    language: Language
    by: str
    """``rules``, or the name of the model that wrote it."""
    rank: int | None = None
    """Where today's search has the document for this question, from 1; None when not in what was looked at."""
    status: str = "draft"
    """``draft``, ``accepted`` or ``rejected``."""
    edited: bool = False


def problems(drafted: Drafted, passage: Passage) -> tuple[str, ...]:
    """Why a draft is not worth a person's time; empty when it is."""
    question, answer = drafted.question.strip(), drafted.answer.strip()
    found = []
    if not content_terms(question) or len(question) > LONGEST:
        found.append("no question")
    if _NOT_BY_ITSELF.search(question):
        found.append("speaks of the passage")
    if letters(question) and letters(question) in letters(passage.text):
        found.append("copied from the passage")
    if not drafted.evidence.strip() or letters(drafted.evidence) not in letters(passage.text):
        found.append("evidence not in the passage")
    if not answer or not _rests_on(answer, passage):
        found.append("answer not in the passage")
    elif set(content_terms(answer)) <= set(content_terms(question)):
        found.append("answers itself")
    return tuple(found)


def letters(text: str) -> str:
    """Letters and digits alone, in one case: what is left when white space, marks and width do not count."""
    return _LETTERS.sub("", unicodedata.normalize("NFKC", text).casefold())


def read_drafts(path: Path) -> list[Draft]:
    """Raises InvalidRequest when there is no such file, or a line is no draft."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise InvalidRequest(f"{path}: no such file; `riddle eval make-set` writes it") from error
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            found.append(_DRAFT.validate_json(line))
        except ValidationError as error:
            raise InvalidRequest(f"{path} line {number} is no draft: {error.errors()[0]['msg']}") from error
    return found


def write_drafts(path: Path, drafts: Iterable[Draft]) -> None:
    """Put these in the place of all that the file holds, in one step."""
    aside = path.with_name(f".{path.name}.new")
    aside.write_text("".join(map(as_line, drafts)), encoding="utf-8")
    aside.replace(path)


def as_line(draft: Draft) -> str:
    return json.dumps(dataclasses.asdict(draft), ensure_ascii=False) + "\n"


def _rests_on(answer: str, passage: Passage) -> bool:
    """Word for word, or most of its words and all of its numbers."""
    if letters(answer) in letters(passage.full_text):
        return True
    terms = content_terms(answer)
    held = set(analyse(passage.full_text))
    covered = sum(term in held for term in terms) >= LEAST_IN_PASSAGE * len(terms)
    return bool(terms) and covered and numbers(answer) <= numbers(passage.full_text)


_DRAFT = TypeAdapter(Draft)
