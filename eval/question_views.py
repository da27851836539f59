"""What a run shows of one question: passages by stage and grade, what another run moved, the answer, its sources."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

from eval.chart_rows import in_order
from eval.run_views import LoadedRun, outcome_of
from eval.runs import Failure, Judgement
from eval.targets import FINAL, Answered, Ranking, Shown


@dataclass(frozen=True, slots=True)
class PassageRow:
    """One passage as it was shown. ``grade`` is None where its document was not judged."""

    rank: int
    shown: Shown
    grade: int | None
    other_rank: int | None = None
    """Where the other run shows the same passage; None when it does not, or there is no other."""

    @property
    def moved(self) -> str:
        """Against the other run: ``only here``, ``=``, or by how many ranks up (▲) or down (▼)."""
        if self.other_rank is None:
            return "only here"
        by = self.other_rank - self.rank
        return "=" if by == 0 else f"{'▲' if by > 0 else '▼'}{abs(by)}"


@dataclass(frozen=True, slots=True)
class WantedRow:
    """A document judged relevant, and its rank at every stage that found it."""

    document_id: str
    grade: int
    ranks: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of an answer, and the numbers from 1 of the citations that cover it."""

    text: str
    citations: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class CitationRow:
    """A citation: which words of the answer, what they rest on, and how that was judged."""

    number: int
    statement: str
    passage_id: str
    document_id: str
    source_text: str
    verdict: str


@dataclass(frozen=True, slots=True)
class QuestionView:
    """All that one run holds of one question."""

    query_id: str
    text: str
    right: tuple[str, ...]
    """Answers that are right, as the set has them."""
    answerable: bool
    outcome: str
    error: Failure | None
    values: Mapping[str, Mapping[str, float]]
    """stage -> metric -> value."""
    passages: tuple[PassageRow, ...]
    wanted: tuple[WantedRow, ...]
    """The best judged first."""
    answer: Answered | None
    timings_ms: Mapping[str, float]
    judgements: tuple[Judgement, ...]


def question_view(run: LoadedRun, query_id: str, other: LoadedRun | None = None) -> QuestionView:
    """What ``run`` holds of a question; with ``other``, passages say where it has them. Empty for an unknown id."""
    question = run.questions.get(query_id)
    search, answer = run.searches.get(query_id), run.answers.get(query_id)
    found, answered = (search.found if search else None), (answer.found if answer else None)
    shown = found.shown if found else answered.shown if answered else ()
    ranks = _ranks_of(other, query_id) if other else {}
    grades = run.qrels.get(query_id, {})
    return QuestionView(
        query_id,
        question.text if question else "",
        question.answers if question else (),
        question.answerable if question else True,
        outcome_of(run, query_id),
        next((each.error for each in (search, answer) if each is not None and each.error is not None), None),
        {
            stage: {metric: values[query_id] for metric, values in run.by_query[stage].items() if query_id in values}
            for stage in in_order(set(run.by_query))
        },
        tuple(
            PassageRow(rank, each, grades.get(each.document_id), ranks.get(each.passage_id))
            for rank, each in enumerate(shown, 1)
        ),
        wanted_rows(grades, found.rankings if found else {}),
        answered,
        answered.timings_ms if answered else found.timings_ms if found else {},
        tuple(each for each in run.judgements if each.query_id == query_id),
    )


def wanted_rows(grades: Mapping[str, int], rankings: Mapping[str, Ranking]) -> tuple[WantedRow, ...]:
    """Where each relevant document stands at every stage: where it was lost, and where it was won."""
    places = {
        stage: {document_id: rank for rank, (document_id, _) in enumerate(rankings[stage], 1)}
        for stage in in_order(set(rankings))
    }
    wanted = sorted(
        ((grade, each) for each, grade in grades.items() if grade > 0), key=lambda pair: (-pair[0], pair[1])
    )
    return tuple(
        WantedRow(each, grade, {stage: ranks[each] for stage, ranks in places.items() if each in ranks})
        for grade, each in wanted
    )


def best_rank(view: QuestionView, stage: str = FINAL) -> int | None:
    """The rank of the first relevant document at a stage; None when it found none."""
    return min((row.ranks[stage] for row in view.wanted if stage in row.ranks), default=None)


def pieces_of(answer: Answered) -> list[Piece]:
    """The answer cut where citations begin and end; joined, the pieces are the answer."""
    spans = [(max(0, each.answer_span[0]), min(len(answer.answer), each.answer_span[1])) for each in answer.citations]
    cuts = sorted({0, len(answer.answer), *(place for span in spans for place in span)})
    return [
        Piece(
            answer.answer[start:end],
            tuple(number for number, span in enumerate(spans, 1) if span[0] <= start and end <= span[1]),
        )
        for start, end in itertools.pairwise(cuts)
    ]


def citation_rows(answer: Answered) -> list[CitationRow]:
    return [
        CitationRow(
            number,
            answer.answer[slice(*each.answer_span)],
            each.passage_id,
            each.document_id,
            each.source_text,
            each.verdict,
        )
        for number, each in enumerate(answer.citations, 1)
    ]


def worst_questions(run: LoadedRun, stage: str, metric: str, most: int) -> list[str]:
    """Ids of the questions with the lowest values, failed ones first, equal ones in the order of the set."""
    values = run.by_query.get(stage, {}).get(metric, {})
    failed = {each for each in run.questions if outcome_of(run, each).startswith("failed")}
    ordered = sorted(
        (each for each in run.questions if each in values), key=lambda each: (each not in failed, values[each])
    )
    return ordered[:most]


def moved_most(differences: Mapping[str, float], most: int) -> list[str]:
    """Ids of the questions that changed most between two runs, losses before equal gains."""
    changed = [each for each, value in differences.items() if value]
    return sorted(changed, key=lambda each: (-abs(differences[each]), differences[each], each))[:most]


def _ranks_of(run: LoadedRun, query_id: str) -> dict[str, int]:
    return {row.shown.passage_id: row.rank for row in question_view(run, query_id).passages}
