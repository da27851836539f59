"""A late encoder without a model: a word's vector is drawn from a seed that the word gives."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from retrieval._native.late import LateQuery
from retrieval.encoders import unit
from retrieval.late_encoder import LateEncoder
from retrieval.segment import Part
from retrieval.token_codec import Codec, CodecTables, LateSpec, fitted
from retrieval.token_vectors import TokenCodes
from retrieval.types import Vectors, passage_text

DIMENSION, CENTROIDS = 32, 20


def fake_codec(bits: int = 2, model: str = "fake-late") -> Codec:
    numbers = np.random.default_rng(1)
    sample = unit(numbers.standard_normal((2000, DIMENSION), dtype=np.float32))
    centroids = unit(sample[:CENTROIDS]) / np.float32(2)
    nearest = (sample @ centroids.T).argmax(1)
    spread, levels = fitted(sample - centroids[nearest], bits)
    return Codec(LateSpec(model, "0123456789abcdef", DIMENSION, bits), CodecTables(centroids, spread, levels))


class FakeLate:
    """Every word is a token; the same word has the same vector in queries and passages."""

    languages: tuple[str, ...] = ("*",)

    def __init__(self, bits: int = 2, model: str = "fake-late") -> None:
        self.codec = fake_codec(bits, model)

    @property
    def spec(self) -> LateSpec:
        return self.codec.spec

    def encode(self, texts: Sequence[str]) -> TokenCodes:
        found = [self.codec.encode(word_vectors(text)) for text in texts]
        tokens = np.concatenate(found) if found else np.empty((0, self.spec.width), np.uint8)
        return TokenCodes(self.spec, np.array([len(each) for each in found], np.int32), tokens)

    def query(self, text: str) -> LateQuery:
        return self.codec.query(word_vectors(text))


def with_tokens(plain: Part, late: LateEncoder) -> Part:
    """The same with its passages' token vectors."""
    texts = [
        passage_text(document.title, chunk.headings, chunk.context, document.text[chunk.start : chunk.end])
        for document, own in zip(plain.documents, plain.chunks, strict=True)
        for chunk in own
    ]
    return replace(plain, tokens=late.encode(texts))


def word_vectors(text: str) -> Vectors:
    words = text.lower().split() or [""]
    seeds = [zlib.crc32(word.strip(".,;!?").encode()) for word in words]
    return unit(np.stack([np.random.default_rng(seed).standard_normal(DIMENSION) for seed in seeds]).astype(np.float32))
