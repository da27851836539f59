"""What `:ref:` and `:doc:` of one reStructuredText page show: the titles that the labels of other pages stand over."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cached_property
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from indexing.decoding import decode, underlines
from retrieval.errors import SourceUnreadable

Links = tuple[tuple[str, str], ...]
"""Targets as a page writes them, each with the title to show; sorted, so that equal ones compare equal."""

_USED = re.compile(rb":(?:std:)?(ref|numref|doc):`([^`<>\n]+)`")
_RULE = r"[=\-`:'\"~^_*+#<>.]"
_LABEL = re.compile(
    r"^\.\. _(?:`(?P<quoted>[^`\n]+)`|(?P<bare>[^:`\n]+)):[ \t]*\n"
    rf"(?=(?:[ \t]*\n|\.\. [^\n]*\n|[ \t]+[^\n]*\n|({_RULE})\3{{2,}}[ \t]*\n){{0,12}}?"
    rf"(?P<title>[^\s.][^\n]*)\n(?P<line>({_RULE})\6{{2,}})[ \t]*$)",
    re.MULTILINE,
)
_TITLE = re.compile(rf"^(?P<title>[^\s.][^\n]*)\n(?P<line>({_RULE})\3{{2,}})[ \t]*$", re.MULTILINE)
_LARGEST = 4 << 20
MOST_PAGES = 100_000
"""Pages of one folder whose labels and titles are kept in memory."""


class CrossReferences:
    """The labels and titles of the pages of one folder, collected when the first is asked for.

    ``pages`` gives each page's name within the folder, and where it lies. Of a folder of more than
    ``MOST_PAGES`` such pages those beyond are not looked into: what is kept stays bounded.
    """

    def __init__(self, pages: Iterable[tuple[str, Path]]) -> None:
        self._pages = pages

    def used_by(self, name: str, data: bytes) -> Links:
        """What the page ``name`` with the content ``data`` refers to without saying what to show."""
        links: dict[str, str] = {}
        for kind, written in _USED.findall(data):
            target = written.decode("utf-8", "replace").strip()
            title = self._page_title(name, target) if kind == b"doc" else self._found.labels.get(_key(target))
            if title:
                links[target] = title
        return tuple(sorted(links.items()))

    def _page_title(self, name: str, target: str) -> str | None:
        """``/topics/x`` counts from a folder above the page, ``x`` from the page's own."""
        parents = list(PurePosixPath(name).parents)
        bases = list(reversed(parents)) if target.startswith("/") else parents[:1]
        found = (self._found.titles.get(_normal(base / target.lstrip("/"))) for base in bases)
        return next((title for title in found if title), None)

    @cached_property
    def _found(self) -> _Found:
        found = _Found({}, {})
        pages = ((name, path) for name, path in self._pages if PurePosixPath(name).suffix in (".rst", ".txt", ".rest"))
        for name, path in islice(pages, MOST_PAGES):
            try:
                if path.stat().st_size > _LARGEST:
                    continue
                text = decode(path.read_bytes()).replace("\r\n", "\n")
            except (OSError, SourceUnreadable):
                continue  # it will be set aside with its reason when its turn comes
            found.add(name, text)
        return found


class _Found(NamedTuple):
    """Titles by label, and by the name of the page without its suffix."""

    labels: dict[str, str]
    titles: dict[str, str]

    def add(self, name: str, text: str) -> None:
        for match in _LABEL.finditer(text):
            if underlines(match["title"], match["line"]):
                self.labels[_key(match["quoted"] or match["bare"])] = _shown(match["title"])
        first = next((match for match in _TITLE.finditer(text) if underlines(match["title"], match["line"])), None)
        if first:
            self.titles[str(PurePosixPath(name).with_suffix(""))] = _shown(first["title"])


def _key(label: str) -> str:
    return " ".join(label.lower().split())


def _normal(path: PurePosixPath) -> str:
    parts: list[str] = []
    for part in path.parts:
        if part == ".." and parts:
            parts.pop()
        elif part not in (".", ".."):
            parts.append(part)
    return "/".join(parts)


def _shown(title: str) -> str:
    """A title without its inline marks."""
    from indexing.formats.rst_nodes import plain

    return plain(title.replace("``", "`")).replace("*", "").strip()
