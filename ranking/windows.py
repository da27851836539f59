"""Chooses the stretch of a passage that a query is about, so that a cross-encoder reads that and not the whole."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from retrieval.analysis import analyse
from retrieval.sentences import sentences
from retrieval.types import Passage, passage_text

CHARS_PER_TOKEN = 4.0
"""Of English prose and code in a BERT vocabulary, on average; the cross-encoder's own limit is exact."""


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
