"""An encoder and a reranker whose answers can be worked out by hand: words, hashed and counted."""

from __future__ import annotations

import hashlib
import math
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from retrieval.tokens import Encoded
from retrieval.types import EncoderSpec, Role, Vectors

_WORD = re.compile(r"[\u4e00-\u9fff]|\w+")


def words(text: str) -> list[str]:
    """Lower-cased words; each Han character is a word of its own."""
    return _WORD.findall(text.lower())


class FakeEncoder:
    """Bag of words, each word hashed to one signed dimension, counts damped by a square root, unit length.

    Equal on every machine and in every process. Texts that share words are near, texts that share
    none are near orthogonal. A text without words gets the first axis, so rows are never zero.
    ``fail_with`` is raised by every call while it is set.
    """

    def __init__(
        self,
        dimension: int = 64,
        *,
        max_tokens: int = 512,
        languages: tuple[str, ...] = ("en",),
        name: str = "fake-encoder",
        fail_with: Exception | None = None,
    ) -> None:
        self._spec = EncoderSpec(
            name=name,
            dimension=dimension,
            max_tokens=max_tokens,
            languages=languages,
            fingerprint=hashlib.sha256(f"{name}:{dimension}:{max_tokens}".encode()).hexdigest()[:16],
        )
        self.fail_with = fail_with

    @property
    def spec(self) -> EncoderSpec:
        return self._spec

    def encode(self, texts: Sequence[str], role: Role) -> Vectors:
        if self.fail_with is not None:
            raise self.fail_with
        vectors: Vectors = np.zeros((len(texts), self._spec.dimension), np.float32)
        for row, text in enumerate(texts):
            counts: dict[str, int] = {}
            for word in words(text)[: self._spec.max_tokens]:
                counts[word] = counts.get(word, 0) + 1
            for word, count in counts.items():
                number = _word_id(word)
                vectors[row, (number >> 8) % self._spec.dimension] += (1.0 if number & 1 else -1.0) * math.sqrt(count)
            if not vectors[row].any():
                vectors[row, 0] = 1.0
        norms = np.linalg.norm(vectors, axis=1, keepdims=True).astype(np.float32)
        return vectors / norms if len(texts) else vectors

    def tokens(self, texts: Sequence[str], role: Role | None, max_tokens: int) -> list[Encoded]:
        """A token for each word, between a first and a last; what a word counts for can be read off its id."""
        room = max_tokens - 2
        rows = [[0, *(_word_id(word) for word in words(text)[:room]), 1] for text in texts]
        return [Encoded(row, [0] * len(row)) for row in rows]

    def pooled(self, encoded: Sequence[Encoded]) -> NDArray[np.float32]:
        if self.fail_with is not None:
            raise self.fail_with
        vectors: NDArray[np.float32] = np.zeros((len(encoded), self._spec.dimension), np.float32)
        for row, tokens in enumerate(encoded):
            for number, count in Counter(tokens.ids[1:-1]).items():
                vectors[row, (number >> 8) % self._spec.dimension] += (1.0 if number & 1 else -1.0) * math.sqrt(count)
            if not vectors[row].any():
                vectors[row, 0] = 1.0
        return vectors


def _word_id(word: str) -> int:
    digest = hashlib.blake2b(word.encode(), digest_size=8).digest()
    return int.from_bytes(digest[:4], "little") << 8 | digest[4]


class FakeReranker:
    """Logit of the share of the query's distinct words that a text holds: 0 at half, +4 at all, -4 at none.

    ``batch`` texts are scored between two looks at ``clock``, as the real one does.
    ``fail_with`` is raised by every call while it is set.
    """

    def __init__(
        self,
        *,
        name: str = "fake-reranker",
        languages: tuple[str, ...] = ("en",),
        batch: int = 4,
        clock: Callable[[], float] = time.monotonic,
        fail_with: Exception | None = None,
    ) -> None:
        self._name = name
        self._languages = languages
        self._batch = batch
        self._clock = clock
        self.fail_with = fail_with

    @property
    def name(self) -> str:
        return self._name

    @property
    def languages(self) -> tuple[str, ...]:
        return self._languages

    def score(self, query: str, texts: Sequence[str], deadline: float | None = None) -> NDArray[np.float32]:
        if self.fail_with is not None:
            raise self.fail_with
        wanted = set(words(query))
        scores: list[float] = []
        for start in range(0, len(texts), self._batch):
            if deadline is not None and self._clock() >= deadline:
                break
            for text in texts[start : start + self._batch]:
                share = len(wanted & set(words(text))) / len(wanted) if wanted else 0.0
                scores.append(8.0 * share - 4.0)
        return np.asarray(scores, np.float32)

    def score_round(
        self, query: str, texts: Sequence[str], deadline: float | None = None
    ) -> tuple[NDArray[np.float32], int]:
        found = np.full(len(texts), np.nan, np.float32)
        scored = self.score(query, texts, deadline)
        found[: len(scored)] = scored
        return found, len(scored)


class FakePairs:
    """The same logit as FakeReranker's, from tokens: a token for each word, three more for a pair."""

    def __init__(
        self, *, name: str = "fake-reranker", max_tokens: int = 64, fail_with: Exception | None = None
    ) -> None:
        self.name = name
        self.max_tokens = max_tokens
        self.fail_with = fail_with
        self.batches: list[int] = []

    def pairs(self, query: str, texts: Sequence[str], max_tokens: int, text_tokens: int | None = None) -> list[Encoded]:
        room = max_tokens - 3
        asked = [_word_id(word) for word in words(query)][: room // 2]
        left = room - len(asked) if text_tokens is None else min(text_tokens, room - len(asked))
        found = []
        for text in texts:
            said = [_word_id(word) for word in words(text)][:left]
            found.append(Encoded([0, *asked, 1, *said, 1], [0] * (len(asked) + 2) + [1] * (len(said) + 1)))
        return found

    def logits(self, pairs: Sequence[Encoded]) -> NDArray[np.float32]:
        if self.fail_with is not None:
            raise self.fail_with
        scores = []
        for pair in pairs:
            asked = {number for number, kind in zip(pair.ids, pair.types, strict=True) if not kind} - {0, 1}
            said = {number for number, kind in zip(pair.ids, pair.types, strict=True) if kind} - {0, 1}
            scores.append(8.0 * (len(asked & said) / len(asked) if asked else 0.0) - 4.0)
        return np.asarray(scores, np.float32)
