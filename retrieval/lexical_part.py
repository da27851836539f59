"""One tantivy index being written: its schema, how a passage becomes a tantivy document, how parts become one index.

Run as ``python -m retrieval.lexical_part FOLDER`` it writes a part in a process of its own: pickled AnalysisSettings
on stdin, then Blocks, None last.
"""

from __future__ import annotations

import json
import pickle
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from retrieval.analysis import Analysis
from retrieval.lexical_scoring import FIELDS
from retrieval.lexical_tags import NUMBERS

LENGTHS_FILE: Final = "lengths.json"
"""Number of terms in each field, which tantivy knows and does not tell."""

Numbers = Mapping[str, Sequence[float]]
"""By column."""

_HEAP_BYTES = 256_000_000
"""What a part holds in memory before tantivy writes a segment of its own; more makes fewer segments to search."""


COLUMNS_FILE: Final = "columns.json"
"""Which metadata key has which column of numbers, and the numbers where they are few."""


@dataclass(slots=True)
class Block:
    """Passages on their way to another process, row after row from ``first``; lists travel faster than objects."""

    first: int
    titles: list[str] = field(default_factory=list)
    headings: list[Sequence[str]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    numbers: list[Numbers] = field(default_factory=list)

    def add(self, title: str, headings: Sequence[str], text: str, tags: str, numbers: Numbers) -> None:
        self.titles.append(title)
        self.headings.append(headings)
        self.texts.append(text)
        self.tags.append(tags)
        self.numbers.append(numbers)


def _schema() -> Any:
    import tantivy

    builder = tantivy.SchemaBuilder()
    for name in FIELDS:
        option = "position" if name == "body" else "freq"
        builder.add_text_field(name, tokenizer_name="whitespace", index_option=option)
    builder.add_text_field("tags", tokenizer_name="whitespace", index_option="basic")
    builder.add_integer_field("row", indexed=True, fast=True)
    for name in NUMBERS:
        builder.add_float_field(name, fast=True)
    return builder.build()


class PartWriter:
    """Writes an index into a new folder. Not thread-safe."""

    def __init__(self, folder: Path, analysis: Analysis) -> None:
        import tantivy

        folder.mkdir()
        self._folder = folder
        self._joined = analysis.joined
        index = tantivy.Index(_schema(), path=str(folder))
        # One thread keeps rows in order inside segments, so that the same input gives the same index.
        self._writer = index.writer(_HEAP_BYTES, 1)
        self._document = tantivy.Document
        self._lengths = dict.fromkeys(FIELDS, 0)
        self._head: tuple[str, Sequence[str]] = ("", ())
        self._head_terms: list[tuple[str, str]] = []

    def add(self, row: int, title: str, headings: Sequence[str], text: str, tags: str, numbers: Numbers) -> None:
        """``text`` with the context it carries, ``tags`` with spaces between."""
        document = self._document()
        document.add_integer("row", row)
        document.add_text("tags", tags)
        for column, values in numbers.items():
            for value in values:
                document.add_float(column, value)
        body = self._joined(text)
        for name, terms in self._head_of(title, headings):
            self._add_terms(document, name, terms)
        head = " ".join([terms for _, terms in self._head_terms])
        self._add_terms(document, "body", f"{head} {body}" if head and body else head or body)
        self._writer.add_document(document)

    def _head_of(self, title: str, headings: Sequence[str]) -> list[tuple[str, str]]:
        """Terms of title and headings, by field, where there are any; passages that follow each other share them."""
        if self._head != (title, headings):
            self._head = title, headings
            found = (("title", self._joined(title)), ("headings", self._joined("\n".join(headings))))
            self._head_terms = [(name, terms) for name, terms in found if terms]
        return self._head_terms

    def _add_terms(self, document: Any, field: str, terms: str) -> None:
        if terms:
            document.add_text(field, terms)
            self._lengths[field] += terms.count(" ") + 1

    def close(self) -> None:
        self._writer.commit()
        self._writer.wait_merging_threads()
        (self._folder / LENGTHS_FILE).write_text(json.dumps(self._lengths))

    def abandon(self) -> None:
        """Wait for tantivy's threads: what they write is thrown away, but not while they do."""
        self._writer.wait_merging_threads()


def join(parts: list[Path], folder: Path) -> None:
    """Move the segments of ``parts`` into ``folder`` as one index; the parts are gone afterwards.

    What tantivy's ``merge_indices`` does in Rust, without the merging: segments are immutable, named by random
    identifiers, and an index is the list of them in ``meta.json``.
    """
    metas = [json.loads((part / "meta.json").read_text()) for part in parts]
    lengths = [json.loads((part / LENGTHS_FILE).read_text()) for part in parts]
    segments = [segment for meta in metas for segment in meta["segments"]]
    names = tuple(segment["segment_id"].replace("-", "") for segment in segments)
    moved = ["meta.json"]
    for part in parts:
        for path in part.iterdir():
            if path.name.startswith(names):
                path.rename(folder / path.name)
                moved.append(path.name)
            else:
                path.unlink()
        part.rmdir()
    joined = metas[0] | {"segments": segments, "opstamp": max(meta["opstamp"] for meta in metas)}
    (folder / ".managed.json").write_text(json.dumps(sorted(moved)))
    (folder / LENGTHS_FILE).write_text(json.dumps({name: sum(each[name] for each in lengths) for name in FIELDS}))
    (folder / "meta.json").write_text(json.dumps(joined))


def _main(folder: Path) -> None:
    writer = PartWriter(folder, Analysis(pickle.load(sys.stdin.buffer)))
    while block := pickle.load(sys.stdin.buffer):
        rows = zip(block.titles, block.headings, block.texts, block.tags, block.numbers, strict=True)
        for row, passage in enumerate(rows, block.first):
            writer.add(row, *passage)
    writer.close()


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
