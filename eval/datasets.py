"""Sets of questions with what is known of their answers, and which of the forms that people have them in is which."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from eval.dataset_formats.files import SPLITS, existing, lines, present, refuse, rows
from retrieval.errors import InvalidRequest
from retrieval.types import Document

Qrels = dict[str, dict[str, int]]
"""query id -> document id -> grade."""

CATALOGUE = "ir-datasets:"


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


def open_dataset(source: str | Path, split: str | None = None, limit: int | None = None, seed: int = 0) -> Dataset:
    """Open a set of questions in any of the forms that ``eval/dataset_formats`` reads.

    A BEIR folder, a folder of TREC files, SQuAD JSON, JSONL of questions and answers, JSONL of clicks, ratings or
    judgements, a folder of these, or ``ir-datasets:NAME``. Without ``split`` the first of test, dev and train that the
    set has is read. ``limit`` keeps so many questions: the first of the set when ``seed`` is 0, else those that the
    seed draws, in the order of the set. Documents are read only when asked for, one at a time. Raises InvalidRequest
    naming file and line.
    """
    found = _opened(source, split)
    if not found.questions:
        raise InvalidRequest(f"{found.source} holds no question that can be asked")
    if limit is None or limit >= len(found.questions):
        return found
    if limit < 1:
        raise InvalidRequest(f"a limit of {limit} leaves no question")
    ids = list(found.questions)
    kept = ids[:limit]
    if seed:
        drawn = set(random.Random(seed).sample(ids, limit))
        kept = [query_id for query_id in ids if query_id in drawn]
    return replace(
        found,
        questions={query_id: found.questions[query_id] for query_id in kept},
        qrels={query_id: found.qrels[query_id] for query_id in kept if query_id in found.qrels},
    )


def fingerprint(dataset: Dataset) -> str:
    """sha256 (first 16 hex digits) of questions and judgements: equal for two runs that were asked the same."""
    digest = hashlib.sha256()
    for query_id in sorted(dataset.questions):
        asked = dataset.questions[query_id]
        grades = sorted(dataset.qrels.get(query_id, {}).items())
        told = [query_id, asked.text, asked.answers, asked.answerable, grades]
        digest.update(json.dumps(told, ensure_ascii=False).encode() + b"\n")
    return digest.hexdigest()[:16]


def load_judged_set(folder: Path, split: str | None = None, limit: int | None = None) -> JudgedSet:
    """Read ``queries.jsonl`` and the judgements of a BEIR folder.

    Judgements come from ``qrels_SPLIT.tsv`` or ``qrels/SPLIT.tsv``; without ``split`` from the first
    of test, dev and train that exists, then from ``qrels.tsv``. ``limit`` keeps the first that many
    queries in the order of the file, so that equal arguments give equal sets. Raises InvalidRequest
    when a file is missing or a line cannot be read, naming the line.
    """
    path, found = qrels_file(folder, split)
    qrels = read_qrels(path)
    queries: dict[str, str] = {}
    asked = existing(folder / "queries.jsonl")
    for number, row in rows(asked):
        if "_id" not in row or not isinstance(row.get("text"), str):
            refuse(asked, number, "needs an _id and a text")
        query_id = str(row["_id"])
        if query_id in qrels and (limit is None or len(queries) < limit):
            queries[query_id] = row["text"]
    if not queries:
        raise InvalidRequest(f"{folder}: no query of queries.jsonl has a judgement in {path.name}")
    return JudgedSet(queries, {query_id: qrels[query_id] for query_id in queries}, found)


def read_qrels(path: Path) -> Qrels:
    """Read a tab-separated judgement file with the header ``query-id corpus-id score``."""
    qrels: Qrels = {}
    for number, line in lines(path):
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


def qrels_file(folder: Path, split: str | None) -> tuple[Path, str]:
    """The judgements of a BEIR folder, and of which split they are. Raises InvalidRequest when there are none."""
    for name in (split,) if split else SPLITS:
        for candidate in (folder / f"qrels_{name}.tsv", folder / "qrels" / f"{name}.tsv"):
            if path := present(candidate):
                return path, name
    if split is None and (path := present(folder / "qrels.tsv")):
        return path, ""
    raise InvalidRequest(f"{folder}: no judgements; wants qrels_{split or 'test'}.tsv or qrels/{split or 'test'}.tsv")


def _opened(source: str | Path, split: str | None) -> Dataset:
    # The readers are imported here because they need the nouns above.
    from eval.dataset_formats import beir, catalogue, logs, questions, squad, trec

    if isinstance(source, str) and source.startswith(CATALOGUE):
        return catalogue.read(source.removeprefix(CATALOGUE), split)
    path = Path(source)
    if not path.exists():
        raise InvalidRequest(f"{path}: no such file or folder of questions")
    forms = (
        (beir.recognises, beir.read),
        (trec.recognises, trec.read),
        (squad.recognises, squad.read),
        (logs.recognises, logs.read),
        (questions.recognises, questions.read),
    )
    for recognises, read in forms:
        if recognises(path):
            return read(path, split)
    raise InvalidRequest(
        f"{path} is no set of questions: wants a folder with queries.jsonl and qrels (BEIR), with topics and qrels "
        "(TREC), or with questions.jsonl; SQuAD JSON; or JSONL of questions and answers, of clicks or of ratings"
    )
