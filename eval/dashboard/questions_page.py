"""Page: one question in one run or in two side by side: passages, scores, answers, citations, verdicts."""

from __future__ import annotations

from collections.abc import Mapping

import streamlit as st

from eval.dashboard.parts import choose_other, choose_run, heading, html, note, show_grid
from eval.dashboard.source import Source, opened
from eval.html import Markup, cited_answer, cut, element, number, table
from eval.question_views import (
    CitationRow,
    PassageRow,
    QuestionView,
    citation_rows,
    moved_most,
    question_view,
    worst_questions,
)
from eval.run_overview import headline
from eval.run_tables import Table, value_table, verdict_table, wanted_table
from eval.run_views import LoadedRun, difference_of, question_rows
from eval.targets import STAGES

LONGEST = 700
"""Characters of a passage; the run folder holds it whole."""

SET, WORST, CHANGED = "as in the set", "worst first", "changed most first"


def show(source: Source) -> None:
    heading("Questions", "One question as two runs saw it: what each stage ranked where, what was answered and why.")
    first, second, third = st.columns([2, 2, 1])
    with first:
        row = choose_run(source, "Run", "run")
    if row is None:
        return
    with second:
        other_row = choose_other(source, row, "beside")
    run, other = opened(row), opened(other_row) if other_row else None
    query_id = _choose_question(run, other, third)
    if query_id is None:
        note("This run asked nothing yet.")
        return
    views = [question_view(run, query_id, other)]
    if other is not None:
        views.insert(0, question_view(other, query_id, run))
    _question(views[-1])
    columns = st.columns(len(views))
    for column, view, each in zip(columns, views, [other, run][-len(views) :], strict=True):
        with column:
            _side(view, each.name if each else "", beside=len(views) > 1)
    heading("All questions of the run")
    show_grid(_listed(run), "questions")


def _choose_question(run: LoadedRun, other: LoadedRun | None, place: st.delta_generator.DeltaGenerator) -> str | None:
    stage, metric = headline(run.metrics)
    orders = {SET: list(run.questions), WORST: worst_questions(run, stage, metric, len(run.questions))}
    if other is not None:
        moved = moved_most(difference_of(other, run, stage, metric), len(run.questions))
        orders = {CHANGED: [*moved, *(each for each in run.questions if each not in set(moved))], **orders}
    usable = [name for name, ids in orders.items() if ids]
    if not usable:
        return None
    order = str(place.selectbox("Order", usable, key=f"order-{other is not None}"))
    values = run.by_query.get(stage, {}).get(metric, {})

    def worded(query_id: str) -> str:
        value = f" · {metric} {values[query_id]:.3f}" if query_id in values else ""
        return f"{query_id} · {cut(run.questions[query_id].text, 120)}{value}"

    ids = orders[order]
    named = st.query_params.get("query")
    chosen = st.selectbox(
        "Question", ids, index=ids.index(named) if named in ids else 0, format_func=worded, key="query"
    )
    if chosen is None:
        return None
    st.query_params["query"] = str(chosen)  # the address names the question that is looked at
    return str(chosen)


def _question(view: QuestionView) -> None:
    known = " · ".join(view.right) if view.answerable else "nothing: the collection holds no answer"
    right = element("p", element("b", "Right: "), cut(known, LONGEST)) if view.right or not view.answerable else ""
    html(element("h3", view.text, dir="auto"), right)


def _side(view: QuestionView, name: str, *, beside: bool) -> None:
    html(element("h4", name), element("p", f"{view.outcome} · {_times(view.timings_ms)}", class_="note"), class_="side")
    if view.error is not None:
        html(element("p", f"{view.error.code}: {view.error.detail}", class_="bad"))
    if view.answer is not None:
        html(cited_answer(view.answer), *map(_citation, citation_rows(view.answer)), class_="answered")
    for title, rows in (
        ("Verdicts", verdict_table(view)),
        ("Relevant documents, and their rank at each stage", wanted_table(view)),
    ):
        if rows:
            html(element("p", element("b", title)), table(rows, most=20))
    if view.passages:
        html(element("p", element("b", "Passages")), *(_passage(row, beside) for row in view.passages))
    with st.expander("Metrics of this question"):
        html(table(value_table(view)))


def _citation(row: CitationRow) -> Markup:
    verdict = f" ({row.verdict})" if row.verdict else ""
    source = f"[{row.number}] {row.document_id or row.passage_id}{verdict}: {cut(row.source_text, 240)}"
    return element("p", source, class_="note", dir="auto")


def _passage(row: PassageRow, beside: bool) -> Markup:
    grade = "not judged" if row.grade is None else f"grade {row.grade}"
    marks = [element("span", grade, class_="grade right" if row.grade else "grade")]
    if beside:
        marks.append(element("span", f" {row.moved} "))
    stages = " · ".join(
        f"{stage} {row.shown.stages[stage][0]} ({row.shown.stages[stage][1]:.4g})"
        for stage in STAGES
        if stage in row.shown.stages
    )
    return element(
        "article",
        element("p", element("b", f"{row.rank}. {row.shown.title or row.shown.document_id} "), *marks, dir="auto"),
        element("p", f"{row.shown.document_id} · score {number(row.shown.score)} · {stages}", class_="note"),
        element("p", cut(row.shown.text, LONGEST), dir="auto"),
    )


def _times(timings: Mapping[str, float]) -> str:
    return ", ".join(f"{stage} {ms:,.0f} ms" for stage, ms in timings.items()) or "not timed"


def _listed(run: LoadedRun) -> Table:
    rows = question_rows(run)
    measured = list(dict.fromkeys(name for row in rows for name in row.values))
    return Table(
        ("query", "question", "outcome", "ms", *measured),
        tuple((row.query_id, row.text, row.outcome, row.ms, *map(row.values.get, measured)) for row in rows),
    )
