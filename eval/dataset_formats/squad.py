"""SQuAD JSON (v1.1 and v2; CMRC 2018 and DRCD have the same form): paragraphs are documents, questions know theirs."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval.dataset_formats.files import SPLITS, files_of, open_text, plain_name, split_in
from eval.datasets import Dataset, Qrels, Question
from retrieval.errors import InvalidRequest
from retrieval.types import Document

HELD_APART = 10
"""One article in so many is ``dev`` where a file is divided by its articles."""

_OWN_SPLITS = (*SPLITS, "trial", "valid", "validation")


def split_of(title: str) -> str:
    """``dev`` or ``train``, by the article's title alone: the same in every file, order and version of a set.

    The first four bytes of the title's sha256 as a number, modulo 10: 0 is ``dev``.
    """
    number = int.from_bytes(hashlib.sha256(title.encode()).digest()[:4], "big")
    return "dev" if number % HELD_APART == 0 else "train"


def recognises(path: Path) -> bool:
    """A JSON file, or a folder with one, whose beginning looks like SQuAD's."""
    return bool(_files(path))


def read(path: Path, split: str | None) -> Dataset:
    """Questions with the texts of their gold answers; an impossible one has none, no judgement, and is unanswerable.

    A document is one paragraph: its id is the article's title, white space as ``_``, and the paragraph's number in it
    from 1 behind a slash. A file whose name has the split in it is that split. A file of train questions, or one
    that names no split, is divided by article when ``dev`` or ``train`` is asked for and no other file is that
    split: ``split_of`` says where an article goes, and then documents are those of the split's articles too.
    """
    file, divided = _chosen(path, _files(path), split)
    questions: dict[str, Question] = {}
    qrels: Qrels = {}
    for paragraph in _paragraphs(file, divided):
        for asked in paragraph.questions:
            query_id = str(asked["id"])
            if query_id in questions:
                raise InvalidRequest(f"{file}: the question id {query_id!r} occurs twice")
            answers = tuple(dict.fromkeys(str(each["text"]) for each in asked.get("answers", ())))
            impossible = bool(asked.get("is_impossible", False))
            questions[query_id] = Question(
                str(asked["question"]).strip(), () if impossible else answers, not impossible
            )
            if not impossible:
                qrels[query_id] = {paragraph.document.document_id: 1}
    name = path.resolve().name.split(".")[0]
    source = f"{file}" + (f", the tenth of its articles held apart as {divided}" if divided == "dev" else "")
    source += f", the nine tenths of its articles left for {divided}" if divided == "train" else ""
    return Dataset(
        name,
        divided or split_in(file, _OWN_SPLITS),
        questions,
        qrels,
        lambda: (paragraph.document for paragraph in _paragraphs(file, divided)),
        source,
    )


@dataclass(frozen=True, slots=True)
class _Paragraph:
    document: Document
    questions: tuple[Mapping[str, Any], ...]


def _files(path: Path) -> list[Path]:
    files = [path] if path.is_file() else files_of(path)
    return [file for file in files if plain_name(file).endswith(".json") and _looks_like_squad(file)]


def _looks_like_squad(file: Path) -> bool:
    try:
        with open_text(file) as stream:
            beginning = stream.read(20_000)
    except (EOFError, OSError):  # damaged gzip among them
        return False
    return '"data"' in beginning and re.search(r'"(?:paragraphs|context)"\s*:', beginning) is not None


def _chosen(path: Path, files: Iterable[Path], split: str | None) -> tuple[Path, str]:
    """The file to read, and the part of its articles to keep; an empty part is all of them."""
    by_split: dict[str, Path] = {}
    for file in files:
        own = split_in(file, _OWN_SPLITS)
        if own in by_split:
            raise InvalidRequest(f"{path}: {by_split[own].name} and {file.name} are both {own or 'of no split'}")
        by_split[own] = file
    if split is None:
        order = (*SPLITS, *(own for own in by_split if own not in SPLITS))
        return next(by_split[own] for own in order if own in by_split), ""
    whole = by_split.get("train", by_split.get(""))
    if split in by_split and not (split == "train" and "dev" not in by_split):
        return by_split[split], ""
    if split in ("dev", "train") and whole is not None:
        return whole, split
    raise InvalidRequest(
        f"{path} has no split {split}; it has {', '.join(own or 'one of no name' for own in by_split)}"
    )


def _paragraphs(file: Path, divided: str) -> Iterator[_Paragraph]:
    counts: Counter[str] = Counter()
    for place, article in enumerate(_articles(file), 1):
        paragraphs = article.get("paragraphs", ())
        title = str(article.get("title") or article.get("id") or f"article {place}").strip()
        if divided and split_of(title) != divided:
            continue
        key = "_".join(title.split())
        for paragraph in paragraphs:
            counts[key] += 1
            document_id = f"{key}/{counts[key]}"
            try:
                document = Document(document_id, str(paragraph["context"]), title.replace("_", " "), source=file.name)
                questions = tuple(
                    {**asked, "id": asked["id"], "question": asked["question"]} for asked in paragraph["qas"]
                )
            except (KeyError, TypeError) as error:
                raise InvalidRequest(
                    f"{file}, article {place} ({title}), paragraph {counts[key]}: wants context and qas with id and "
                    f"question ({error})"
                ) from error
            yield _Paragraph(document, questions)


def _articles(file: Path) -> list[Mapping[str, Any]]:
    with open_text(file) as stream:
        try:
            whole = json.load(stream)
        except (ValueError, EOFError) as error:
            raise InvalidRequest(f"{file} is no JSON: {error}") from error
    articles = whole.get("data") if isinstance(whole, dict) else None
    if not isinstance(articles, list) or not all(isinstance(each, dict) for each in articles):
        raise InvalidRequest(f"{file}: wants an object with a list of articles under data")
    return articles
