"""The lexical channel: BM25 over title, headings and body in a tantivy index of our own terms."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from retrieval.analysis import analyse
from retrieval.errors import IndexUnreadable
from retrieval.types import Hits

FIELDS = {"title": 0.4, "headings": 0.4, "body": 1.0}
"""Fields and their weights. The body holds title and headings too, so that a passage is found by words of
which one stands in its heading and one in its text; the weights of the other two come on top."""

MAX_QUERY_TERMS = 64
"""Of a longer query the rarest terms are kept: common ones cost most and say least."""

_HEAP_BYTES = 128_000_000


def _schema() -> Any:
    import tantivy

    builder = tantivy.SchemaBuilder()
    for name in FIELDS:
        builder.add_text_field(name, tokenizer_name="whitespace", index_option="freq")
    builder.add_integer_field("row", fast=True)
    return builder.build()


class LexicalWriter:
    """Writes a new index into an empty folder, one passage after the other; ``row`` counts from 0."""

    def __init__(self, folder: Path) -> None:
        import tantivy

        folder.mkdir()
        self._index = tantivy.Index(_schema(), path=str(folder))
        # One thread keeps rows in order inside segments, so that the same input gives the same index.
        self._writer = self._index.writer(_HEAP_BYTES, 1)
        self._document = tantivy.Document
        self._row = 0

    def add(self, title: str, headings: Sequence[str], text: str) -> None:
        """``text`` is the passage with the context it carries."""
        title_terms = " ".join(analyse(title))
        heading_terms = " ".join(term for heading in headings for term in analyse(heading))
        body = " ".join((title_terms, heading_terms, *analyse(text)))
        self._writer.add_document(self._document(title=title_terms, headings=heading_terms, body=body, row=self._row))
        self._row += 1

    def close(self) -> None:
        self._writer.commit()
        self._writer.wait_merging_threads()

    def __enter__(self) -> LexicalWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:  # its threads may be writing still; what they write is thrown away, but not while they do
            with contextlib.suppress(ValueError, OSError):
                self._writer.wait_merging_threads()


class Lexical:
    """Reads an index that LexicalWriter wrote. Thread-safe, immutable."""

    def __init__(self, folder: Path) -> None:
        """Raises IndexUnreadable."""
        import tantivy

        try:
            index = _opened(folder) if os.access(folder, os.W_OK) else _opened_through_links(folder)
            self._searcher = index.searcher()
        except (ValueError, OSError) as error:
            raise IndexUnreadable(f"{folder} cannot be read ({error}): build the collection again") from error
        self._schema = index.schema
        self._query: Any = tantivy.Query
        self._should: Any = tantivy.Occur.Should

    def search(self, query: str, depth: int) -> Hits:
        """The best ``depth`` passages that share at least one term with ``query``; BM25 (k1 1.2, b 0.75), summed."""
        terms = Counter(analyse(query))
        if not terms or depth < 1:
            return Hits.empty()
        clauses = [
            (self._should, self._weighted(field, term, weight * count))
            for term, count in self._rarest(terms).items()
            for field, weight in FIELDS.items()
        ]
        found = self._searcher.search(self._query.boolean_query(clauses), depth, count=False).hits
        scores = np.array([score for score, _ in found], np.float32)
        addresses = [address for _, address in found]
        rows = np.array(self._searcher.fast_field_values("row", addresses), np.int64)
        order = np.lexsort((rows, -scores))
        return Hits(rows[order], scores[order])

    def _weighted(self, field: str, term: str, weight: float) -> Any:
        return self._query.boost_query(self._query.term_query(self._schema, field, term, "freq"), weight)

    def _rarest(self, terms: Counter[str]) -> Counter[str]:
        if len(terms) <= MAX_QUERY_TERMS:
            return terms
        known = {term: self._searcher.doc_freq("body", term) for term in terms}
        rarest = sorted((frequency, term) for term, frequency in known.items() if frequency)[:MAX_QUERY_TERMS]
        return Counter({term: terms[term] for _, term in rarest})


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
