"""BEIR folders: ``queries.jsonl``, ``qrels_SPLIT.tsv`` or ``qrels/SPLIT.tsv``, ``corpus.jsonl``; gzip or not."""

from __future__ import annotations

from pathlib import Path

from eval.dataset_formats.files import corpus, existing, present, rows
from eval.dataset_formats.questions import answers_of
from eval.datasets import Dataset, Question, load_judged_set, qrels_file


def recognises(path: Path) -> bool:
    return path.is_dir() and present(path / "queries.jsonl") is not None


def read(path: Path, split: str | None) -> Dataset:
    """Queries that have a judgement, in the order of ``queries.jsonl``; ``answer`` or ``answers`` are taken along."""
    judged = load_judged_set(path, split)
    queries = existing(path / "queries.jsonl")
    questions = {
        str(row["_id"]): Question(row["text"], answers_of(queries, number, row))
        for number, row in rows(queries)
        if str(row["_id"]) in judged.queries
    }
    documents = present(path / "corpus.jsonl")
    return Dataset(
        path.resolve().name,
        judged.split,
        questions,
        judged.qrels,
        lambda: iter(()) if documents is None else corpus(documents),
        f"{path}, judgements of {qrels_file(path, split)[0].relative_to(path)}",
    )
