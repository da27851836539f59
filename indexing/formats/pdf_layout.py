"""From the lines of PDF pages to paragraphs, lists, code and headings, by position and size of type."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

Kind = Literal["heading", "paragraph", "list", "code"]

_ITEM = re.compile(r"(?:[•‣◦▪●○–\-*]|\(?\d{1,2}[.)、]|[a-z][.)])\s+\S")
_SENTENCE_END = re.compile(r"[.!?:。！？：…][\"'”’)）」』]*$")
_DIGITS = re.compile(r"\d+|[ivxlc]+(?=\W*$)")
_LIGATURES = str.maketrans(
    {"ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "ﬅ": "st", "ﬆ": "st", "\u00a0": " "}
)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a page; positions in points from the lower left corner. ``hyphen``: its last word goes on;
    ``fixed``: set in type of one width; ``margin``: near the upper or lower edge of the page.
    """

    text: str
    hyphen: bool
    size: float
    left: float
    right: float
    top: float
    bottom: float
    fixed: bool
    margin: bool = False

    @classmethod
    def plain(cls, text: str, number: int) -> Line:
        """A line of recognised text, of which only the order is known; an empty one keeps its place."""
        y = -14.0 * number
        return cls(text.strip(), False, 10.0, 0.0, 500.0, y + 10.0, y, False)


def headings_by_size(pages: Sequence[Sequence[Line]]) -> dict[float, int]:
    """Heading level (from 1, largest first) of the type sizes well above that of the body; at most four."""
    letters: Counter[float] = Counter()
    for lines in pages:
        for line in lines:
            letters[line.size] += len(line.text)
    if not letters:
        return {}
    body = letters.most_common(1)[0][0]
    larger = sorted((size for size in letters if size >= 1.12 * body + 0.3), reverse=True)
    # Sizes closer than 3 % are one: typesetting rounds.
    levels: dict[float, int] = {}
    for size in larger:
        last = max(levels.values(), default=0)
        near = next((level for known, level in levels.items() if known * 0.97 <= size), None)
        levels[size] = near or min(last + 1, 4)
    return levels


def title_line(lines: Sequence[Line], pages: Sequence[Sequence[Line]]) -> str:
    """What is set largest on the first page, ``lines``, if it is larger than the body; else empty."""
    largest = max((line.size for line in lines), default=0.0)
    if largest not in headings_by_size(pages):
        return ""
    first = next(number for number, line in enumerate(lines) if line.size == largest)
    end = first
    while end < len(lines) and lines[end].size == largest:
        end += 1
    title = _joined(lines[first:end], "paragraph")
    return title if len(title) <= 200 else ""


def without_running_lines(pages: Sequence[Sequence[Line]]) -> list[list[Line]]:
    """Pages without the heads, feet and page numbers that recur; needs three pages to tell."""
    if len(pages) < 3:
        return [list(lines) for lines in pages]
    seen: Counter[tuple[str, str]] = Counter()
    for lines in pages:
        seen.update({(edge, _pattern(line)) for edge, line in _edges(lines)})
    count = sum(1 for lines in pages if lines)
    # The outermost line may change with the chapter; the one next to it has to recur more often.
    often = {"head": max(3, 0.06 * count), "foot": max(3, 0.06 * count)}
    often |= {"second": max(3, 0.3 * count), "last but one": max(3, 0.3 * count)}
    kept: list[list[Line]] = []
    for lines in pages:
        dropped = {
            id(line)
            for edge, line in _edges(lines)
            if seen[(edge, _pattern(line))] >= often[edge] or re.fullmatch(r"\W*\d{1,4}\W*", line.text)
        }
        kept.append([line for line in lines if id(line) not in dropped])
    return kept


def _edges(lines: Sequence[Line]) -> list[tuple[str, Line]]:
    """The two highest and the two lowest lines of a page."""
    if len(lines) < 4:
        return []
    by_height = sorted(lines, key=lambda line: -line.top)
    edges = zip(("head", "second", "last but one", "foot"), by_height[:2] + by_height[-2:], strict=True)
    return [(edge, line) for edge, line in edges if line.margin]


def _pattern(line: Line) -> str:
    return _DIGITS.sub("#", line.text.lower())


def paragraphs(
    lines: Sequence[Line], sizes: Mapping[float, int], is_heading: Callable[[str], bool]
) -> Iterator[tuple[Kind, str, float]]:
    """Kind, text and type size of each paragraph of a page, in order.

    A paragraph ends at a gap, a change of size or of kind, or a short line that closes a sentence.
    """
    gap = _usual_gap(lines)
    group: list[Line] = []
    kind: Kind = "paragraph"
    for line in lines:
        this = _kind(line, sizes, is_heading)
        before = group[-1] if group else None
        if before is not None and (
            _kind_breaks(kind, this, before, line) or _space_breaks(kind, before, line, gap, group)
        ):
            yield kind, _joined(group, kind), group[0].size
            group = []
        if not group:
            kind = this
        group.append(line)
    if group:
        yield kind, _joined(group, kind), group[0].size


def _kind(line: Line, sizes: Mapping[float, int], is_heading: Callable[[str], bool]) -> Kind:
    leader = ". . ." in line.text or "....." in line.text  # an entry of a table of contents
    if not leader and (is_heading(line.text) or (line.size in sizes and len(line.text) < 150)):
        return "heading"
    if line.fixed:
        return "code"
    return "list" if _ITEM.match(line.text) else "paragraph"


def _kind_breaks(kind: Kind, this: Kind, before: Line, line: Line) -> bool:
    if kind == "list":
        return this in ("heading", "code") or (this == "paragraph" and line.left < before.left - 2 and _ends(before))
    return kind != this or (kind == "heading" and abs(before.size - line.size) > 0.3)


def _space_breaks(kind: Kind, before: Line, line: Line, gap: float, group: Sequence[Line]) -> bool:
    step = before.bottom - line.bottom
    if kind in ("code", "list") and 0 < step < 3.5 * gap:
        return False
    if step < -2 * gap or step > 1.45 * gap + 1:  # a new column, or white space between paragraphs
        return not before.hyphen and (step > 0 or _ends(before) or kind == "heading")
    width = max(member.right for member in group)
    short = before.right < width - 0.15 * (width - min(member.left for member in group))
    indented = line.left > before.left + 0.8 * line.size
    return kind == "paragraph" and _ends(before) and (short or indented)


def _ends(line: Line) -> bool:
    return bool(_SENTENCE_END.search(line.text))


def _usual_gap(lines: Sequence[Line]) -> float:
    """The usual distance from one line to the next, in points."""
    steps = Counter(
        round(above.bottom - below.bottom) for above, below in pairwise(lines) if 0 < above.bottom - below.bottom < 60
    )
    return float(steps.most_common(1)[0][0]) if steps else 14.0


def _joined(group: Sequence[Line], kind: Kind) -> str:
    """The lines as one text: code keeps its lines, list items start on new ones, hyphens at line ends go."""
    if kind == "code":
        return "\n".join(line.text for line in group)
    text = ""
    for before, line in zip([None, *group[:-1]], group, strict=True):
        piece = line.text.translate(_LIGATURES)
        if before is None or before.hyphen:
            text += piece
        elif kind == "list" and _ITEM.match(line.text):
            text += "\n" + piece
        elif ord(text[-1:] or "a") >= 0x2E80 or ord(piece[:1] or "a") >= 0x2E80:
            text += piece
        else:
            text += " " + piece
    return text
