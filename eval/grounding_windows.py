"""Chooses the stretches of a passage that a statement is about, in whole sentences, short enough to be read at once."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

from retrieval.analysis import analyse
from retrieval.sentences import sentences

_HAN = re.compile(r"[぀-ヿ㐀-鿿豈-﫿＀-￯]")
_SPECIAL = 4


def estimated_tokens(text: str) -> float:
    """Tokens of a text in the XLM-R vocabulary: some 1.5 characters each in Chinese, some 4.2 in English."""
    han = len(_HAN.findall(text))
    return han / 1.5 + (len(text) - han) / 4.2


def windows(statement: str, passage: str, tokens: int, most: int) -> list[str]:
    """At most ``most`` stretches of ``passage``, each fit to be read beside ``statement`` in ``tokens`` tokens.

    A passage that fits comes whole. Otherwise its runs of neighbouring sentences: the one whose terms weigh
    most, then the best of those that share no sentence with it. A term of the statement weighs
    ``ln(1 + n / df)`` over the n sentences.
    """
    room = tokens - min(estimated_tokens(statement), tokens / 2) - _SPECIAL
    if estimated_tokens(passage) <= room:
        return [passage]
    spans = sentences(passage) or [(0, len(passage))]
    wanted = set(analyse(statement))
    held = [wanted & set(analyse(passage[start:end])) for start, end in spans]
    counts = Counter(term for terms in held for term in terms)
    weights = {term: math.log1p(len(spans) / count) for term, count in counts.items()}
    sizes = [estimated_tokens(passage[start:end]) for start, end in spans]
    free = set(range(len(spans)))
    found: list[str] = []
    while free and len(found) < most:
        first, last = _best(free, held, sizes, weights, room)
        found.append(passage[spans[first][0] : spans[last][1]])
        free -= set(range(first, last + 1))
    return found


def _best(
    free: set[int], held: Sequence[set[str]], sizes: Sequence[float], weights: dict[str, float], room: float
) -> tuple[int, int]:
    """First and last sentence of the heaviest run within ``free`` that fits ``room``; of equals the first."""
    best, best_weight = (min(free), min(free)), -1.0
    for first in sorted(free):
        covered: set[str] = set()
        size, last = 0.0, first - 1
        while last + 1 in free and (last < first or size + sizes[last + 1] <= room):
            last += 1
            size += sizes[last]
            covered |= held[last]
        weight = sum(weights[term] for term in covered)
        if weight > best_weight + 1e-9:
            best, best_weight = (first, last), weight
    return best
