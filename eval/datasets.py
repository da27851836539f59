"""Judged sets on disk: the BEIR layout, gzip or not."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from retrieval.errors import InvalidRequest
from retrieval.types import Document

Qrels = dict[str, dict[str, int]]
"""query id -> document id -> grade."""

QRELS_ORDER = ("test", "dev", "train")
"""Which split is taken when none is named, first that exists."""


@dataclass(frozen=True, slots=True)
class Question:
    """One question of a set. ``answers`` are the right ones, any of which will do; empty when none is known."""

    text: str
    answers: tuple[str, ...] = ()
    answerable: bool = True
    """False when the collection is known not to hold an answer, so that abstaining is right."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """Questions with what is known of their answers, and the documents to look in."""

    name: str
    split: str
    """The split that was read, such as ``test``; empty when the set has none."""
    questions: Mapping[str, Question]
    """By query id, in the order of the set."""
    qrels: Qrels
    """Only of these questions; empty when the set judges answers and not documents."""
    documents: Callable[[], Iterator[Document]]
    """Reads the documents anew, in a fixed order; yields none when the set brings no collection of its own."""
    source: str
    """Where it was read from, for people."""


@dataclass(frozen=True, slots=True)
class JudgedSet:
    """Questions and their judgements. Only queries that have a judgement are kept."""

    queries: dict[str, str]
    qrels: Qrels
    split: str
    """The split that was read: ``test``, ``dev``, ``train``, or empty for a lone ``qrels.tsv``."""


def load_judged_set(folder: Path, split: str | None = None, limit: int | None = None) -> JudgedSet:
    """Read ``queries.jsonl`` and the judgements of a BEIR folder.

    Judgements come from ``qrels_SPLIT.tsv`` or ``qrels/SPLIT.tsv``; without ``split`` from the first
    of test, dev and train that exists, then from ``qrels.tsv``. ``limit`` keeps the first that many
    queries in the order of the file, so that equal arguments give equal sets. Raises InvalidRequest
    when a file is missing or a line cannot be read, naming the line.
    """
    path, found = _qrels_file(folder, split)
    qrels = read_qrels(path)
    queries: dict[str, str] = {}
    for number, line in enumerate(_lines(_existing(folder / "queries.jsonl")), 1):
        try:
            row = json.loads(line)
            query_id, text = str(row["_id"]), str(row["text"])
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidRequest(
                f"{folder / 'queries.jsonl'} line {number}: needs an _id and a text ({error})"
            ) from error
        if query_id in qrels and (limit is None or len(queries) < limit):
            queries[query_id] = text
    if not queries:
        raise InvalidRequest(f"{folder}: no query of queries.jsonl has a judgement in {path.name}")
    return JudgedSet(queries, {query_id: qrels[query_id] for query_id in queries}, found)


def read_qrels(path: Path) -> Qrels:
    """Read a tab-separated judgement file with the header ``query-id corpus-id score``."""
    qrels: Qrels = {}
    for number, line in enumerate(_lines(path), 1):
        if number == 1 and line.startswith("query-id"):
            continue
        try:
            query_id, document_id, grade = line.rstrip("\n").split("\t")
            qrels.setdefault(query_id, {})[document_id] = int(grade)
        except ValueError as error:
            raise InvalidRequest(
                f"{path} line {number}: wants query-id, corpus-id and a whole score, by tabs"
            ) from error
    return qrels


def _qrels_file(folder: Path, split: str | None) -> tuple[Path, str]:
    for name in (split,) if split else QRELS_ORDER:
        for candidate in (folder / f"qrels_{name}.tsv", folder / "qrels" / f"{name}.tsv"):
            if path := _present(candidate):
                return path, name
    if split is None and (path := _present(folder / "qrels.tsv")):
        return path, ""
    raise InvalidRequest(f"{folder}: no judgements; wants qrels_{split or 'test'}.tsv or qrels/{split or 'test'}.tsv")


def _present(path: Path) -> Path | None:
    return next((found for found in (path, path.with_name(path.name + ".gz")) if found.is_file()), None)


def _existing(path: Path) -> Path:
    if found := _present(path):
        return found
    raise InvalidRequest(f"{path}: no such file, nor {path.name}.gz")


def _open(path: Path) -> IO[str]:
    return gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8")


def _lines(path: Path) -> Iterator[str]:
    with _open(path) as stream:
        yield from (line for line in stream if line.strip())
