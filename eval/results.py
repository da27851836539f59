"""What one finished run came to, as comparing needs it: values by query, times by query, failures, judges unfit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from eval.datasets import Qrels
from eval.evaluate import ANSWER
from eval.runs import JUDGES, AnswerRecord, ByQuery, Manifest, RunFolder, SearchRecord
from retrieval.errors import InvalidRequest

SEARCH = "search"


@dataclass(frozen=True, slots=True)
class Judged:
    """Who judged a metric of answers, and why that judge is not believed; empty when it is."""

    judge: str
    doubt: str


@dataclass(frozen=True, slots=True)
class Results:
    """One run. Stages of answers' times have ``answer.`` before them, as in ``timings.json``."""

    name: str
    manifest: Manifest
    questions: Mapping[str, str]
    """By query id: the words."""
    qrels: Qrels
    by_query: ByQuery
    times: Mapping[str, Mapping[str, float]]
    """stage -> query id -> milliseconds."""
    caches: Mapping[str, str] = field(default_factory=dict)
    """query id -> what the cache said of its search; times are compared only where it said the same twice."""
    failed: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """``search`` and ``answer`` -> queries that brought an error."""
    answered: bool = False
    """Whether it asked for answers at all."""
    degraded: int = 0
    """Searches and answers that the service marked as degraded."""
    judged: Mapping[str, Judged] = field(default_factory=dict)
    """Of metrics of answers that a judge made."""

    def value(self, stage: str, metric: str, query_id: str) -> float | None:
        """Of rankings, 0.0 for a query without one. None of answers of which the metric says nothing.

        Those are answers that brought an error, unless the metric counts them 0 itself, and failed judgements.
        """
        found = self.by_query.get(stage, {}).get(metric, {}).get(query_id)
        return 0.0 if found is None and stage != ANSWER else found


def results_of(run: RunFolder) -> Results:
    """Read a run. Raises InvalidRequest for one that is not finished, IndexUnreadable for one that is damaged."""
    manifest = run.manifest()
    if not manifest.finished:
        raise InvalidRequest(f"{run.path} is not finished; run it again with the same arguments to go on")
    times: dict[str, dict[str, float]] = {}
    caches: dict[str, str] = {}
    failed: dict[str, set[str]] = {}
    degraded = 0
    answered = False
    for part, prefix, record in _records(run):
        answered = answered or part == ANSWER
        if record.found is None:
            failed.setdefault(part, set()).add(record.query_id)
            continue
        degraded += bool(record.found.degraded)
        for stage, milliseconds in record.found.timings_ms.items():
            times.setdefault(prefix + stage, {})[record.query_id] = milliseconds
        if isinstance(record, SearchRecord):
            caches[record.query_id] = record.found.cache
    return Results(
        name=run.name,
        manifest=manifest,
        questions={query_id: question.text for query_id, question in run.questions().items()},
        qrels=run.qrels(),
        by_query=run.by_query(),
        times=times,
        caches=caches,
        failed={part: frozenset(queries) for part, queries in failed.items()},
        answered=answered,
        degraded=degraded,
        judged=_judged(run),
    )


def _records(run: RunFolder) -> Iterator[tuple[str, str, SearchRecord | AnswerRecord]]:
    yield from ((SEARCH, "", record) for record in run.searches())
    yield from ((ANSWER, f"{ANSWER}.", record) for record in run.answers())


def _judged(run: RunFolder) -> dict[str, Judged]:
    """Which judge each metric's values are of, as ``judges.json`` tells it."""
    found: dict[str, Judged] = {}
    for judge, entry in (run.json(JUDGES) or {}).items():
        accuracy = entry.get("balanced_accuracy")
        doubt = f"the judge {judge} was not calibrated"
        if accuracy is not None:
            doubt = "" if entry.get("fit") is True else f"the judge {judge} is unfit (balanced accuracy {accuracy:.2f})"
        found |= dict.fromkeys(entry.get("metrics", ()), Judged(judge, doubt))
    return found
