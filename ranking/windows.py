"""Chooses the stretch of a passage that a query is about, so that a cross-encoder reads that and not the whole."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import overload

from retrieval.analysis import analyse
from retrieval.sentences import sentences
from retrieval.types import Passage, passage_text

CHARS_PER_TOKEN = 4.0
"""Of English prose and code in a BERT vocabulary, on average; the cross-encoder's own limit is exact."""


WEIGHED = 20
"""Of the candidates, in reading order, the first so many say how rare a term is: reading more of them later must not
change what was read of the first."""


class Windows:
    """Windows for one query. Terms are weighed by how few of ``passages`` hold them.

    The weight of a term is ``ln(1 + n / df)`` over the n passages given (candidates of this query),
    so a term that all of them share, as the query's topic is, decides little between the sentences.
    """

    def __init__(self, query: str, passages: Sequence[Passage]) -> None:
        wanted = set(analyse(query))
        counts = Counter(term for passage in passages for term in wanted & set(analyse(passage.text)))
        self._weights = {term: math.log1p(len(passages) / counts[term]) for term in wanted if counts[term]}

    def text(self, passage: Passage, tokens: int) -> str:
        """What the cross-encoder should read of ``passage``: its headings, then the best run of sentences.

        A run is of neighbouring sentences, at most ``tokens`` long as estimated from its characters,
        and best when its distinct terms weigh most; of equals the first. A passage that is short
        enough is taken whole, with the context that it carries. A sentence longer than the window is
        cut at line ends, and a line at the window's length.
        """
        size = int(tokens * CHARS_PER_TOKEN)
        if len(passage.context) + len(passage.text) <= size:
            return passage.full_text
        pieces = list(_pieces(passage.text, size)) or [(0, size)]
        terms = [set(analyse(passage.text[start:end])) for start, end in pieces]
        start, end = _best_run(pieces, terms, self._weights, size)
        return passage_text(passage.title, passage.headings, "", passage.text[start:end])


class WindowTexts(Sequence[str]):
    """The windows of candidates as texts, each made when it is asked for. ``tokens`` of 0 gives whole passages."""

    def __init__(self, query: str, passages: Sequence[Passage], weighed: Sequence[Passage], tokens: int) -> None:
        self._query, self._passages, self._weighed, self._tokens = query, passages, weighed, tokens
        self._windows: Windows | None = None

    def __len__(self) -> int:
        return len(self._passages)

    @overload
    def __getitem__(self, place: int) -> str: ...

    @overload
    def __getitem__(self, place: slice) -> list[str]: ...

    def __getitem__(self, place: int | slice) -> str | list[str]:
        if isinstance(place, slice):
            return [self._text(each) for each in self._passages[place]]
        return self._text(self._passages[place])

    def heads(self) -> list[str]:
        """Of each passage its beginning, as long as its window is at most: what its length can be told by."""
        size = int(self._tokens * CHARS_PER_TOKEN) or None
        return [passage_text(each.title, each.headings, "", each.text[:size]) for each in self._passages]

    def _text(self, passage: Passage) -> str:
        if not self._tokens:
            return passage.full_text
        if self._windows is None:
            self._windows = Windows(self._query, self._weighed)
        return self._windows.text(passage, self._tokens)


def _pieces(text: str, size: int) -> Iterator[tuple[int, int]]:
    """Sentences as spans, those over ``size`` in lines, and lines over ``size`` in cuts of that length."""
    for start, end in sentences(text):
        if end - start <= size:
            yield start, end
            continue
        at = start
        for line in text[start:end].splitlines(keepends=True):
            for cut in range(at, at + len(line), size):
                yield cut, min(cut + size, at + len(line))
            at += len(line)


def _best_run(
    pieces: Sequence[tuple[int, int]], terms: Sequence[set[str]], weights: Mapping[str, float], size: int
) -> tuple[int, int]:
    """Start and end of the best run of neighbouring pieces that fits into ``size`` characters."""
    best, best_weight = pieces[0], -1.0
    for first, (start, _) in enumerate(pieces):
        covered: set[str] = set()
        end = start
        for last in range(first, len(pieces)):
            if last > first and pieces[last][1] - start > size:
                break
            covered |= terms[last]
            end = pieces[last][1]
        weight = sum(value for term, value in weights.items() if term in covered)
        if weight > best_weight + 1e-9:
            best, best_weight = (start, end), weight
    return best
