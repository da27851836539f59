"""Run folders for tests: written as an evaluation writes them, small, and the same for the same seed."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eval.datasets import Qrels, Question
from eval.retrieval_metrics import evaluate_by_query
from eval.runs import (
    BY_QUERY,
    METRICS,
    TIMINGS,
    AnswerRecord,
    Failure,
    Judgement,
    Manifest,
    RunFolder,
    SearchRecord,
    percentiles,
)
from eval.targets import Answered, Cited, Ranking, Searched, Shown

NOISE = {"lexical": 1.4, "dense": 1.0, "fused": 0.7, "rerank": 0.4, "final": 0.4}
"""How far each stage's scores stray from the truth; less is better."""

MEASURED = ("nDCG@10", "RR@10", "R@20")

TOPICS: Mapping[str, tuple[str, str]] = {
    "Who designed the lighthouse at Skerryvore?": (
        "Alan Stevenson",
        "Alan Stevenson designed the lighthouse at Skerryvore, and it was built between 1838 and 1844. Its granite "
        "came from the island of Tiree and later from the Isle of Mull.",
    ),
    "When was its lamp first lit?": (
        "1 February 1844",
        "The lamp was first lit on the first of February 1844. Until 1994 keepers lived there; the light has been "
        "automatic since.",
    ),
    "How long does a sourdough starter ferment?": (
        "a week",
        "A starter of flour and water ferments for a week before the first loaf. Bake the loaf in a covered pot.",
    ),
    "What does a heron wait for?": (
        "minnows",
        "A heron waits motionless for quicksilver minnows. It hunts at the edge of the estuary.",
    ),
    "When does the estuary freeze?": (
        "in January",
        "The estuary freezes in January. In a mild winter the channel stays open all year.",
    ),
    "How do ferns unroll?": ("in spring", "Ferns unroll in spring, from the base of the frond towards its tip."),
}
"""Question -> right answer and the passage that holds it; further questions are of numbered topics."""


@dataclass(frozen=True, slots=True)
class Made:
    """What a run is to be like."""

    seed: int = 0
    questions: int = 6
    noise: float = 1.0
    """Times ``NOISE``; more is worse."""
    rerank_ms: float = 60.0
    created: str = "2026-05-03T10:00:00+00:00"
    dataset: str = "harbour"
    answers: bool = False
    failing: Sequence[str] = ()
    """Ids of questions whose search, and answer, fails."""
    hostile: str = ""
    """Put into the text and title of every passage, every question and every answer."""
    settings: Mapping[str, Any] = field(default_factory=dict)


def write_run(path: Path, made: Made = Made()) -> RunFolder:
    """A finished run of ``made.questions`` questions, over two documents a question."""
    run, draw = RunFolder(path), random.Random(made.seed)
    questions, qrels, passages = _set(made)
    failures = {"search": len(made.failing)} | ({"answer": len(made.failing)} if made.answers else {})
    run.write_manifest(
        Manifest(
            id=path.name,
            created=made.created,
            target={
                "kind": "riddle in process",
                "collection": "harbour",
                "settings": {"rank.depth": round(made.rerank_ms / 3), "recall.depth": 100},
            },
            dataset={"name": made.dataset, "split": "test", "queries": len(questions), "documents": len(passages)},
            settings={"k": 20, "metrics": list(MEASURED), "seed": made.seed, **made.settings},
            machine="a test machine, 2 cores",
            commit="0123456789ab",
            version="0.1.0",
            finished=True,
            seconds={"index": 2.5, "search": 0.1 * len(questions)},
            failures=failures,
        )
    )
    run.write_questions(questions, qrels)
    for query_id in questions:
        if query_id in made.failing:
            run.append(SearchRecord(query_id, error=Failure("unavailable", "the service did not answer in 5 s")))
        else:
            run.append(SearchRecord(query_id, _searched(query_id, qrels, passages, made, draw)))
    if made.answers:
        _write_answers(run, questions, made, draw)
    _write_scores(run, qrels)
    return run


def _set(made: Made) -> tuple[dict[str, Question], Qrels, dict[str, Shown]]:
    topics = list(TOPICS.items())[: made.questions]
    for number in range(len(topics), made.questions):
        topics.append((f"What is kept in room {number}?", (f"box {number}", f"Room {number} keeps box {number}.")))
    questions, qrels, passages = {}, {}, {}
    for number, (asked, (answer, text)) in enumerate(topics, 1):
        query_id, document_id = f"q{number}", f"d{number}"
        questions[query_id] = Question(asked + made.hostile, (answer,))
        qrels[query_id] = {document_id: 2, f"{document_id}-more": 1}
        for name, grade_text in ((document_id, text), (f"{document_id}-more", f"More of {asked[:-1].lower()}.")):
            passages[name] = Shown(f"{name}#1", name, 0.0, grade_text + made.hostile, name + made.hostile)
    return questions, qrels, passages


def _searched(query_id: str, qrels: Qrels, passages: Mapping[str, Shown], made: Made, draw: random.Random) -> Searched:
    rankings: dict[str, Ranking] = {}
    for stage in NOISE:
        noise = NOISE[stage] * made.noise
        scored = {name: qrels[query_id].get(name, 0) + draw.gauss(0, noise) for name in passages}
        ordered = sorted(scored.items(), key=lambda pair: (-pair[1], pair[0]))
        rankings[stage] = tuple(ordered[:10] if stage == "rerank" else ordered[:20])
    places = {stage: {name: (rank, score) for rank, (name, score) in enumerate(rankings[stage], 1)} for stage in NOISE}
    shown = tuple(
        Shown(
            passages[name].passage_id,
            name,
            score,
            passages[name].text,
            passages[name].title,
            {stage: ranks[name] for stage, ranks in places.items() if name in ranks},
        )
        for name, score in rankings["final"][:5]
    )
    timings = {
        "lexical": 4 + draw.random(),
        "dense": 6 + draw.random(),
        "rerank": made.rerank_ms * (0.8 + draw.random()),
    }
    timings["client"] = sum(timings.values()) + 2
    return Searched(rankings, shown, timings, "harbour@3", "miss", ("rerank",) if draw.random() < 0.1 else ())


def _write_answers(run: RunFolder, questions: Mapping[str, Question], made: Made, draw: random.Random) -> None:
    found = {record.query_id: record.found for record in run.searches()}
    for number, (query_id, question) in enumerate(questions.items(), 1):
        searched = found[query_id]
        if searched is None:
            run.append(AnswerRecord(query_id, error=Failure("generation_failed", "the model ended early")))
            continue
        source = searched.shown[0]
        abstained = number % 5 == 0
        text = "The sources do not say." if abstained else f"{question.answers[0]}.{made.hostile} {source.text}"
        cited = Cited(
            (len(text) - len(source.text), len(text)), source.passage_id, source.document_id, source.text, "quoted"
        )
        timings = {"first_delta": 200 + 50 * draw.random(), "client_first": 260.0, "client": 900 + 100 * draw.random()}
        citations = () if abstained else (cited,)
        usage = {"prompt_tokens": 400, "completion_tokens": 40}
        run.append(
            AnswerRecord(
                query_id,
                Answered(text, abstained, citations, searched.shown, timings, "smollm2", "harbour@3", (), usage),
            )
        )
        for repeat in (0, 1):
            run.append(Judgement(query_id, "faithfulness", "local:grounding", round(draw.random(), 3), repeat=repeat))
        unread = number == 2
        run.append(
            Judgement(query_id, "answer_relevancy", "vllm", None if unread else 0.8, "not JSON" if unread else "")
        )


def _write_scores(run: RunFolder, qrels: Qrels) -> None:
    searches, answers = list(run.searches()), list(run.answers())
    by_query: dict[str, dict[str, dict[str, float]]] = {}
    for stage in NOISE:
        rankings = {each.query_id: each.found.rankings[stage] for each in searches if each.found}
        run.write_trec(stage, rankings)
        by_query[stage] = evaluate_by_query(qrels, {each: dict(ranked) for each, ranked in rankings.items()}, MEASURED)
    if answers:
        by_query["answer"] = {
            "exact_match": {each.query_id: float(each.query_id == "q1") for each in answers},
            "f1": {each.query_id: 0.5 if each.found else 0.0 for each in answers},
        }
    run.write_json(BY_QUERY, by_query)
    run.write_json(
        METRICS,
        {
            stage: {name: sum(values.values()) / len(values) for name, values in metrics.items()}
            for stage, metrics in by_query.items()
        },
    )
    samples: dict[str, list[float]] = {}
    for record in searches:
        for stage, ms in (record.found.timings_ms if record.found else {}).items():
            samples.setdefault(stage, []).append(ms)
    run.write_json(TIMINGS, {stage: percentiles(values) for stage, values in samples.items()})
