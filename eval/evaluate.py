"""Carries out one evaluation run: asks every question once, keeps what came of it, and scores it by stage."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from typing import TypeVar

from eval.answer_scores import answer_scores
from eval.datasets import Dataset
from eval.retrieval_metrics import evaluate_by_query
from eval.runs import (
    BY_QUERY,
    METRICS,
    TIMINGS,
    AnswerRecord,
    Failure,
    Manifest,
    RunFolder,
    SearchRecord,
    percentiles,
)
from eval.stages import as_run
from eval.targets import STAGES, AnswerTarget, Ranking, SearchTarget
from retrieval.errors import Conflict, GateFailed, RiddleError

DEFAULT_METRICS = ("nDCG@10", "RR@10", "R@20", "R@100", "AP@100", "Judged@10")
ANSWER = "answer"
"""The stage under which metrics of answers stand."""

T = TypeVar("T")
Record = TypeVar("Record", SearchRecord, AnswerRecord)
Say = Callable[[str, int, int, int], None]
"""``say(part, done, total, failed)`` after each question."""

# What must be equal for a run to be taken up again; the rest of a manifest tells of time and place.
_SAME = ("target", "dataset", "settings")
# Of the settings these may differ: answers can be asked for later, and several at once.
_FREE = ("answers", "jobs")


@dataclass(frozen=True, slots=True)
class RunSettings:
    """How a run is carried out."""

    k: int = 200
    """Passages asked for; enough for all candidates of both channels lets every stage be told apart."""
    metrics: tuple[str, ...] = DEFAULT_METRICS
    jobs: int = 1
    """Questions asked at once. More than one is quicker, and its times tell of a busy service."""
    most_failures: float = 0.05
    """A run of which a greater share fails is not finished but refused."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a finished run came to."""

    metrics: Mapping[str, Mapping[str, float]]
    manifest: Manifest


def begin(folder: RunFolder, manifest: Manifest, dataset: Dataset) -> Manifest:
    """Make the folder, or take up the run in it. Raises Conflict when it holds another one."""
    try:
        before = folder.manifest()
    except RiddleError:
        if folder.path.exists() and any(folder.path.iterdir()):
            raise Conflict(f"{folder.path} is there already and holds no run; name another folder") from None
        folder.write_manifest(manifest)
        folder.write_questions(dataset.questions, dataset.qrels)
        return manifest
    different = [name for name in _SAME if _deciding(getattr(before, name)) != _deciding(getattr(manifest, name))]
    if different:
        raise Conflict(
            f"{folder.path} holds a run of another {' and '.join(different)}; name another folder, or remove it"
        )
    if _plain(before.settings) == _plain(manifest.settings):
        return before
    taken = replace(before, settings=manifest.settings, finished=False)
    folder.write_manifest(taken)
    return taken


def search_all(folder: RunFolder, target: SearchTarget, settings: RunSettings, say: Say) -> int:
    """Ask every question that the folder has no search of yet, or a failed one. Returns how many failed."""

    def ask(query_id: str, text: str) -> SearchRecord:
        try:
            return SearchRecord(query_id, target.search(text, settings.k))
        except RiddleError as error:
            return SearchRecord(query_id, error=Failure(error.code, error.detail))

    return _ask_all(folder, "search", list(folder.searches()), ask, settings, say)


def answer_all(folder: RunFolder, target: AnswerTarget, settings: RunSettings, say: Say) -> int:
    """Ask for the answer to every question that the folder has none of yet. Returns how many failed."""

    def ask(query_id: str, text: str) -> AnswerRecord:
        try:
            return AnswerRecord(query_id, target.answer(text))
        except RiddleError as error:
            return AnswerRecord(query_id, error=Failure(error.code, error.detail))

    return _ask_all(folder, "answer", list(folder.answers()), ask, settings, say)


def score(folder: RunFolder, settings: RunSettings) -> dict[str, dict[str, float]]:
    """Write the TREC runs, ``by_query.json``, ``metrics.json`` and ``timings.json`` of what was searched.

    A question whose search failed counts zero in every stage, and so does one that a stage did not answer. Metrics
    of answers that are there already stay.
    """
    qrels = folder.qrels()
    rankings: dict[str, dict[str, Ranking]] = {}
    for record in folder.searches():
        for stage, ranking in (record.found.rankings if record.found else {}).items():
            rankings.setdefault(stage, {})[record.query_id] = ranking
    kept = folder.json(BY_QUERY) or {}
    by_query = {stage: values for stage, values in kept.items() if stage not in STAGES}
    for stage in sorted(rankings, key=STAGES.index):
        folder.write_trec(stage, rankings[stage])
        if qrels:
            run = {query_id: as_run(ranking) for query_id, ranking in rankings[stage].items()}
            by_query[stage] = evaluate_by_query(qrels, run, settings.metrics)
    return write_metrics(folder, by_query)


def score_answers(folder: RunFolder) -> dict[str, dict[str, float]]:
    """Write what can be said of the answers without a judge beside the metrics that are there already."""
    by_query = dict(folder.json(BY_QUERY) or {})
    scores = answer_scores(folder.answers(), folder.questions(), folder.qrels())
    by_query[ANSWER] = {**by_query.get(ANSWER, {}), **scores}
    return write_metrics(folder, by_query)


def write_metrics(
    folder: RunFolder, by_query: Mapping[str, Mapping[str, Mapping[str, float]]]
) -> dict[str, dict[str, float]]:
    """Write each metric by question, its mean, and the times of all stages. Returns the means."""
    means = {
        stage: {metric: sum(values.values()) / len(values) for metric, values in metrics.items() if values}
        for stage, metrics in by_query.items()
    }
    folder.write_json(BY_QUERY, by_query)
    folder.write_json(METRICS, means)
    folder.write_json(TIMINGS, timings(folder))
    return means


def timings(folder: RunFolder) -> dict[str, dict[str, float]]:
    """Milliseconds by stage of all searches that the service computed itself; those of answers behind ``answer.``."""
    samples: dict[str, list[float]] = {}
    for prefix, records in (("", folder.searches()), (f"{ANSWER}.", folder.answers())):
        for record in records:
            if record.found is not None:
                for stage, milliseconds in record.found.timings_ms.items():
                    samples.setdefault(prefix + stage, []).append(milliseconds)
    return {stage: percentiles(values) for stage, values in samples.items()}


def finish(folder: RunFolder, manifest: Manifest, failures: Mapping[str, int], settings: RunSettings) -> Outcome:
    """Mark the run finished. Raises GateFailed, and leaves it unfinished, when too much of it failed."""
    questions = len(folder.questions())
    for part, failed in failures.items():
        if failed > settings.most_failures * questions:
            records: list[SearchRecord | AnswerRecord] = [*folder.searches(), *folder.answers()]
            first = next(record.error for record in records if record.error is not None)
            raise GateFailed(
                f"{failed} of {questions} questions failed ({part}), more than {settings.most_failures:.0%}; "
                f"the first: {first.detail}. What came of the others is in {folder.path}"
            )
    degraded = Counter(
        stage for record in folder.searches() if record.found is not None for stage in record.found.degraded
    )
    done = replace(manifest, finished=True, failures=dict(failures), degraded=dict(degraded))
    folder.write_manifest(done)
    return Outcome(folder.json(METRICS), done)


def _ask_all(
    folder: RunFolder,
    part: str,
    records: Sequence[Record],
    ask: Callable[[str, str], Record],
    settings: RunSettings,
    say: Say,
) -> int:
    questions = folder.questions()
    kept = [record for record in records if record.error is None]
    if len(kept) < len(records):  # what failed in an earlier try is asked again
        folder.rewrite(kept, type(records[0]))
    there = {record.query_id for record in kept}
    done, failed = len(there), 0
    missing = [(query_id, each.text) for query_id, each in questions.items() if query_id not in there]
    for record in _as_they_come(ask, missing, settings.jobs):
        folder.append(record)
        done += 1
        failed += record.error is not None
        say(part, done, len(questions), failed)
    return failed


def _as_they_come(ask: Callable[[str, str], Record], wanted: Sequence[tuple[str, str]], jobs: int) -> Iterator[Record]:
    """Results as they are there, ``jobs`` questions being asked at once: a slow one holds back none that is done."""
    if jobs == 1:
        yield from (ask(*each) for each in wanted)
        return
    with ThreadPoolExecutor(jobs) as pool:
        waiting = [pool.submit(ask, *each) for each in wanted]
        try:
            for each in as_completed(waiting):
                yield each.result()
        finally:
            for each in waiting:
                each.cancel()


def _deciding(told: Mapping[str, object]) -> object:
    return _plain({key: value for key, value in told.items() if key not in _FREE})


def _plain(value: object) -> object:
    """As it comes back from JSON: tuples are lists there."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value


@dataclass(slots=True)
class Stopwatch:
    """Seconds by part, added to what an earlier part of the same run took."""

    seconds: dict[str, float]

    def __call__(self, part: str, work: Callable[[], T]) -> T:
        began = time.monotonic()
        try:
            return work()
        finally:
            self.seconds[part] = round(self.seconds.get(part, 0.0) + time.monotonic() - began, 3)
