"""Questions and answers as people write them down: JSONL, a question a line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eval.dataset_formats.files import corpus, first_row, plain_name, present, refuse, rows
from eval.datasets import Dataset, Qrels, Question
from retrieval.errors import InvalidRequest

TEXT = ("question", "query", "text")
RELEVANT = ("relevant", "documents", "qrels")
IDS = ("id", "_id", "query_id")
DOCUMENT = ("document_id", "id", "_id")

ACCEPTED = "accepted"
"""The status that `riddle eval make-set --review` gives a question; a row with another status is not read."""


def recognises(path: Path) -> bool:
    """A JSONL file whose first row has a question, or a folder with ``questions.jsonl``."""
    if path.is_dir():
        return present(path / "questions.jsonl") is not None
    return plain_name(path).endswith((".jsonl", ".ndjson")) and _first(first_row(path), TEXT) is not None


def read(path: Path, split: str | None) -> Dataset:
    """Rows of ``question``, and perhaps ``answers`` (or ``answer``), ``relevant``, ``answerable``, ``id``, ``split``.

    ``relevant`` is a list of document ids, of ``{"id", "grade"}``, or an object of ids and grades; a row of
    `make-set` names its one ``document_id``. A row without an id has its line's number as one. With ``split`` only the
    rows of that split are kept. In a folder, documents come from ``corpus.jsonl`` beside ``questions.jsonl``.
    """
    file = path if path.is_file() else present(path / "questions.jsonl")
    documents = present(path / "corpus.jsonl") if path.is_dir() else None
    assert file is not None, "recognised before"
    questions: dict[str, Question] = {}
    qrels: Qrels = {}
    undecided = 0
    for number, row in rows(file):
        if row.get("status", ACCEPTED) != ACCEPTED:
            undecided += 1
            continue
        if split and row.get("split") != split:
            continue
        text, own_id = _first(row, TEXT), _first(row, IDS)
        if not isinstance(text, str) or not text.strip():
            refuse(file, number, "needs a question (or query, or text)")
        query_id = f"q{number}" if own_id is None else str(own_id)
        if query_id in questions:
            refuse(file, number, f"the id {query_id!r} came before")
        questions[query_id] = Question(text.strip(), answers_of(file, number, row), _answerable(file, number, row))
        if grades := _relevant(file, number, row):
            qrels[query_id] = grades
    if not questions and undecided:
        raise InvalidRequest(f"{file}: none of {undecided} drafts is accepted; `riddle eval make-set --review` asks")
    if not questions and split:
        raise InvalidRequest(f"{file}: no question is of the split {split}")
    return Dataset(
        path.resolve().name.split(".")[0],
        split or "",
        questions,
        qrels,
        lambda: iter(()) if documents is None else corpus(documents),
        str(file),
    )


def answers_of(file: Path, number: int, row: Mapping[str, Any]) -> tuple[str, ...]:
    """``answers``, a text or a list of them, else ``answer``; without empty ones and repeats."""
    found = row.get("answers", row.get("answer"))
    listed = [] if found is None else [found] if isinstance(found, str) else found
    if not isinstance(listed, list) or not all(isinstance(each, str) for each in listed):
        refuse(file, number, "answers are a text, or a list of texts")
    return tuple(dict.fromkeys(each.strip() for each in listed if each.strip()))


def _answerable(file: Path, number: int, row: Mapping[str, Any]) -> bool:
    said = row.get("answerable", True)
    if not isinstance(said, bool):
        refuse(file, number, "answerable is true or false")
    return said


def _relevant(file: Path, number: int, row: Mapping[str, Any]) -> dict[str, int]:
    found = _first(row, RELEVANT)
    if found is None:
        return {str(row["document_id"]): 1} if "document_id" in row else {}
    if isinstance(found, dict):
        pairs = list(found.items())
    elif isinstance(found, list):
        pairs = [
            (_first(each, DOCUMENT), each.get("grade", 1)) if isinstance(each, dict) else (each, 1) for each in found
        ]
    else:
        pairs = [(found, 1)]
    for document_id, grade in pairs:
        if not isinstance(document_id, str | int) or not isinstance(grade, int):
            refuse(file, number, "relevant documents are ids, or ids with whole grades")
    return {str(document_id): int(grade) for document_id, grade in pairs}


def _first(row: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((row[name] for name in names if row.get(name) is not None), None)
