"""The lexical channel of one segment: BM25 over title, headings and body in a tantivy index of our own terms."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any, Final

import numpy as np

from retrieval.analysis import Analysis, default_analysis
from retrieval.bitmap import Bitmap
from retrieval.errors import IndexUnreadable
from retrieval.filters import EVERYTHING, Fields, Scope
from retrieval.lexical_live import LiveLexical
from retrieval.lexical_part import COLUMNS_FILE, LENGTHS_FILE
from retrieval.lexical_query import (
    MAX_EXPANSIONS,
    LexicalQuery,
    parse_query,
    phrase_key,
    required_phrases,
    scored_terms,
)
from retrieval.lexical_scoring import BODY, FIELDS, Statistics, inverse_frequency
from retrieval.lexical_tags import AnyTag, Between, Column, Every, Inside, inside
from retrieval.lexical_writer import LexicalWriter
from retrieval.types import Hits, Rows

__all__ = ["FIELDS", "Lexical", "LexicalQuery", "LexicalWriter", "LiveLexical", "Statistics", "parse_query"]

_VERY_FEW, _FEW = 30, 3000
"""So many admitted rows are named to the index one by one, each some 20 microseconds: always, and when else is slow."""
_WIDE: Final = 0.05
"""From this share of admitted passages on, searching wide and checking is faster than applying the filter inside."""
_REMEMBERED: Final = 1 << 16


class Lexical:
    """Reads an index that LexicalWriter wrote. Thread-safe, immutable; rows are those of the segment."""

    def __init__(self, folder: Path, analysis: Analysis | None = None, fields: Fields | None = None) -> None:
        """``fields`` are the types that the collection declares; they let the index compare dates itself.

        Raises IndexUnreadable.
        """
        import tantivy

        self.analysis = analysis or default_analysis()
        self._fields = fields
        try:
            index = _opened(folder) if os.access(folder, os.W_OK) else _opened_through_links(folder)
            self._searcher = index.searcher()
            self._lengths: dict[str, int] = json.loads((folder / LENGTHS_FILE).read_text())
            columns = json.loads((folder / COLUMNS_FILE).read_text())
        except (ValueError, OSError) as error:
            raise IndexUnreadable(f"{folder} cannot be read ({error}): build the collection again") from error
        self._columns = {key: Column(*stored) for key, stored in columns.items()}
        self.passages: int = self._searcher.num_docs
        self._schema = index.schema
        self._query: Any = tantivy.Query
        self._occur: Any = tantivy.Occur
        self._number: Any = tantivy.FieldType.Float
        self._frequencies: dict[tuple[str, str], int] = {}

    def statistics(self, query: LexicalQuery) -> Statistics:
        """What this segment adds to the statistics of a snapshot, for this query."""
        frequencies = {key: self._frequency(*key) for key in query.keys()}  # noqa: SIM118 - no mapping
        for phrase in query.phrases:
            frequencies[phrase_key(phrase)] = self._phrase_frequency(phrase)
        for prefix in query.prefixes:
            for term, frequency in self._searcher.terms_with_prefix(BODY, prefix, None, MAX_EXPANSIONS):
                frequencies[BODY, term] = frequency
        return Statistics(self.passages, frequencies, self._lengths)

    def search(
        self,
        query: LexicalQuery,
        depth: int,
        *,
        statistics: Statistics | None = None,
        allowed: Bitmap | None = None,
        scope: Scope = EVERYTHING,
    ) -> Hits:
        """The best ``depth`` passages that share a term with ``query`` and hold its phrases; BM25 (k1 1.2, b 0.75).

        ``statistics`` are those of everything that is searched together, this segment's own when None. Only rows of
        ``allowed`` are returned; ``scope`` is what ``allowed`` was made from and helps to find them quickly. Lengths
        are compared with the mean of this segment, whatever the statistics.
        """
        matching = self._matching(query, statistics or self.statistics(query))
        admitted = self.passages if allowed is None else allowed.count()
        if matching is None or not admitted or depth < 1:
            return Hits.empty()
        if allowed is None or admitted == self.passages:
            return _ranked(*self._best(matching, depth), depth)
        return self._filtered(matching, depth, allowed, admitted, scope)

    def _filtered(self, matching: Any, depth: int, allowed: Bitmap, admitted: int, scope: Scope) -> Hits:
        """The planner: a handful of rows are named; many are searched wide and checked; else the index filters.

        Where it cannot, or where it let through too much, the search goes wider and wider until ``depth`` admitted
        rows are found or there is nothing more; few rows are named then.
        """
        if admitted <= _VERY_FEW:
            return self._named(matching, depth, allowed)
        condition = inside(scope, self._columns, self._fields) if admitted < _WIDE * self.passages else None
        if condition is not None:
            matching = self._restricted(matching, self._condition(condition))
            limit = depth + depth // 4 + 10  # deleted ones are among them
        elif admitted <= _FEW:
            return self._named(matching, depth, allowed)
        else:
            limit = int(depth * self.passages / admitted * 1.5) + 10
        while True:
            rows, scores = self._best(matching, limit)
            admissible = allowed.has(rows)
            if len(rows) < limit or np.count_nonzero(admissible) >= depth:
                return _ranked(rows[admissible], scores[admissible], depth)
            if admitted <= _FEW:
                return self._named(matching, depth, allowed)
            limit *= 4

    def _named(self, matching: Any, depth: int, allowed: Bitmap) -> Hits:
        named = self._query.term_set_query(self._schema, "row", allowed.rows().tolist())
        rows, scores = self._best(self._restricted(matching, named), depth)
        admissible = allowed.has(rows)
        return _ranked(rows[admissible], scores[admissible], depth)

    def _best(self, matching: Any, limit: int) -> tuple[Rows, Any]:
        found = self._searcher.search(matching, min(limit, self.passages), count=False).hits
        scores = np.array([score for score, _ in found], np.float32)
        return np.array(self._searcher.fast_field_values("row", [where for _, where in found]), np.int64), scores

    def _matching(self, query: LexicalQuery, statistics: Statistics) -> Any | None:
        """tantivy's query, each term's weight corrected from the idf of this index to that of ``statistics``."""
        any_of = [
            (self._occur.Should, self._query.boost_query(self._term(each.field, each.term), each.weight / idf))
            for each in scored_terms(query, statistics)
            if (idf := self._idf(each.field, each.term))
        ]
        if not any_of:
            return None
        matching = self._query.boolean_query(any_of)
        for phrase in required_phrases(query, statistics):
            matching = self._restricted(matching, self._phrase(phrase))
        return matching

    def _term(self, field: str, term: str) -> Any:
        return self._query.term_query(self._schema, field, term, "freq")

    def _phrase(self, phrase: tuple[str, ...]) -> Any:
        if len(phrase) == 1:
            return self._term(BODY, phrase[0])
        return self._query.phrase_query(self._schema, BODY, list(phrase))

    def _restricted(self, matching: Any, condition: Any) -> Any:
        """Those of ``matching`` that meet ``condition``, which adds nothing to their scores."""
        must = self._occur.Must
        return self._query.boolean_query([(must, self._query.const_score_query(condition, 0.0)), (must, matching)])

    def _condition(self, condition: Inside) -> Any:
        if isinstance(condition, AnyTag):
            return self._query.term_set_query(self._schema, "tags", list(condition.tags))
        if isinstance(condition, Between):
            column, least, most = condition.column, condition.least, condition.most
            return self._query.range_query(self._schema, column, self._number, least, most)
        occur = self._occur.Must if isinstance(condition, Every) else self._occur.Should
        return self._query.boolean_query([(occur, self._condition(part)) for part in condition.parts])

    def _idf(self, field: str, term: str) -> float:
        frequency = self._frequency(field, term)
        return inverse_frequency(self.passages, frequency) if frequency else 0.0

    def _frequency(self, field: str, term: str) -> int:
        known = self._frequencies.get((field, term))
        return self._remember((field, term), self._searcher.doc_freq(field, term)) if known is None else known

    def _phrase_frequency(self, phrase: tuple[str, ...]) -> int:
        key = phrase_key(phrase)
        known = self._frequencies.get(key)
        return self._remember(key, self._searcher.search(self._phrase(phrase), 1).count) if known is None else known

    def _remember(self, key: tuple[str, str], frequency: int) -> int:
        if len(self._frequencies) >= _REMEMBERED:
            self._frequencies.clear()
        self._frequencies[key] = frequency
        return frequency


def _ranked(rows: Rows, scores: Any, depth: int) -> Hits:
    order = np.lexsort((rows, -scores))[:depth]
    return Hits(rows[order], scores[order])


def _opened(folder: Path) -> Any:
    import tantivy

    index = tantivy.Index.open(str(folder))
    index.config_reader(reload_policy="manual")  # the files never change; no watcher thread
    return index


def _opened_through_links(folder: Path) -> Any:
    """tantivy writes a lock file even to read, so where it may not, it opens links to the files from elsewhere."""
    with tempfile.TemporaryDirectory(prefix="riddle-index-") as elsewhere:
        for path in folder.iterdir():
            if not path.name.endswith(".lock"):
                (Path(elsewhere) / path.name).symlink_to(path.resolve())
        return _opened(Path(elsewhere))
