"""Whether the citations of an answer carry it: by what a grounding model says of statement and passage, or by gold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eval.targets import Answered, Shown
from generation.prompt import is_refusal
from retrieval.sentences import sentences

Check = Callable[[Sequence[tuple[str, str]]], NDArray[np.float32]]
"""``(statement, passage)`` pairs to probabilities ``[n, 3]``: supported, contradicted, absent (``Grounder.check``)."""


@dataclass(frozen=True, slots=True)
class Statement:
    """One sentence of an answer, and the passages that it cites, each once."""

    text: str
    cited: tuple[str, ...]
    """Texts of the passages, as the reader was shown them."""


@dataclass(frozen=True, slots=True)
class CitationScores:
    """Of one answer, all 0 to 1."""

    recall: float
    """Share of statements that their citations, read together, support."""
    precision: float
    """Share of citations that are of use to a supported statement; 0.0 without any citation."""
    groundedness: float
    """Share of statements that some shown passage supports, cited or not."""


def statements_of(found: Answered) -> list[Statement]:
    """The sentences of an answer with what each cites; a sentence that only says that nothing was found is left out.

    A citation belongs to the sentences that its span touches. What is read is the whole shown passage; the cited
    words alone where the target did not show it.
    """
    shown = {each.passage_id: passage_text(each) for each in found.shown}
    statements = []
    for start, end in sentences(found.answer):
        text = found.answer[start:end]
        touching = [each for each in found.citations if each.answer_span[0] < end and each.answer_span[1] > start]
        cited = {each.passage_id: shown.get(each.passage_id) or each.source_text for each in touching}
        if not is_refusal(text):
            statements.append(Statement(text, tuple(each for each in cited.values() if each)))
    return statements


def passage_text(shown: Shown) -> str:
    """What the reader sees of a passage: its title, where it has one, above its text."""
    return f"{shown.title}\n{shown.text}" if shown.title else shown.text


def citation_scores(found: Answered, check: Check) -> CitationScores | None:
    """Citation recall and precision as ALCE defines them (Gao et al., EMNLP 2023), and groundedness.

    A citation is of no use when its statement is not supported by all of its citations together, or when it does not
    support the statement alone and the others do without it. None for an answer without a statement. One call of
    ``check`` with every pair that can matter.
    """
    statements = statements_of(found)
    if not statements:
        return None
    passages = [passage_text(each) for each in found.shown]
    pairs: dict[tuple[str, str], int] = {}
    for each in statements:
        for passage in (*passages, *_readings(each.cited)):
            pairs.setdefault((each.text, passage), len(pairs))
    verdicts = supported(check(list(pairs))) if pairs else np.empty(0, np.bool_)

    def supports(statement: str, passage: str) -> bool:
        return bool(verdicts[pairs[statement, passage]])

    carried = [bool(each.cited) and supports(each.text, _joined(each.cited)) for each in statements]
    of_use = sum(_of_use(each, supports) for each, whole in zip(statements, carried, strict=True) if whole)
    citations = sum(len(each.cited) for each in statements)
    grounded = [any(supports(each.text, passage) for passage in passages) for each in statements]
    return CitationScores(
        recall=sum(carried) / len(statements),
        precision=of_use / citations if citations else 0.0,
        groundedness=sum(grounded) / len(statements),
    )


def supported(probabilities: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Whether support is the likeliest of the three, by pair."""
    verdicts: NDArray[np.bool_] = probabilities.argmax(1) == 0
    return verdicts


def _of_use(statement: Statement, supports: Callable[[str, str], bool]) -> int:
    """How many citations of a supported statement are of use."""
    if len(statement.cited) == 1:
        return 1
    return sum(
        supports(statement.text, each) or not supports(statement.text, _without(statement.cited, place))
        for place, each in enumerate(statement.cited)
    )


def _readings(cited: Sequence[str]) -> list[str]:
    """All of them together; with several also each alone, and all but each."""
    if len(cited) < 2:
        return list(cited)
    return [_joined(cited), *cited, *(_without(cited, place) for place in range(len(cited)))]


def _without(cited: Sequence[str], place: int) -> str:
    return _joined([*cited[:place], *cited[place + 1 :]])


def _joined(cited: Sequence[str]) -> str:
    return "\n".join(cited)
