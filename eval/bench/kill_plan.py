"""What each numbered batch of the kill bench changes: worked out from its number alone, by whoever needs to know."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from eval.bench.texts import coined
from retrieval.changes import Change, Delete, Upsert
from retrieval.segment import Part
from retrieval.types import Chunk, Document, EncoderSpec, Vectors

ENCODER = EncoderSpec("supplied", 16, 512, ("*",), fingerprint="kill-bench")
POOL = 120
"""Ids that batches draw from, so that documents are replaced and removed again and again."""

_WORDS = ("river", "stone", "bridge", "lantern", "harbour", "market", "garden", "signal", "数据库", "集合", "版本")
_ACLS = ((), ("group:eng",), ("group:ops", "group:eng"))


@dataclass(frozen=True, slots=True)
class Plan:
    """A batch: ``puts`` are numbers of documents that it writes, ``deletes`` of those that it removes."""

    batch: int
    puts: tuple[int, ...]
    deletes: tuple[int, ...]

    @property
    def changes(self) -> list[Change]:
        puts = [Upsert(*content(self.batch, number)) for number in self.puts]
        return [*puts, *(Delete(name(number)) for number in self.deletes)]

    def parts(self) -> Iterator[Part]:
        """The documents for a build, in parts of a few."""
        for first in range(0, len(self.puts), 8):
            made = [content(self.batch, number) for number in self.puts[first : first + 8]]
            vectors = np.concatenate([own for _, _, own in made])
            yield Part([document for document, _, _ in made], [list(chunks) for _, chunks, _ in made], vectors)

    def applied(self, state: Mapping[str, int]) -> dict[str, int]:
        """The state (id -> batch that wrote it) after this batch."""
        kept = {each: batch for each, batch in state.items() if each not in {name(number) for number in self.deletes}}
        return kept | {name(number): self.batch for number in self.puts}


def plan(seed: int, batch: int, *, largest: int = 16) -> Plan:
    """1 to ``largest`` documents of the pool, a quarter of them deleted."""
    draw = np.random.default_rng([seed, batch])
    chosen = draw.permutation(POOL)[: int(draw.integers(1, largest + 1))].tolist()
    puts = round(len(chosen) * 0.75)
    return Plan(batch, tuple(chosen[:puts]), tuple(chosen[puts:]))


def name(number: int) -> str:
    return f"p{number:04}"


def number_of(document_id: str) -> int:
    return int(document_id[1:])


def marker(batch: int, number: int) -> str:
    """A word that stands in every passage of this document as this batch wrote it, and nowhere else."""
    return coined("zq", batch * 10_000 + number)


def content(batch: int, number: int) -> tuple[Document, Sequence[Chunk], Vectors]:
    """The document ``number`` as batch ``batch`` writes it: equal arguments, equal bytes."""
    draw = np.random.default_rng([batch, number, 7])
    passages = [
        f"{marker(batch, number)} {' '.join(draw.choice(_WORDS, int(draw.integers(4, 20))))}."
        for _ in range(int(draw.integers(1, 4)))
    ]
    chunks, start = [], 0
    for ordinal, passage in enumerate(passages):
        chunks.append(Chunk(ordinal, start, start + len(passage)))
        start += len(passage) + 1
    drawn = draw.standard_normal((len(chunks), ENCODER.dimension), np.float32)
    document = Document(
        name(number),
        "\n".join(passages),
        title=f"Document {number}",
        metadata={"batch": batch, "lang": "en"},
        acl=_ACLS[(batch + number) % len(_ACLS)],
    )
    return document, chunks, drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
