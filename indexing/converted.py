"""The one internal form that every source is turned into: plain text, and blocks that say what stands where."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from retrieval.types import JSONScalar

Kind = Literal["heading", "paragraph", "list", "code", "table"]

_SPACE = re.compile(r"\s+")
_TRAILING = re.compile(r"[^\S\n]+$", re.MULTILINE)
_UNWANTED = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f\ufffe\uffff\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Block:
    """A stretch ``text[start:end]`` of one kind; blocks are in order and white space is all that is between them.

    ``headings`` is the path of headings above it, a heading's own text included. ``header_end`` is
    where a table's header rows end (equal to ``start`` when it has none); rows are lines.
    """

    kind: Kind
    start: int
    end: int
    headings: tuple[str, ...] = ()
    page: int | None = None
    header_end: int = 0


@dataclass(frozen=True, slots=True)
class Converted:
    """A document as the chunker wants it. ``title`` is empty where the source names none.

    With a ``vector`` of its own, float32 ``[d]`` of unit length, the whole document is one passage.
    """

    text: str
    blocks: tuple[Block, ...]
    title: str = ""
    metadata: dict[str, JSONScalar] = field(default_factory=dict)
    vector: NDArray[np.float32] | None = field(default=None, compare=False)


def one_line(text: str) -> str:
    """``text`` with every run of white space as one blank, ends trimmed."""
    return _SPACE.sub(" ", text).strip()


def clean(text: str) -> str:
    """Line ends as ``\\n``; control characters, lone surrogates and blanks at line ends gone."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return _TRAILING.sub("", _UNWANTED.sub("", text))


class TextBuilder:
    """Collects blocks into one text, with a blank line between them, and keeps the path of headings.

    Nested parts of a document (an object's description inside a section) come as a ``heading`` of
    a deeper level; ``restore`` goes back to an earlier ``path`` where the nesting ends.
    """

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._length = 0
        self._blocks: list[Block] = []
        self._path: list[tuple[int, str]] = []
        self.page: int | None = None

    @property
    def path(self) -> tuple[tuple[int, str], ...]:
        """Levels and texts of the headings that the next block stands under."""
        return tuple(self._path)

    def restore(self, path: Sequence[tuple[int, str]]) -> None:
        self._path = list(path)

    def heading(self, text: str, level: int) -> None:
        """A heading; ``level`` counts from 1 and closes all headings of the same or a deeper level."""
        text = one_line(clean(text))
        if not text:
            return
        while self._path and self._path[-1][0] >= level:
            self._path.pop()
        self._path.append((level, text))
        self._add("heading", text)

    def paragraph(self, text: str) -> None:
        """Running text; line breaks inside it are kept."""
        self._add("paragraph", clean(text).strip())

    def list(self, text: str) -> None:
        """The items of a list, one or more lines each."""
        self._add("list", clean(text).strip())

    def code(self, text: str) -> None:
        """Text whose line breaks and indentation mean something."""
        self._add("code", clean(text).strip("\n").rstrip())

    def table(self, header: Sequence[Sequence[str]], rows: Sequence[Sequence[str]]) -> None:
        """A table, a line per row and `` | `` between cells; ``header`` rows come first."""
        head = [line for line in (table_line(row) for row in header) if line]
        body = [line for line in (table_line(row) for row in rows) if line]
        start = self._add("table", "\n".join(head + body))
        if head and start is not None:
            last = self._blocks[-1]
            header_end = start + len("\n".join(head))
            self._blocks[-1] = Block("table", last.start, last.end, last.headings, last.page, header_end)

    def finish(self, title: str = "", metadata: dict[str, JSONScalar] | None = None) -> Converted:
        return Converted("".join(self._pieces), tuple(self._blocks), one_line(clean(title)), metadata or {})

    def first_heading(self) -> str:
        return next((block.headings[-1] for block in self._blocks if block.kind == "heading"), "")

    def _add(self, kind: Kind, text: str) -> int | None:
        if not text or text.isspace():
            return None
        if self._pieces:
            self._pieces.append("\n\n")
            self._length += 2
        start = self._length
        self._pieces.append(text)
        self._length += len(text)
        headings = tuple(heading for _, heading in self._path)
        self._blocks.append(Block(kind, start, self._length, headings, self.page, start))
        return start


def table_line(cells: Sequence[str]) -> str:
    """A row as one line; empty when every cell is."""
    texts = [one_line(clean(cell)) for cell in cells]
    return " | ".join(texts) if any(texts) else ""
