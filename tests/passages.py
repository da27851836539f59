"""Candidates for tests of answers, with documents whose offsets can be checked."""

from __future__ import annotations

from collections.abc import Sequence

from generation.events import Citation
from retrieval.types import Candidate, Passage, StageScore

LEAD = "…前言… "
"""Stands in every document before its passage, so that offsets are not zero and not bytes."""


def candidates(*texts: str, title: str = "", scored_by: str = "fused", scores: Sequence[float] = ()) -> list[Candidate]:
    """One candidate a text, best first; document ``d<n>`` is ``LEAD`` and the text."""
    found = []
    for number, text in enumerate(texts):
        passage = Passage(f"d{number}#0", f"d{number}", text, (len(LEAD), len(LEAD) + len(text)), title=title)
        score = scores[number] if scores else 1 / (number + 1)
        found.append(Candidate(passage, score, scored_by, {scored_by: StageScore(number + 1, score)}))
    return found


def document_text(candidate: Candidate) -> str:
    return LEAD + candidate.passage.text


def check_spans(answer: str, citations: Sequence[Citation], shown: Sequence[Candidate]) -> None:
    """Every span is non-empty, in bounds, trimmed, and inside the passage that the citation names."""
    by_id = {candidate.passage.passage_id: candidate for candidate in shown}
    for citation in citations:
        candidate = by_id[citation.passage_id]
        first, last = candidate.passage.offsets
        start, end = citation.source_span
        assert first <= start < end <= last
        assert 0 <= citation.answer_span[0] < citation.answer_span[1] <= len(answer)
        quoted = document_text(candidate)[start:end]
        stated = answer[slice(*citation.answer_span)]
        assert quoted == quoted.strip() != ""
        assert stated == stated.strip() != ""
        if citation.verdict == "quoted":
            assert quoted == stated
    assert [citation.id for citation in citations] == [f"c{n}" for n in range(1, len(citations) + 1)]
