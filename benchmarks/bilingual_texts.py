"""What benchmarks.bilingual asks and searches: pages cut into passages, and the texts that are to be encoded."""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from eval.datasets import JudgedSet, load_judged_set
from indexing.chunking import ChunkSettings, chunk
from indexing.items import convert_item, read_items
from indexing.sources import Rejected, plan
from retrieval.types import Chunk, Document, Role, passage_text

_HAN = re.compile("[\u3400-\u9fff]")
_CENTRING = 1000
"""Questions of either language whose mean is taken for the centre of questions."""


@dataclass(frozen=True, slots=True)
class Pages:
    """The documents of one file and their chunks, in the order of the file."""

    documents: tuple[Document, ...]
    chunks: tuple[tuple[Chunk, ...], ...]
    titled: tuple[bool, ...]
    """Whether the row, or its front matter, names a title; else the first heading stands for one."""

    @property
    def texts(self) -> list[str]:
        """What encoders read of each passage."""
        return [
            passage_text(document.title, each.headings, each.context, document.text[each.start : each.end])
            for document, chunks in zip(self.documents, self.chunks, strict=True)
            for each in chunks
        ]

    @property
    def owners(self) -> list[int]:
        """The place of the document of each passage."""
        return [at for at, chunks in enumerate(self.chunks) for _ in chunks]

    @property
    def keys(self) -> list[str]:
        """What translations of a page have in common."""
        return [str(each.metadata.get("align")) for each in self.documents]

    def only(self, wanted: Callable[[str], bool]) -> Pages:
        """The pages whose key is wanted."""
        kept = [at for at, key in enumerate(self.keys) if wanted(key)]
        return Pages(
            tuple(self.documents[at] for at in kept),
            tuple(self.chunks[at] for at in kept),
            tuple(self.titled[at] for at in kept),
        )


@dataclass(frozen=True, slots=True)
class Batch:
    """Texts to encode; ``stem`` names the files of their vectors after what the texts are."""

    name: str
    role: Role
    texts: Sequence[str]

    @property
    def stem(self) -> str:
        digest = hashlib.sha256("\0".join([self.role, *self.texts]).encode()).hexdigest()
        return f"{self.name}.{digest[:16]}"


def read_pages(path: Path) -> Pages:
    """A file of rows, converted and cut as a build does it."""
    documents, chunks, titled = zip(*_converted(path), strict=True)
    return Pages(documents, chunks, titled)


def _converted(path: Path) -> Iterator[tuple[Document, tuple[Chunk, ...], bool]]:
    for file in plan([path]).files:
        for item in read_items(file):
            if not isinstance(item, Rejected):
                document, form = convert_item(item)
                row = json.loads(item.data)
                named = bool(row.get("title")) or str(row["text"]).lstrip("\ufeff").startswith("---\n")
                yield document, tuple(chunk(form, ChunkSettings())), named


def law_batches(data: Path) -> tuple[Pages, JudgedSet, Batch, Batch]:
    """The statute articles, the judged questions, and what is to be encoded of either."""
    pages = read_pages(data / "law-zh-stard" / "corpus.jsonl.gz")
    judged = load_judged_set(data / "law-zh-stard", "train")
    questions = list(judged.queries.values())
    return pages, judged, Batch("law-passages", "passage", pages.texts), Batch("law-questions", "query", questions)


@dataclass(frozen=True, slots=True)
class Side:
    """One language of the aligned pages: those that are asked for by title, then the others."""

    language: str
    asked: Pages
    others: Pages

    @property
    def titles(self) -> Batch:
        return Batch(f"kubernetes-{self.language}-titles", "query", [each.title for each in self.asked.documents])

    @property
    def batches(self) -> tuple[Batch, Batch]:
        return (
            Batch(f"kubernetes-{self.language}", "passage", self.asked.texts),
            Batch(f"kubernetes-{self.language}-others", "passage", self.others.texts),
        )


def sides(data: Path) -> tuple[Side, Side]:
    """Chinese and English Kubernetes pages; asked are those that translate each other, the Chinese title in characters.

    A page that names no title, for which its first heading would stand, is not asked.
    """
    zh, en = (read_pages(data / "techdocs" / f"kubernetes-docs-{language}.jsonl.gz") for language in ("zh", "en"))
    named = zip(zh.keys, zh.documents, zh.titled, strict=True)
    asked = {key for key, page, titled in named if titled and _HAN.search(page.title)} & set(en.keys)
    return (
        Side("zh", zh.only(lambda key: key in asked), zh.only(lambda key: key not in asked)),
        Side("en", en.only(lambda key: key in asked), en.only(lambda key: key not in asked)),
    )


def other_questions(data: Path) -> tuple[Batch, Batch]:
    """Chinese and English questions of sets that nothing is measured on here."""
    found = []
    for language, name in (("zh", "cmrc2018/train.json.gz"), ("en", "squad/train-v1.1.json.gz")):
        with gzip.open(data / name, "rt", encoding="utf-8") as file:
            paragraphs = [each for article in json.load(file)["data"] for each in article["paragraphs"]]
        questions = [str(asked["question"]).strip() for each in paragraphs for asked in each["qas"]]
        random.Random(1).shuffle(questions)
        found.append(Batch(f"questions-{language}", "query", questions[:_CENTRING]))
    return found[0], found[1]
