"""A run folder: all that one evaluation saw, written as it goes, so that a killed run resumes and any two compare.

======================  =====================================================================================
``manifest.json``       what was measured, on what, with which settings, and whether it is finished
``qrels.trec``          the judgements that were used (TREC: query, 0, document, grade)
``queries.jsonl``       ``{"query_id", "text", "answers": […], "answerable": bool}``
``searches.jsonl``      a ``SearchRecord`` a line, in the order of the queries
``answers.jsonl``       an ``AnswerRecord`` a line; only of runs with answers
``judgements.jsonl``    a ``Judgement`` a line: one metric of one question by one judge
``STAGE.trec``          each stage's ranking as a TREC run
``metrics.json``        ``{stage: {metric: mean}}``; answers stand under the stage ``answer``
``by_query.json``       ``{stage: {metric: {query_id: value}}}``
``timings.json``        ``{stage: {"n", "p50", "p95", "p99", "mean"}}`` in milliseconds
``judges.json``         ``{judge: {"fit", "balanced_accuracy", "metrics", …}}``; only of runs that were judged
``load.json``           what ``riddle eval load`` measured; only of such runs
======================  =====================================================================================

Failures are records with an ``error``, never missing lines.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import numpy as np
from pydantic import TypeAdapter, ValidationError

from eval.datasets import Qrels, Question
from eval.targets import Answered, Searched
from retrieval.durable import replace_json
from retrieval.errors import IndexUnreadable, InvalidRequest

FORMAT = 1
"""Of the run folder; grows when an older reader would misread a newer one."""

MANIFEST, METRICS, BY_QUERY, TIMINGS, JUDGES, LOAD = (
    "manifest.json", "metrics.json", "by_query.json", "timings.json", "judges.json", "load.json",
)  # fmt: skip
QRELS, QUERIES, SEARCHES, ANSWERS, JUDGEMENTS = (
    "qrels.trec", "queries.jsonl", "searches.jsonl", "answers.jsonl", "judgements.jsonl",
)  # fmt: skip

ByQuery = Mapping[str, Mapping[str, Mapping[str, float]]]
"""stage -> metric -> query id -> value."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A request that brought nothing: the error's code, and what it said."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class SearchRecord:
    """One query, and what came of it; exactly one of ``found`` and ``error`` is there."""

    query_id: str
    found: Searched | None = None
    error: Failure | None = None


@dataclass(frozen=True, slots=True)
class AnswerRecord:
    """One question, and what came of it; exactly one of ``found`` and ``error`` is there."""

    query_id: str
    found: Answered | None = None
    error: Failure | None = None


@dataclass(frozen=True, slots=True)
class Judgement:
    """One metric of one question by one judge. ``value`` is None when the judgement failed, and ``error`` says why."""

    query_id: str
    metric: str
    judge: str
    value: float | None
    error: str = ""
    repeat: int = 0


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a run is of. Every field is JSON."""

    id: str
    created: str
    """ISO 8601, UTC."""
    target: Mapping[str, Any]
    """As the target describes itself."""
    dataset: Mapping[str, Any]
    """``name``, ``split``, ``queries``, ``documents``, ``limit``, ``fingerprint`` (of questions and judgements)."""
    settings: Mapping[str, Any]
    """What the run was asked for: ``k``, ``depth``, ``metrics``, ``seed``, what ``--set`` said."""
    machine: str
    commit: str
    """Of the code that measured; empty outside a repository, ``-dirty`` behind it with uncommitted changes."""
    version: str
    finished: bool = False
    seconds: Mapping[str, float] = field(default_factory=dict)
    """By part: ``index``, ``search``, ``answer``, ``judge``."""
    failures: Mapping[str, int] = field(default_factory=dict)
    """By part."""
    degraded: Mapping[str, int] = field(default_factory=dict)
    """Searches that went without a stage, by stage."""
    format: int = FORMAT


class RunFolder:
    """Reads and writes one run folder. Raises InvalidRequest when it is none, IndexUnreadable when it is damaged."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def name(self) -> str:
        return self.path.name

    def manifest(self) -> Manifest:
        raw = self.json(MANIFEST)
        if raw is None:
            raise InvalidRequest(f"{self.path} is no run: it has no {MANIFEST}; `riddle eval run --out` makes one")
        if raw.get("format", 0) > FORMAT:
            raise IndexUnreadable(
                f"{self.path} was written by a newer Riddle (format {raw['format']}, this reads {FORMAT})"
            )
        manifest: Manifest = self._read(_MANIFEST, json.dumps(raw), MANIFEST)
        return manifest

    def write_manifest(self, manifest: Manifest) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        self.write_json(MANIFEST, dataclasses.asdict(manifest))

    def searches(self) -> Iterator[SearchRecord]:
        return (self._read(_SEARCH, line, SEARCHES) for line in self.lines(SEARCHES))

    def answers(self) -> Iterator[AnswerRecord]:
        return (self._read(_ANSWER, line, ANSWERS) for line in self.lines(ANSWERS))

    def judgements(self) -> Iterator[Judgement]:
        return (self._read(_JUDGEMENT, line, JUDGEMENTS) for line in self.lines(JUDGEMENTS))

    def append(self, record: SearchRecord | AnswerRecord | Judgement) -> None:
        """Add one line to the file of its kind; a line that a kill cut short is dropped first."""
        kind, name = _KINDS[type(record)]
        with (self.path / name).open("ab+") as file:
            _cut_torn_line(file)
            file.write(kind.dump_json(record) + b"\n")

    def rewrite(
        self,
        records: Sequence[SearchRecord] | Sequence[AnswerRecord] | Sequence[Judgement],
        kind: type[SearchRecord] | type[AnswerRecord] | type[Judgement],
    ) -> None:
        """Put these records in the place of all of their kind, in one step."""
        adapter, name = _KINDS[kind]
        aside = self.path / f".{name}.new"
        aside.write_bytes(b"".join(adapter.dump_json(record) + b"\n" for record in records))
        aside.replace(self.path / name)

    def questions(self) -> dict[str, Question]:
        rows = (json.loads(line) for line in self.lines(QUERIES))
        return {
            row["query_id"]: Question(row["text"], tuple(row.get("answers", ())), row.get("answerable", True))
            for row in rows
        }

    def write_questions(self, questions: Mapping[str, Question], qrels: Qrels) -> None:
        with (self.path / QUERIES).open("w", encoding="utf-8") as file:
            for query_id, question in questions.items():
                row = {"query_id": query_id, **dataclasses.asdict(question)}
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
        with (self.path / QRELS).open("w", encoding="utf-8") as file:
            for query_id, grades in qrels.items():
                file.writelines(f"{_word(query_id)} 0 {_word(name)} {grade}\n" for name, grade in grades.items())

    def qrels(self) -> Qrels:
        found: Qrels = {}
        for line in self.lines(QRELS):
            query_id, _, document_id, grade = line.split()
            found.setdefault(unquote(query_id), {})[unquote(document_id)] = int(grade)
        return found

    def write_trec(self, stage: str, rankings: Mapping[str, Sequence[tuple[str, float]]]) -> None:
        """One TREC run, ranks from 1 in the order given."""
        with (self.path / f"{stage}.trec").open("w", encoding="utf-8") as file:
            for query_id, ranking in rankings.items():
                for rank, (document_id, score) in enumerate(ranking, 1):
                    file.write(f"{_word(query_id)} Q0 {_word(document_id)} {rank} {score:.6g} riddle\n")

    def by_query(self) -> dict[str, dict[str, dict[str, float]]]:
        """Raises InvalidRequest for a run without results."""
        found: dict[str, dict[str, dict[str, float]]] | None = self.json(BY_QUERY)
        if found is None:
            raise InvalidRequest(f"{self.path} has no {BY_QUERY}: the run is not finished; run it again to go on")
        return found

    def json(self, name: str) -> Any:
        """The content of one file; None when it is not there."""
        try:
            return json.loads((self.path / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise IndexUnreadable(f"{self.path / name} is damaged: {error}") from error

    def write_json(self, name: str, value: Any) -> None:
        replace_json(self.path / name, value)

    def lines(self, name: str) -> Iterator[str]:
        """Whole lines of a file, none when it is not there; one that a kill cut short is left out."""
        try:
            with (self.path / name).open(encoding="utf-8") as file:
                yield from (line for line in file if line.endswith("\n"))
        except FileNotFoundError:
            return

    def _read(self, kind: TypeAdapter[Any], text: str, name: str) -> Any:
        try:
            return kind.validate_json(text)
        except ValidationError as error:
            raise IndexUnreadable(f"{self.path / name} holds what is no record of a run: {error}") from error


def runs_in(folder: Path) -> list[RunFolder]:
    """The runs below ``folder``, itself among them, oldest first."""
    found = [RunFolder(path.parent) for path in sorted(folder.rglob(MANIFEST))]
    return sorted(found, key=lambda run: str((run.json(MANIFEST) or {}).get("created", "")))


def percentiles(samples: Sequence[float]) -> dict[str, float]:
    """``n``, ``mean``, ``p50``, ``p95``, ``p99`` (nearest rank) of some milliseconds; empty for none."""
    if not samples:
        return {}
    ordered = np.sort(np.asarray(samples, np.float64))
    points = {f"p{q}": float(ordered[max(0, -(-len(ordered) * q // 100) - 1)]) for q in (50, 95, 99)}
    return {"n": len(ordered), "mean": float(ordered.mean()), **points}


def _word(name: str) -> str:
    """An id as TREC files can hold it: white space and per cent signs in per cent codes."""
    return re.sub(r"[\s%]", lambda found: quote(found[0], safe=""), name)


def _cut_torn_line(file: Any) -> None:
    end = file.seek(0, 2)
    if not end:
        return
    file.seek(end - 1)
    if file.read(1) == b"\n":
        return
    file.seek(0)
    file.truncate(file.read().rfind(b"\n") + 1)
    file.seek(0, 2)


_MANIFEST = TypeAdapter(Manifest)
_SEARCH = TypeAdapter(SearchRecord)
_ANSWER = TypeAdapter(AnswerRecord)
_JUDGEMENT = TypeAdapter(Judgement)
_KINDS: Mapping[type, tuple[TypeAdapter[Any], str]] = {
    SearchRecord: (_SEARCH, SEARCHES),
    AnswerRecord: (_ANSWER, ANSWERS),
    Judgement: (_JUDGEMENT, JUDGEMENTS),
}
