"""How the words of a query stand in the candidates: covered, rare, side by side, close together, first met."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from retrieval.analysis import analyse, default_analysis

Floats = NDArray[np.float64]

BM25_K1, BM25_B = 1.2, 0.75
"""Robertson and Zaragoza's usual constants (The Probabilistic Relevance Framework, 2009)."""

_END = re.compile(r"[\s?？!！.。,，;；:：]+$")


@dataclass(frozen=True, slots=True)
class Overlaps:
    """What one field's texts share with the query, one value a text; NaN where the query has no term."""

    coverage: Floats
    """Weight of the query's terms that the text holds, as a share of the weight of all, 0 to 1."""
    best_match: Floats
    """BM25 with the terms' rarity among these texts for their rarity in the collection."""
    pairs: Floats
    """Of the query's neighbouring terms the share that the text has side by side too; 0 for a query of one term."""
    proximity: Floats
    """How close different terms of the query stand together; see ``_proximity``."""
    first: Floats
    """Where the first term of the query stands, as a share of the text's length; NaN without any."""
    phrase: Floats
    """1 where the text holds the whole query, by its terms or letter by letter, else 0."""
    lengths: Floats
    """Terms of the text."""


class QueryTerms:
    """The distinct terms of one query, weighed by how few of some texts hold them.

    The weight of a term is ``ln(1 + n / df)`` over n texts, df being at least a half: a term that no
    text holds weighs most, and what it lacks shows in every text's coverage.
    """

    def __init__(self, query: str) -> None:
        self.sequence = analyse(query)
        self.terms = tuple(dict.fromkeys(self.sequence))
        self._codes = {term: code for code, term in enumerate(self.terms)}
        self._joined = f" {' '.join(self.sequence)} "
        self._letters = _END.sub("", " ".join(query.casefold().split()))
        codes = [self._codes[term] for term in self.sequence]
        self._neighbours = {first * len(self.terms) + second for first, second in pairwise(codes)}

    def weights(self, held: NDArray[np.bool_]) -> Floats:
        """The weight of each term, from which of n texts ``held`` it, ``[n, terms]``."""
        found: Floats = np.log1p(len(held) / np.maximum(held.sum(axis=0), 0.5))
        return found

    def found_in(self, texts: Sequence[str]) -> Found:
        """Look for the terms in ``texts``; a text that occurs again is not read again."""
        joined = {text: default_analysis().joined(text) for text in dict.fromkeys(texts)}
        order = {text: number for number, text in enumerate(joined)}
        found = self._read(list(joined.values()), list(joined))
        return found.taken(np.array([order[text] for text in texts], np.int64))

    def _read(self, joined: Sequence[str], texts: Sequence[str]) -> Found:
        lengths = np.array([each.count(" ") + 1 if each else 0 for each in joined], np.int64)
        tokens = " ".join(joined).split()
        codes = self._codes
        places = [place for place, token in enumerate(tokens) if token in codes]
        at = np.array(places, np.int64)
        code = np.array([codes[tokens[place]] for place in places], np.int64)
        ends = np.cumsum(lengths)
        owner = np.searchsorted(ends, at, side="right")
        counts = np.zeros((len(joined), len(self.terms)))
        np.add.at(counts, (owner, code), 1)
        phrase = np.zeros(len(joined))
        # What holds the query whole holds most of its terms; where Chinese is cut into words depends on its neighbours.
        for number in np.flatnonzero(2 * (counts > 0).sum(axis=1) >= max(1, len(self.terms))).tolist():
            phrase[number] = self._joined in f" {joined[number]} " or self._holds(texts[number])
        return Found(self, counts, lengths.astype(np.float64), owner, at - (ends - lengths)[owner], code, phrase)

    def _holds(self, text: str) -> bool:
        return bool(self._letters) and self._letters in text.casefold()


@dataclass(frozen=True, slots=True)
class Found:
    """Where a query's terms stand in some texts."""

    query: QueryTerms
    counts: Floats
    """``[texts, terms]``."""
    lengths: Floats
    owner: NDArray[np.int64]
    """Text of each place where a term stands, in rising order."""
    place: NDArray[np.int64]
    """That place, in terms from the text's beginning."""
    code: NDArray[np.int64]
    """The term that stands there."""
    phrase: Floats
    texts: NDArray[np.int64] | None = None
    """Which of the texts read stands for each text asked about; None for each for itself."""

    def taken(self, texts: NDArray[np.int64]) -> Found:
        return Found(self.query, self.counts, self.lengths, self.owner, self.place, self.code, self.phrase, texts)

    @property
    def held(self) -> NDArray[np.bool_]:
        """``[texts asked about, terms]``."""
        held: NDArray[np.bool_] = self.counts > 0
        return held if self.texts is None else held[self.texts]

    def overlaps(self, weights: Floats) -> Overlaps:
        """All of it, with terms weighed by ``weights``."""
        total = float(weights.sum())
        if not total:
            blank = np.full(len(self.lengths), np.nan)
            return self._asked(Overlaps(blank, blank, blank, blank, blank, blank, self.lengths))
        mean = float(self.lengths.mean()) or 1.0
        norm = BM25_K1 * (1 - BM25_B + BM25_B * self.lengths / mean)
        saturated = self.counts * (BM25_K1 + 1) / (self.counts + norm[:, None])
        first = np.full(len(self.lengths), np.nan)
        texts, begin = np.unique(self.owner, return_index=True)
        first[texts] = self.place[begin] / self.lengths[texts]
        return self._asked(
            Overlaps(
                coverage=(self.counts > 0) @ weights / total,
                best_match=saturated @ weights,
                pairs=self._pairs(),
                proximity=self._proximity(weights),
                first=first,
                phrase=self.phrase,
                lengths=self.lengths,
            )
        )

    def _asked(self, found: Overlaps) -> Overlaps:
        if self.texts is None:
            return found
        take = self.texts
        return Overlaps(
            found.coverage[take], found.best_match[take], found.pairs[take], found.proximity[take],
            found.first[take], found.phrase[take], found.lengths[take],
        )  # fmt: skip

    def _pairs(self) -> Floats:
        neighbours = self.query._neighbours
        found = np.zeros(len(self.lengths))
        if not neighbours or len(self.code) < 2:
            return found
        beside = (self.owner[1:] == self.owner[:-1]) & (np.diff(self.place) == 1)
        pair = self.code[:-1] * len(self.query.terms) + self.code[1:]
        wanted = beside & np.isin(pair, np.fromiter(neighbours, np.int64))
        distinct = np.unique(np.stack([self.owner[:-1][wanted], pair[wanted]]), axis=1)
        np.add.at(found, distinct[0], 1)
        return found / len(neighbours)

    def _proximity(self, weights: Floats) -> Floats:
        """ln(1 + sum of (w + w') / distance² over neighbouring places of different terms / sum of weights).

        After Büttcher, Clarke and Lushman (SIGIR 2006), who add this to each term's accumulator; here it
        stands by itself.
        """
        found = np.zeros(len(self.lengths))
        if len(self.code) > 1:
            near = (self.owner[1:] == self.owner[:-1]) & (self.code[1:] != self.code[:-1])
            gain = (weights[self.code[1:]] + weights[self.code[:-1]])[near] / np.diff(self.place)[near] ** 2.0
            np.add.at(found, self.owner[1:][near], gain)
        close: Floats = np.log1p(found / weights.sum())
        return close
