"""Passages by a seeded generator: parts of real sentences and words drawn by rank, English and Chinese, any block."""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.durable import replace_json
from retrieval.errors import InvalidRequest

ENGLISH = ("squad", "short-texts/wordnet-glosses", "short-texts/debian-descriptions-en", "techdocs/kubernetes-docs-en")
CHINESE = ("cmrc2018", "law-zh-stard", "techdocs/kubernetes-docs-zh")
MOST_PHRASES, MOST_WORDS = 200_000, 150_000

_FIELDS = ("title", "text", "context")
_CLAUSE = re.compile(r"[^,;:.!?()\n]+[,;:.!?]*")
_CLAUSE_ZH = re.compile(r"[^，；：。！？（）\s]+[，；：。！？]*")
_WORD = re.compile(r"[a-z][a-z0-9]*(?:[-_][a-z0-9]+)*")
_HAN = re.compile(r"[\u4e00-\u9fff]")
_CONSONANTS = "bcdfghjklmnpqrtvwxz"
_BEND = 2.7
"""The constant of Zipf and Mandelbrot's law: the share of the word of rank r falls as 1 / (r + 2.7)."""


@dataclass(frozen=True, slots=True)
class Pieces:
    """What passages are put together from: clauses as they stand in real texts, and words, the most frequent first."""

    english: tuple[str, ...]
    chinese: tuple[str, ...]
    words: tuple[str, ...]

    def save(self, path: Path) -> None:
        replace_json(path, {"english": self.english, "chinese": self.chinese, "words": self.words})

    @classmethod
    def load(cls, path: Path) -> Pieces:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return cls(tuple(stored["english"]), tuple(stored["chinese"]), tuple(stored["words"]))


def read_pieces(data: Path, *, phrases: int = MOST_PHRASES, words: int = MOST_WORDS) -> Pieces:
    """Read the folder of data sets (RIDDLE_DATA). Equal data gives equal pieces.

    English clauses of 3 to 9 words, Chinese ones of 4 to 16 characters, each once, evenly thinned to ``phrases``; words
    by falling frequency. Raises InvalidRequest when the folder lacks the sets that are read.
    """
    english, chinese = dict[str, None](), dict[str, None]()
    counts = Counter[str]()
    for text in _texts(data, ENGLISH):
        counts.update(_WORD.findall(text.lower()))
        for clause in _CLAUSE.findall(text):
            kept = " ".join(clause.split())
            if 3 <= kept.count(" ") + 1 <= 9 and kept.isascii():
                english[kept] = None
    for text in _texts(data, CHINESE):
        for clause in _CLAUSE_ZH.findall(text):
            if 4 <= len(clause) <= 16 and len(_HAN.findall(clause)) * 2 > len(clause):
                chinese[clause] = None
    if len(english) < 1000 or len(chinese) < 1000:
        raise InvalidRequest(
            f"{data} does not hold {', '.join((*ENGLISH, *CHINESE))}: point RIDDLE_DATA at the data sets"
        )
    by_rank = sorted(counts, key=lambda word: (-counts[word], word))[:words]
    return Pieces(_thinned(list(english), phrases), _thinned(list(chinese), phrases), tuple(by_rank))


def _thinned(items: Sequence[str], count: int) -> tuple[str, ...]:
    if len(items) <= count:
        return tuple(items)
    return tuple(items[row] for row in np.linspace(0, len(items) - 1, count).astype(int).tolist())


def _texts(data: Path, names: Iterable[str]) -> Iterator[str]:
    for name in names:
        base = data / name
        for path in sorted(base.glob("*.json*.gz")) if base.is_dir() else sorted(base.parent.glob(f"{base.name}.*.gz")):
            with gzip.open(path, "rt", encoding="utf-8") as file:
                for value in [json.load(file)] if path.name.endswith(".json.gz") else map(json.loads, file):
                    yield from _strings(value)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            if isinstance(inner, str):
                if name in _FIELDS:
                    yield inner
            else:
                yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)


class Texts:
    """Draws passages: equal pieces, seed and block give equal passages, in any order of blocks and on any machine.

    An English passage is 2 to 4 clauses and two words drawn by Zipf and Mandelbrot's law, so that frequent, middling
    and rare terms come as in real text; a Chinese one is 3 to 5 clauses and one such word, as product names come.
    """

    def __init__(self, pieces: Pieces, seed: int) -> None:
        self.pieces = pieces
        self._seed = seed
        self._english = np.array(pieces.english, object)
        self._chinese = np.array(pieces.chinese, object)
        self._words = np.array(pieces.words, object)
        weights = np.cumsum(1.0 / (np.arange(len(pieces.words)) + _BEND))
        self._cumulated = weights / weights[-1]

    def block(self, block: int, chinese: NDArray[np.bool_]) -> list[str]:
        """One passage for each flag, in the language that it says."""
        draw = np.random.default_rng([self._seed, block])
        texts = np.empty(len(chinese), object)
        here = np.flatnonzero(chinese)
        texts[np.flatnonzero(~chinese)] = self._passages(draw, len(chinese) - len(here), self._english, " ", (2, 4), 2)
        texts[here] = self._passages(draw, len(here), self._chinese, "", (3, 5), 1)
        passages: list[str] = texts.tolist()
        return passages

    def _passages(
        self,
        draw: np.random.Generator,
        count: int,
        phrases: NDArray[Any],
        glue: str,
        clauses: tuple[int, int],
        words: int,
    ) -> NDArray[Any]:
        lengths = draw.integers(clauses[0], clauses[1] + 1, count)
        pieces = phrases[draw.integers(0, len(phrases), int(lengths.sum()))].tolist()
        drawn = self._words[self._ranks(draw, count * words)].tolist()
        made = np.empty(count, object)
        start = 0
        for row, length in enumerate(lengths.tolist()):
            own = pieces[start : start + length]
            own[1:1] = drawn[row * words : (row + 1) * words]
            made[row] = glue.join(own)
            start += length
        return made

    def _ranks(self, draw: np.random.Generator, count: int) -> NDArray[np.int64]:
        ranks: NDArray[np.int64] = np.searchsorted(self._cumulated, draw.random(count))
        return ranks

    def queries(self, seed: int, count: int) -> list[str]:
        """Three words each: one of the hundred most frequent, one of rank 1,000 to 5,000, one from the rarer half."""
        draw = np.random.default_rng([self._seed, seed, 1])
        most = len(self.pieces.words)
        bands = (
            (min(20, most // 10), min(120, most // 4)),
            (min(1000, most // 4), min(5000, most // 2)),
            (most // 2, most),
        )
        columns = [self._words[draw.integers(low, high, count)].tolist() for low, high in bands]
        return [" ".join(words) for words in zip(*columns, strict=True)]


def coined(prefix: str, number: int) -> str:
    """A word of its own for each number: consonants alone, so that no analysis takes it apart or finds a stem in it."""
    letters, rest = "", number + 1
    while rest:
        rest, digit = divmod(rest, len(_CONSONANTS))
        letters += _CONSONANTS[digit]
    return f"{prefix}{letters}"
