"""HTML pages: the main content as text, without navigation, scripts and the like."""

from __future__ import annotations

import re
from collections.abc import Iterable

from bs4 import BeautifulSoup, Tag
from bs4.element import Comment, Doctype, NavigableString, ProcessingInstruction

from indexing.converted import Converted, TextBuilder, one_line


def _words(listed: str) -> list[str]:
    return listed.split()


_DROPPED = frozenset(
    _words(
        "script style noscript template svg nav footer aside form button input select textarea iframe object embed "
        "canvas audio video map dialog head link meta"
    )
)
_DROPPED_CLASSES = frozenset(
    _words(
        "headerlink sphinxsidebar related toc-backref breadcrumb breadcrumbs sr-only visually-hidden skip-link linenos "
        "navbar sidebar pagination"
    )
)
_HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")
_BLOCKS = [
    *_words("address article blockquote body center dd details dialog div dl dt fieldset figcaption figure footer"),
    *_words("header hgroup hr html li main ol p pre section summary table tbody td tfoot th thead tr ul"),
    *_HEADINGS,
]
_BREAK = "\x00"
"""Stands for a ``br`` until white space has been collapsed."""
_XML_DECLARATION = re.compile(r"<\?xml[^>]*>", re.IGNORECASE)
_ANCHOR_SIGNS = "¶#§🔗 "


def convert_html(text: str) -> Converted:
    """Convert a page. Headings come from ``h1`` to ``h6``; the title from the only ``h1``, else from ``title``."""
    soup = parsed(text)
    named = one_line(soup.title.get_text()) if soup.title else ""
    language = soup.html.get("lang") if soup.html else None
    root = _main(soup)
    builder = TextBuilder()
    write_html(root, builder)
    tops = [one_line(_inline(heading)) for heading in root.find_all("h1")]
    title = tops[0] if len(tops) == 1 and tops[0] else named or builder.first_heading()
    return builder.finish(title=title, metadata={"lang": language} if isinstance(language, str) and language else {})


def parsed(text: str) -> BeautifulSoup:
    """The tree of a page or of a piece of one, XHTML included."""
    # The line break keeps a text without tags from being taken for a file's name.
    return BeautifulSoup("\n" + _XML_DECLARATION.sub("", text), "lxml")


def write_html(root: Tag, builder: TextBuilder) -> None:
    """Write what is below ``root``."""
    _Writer(builder).children(root)


def _main(soup: BeautifulSoup) -> Tag:
    """The element that holds the content proper; the whole page when none says so."""
    articles = soup.find_all("article")
    found = soup.find("main") or soup.find(True, {"role": "main"}) or (articles[0] if len(articles) == 1 else None)
    whole = soup.body or soup
    if isinstance(found, Tag) and len(found.get_text(strip=True)) > 0.2 * len(whole.get_text(strip=True)):
        return found
    return whole


class _Writer:
    """One pass over a tree; inline content gathers in ``_line`` until a block ends it."""

    def __init__(self, builder: TextBuilder) -> None:
        self._to = builder
        self._line: list[str] = []

    def children(self, tag: Tag) -> None:
        for child in tag.children:
            if isinstance(child, Tag):
                self._tag(child)
            elif _is_text(child):
                self._line.append(str(child))
        self._end_line()

    def _end_line(self) -> None:
        text = _joined(self._line)
        self._line = []
        self._to.paragraph(text)

    def _tag(self, tag: Tag) -> None:
        name = tag.name.lower()
        if _is_dropped(tag):
            return
        if name not in _BLOCKS:
            if tag.find(_BLOCKS):  # an inline element around blocks, such as a link around a card
                self._end_line()
                self.children(tag)
            else:
                self._line.append(_inline(tag, keep_breaks=True))
            return
        self._end_line()
        if name in _HEADINGS:
            self._to.heading(_inline(tag).rstrip(_ANCHOR_SIGNS), int(name[1]))
        elif name == "pre":
            self._to.code(_preformatted(tag))
        elif name == "table":
            self._table(tag)
        elif name in ("ul", "ol"):
            self._list(tag)
        elif name == "dl":
            self._definitions(tag)
        else:
            self.children(tag)

    def _list(self, tag: Tag) -> None:
        first = tag.get("start")
        number = int(first) if isinstance(first, str) and first.isdigit() else 1
        lines: list[str] = []
        for item in _own(tag, "li"):
            mark = f"{number}. " if tag.name == "ol" else "- "
            number += 1
            self._item(mark, item, lines)
        self._to.list("\n".join(lines))

    def _definitions(self, tag: Tag) -> None:
        lines: list[str] = []
        term = ""
        for part in _own(tag, ("dt", "dd")):
            if part.name == "dt":
                lines.extend([term] if term else [])
                term = one_line(_inline(part)).rstrip(_ANCHOR_SIGNS)
            else:
                self._item(f"{term}: " if term else "", part, lines)
                term = ""
        lines.extend([term] if term else [])
        self._to.list("\n".join(lines))

    def _item(self, mark: str, item: Tag, lines: list[str]) -> None:
        """A simple item as a line; of another the first words as a line, the rest as blocks behind it."""
        blocks = [child for child in item.find_all(_BLOCKS) if not _is_dropped(child)]
        if all(block.name in ("p", "div", "ul", "ol", "li") for block in blocks) and len(item.find_all("p")) <= 1:
            lines.extend(_item_lines(item, mark))
            return
        lead: list[str] = []
        rest = list(item.children)
        while rest and not (isinstance(rest[0], Tag) and (rest[0].name in _BLOCKS or rest[0].find(_BLOCKS))):
            node = rest.pop(0)
            lead.append(
                _inline(node, keep_breaks=True) if isinstance(node, Tag) else str(node) if _is_text(node) else ""
            )
        if not _joined(lead) and rest and isinstance(rest[0], Tag) and rest[0].name == "p":
            lead = [_inline(rest.pop(0), keep_breaks=True)]  # type: ignore[arg-type]
        lines.append(f"{mark}{_joined(lead)}".rstrip())
        self._to.list("\n".join(lines))
        lines.clear()
        for node in rest:
            if isinstance(node, Tag):
                self._tag(node)
            elif _is_text(node):
                self._line.append(str(node))
        self._end_line()

    def _table(self, tag: Tag) -> None:
        caption = tag.find("caption")
        if isinstance(caption, Tag):
            self._to.paragraph(_inline(caption))
        rows = [row for row in tag.find_all("tr") if row.find_parent("table") is tag]
        cells = [_own(row, ("td", "th")) for row in rows]
        if len(rows) == 1 or max((len(row) for row in cells), default=0) <= 1 or tag.find("table"):
            for row in cells:  # a table for layout: its cells are read one after the other
                for cell in row:
                    self.children(cell)
            return
        texts = [[_inline(cell) for cell in row] for row in cells]
        header = 0
        while header < len(rows) and (rows[header].find_parent("thead") or _all_header(cells[header])):
            header += 1
        header = header if 0 < header < len(rows) else 1
        self._to.table(texts[:header], texts[header:])


def _all_header(cells: list[Tag]) -> bool:
    return bool(cells) and all(cell.name == "th" for cell in cells)


def _item_lines(item: Tag, mark: str, depth: int = 0) -> list[str]:
    """An item and the lists inside it, indented."""
    own: list[str] = []
    below: list[str] = []
    for node in item.children:
        if isinstance(node, Tag) and not _is_dropped(node):
            lists = [node] if node.name in ("ul", "ol") else list(node.find_all(["ul", "ol"], limit=1))
            if lists:
                for number, inner in enumerate(_own(lists[0], "li"), 1):
                    sign = f"{number}. " if lists[0].name == "ol" else "- "
                    below.extend(_item_lines(inner, sign, depth + 1))
            else:
                own.append(_inline(node) + (" " if node.name in _BLOCKS else ""))
        elif _is_text(node):
            own.append(str(node))
    text = one_line("".join(own))
    return ([f"{'  ' * depth}{mark}{text}"] if text else []) + below


def _own(tag: Tag, names: str | tuple[str, ...]) -> list[Tag]:
    """Elements of these names below ``tag`` that belong to no inner one of the same kind."""
    found = tag.find_all(list(names) if isinstance(names, tuple) else names)
    kind = {"ul", "ol"} if tag.name in ("ul", "ol") else {tag.name}
    return [part for part in found if part.find_parent(list(kind)) is tag and not _is_dropped(part)]


def _inline(tag: Tag, *, keep_breaks: bool = False) -> str:
    """Text of ``tag``; its line breaks are kept for ``_joined`` when ``keep_breaks``, else they are blanks."""
    return "".join(_inline_parts(tag, _BREAK if keep_breaks else " "))


def _inline_parts(tag: Tag, line_break: str) -> Iterable[str]:
    if tag.name == "br":
        yield line_break
    elif tag.name == "img":
        alt = tag.get("alt")
        yield f" {alt} " if isinstance(alt, str) and alt else ""
    for child in tag.children:
        if isinstance(child, Tag):
            if not _is_dropped(child):
                yield from _inline_parts(child, line_break)
                yield " " if child.name in _BLOCKS else ""
        elif _is_text(child):
            yield str(child)


def _joined(parts: Iterable[str]) -> str:
    lines = (one_line(line) for line in "".join(parts).split(_BREAK))
    return "\n".join(lines).strip()


def _preformatted(tag: Tag) -> str:
    for line_break in tag.find_all("br"):
        line_break.replace_with("\n")
    return tag.get_text()


def _is_text(node: object) -> bool:
    return isinstance(node, NavigableString) and not isinstance(node, (Comment, Doctype, ProcessingInstruction))


def _is_dropped(tag: Tag) -> bool:
    if tag.name in _DROPPED or tag.get("hidden") is not None or tag.get("aria-hidden") == "true":
        return True
    classes = tag.get("class")
    if classes and not _DROPPED_CLASSES.isdisjoint(classes):
        return True
    return tag.get("role") in ("navigation", "search", "banner", "contentinfo") or (
        tag.name == "header" and bool(re.search(r"\bnav|menu", " ".join(classes or []))) and not tag.find("h1")
    )
