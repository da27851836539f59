"""The part of a report that lists every question: its answer with citations, its passages, what judges said."""

from __future__ import annotations

from collections.abc import Iterator

from eval.html import Markup, cited_answer, cut, element, table
from eval.question_views import QuestionView, citation_rows, question_view
from eval.run_tables import Table, passage_table, verdict_table, wanted_table
from eval.run_views import LoadedRun

MOST_QUESTIONS = 1_000
MOST_PASSAGES = 5
LONGEST = 500
"""Characters of a passage; the run folder holds it whole."""
LONGEST_ANSWER = 4_000


def questions(run: LoadedRun, other: LoadedRun | None = None) -> Iterator[Markup]:
    """A line for each question that opens; ``other`` is the run that its passages are compared with."""
    if not run.questions:
        return
    left = len(run.questions) - MOST_QUESTIONS
    yield element(
        "p",
        f"The best {MOST_PASSAGES} passages of each question, the first {LONGEST} characters of them; the run folder "
        f"holds all.{f' The first {MOST_QUESTIONS:,} questions: {left:,} more are in the folder.' if left > 0 else ''}",
        class_="note",
    )
    for place, query_id in enumerate(list(run.questions)[:MOST_QUESTIONS], 1):
        yield _question(question_view(run, query_id, other), place, other.name if other else "")


def _question(view: QuestionView, place: int, other: str) -> Markup:
    failed = view.outcome.startswith("failed")
    outcome = element("span", view.outcome, class_="outcome bad" if failed else "outcome")
    summary = element("summary", element("b", view.query_id), " ", cut(view.text, 300), outcome)
    return element("details", summary, element("div", *_parts(view, place, other)))


def _parts(view: QuestionView, place: int, other: str) -> Iterator[Markup]:
    if view.error is not None:
        yield element("p", f"{view.error.code}: {cut(view.error.detail, LONGEST)}", class_="bad")
    if view.right or not view.answerable:
        known = " · ".join(view.right) if view.answerable else "nothing: the collection holds no answer"
        yield element("p", element("b", "Right: "), cut(known, LONGEST))
    if view.answer is not None:
        yield from _answer(view, f"q{place}-c")
    if verdicts := verdict_table(view):
        yield element("h3", "Verdicts")
        yield table(verdicts)
    if wanted := wanted_table(view):
        yield element("h3", "Relevant documents and their rank at each stage")
        yield table(wanted, most=10)
    if passages := passage_table(view, other):
        yield element("h3", "Passages")
        yield table(Table(passages.columns, passages.rows[:MOST_PASSAGES]), longest=LONGEST)


def _answer(view: QuestionView, prefix: str) -> Iterator[Markup]:
    answer = view.answer
    if answer is None:
        return
    if len(answer.answer) > LONGEST_ANSWER:
        yield element("p", cut(answer.answer, LONGEST_ANSWER), class_="answer", dir="auto")
    else:
        yield cited_answer(answer, prefix)
    waited = {stage: ms for stage, ms in view.timings_ms.items() if stage in ("client_first", "client")}
    times = (f"{stage} {ms:,.0f} ms" for stage, ms in waited.items())
    yield element("p", " · ".join(filter(None, (answer.engine, *times))), class_="note")
    for row in citation_rows(answer):
        source = f"{row.document_id or row.passage_id}: {cut(row.source_text, LONGEST)}"
        verdict = f" ({row.verdict})" if row.verdict else ""
        yield element("p", f"[{row.number}]{verdict} {source}", id=f"{prefix}{row.number}", dir="auto")
