"""Documents for benches: generated passages with metadata, rights and vectors, every share of them known beforehand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from eval.bench.synthetic import BLOCK as VECTOR_BLOCK
from eval.bench.synthetic import Synthetic
from eval.bench.texts import Texts
from retrieval.filters import Fields
from retrieval.segment import Part
from retrieval.types import Chunk, Document, Vectors

SIZES = (1, 2, 3, 4, 5, 6, 7, 4)
"""Passages of one document after another, again and again: 4 on average."""

BLOCK = 16_384
"""Documents of one block, which is drawn at one go: 65,536 passages, the block of ``eval.bench.synthetic``."""

REGIONS = 64
"""Values of ``region``, the key that goes with the vectors: the nearest of that many anchors."""

SHARES: Mapping[str, int] = {"one-in-10000": 1, "one-in-1000": 10, "one-in-100": 100, "one-in-10": 1000, "half": 5000}
"""Values of the list ``tags``, and how many of 10,000 documents have each."""

FIELDS: Fields = {"share": "number", "tags": "keyword", "lang": "keyword", "region": "keyword", "published": "date"}
"""What a collection of these documents declares; ``reviewed`` is left undeclared on purpose."""

_TEN_THOUSAND = 10_000
assert BLOCK // len(SIZES) * sum(SIZES) == VECTOR_BLOCK
_DAYS = tuple((date(2010, 1, 1) + timedelta(days=day)).isoformat() for day in range(6000))
_ACL: tuple[tuple[int, tuple[str, ...]], ...] = (
    (5000, ()),
    (9000, ("group:wide",)),
    (9900, ("group:team",)),
    (9990, ("group:few", "group:team")),
    (10_000, ("group:board",)),
)
"""Rights by a document's place among 10,000: half of them are public, ten are for the board alone."""


class VectorSource(Protocol):
    """Vectors of the kind that the collection holds. Equal arguments give equal vectors, in any order of calls."""

    @property
    def dimension(self) -> int: ...

    def block(self, block: int, count: int) -> Vectors:
        """The ``count`` vectors of a block, of unit norm."""
        ...

    def queries(self, count: int) -> Vectors:
        """Vectors of the same kind that stand in no block."""
        ...


class Embeddings:
    """The fitted source of ``eval.bench.synthetic``: vectors as real ones lie, for figures that are reported."""

    def __init__(self, source: Synthetic) -> None:
        self._source = source

    @property
    def dimension(self) -> int:
        return int(self._source.dimension)

    def block(self, block: int, count: int) -> Vectors:
        return self._source.block(block, count).vectors

    def queries(self, count: int) -> Vectors:
        return self._source.queries(count)


class Clustered:
    """Unit vectors around random centres: for small runs, where the shape of real embeddings plays no part."""

    def __init__(self, dimension: int, seed: int, *, clusters: int = 256, spread: float = 0.7) -> None:
        self._seed, self._spread = seed, spread
        draw = np.random.default_rng([seed, 0])
        self._centres = draw.standard_normal((clusters, dimension), np.float32)

    @property
    def dimension(self) -> int:
        return int(self._centres.shape[1])

    def block(self, block: int, count: int) -> Vectors:
        return self._draw(np.random.default_rng([self._seed, 1, block]), count)

    def queries(self, count: int) -> Vectors:
        return self._draw(np.random.default_rng([self._seed, 2]), count)

    def _draw(self, draw: np.random.Generator, count: int) -> Vectors:
        chosen = self._centres[draw.integers(0, len(self._centres), count)]
        drawn = chosen + self._spread * draw.standard_normal(chosen.shape, np.float32)
        unit: Vectors = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
        return unit


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of documents by their numbers alone, one entry a document."""

    share: NDArray[np.int64]
    """0 to 9,999, each once in ten thousand documents that follow each other: ``share < n`` admits ``n`` of them."""
    chinese: NDArray[np.bool_]
    rights: NDArray[np.int64]
    """Place in the table of rights, 0 to 9,999, each once in ten thousand."""

    @classmethod
    def of(cls, numbers: NDArray[np.int64]) -> Facts:
        turn = numbers // _TEN_THOUSAND  # so that the keys do not go with each other from one ten thousand to the next
        return cls(
            share=(numbers * 6673) % _TEN_THOUSAND,
            chinese=(numbers + turn) % 10 == 3,
            rights=(numbers * 8101 + turn * 2357) % _TEN_THOUSAND,
        )

    def admitted(self, principals: frozenset[str]) -> NDArray[np.bool_]:
        """Which documents these principals may see: the rule of rights, worked out apart from the engine."""
        low, flags = 0, np.zeros(len(self.share), np.bool_)
        for high, acl in _ACL:
            if not acl or principals & set(acl):
                flags |= (self.rights >= low) & (self.rights < high)
            low = high
        return flags


class Corpus:
    """``documents`` documents, drawn in blocks; a block can be had again at any time, alone.

    The vectors of a block are laid out so that a document's passages lie in one region, as real documents keep to
    their subject; which vectors there are is untouched by that.
    """

    def __init__(self, texts: Texts, vectors: VectorSource, documents: int) -> None:
        self.texts, self.vectors, self.documents = texts, vectors, documents

    @property
    def passages(self) -> int:
        whole, rest = divmod(self.documents, len(SIZES))
        return whole * sum(SIZES) + sum(SIZES[:rest])

    @property
    def blocks(self) -> int:
        return -(-self.documents // BLOCK)

    @staticmethod
    def documents_for(passages: int) -> int:
        """How many documents it takes to hold that many passages, or a few more."""
        return -(-passages // sum(SIZES)) * len(SIZES)

    @cached_property
    def anchors(self) -> Vectors:
        """The middle of each region, [REGIONS, dimension]."""
        return self.vectors.queries(REGIONS)

    def queries(self, count: int) -> Vectors:
        """Query vectors, held out, and none of them an anchor."""
        return self.vectors.queries(REGIONS + count)[REGIONS:]

    def numbers(self, block: int) -> NDArray[np.int64]:
        """The documents of a block."""
        return np.arange(block * BLOCK, min((block + 1) * BLOCK, self.documents), dtype=np.int64)

    def sizes(self, block: int) -> NDArray[np.int64]:
        """Passages of each document of a block."""
        return np.asarray(SIZES, np.int64)[self.numbers(block) % len(SIZES)]

    def passage_vectors(self, block: int) -> tuple[Vectors, NDArray[np.int64]]:
        """The vectors of a block's passages in their order, and the region of each document."""
        sizes = self.sizes(block)
        drawn = self.vectors.block(block, int(sizes.sum()))
        regions = np.argmax(drawn @ self.anchors.T, axis=1)
        order = np.argsort(regions, kind="stable")
        first = np.cumsum(sizes) - sizes
        return np.ascontiguousarray(drawn[order], np.float32), regions[order][first]

    def block(self, block: int) -> Part:
        """Documents, chunks and vectors of one block."""
        numbers, sizes = self.numbers(block), self.sizes(block)
        facts = Facts.of(numbers)
        vectors, regions = self.passage_vectors(block)
        passages = iter(self.texts.block(block, np.repeat(facts.chinese, sizes)))
        documents, chunks = [], []
        rows = zip(
            numbers.tolist(),
            sizes.tolist(),
            *(column.tolist() for column in _columns(facts)),
            regions.tolist(),
            strict=True,
        )
        for number, size, share, chinese, rights, region in rows:
            own = [next(passages) for _ in range(size)]
            documents.append(self._document(number, own, share, chinese, rights, region))
            chunks.append(_chunks(own))
        return Part(documents, chunks, vectors)

    def parts(self, first: int = 0) -> Iterator[Part]:
        """All blocks from ``first`` on."""
        return map(self.block, range(first, self.blocks))

    def _document(
        self, number: int, passages: list[str], share: int, chinese: bool, rights: int, region: int
    ) -> Document:
        titles = self.texts.pieces.chinese if chinese else self.texts.pieces.english
        return Document(
            document_id=f"d{number:08}",
            text="\n".join(passages),
            title=titles[number * 40503 % len(titles)],
            metadata={
                "share": share,
                "tags": _TAGS[share],
                "lang": "zh" if chinese else "en",
                "region": f"r{region:02}",
                "published": _DAYS[number * 31 % len(_DAYS)],
                "reviewed": number % 3 == 0,
            },
            acl=_RIGHTS[rights],
        )


def _columns(facts: Facts) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.int64]]:
    return facts.share, facts.chinese, facts.rights


def _chunks(passages: list[str]) -> list[Chunk]:
    chunks, start = [], 0
    for ordinal, passage in enumerate(passages):
        end = start + len(passage)
        chunks.append(Chunk(ordinal, start, end))
        start = end + 1
    return chunks


_TAGS = tuple(("all", *(tag for tag, count in SHARES.items() if share < count)) for share in range(_TEN_THOUSAND))
_RIGHTS = tuple(next(acl for high, acl in _ACL if place < high) for place in range(_TEN_THOUSAND))
