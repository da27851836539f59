"""Small collections for tests: documents cut into chunks of a few words and encoded by the fake encoder."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from retrieval.segment import Part
from retrieval.types import Chunk, Document, Encoder, passage_text
from tests.fake_models import FakeEncoder

WORDS = 12


def cut(text: str, words: int = WORDS) -> list[Chunk]:
    """Chunks of some words each; the white space between them belongs to none."""
    bounds: list[tuple[int, int]] = []
    at = 0
    for word in text.split():
        start = text.index(word, at)
        at = start + len(word)
        bounds.append((start, at))
    return [
        Chunk(ordinal, bounds[first][0], bounds[min(first + words, len(bounds)) - 1][1])
        for ordinal, first in enumerate(range(0, len(bounds), words))
    ]


def part(documents: Sequence[Document], encoder: Encoder | None = None, words: int = WORDS) -> Part:
    """These documents, cut into chunks of so many words and encoded."""
    encoder = encoder or FakeEncoder()
    chunks = [cut(document.text, words) for document in documents]
    texts = [
        passage_text(document.title, chunk.headings, chunk.context, document.text[chunk.start : chunk.end])
        for document, own in zip(documents, chunks, strict=True)
        for chunk in own
    ]
    return Part(list(documents), chunks, encoder.encode(texts, "passage"))


def numbered(numbers: Iterable[int], length: int = 30) -> list[Document]:
    """Documents ``d<n>`` whose text is drawn from a seed, the same every time."""
    vocabulary = [f"{a}{b}" for a in ("wal", "tor", "min", "sel", "nar") for b in ("den", "kim", "pos", "ruf", "lat")]
    return [
        Document(
            f"d{number}",
            " ".join(np.random.default_rng(number).choice(vocabulary, length)) + f" number{number} 数据库{number}号.",
            title=f"Title {number}",
        )
        for number in numbers
    ]
