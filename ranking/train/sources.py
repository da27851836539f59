"""The sets that may be trained on: their documents, and their questions with what is relevant to each."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ranking.train.lists import Part, fraction, part_of
from retrieval.errors import InvalidRequest
from retrieval.types import Document

HELD_APART = 10
"""One article of SQuAD in so many is held apart for the last measurement: the ``dev`` of eval/dataset_formats/squad.py,
whose rule ``apart`` repeats, since ranking does not know of eval."""

SHARE = 0.7
"""Of SQuAD's articles, MedQuAD's diseases and Python's pages that are taken: what travels to a GPU host has a limit."""

LONGEST = {"en": 1100, "zh": 420}
"""Characters of a passage that are kept: a little over 256 tokens, and no model reads more of one."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, the part it belongs to, and the ids of the documents that are relevant to it."""

    question_id: str
    part: Part
    query: str
    relevant: frozenset[str]


@dataclass(frozen=True, slots=True)
class Source:
    """One set. ``read`` gives its documents and questions of the folder that holds all sets.

    ``collection`` begins the name of a collection that `riddle eval run` has made of it with ``encoder``; where both
    are empty one is made here, for recall by words alone. ``train`` and ``dev`` bound the questions.
    """

    name: str
    language: str
    read: Callable[[Path], tuple[list[Document], list[Asked]]]
    encoder: str = ""
    collection: str = ""
    train: int = 100_000
    dev: int = 250


def apart(title: str) -> bool:
    """Whether an article of SQuAD is held apart."""
    return int.from_bytes(hashlib.sha256(title.encode()).digest()[:4], "big") % HELD_APART == 0


def squad(root: Path) -> tuple[list[Document], list[Asked]]:
    """A part of the articles that are not held apart."""
    articles = [each for each in _articles(root / "squad" / "train-v1.1.json.gz") if not apart(str(each["title"]))]
    kept = [each for each in articles if fraction(f"some {each['title']}") < SHARE]
    return _paragraphs("squad", kept)


def cmrc(root: Path) -> tuple[list[Document], list[Asked]]:
    return _paragraphs("cmrc2018", _articles(root / "cmrc2018" / "train.json.gz"))


def medquad(root: Path) -> tuple[list[Document], list[Asked]]:
    """A part of the diseases, each with all its questions in one part."""
    folder = root / "medquad"
    documents, parts = [], {}
    for row in _rows(folder / "corpus.jsonl.gz"):
        title = str(row["title"])
        if fraction(f"some {title.lower()}") < SHARE:
            documents.append(Document(f"medquad/{row['_id']}", str(row["text"]), title))
            parts[str(row["_id"])] = part_of("medquad", title.lower())
    asked = [
        Asked(f"medquad/{row['_id']}", parts[row["_id"]], str(row["text"]).replace(" ?", "?"),
              frozenset([f"medquad/{row['_id']}"]))
        for row in _rows(folder / "questions.jsonl.gz")
        if row["_id"] in parts
    ]  # fmt: skip
    return documents, asked


def beir(name: str, answers: bool = False) -> Callable[[Path], tuple[list[Document], list[Asked]]]:
    """Train judgements of a BEIR folder, split by question. ``answers`` asks with the experts' answers too."""

    def read(root: Path) -> tuple[list[Document], list[Asked]]:
        relevant: dict[str, set[str]] = {}
        with gzip.open(root / name / "qrels_train.tsv.gz", "rt", encoding="utf-8") as file:
            next(file)
            for line in file:
                query_id, document_id, grade = line.rstrip("\n").split("\t")
                if float(grade) > 0:
                    relevant.setdefault(query_id, set()).add(document_id)
        asked = []
        for row in _rows(root / name / "queries.jsonl.gz"):
            if row["_id"] not in relevant:
                continue
            part, wanted = part_of(name, row["_id"]), frozenset(relevant[row["_id"]])
            asked.append(Asked(f"{name}/{row['_id']}", part, str(row["text"]), wanted))
            if answers and part == "train" and row.get("answer"):
                asked.append(Asked(f"{name}/{row['_id']}/answer", part, str(row["answer"])[:200], wanted))
        return [], asked

    return read


@dataclass(frozen=True, slots=True)
class Translated:
    """A paragraph in both languages, without markup."""

    paragraph_id: str
    en: str
    zh: str


def python_pairs(root: Path) -> list[Translated]:
    """Paragraphs of Python's documentation with their translations: short code and headings of one word left out."""
    found, seen = [], set()
    for row in _rows(root / "techdocs" / "parallel-python-en-zh.jsonl.gz"):
        en, zh = _plain(row["en"]), _plain(row["zh"])
        if len(en.split()) >= 5 and len(zh) >= 8 and re.search(r"[一-鿿]", zh) and en.lower() not in seen:
            seen.add(en.lower())
            found.append(Translated(f"python/{row['_id']}", en[: LONGEST["en"]], zh[: LONGEST["zh"]]))
    return found


SOURCES = (
    Source("nl2bash-tldr", "en", beir("nl2bash-tldr"), "bge-small-en-v1.5", "eval-nl2bash-tldr-", train=7_000),
    Source("scifact", "en", beir("scifact"), "bge-small-en-v1.5", "eval-scifact-"),
    Source("law-zh-stard", "zh", beir("law-zh-stard", True), "multilingual-e5-small", "eval-law-zh-stard-"),
    Source("cmrc2018", "zh", cmrc, train=6_000),
    Source("squad", "en", squad, train=30_000),
    Source("medquad", "en", medquad, train=9_000),
)
"""SQuAD, MedQuAD and CMRC 2018 are split by article or disease, the others by question. No dev or test judgements of
any set are read."""


def _paragraphs(name: str, articles: Iterable[Mapping[str, Any]]) -> tuple[list[Document], list[Asked]]:
    documents, asked = [], []
    for article in articles:
        title = str(article.get("title") or article.get("id"))
        part = part_of(name, title)
        for number, paragraph in enumerate(article["paragraphs"], 1):
            document_id = f"{name}/{title}/{number}"
            heading = title.replace("_", " ") if name == "squad" else ""
            documents.append(Document(document_id, str(paragraph["context"]), heading))
            asked += [
                Asked(f"{name}/{each['id']}", part, str(each["question"]).strip(), frozenset([document_id]))
                for each in paragraph["qas"]
            ]
    return documents, asked


def _articles(path: Path) -> list[Mapping[str, Any]]:
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            found: list[Mapping[str, Any]] = json.load(file)["data"]
    except (OSError, ValueError, KeyError) as error:
        raise InvalidRequest(f"{path} is no SQuAD file: {error}") from None
    return found


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            for line in file:
                yield json.loads(line)
    except (OSError, ValueError) as error:
        raise InvalidRequest(f"{path} is no gzipped JSON Lines file: {error}") from None


def _plain(text: str) -> str:
    """Without reStructuredText's roles and quotes of code."""
    text = re.sub(r":[\w:.-]+:`[~!]?([^`<]*?)(?:\s*<[^>]*>)?`", r"\1", text)
    text = re.sub(r"`([^`<]*?)\s*<[^>]*>`_+", r"\1", text)
    return re.sub(r"\s+", " ", re.sub(r"[`*|\\]|::$", "", text)).strip()
