"""The lexical channel of what was just written: BM25 in memory, appended to while it is searched."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from retrieval.analysis import Analysis, default_analysis
from retrieval.bitmap import Bitmap
from retrieval.lexical_query import MAX_EXPANSIONS, LexicalQuery, ScoredTerm, phrase_key, required_phrases, scored_terms
from retrieval.lexical_scoring import BODY, FIELDS, K1, Statistics, length_code, saturations
from retrieval.types import Hits, Rows

_COUNT_BITS: Final = 20
_COUNT_MASK: Final = (1 << _COUNT_BITS) - 1


class LiveLexical:
    """An append-only index for a few thousand passages; scores are those of Lexical, rounded lengths included.

    One thread appends; any number of threads search the first ``rows`` passages meanwhile. What they read is copied
    in one step under the interpreter's lock, and what is appended later lies behind their ``rows``.
    """

    def __init__(self, analysis: Analysis | None = None) -> None:
        self.analysis = analysis or default_analysis()
        self._fields = {name: _Field() for name in FIELDS}
        self._numbers: dict[str, int] = {}
        self._bodies: list[bytes] = []
        """Per passage its body as numbers of terms, int32 each: where phrases are looked for."""

    def append(self, title: str, headings: Sequence[str], text: str) -> None:
        """``text`` with the context it carries; the passage gets the next row."""
        analysis, row = self.analysis, len(self._bodies)
        head = analysis(title)
        below = [term for heading in headings for term in analysis(heading)]
        body = head + below + analysis(text)
        for name, terms in (("title", head), ("headings", below), (BODY, body)):
            self._fields[name].append(row, terms)
        numbers = self._numbers
        self._bodies.append(array("i", [numbers.setdefault(term, len(numbers)) for term in body]).tobytes())

    def statistics(self, query: LexicalQuery, rows: int) -> Statistics:
        """What the first ``rows`` passages add to the statistics of a snapshot, for this query."""
        frequencies = {(field, term): self._fields[field].frequency(term, rows) for field, term in query.keys()}  # noqa: SIM118 - no mapping
        for phrase in query.phrases:
            holding, _ = self._fields[BODY].held(phrase[0], rows)
            frequencies[phrase_key(phrase)] = len(self._holding(phrase, holding))
        for prefix in query.prefixes:
            begin = [term for term in list(self._fields[BODY].postings) if term.startswith(prefix)]
            counted = sorted((-self._fields[BODY].frequency(term, rows), term) for term in begin)
            frequencies |= {(BODY, term): -frequency for frequency, term in counted[:MAX_EXPANSIONS]}
        return Statistics(rows, frequencies, {name: field.length(rows) for name, field in self._fields.items()})

    def search(
        self,
        query: LexicalQuery,
        depth: int,
        *,
        rows: int,
        statistics: Statistics | None = None,
        allowed: Bitmap | None = None,
    ) -> Hits:
        """The best ``depth`` of the first ``rows`` passages, as Lexical.search ranks them.

        Lengths are compared with the mean of ``statistics``: a block of a few passages has no mean to speak of.
        """
        known = statistics or self.statistics(query, rows)
        scores = np.zeros(rows, np.float64)
        means = {name: known.mean_length(name) for name in FIELDS}
        for each in scored_terms(query, known):
            self._add_scores(scores, each, rows, means[each.field])
        found = np.flatnonzero(scores).astype(np.int64)
        if allowed is not None:
            found = found[allowed.has(found)]
        for phrase in required_phrases(query, known):
            found = self._holding(phrase, found)
        best = scores[found].astype(np.float32)
        order = np.lexsort((found, -best))[: max(depth, 0)]
        return Hits(found[order], best[order])

    def _add_scores(self, scores: NDArray[np.float64], scored: ScoredTerm, rows: int, mean_length: float) -> None:
        field = self._fields[scored.field]
        holding, counts = field.held(scored.term, rows)
        if len(holding):
            below = counts + saturations(mean_length)[field.codes(rows)[holding]]
            scores[holding] += scored.weight * (1 + K1) * counts / below

    def _holding(self, phrase: Sequence[str], rows: Rows) -> Rows:
        numbers = [self._numbers.get(term) for term in phrase]
        if None in numbers:
            return rows[:0]
        wanted = np.array(numbers, np.int32).tobytes()
        return rows[[_stands_in(wanted, self._bodies[row]) for row in rows.tolist()]] if len(rows) else rows


class _Field:
    """Postings, lengths and sums of lengths of one field, each growing at its end."""

    def __init__(self) -> None:
        self.postings: dict[str, array[int]] = {}
        """Term to its passages in order, each the row and, in the lower 20 bits, how often the term stands there."""
        self._codes = array("B")
        self._ends = array("q", [0])

    def append(self, row: int, terms: Sequence[str]) -> None:
        postings, first = self.postings, row << _COUNT_BITS | 1
        for term in terms:
            found = postings.get(term)
            if found is None:
                postings[term] = array("q", (first,))
            elif found[-1] < first:
                found.append(first)
            elif found[-1] & _COUNT_MASK < _COUNT_MASK:  # no reader looks at this row yet
                found[-1] += 1
        self._codes.append(length_code(len(terms)))
        self._ends.append(self._ends[-1] + len(terms))

    def frequency(self, term: str, rows: int) -> int:
        found = self.postings.get(term)
        return bisect_left(found, rows << _COUNT_BITS) if found is not None else 0

    def length(self, rows: int) -> int:
        return self._ends[rows]

    def codes(self, rows: int) -> NDArray[np.uint8]:
        """A copy: an array that lends out its memory could not grow."""
        return np.frombuffer(self._codes[:rows], np.uint8)

    def held(self, term: str, rows: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows that hold ``term`` and how often."""
        found = self.postings.get(term)
        entries = np.frombuffer(found[: bisect_left(found, rows << _COUNT_BITS)] if found else b"", np.int64)
        return entries >> _COUNT_BITS, entries & _COUNT_MASK


def _stands_in(wanted: bytes, body: bytes) -> bool:
    """Whether ``wanted`` stands in ``body`` at a place that is a multiple of four bytes."""
    start = body.find(wanted)
    while start >= 0 and start % 4:
        start = body.find(wanted, start + 1)
    return start >= 0
