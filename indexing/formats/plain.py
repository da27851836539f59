"""Plain text: paragraphs between blank lines, underlined headings, nothing changed but white space at line ends."""

from __future__ import annotations

import re

from indexing.converted import Block, Converted, Kind, clean
from indexing.decoding import underlines

_PARAGRAPH = re.compile(r"(?:[^\n]*\S[^\n]*(?:\n|\Z))+")
_UNDERLINED = re.compile(r"\A(?P<title>\S[^\n]*)\n(?P<line>([=\-~^])\3{2,})[ \t]*(?:\n|\Z)")
_TITLE = re.compile(r"(?=[A-Z0-9\u2e80-\uffdc])[^\n]{0,99}[^\s.,;:]$")
"""Listings have underlined lines too; a title begins like one and does not end like a sentence."""
_ITEM = re.compile(r"[ \t]*(?:[-*+•]|\(?\d{1,3}[.)、])[ \t]+\S")
_LEVELS = "=-~^"


def convert_plain(text: str) -> Converted:
    """Convert text without markup, keeping it as it is; a title is not guessed."""
    text = clean(text).strip("\n").rstrip()
    blocks: list[Block] = []
    path: list[tuple[int, str]] = []

    def add(kind: Kind, start: int, end: int) -> None:
        if text[start:end].strip():
            blocks.append(Block(kind, start, end, tuple(heading for _, heading in path), None, start))

    for match in _PARAGRAPH.finditer(text):
        start, end = match.start(), match.start() + len(match.group().rstrip())
        heading = _UNDERLINED.match(match.group())
        if heading and _TITLE.match(heading["title"]) and underlines(heading["title"], heading["line"]):
            level = _LEVELS.index(heading["line"][0])
            path = [(above, title) for above, title in path if above < level]
            path.append((level, heading["title"].strip()))
            add("heading", start, start + len(heading.group().rstrip()))
            start += heading.end()
        add(_kind(text[start:end]), start, end)
    return Converted(text, tuple(blocks))


def _kind(paragraph: str) -> Kind:
    lines = paragraph.splitlines()
    if lines and all(line.startswith(("    ", "\t")) for line in lines):
        return "code"
    return "list" if _ITEM.match(paragraph) and len(lines) > 1 else "paragraph"
