"""Cuts documents into passages along their headings, paragraphs and sentences, with exact offsets."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from indexing.converted import Block, Converted
from retrieval.sentences import sentences
from retrieval.types import Chunk

CHUNKING_VERSION = "1"
"""Changes whenever some document would be cut differently; unfinished builds of another version start over."""

_WIDE = "\u1100-\u11ff\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff01-\uff60\U00020000-\U0003ffff"
_TOKEN = re.compile(rf"[{_WIDE}]|[^\W\d_{_WIDE}]{{1,7}}|\d{{1,3}}|[^\w\s{_WIDE}]|_")
_BREAKABLE = re.compile(r"[\s,，、;；:：)）\]】}>/|&=]")


@dataclass(frozen=True, slots=True)
class ChunkSettings:
    """How large passages are. Sizes are estimated tokens: a word, a long word's part, a Chinese character."""

    target_tokens: int = 200
    """Size that passages are filled up to."""
    max_tokens: int = 320
    """Size that no passage exceeds, unless a single unbroken line of code or table does; what encoders read at once."""
    min_tokens: int = 32
    """Sections smaller than this are joined with their neighbours under the same heading."""
    overlap_sentences: int = 0
    """Sentences of running text that a passage repeats from the end of the one before."""

    def __post_init__(self) -> None:
        if not 1 <= self.target_tokens <= self.max_tokens:
            raise ValueError(f"chunk.target_tokens must be from 1 to chunk.max_tokens, not {self.target_tokens}")
        if not 0 <= self.min_tokens <= self.target_tokens:
            raise ValueError(f"chunk.min_tokens must be from 0 to chunk.target_tokens, not {self.min_tokens}")
        if not 0 <= self.overlap_sentences <= 3:
            raise ValueError(f"chunk.overlap_sentences must be from 0 to 3, not {self.overlap_sentences}")


@dataclass(frozen=True, slots=True)
class _Unit:
    """The smallest stretch that is not cut: a sentence, a row, a line of code. ``block`` numbers its block."""

    start: int
    end: int
    tokens: int
    block: int
    context: str = ""


@dataclass(frozen=True, slots=True)
class _Section:
    """Blocks under one path of headings, and the last heading of that path where they follow right behind it."""

    path: tuple[str, ...]
    heading: Block | None
    blocks: tuple[Block, ...]
    tokens: int


def count_tokens(text: str) -> int:
    """A cheap estimate of how many tokens a WordPiece encoder makes of ``text``."""
    return len(_TOKEN.findall(text))


def chunk(document: Converted, settings: ChunkSettings) -> list[Chunk]:
    """Cut ``document`` into chunks, in order.

    Every character that is not white space is in some chunk or in a heading that some chunk names in
    its path. Without overlap chunks are disjoint. A chunk does not cross a heading, except that
    neighbouring sections too small to stand alone are joined, their headings within the text. A
    chunk does not cross a page either, unless the part before it is tiny.
    """
    chunks: list[Chunk] = []
    for section in _joined_sections(_sections(document), settings):
        for pack in _packs(document.text, section, settings):
            first, last = pack[0], pack[-1]
            chunks.append(
                Chunk(
                    ordinal=len(chunks),
                    start=first.start,
                    end=last.end,
                    headings=section.path,
                    page=section.blocks[first.block].page,
                    context=first.context,
                )
            )
    return chunks


def _sections(document: Converted) -> Iterator[_Section]:
    """Runs of blocks under the same headings; a heading over nothing counts as text of the one above it."""
    run: list[Block] = []
    path: tuple[str, ...] = ()
    heading: Block | None = None
    for number, block in enumerate(document.blocks):
        opens = block.kind == "heading" and _has_body(document.blocks, number)
        under = block.headings if opens or block.kind != "heading" else block.headings[:-1]
        if opens or under != path:
            yield from _section(document.text, path, heading, run)
            run, path, heading = [], under, block if opens else None
        if not opens:
            run.append(block)
    yield from _section(document.text, path, heading, run)


def _has_body(blocks: Sequence[Block], number: int) -> bool:
    """Whether something stands under this heading, be it only a deeper heading."""
    own = blocks[number].headings
    following = blocks[number + 1] if number + 1 < len(blocks) else None
    return (
        following is not None
        and following.headings[: len(own)] == own
        and (following.kind != "heading" or len(following.headings) > len(own))
    )


def _section(text: str, path: tuple[str, ...], heading: Block | None, run: Sequence[Block]) -> Iterator[_Section]:
    if run:
        tokens = sum(count_tokens(text[block.start : block.end]) for block in run)
        yield _Section(path, heading, tuple(run), tokens)


def _joined_sections(sections: Iterator[_Section], settings: ChunkSettings) -> Iterator[_Section]:
    """Neighbours too small to stand alone as one section under the headings they share.

    They must share their parent, so that a passage keeps to one subject.
    """
    held: _Section | None = None
    for section in sections:
        if held is not None and (joined := _join(held, section, settings)) is not None:
            held = joined
            continue
        if held is not None:
            yield held
        held = section
    if held is not None:
        yield held


def _join(one: _Section, other: _Section, settings: ChunkSettings) -> _Section | None:
    """Both as one section, when one is small, they fit together, and no heading is lost by it."""
    shared = _shared(one.path, other.path)
    small = one.tokens < settings.min_tokens or other.tokens < settings.min_tokens // 2
    if not small or one.tokens + other.tokens > settings.target_tokens:
        return None
    if not shared and (one.path or other.path):
        return None
    before, after = _with_heading(one, shared), _with_heading(other, shared)
    if before is None or after is None:
        return None
    return _Section(shared, one.heading if one.path == shared else None, before + after, one.tokens + other.tokens)


def _shared(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    length = 0
    while length < min(len(one), len(other)) and one[length] == other[length]:
        length += 1
    return one[:length]


def _with_heading(section: _Section, shared: tuple[str, ...]) -> tuple[Block, ...] | None:
    """The section's blocks, its own heading as text where ``shared`` no longer names it; None if that needs more."""
    if section.path == shared:
        return section.blocks
    if section.heading is None or section.path[:-1] != shared:
        return None
    return (section.heading, *section.blocks)


def _packs(text: str, section: _Section, settings: ChunkSettings) -> Iterator[list[_Unit]]:
    """The section's units in groups that fill a passage each."""
    groups = list(_filled(text, section, settings))
    for number, units in enumerate(groups):
        if number and settings.overlap_sentences and not units[0].context:
            yield _overlap(section, groups[number - 1], units, settings) + units
        else:
            yield units


def _filled(text: str, section: _Section, settings: ChunkSettings) -> Iterator[list[_Unit]]:
    pack: list[_Unit] = []
    size = 0
    for number, block in enumerate(section.blocks):
        units = _units(text, block, number, settings)
        whole = sum(unit.tokens for unit in units)
        turned = bool(pack) and block.page != section.blocks[pack[-1].block].page
        if pack and (_starts_anew(size, whole, block, settings) or (turned and size >= settings.min_tokens)):
            yield pack
            pack, size = [], 0
        limit = (
            settings.max_tokens
            if block.kind == "code" and size + whole <= settings.max_tokens
            else settings.target_tokens
        )
        left = whole
        for unit in units:
            # A last bit too small to stand alone goes with what is before it.
            room = settings.max_tokens if left < settings.min_tokens else limit
            if pack and size + (left if left < settings.min_tokens else unit.tokens) > room:
                yield pack
                pack, size = [], 0
                limit = settings.target_tokens
            pack.append(unit)
            size += unit.tokens
            left -= unit.tokens
    if pack:
        yield pack


def _starts_anew(size: int, whole: int, block: Block, settings: ChunkSettings) -> bool:
    """Whether a block begins a passage rather than being cut: the passage is well filled, or the block fits in one."""
    if size + whole <= settings.target_tokens:
        return False
    if block.kind == "code":
        return size + whole > settings.max_tokens and size >= settings.min_tokens
    if block.kind == "table":
        return size >= settings.min_tokens
    return size >= 0.6 * settings.target_tokens or (size >= settings.min_tokens and whole <= settings.target_tokens)


def _overlap(section: _Section, before: list[_Unit], units: list[_Unit], settings: ChunkSettings) -> list[_Unit]:
    """The last sentences of the passage before, when both are running text and there is room."""
    last = section.blocks[before[-1].block]
    here = section.blocks[units[0].block]
    if last.kind not in ("paragraph", "list") or here.kind not in ("paragraph", "list"):
        return []
    tail = before[-settings.overlap_sentences :] if len(before) > settings.overlap_sentences else []
    size = sum(unit.tokens for unit in units)
    return tail if size + sum(unit.tokens for unit in tail) <= settings.max_tokens else []


def _units(text: str, block: Block, number: int, settings: ChunkSettings) -> list[_Unit]:
    """What a block may be cut into; ``number`` is its place in the section."""
    piece = text[block.start : block.end]
    if block.kind in ("code", "table"):
        spans = _line_spans(piece)
        if block.kind == "code" and len(spans) > 1 and count_tokens(piece) <= settings.max_tokens:
            spans = [(spans[0][0], spans[-1][1])]
    else:
        spans = sentences(piece)
    header = text[block.start : block.header_end] if block.kind == "table" else ""
    header = header if count_tokens(header) <= settings.max_tokens // 3 else ""
    units: list[_Unit] = []
    for start, end in spans:
        carried = header if header and block.start + start >= block.header_end else ""
        for low, high in _hard_cut(piece, start, end, settings.max_tokens):
            tokens = count_tokens(piece[low:high])
            units.append(_Unit(block.start + low, block.start + high, tokens, number, carried))
    return units


def _line_spans(piece: str) -> list[tuple[int, int]]:
    """Spans of the lines that hold something."""
    return [(match.start(), match.end()) for match in re.finditer(r"[^\n]*\S[^\n]*", piece)]


def _hard_cut(piece: str, start: int, end: int, limit: int) -> Iterator[tuple[int, int]]:
    """``piece[start:end]`` in parts of at most ``limit`` tokens, cut at a blank or comma if one is near."""
    tokens = [start + match.start() for match in _TOKEN.finditer(piece[start:end])]
    if len(tokens) <= limit:
        yield start, end
        return
    low = start
    first = 0
    while len(tokens) - first > limit:
        cut = tokens[first + limit]
        earliest = tokens[first + limit // 2]
        good = next((at for at in range(cut, earliest, -1) if _BREAKABLE.match(piece[at - 1])), cut)
        yield low, low + len(piece[low:good].rstrip())
        low = good + len(piece[good:end]) - len(piece[good:end].lstrip())
        while first < len(tokens) and tokens[first] < low:
            first += 1
    if low < end:
        yield low, end
