"""Markdown (CommonMark, tables, front matter, what Hugo and VitePress add) as text and blocks."""

from __future__ import annotations

import re
from functools import cache

from markdown_it import MarkdownIt
from markdown_it.tree import SyntaxTreeNode

from indexing.converted import Converted, TextBuilder, one_line
from indexing.formats.html import parsed, write_html

_FRONT_MATTER = re.compile(
    r"\A(?:---[ \t]*\n(?P<yaml>.*?)^(?:---|\.\.\.)[ \t]*$|\+\+\+[ \t]*\n(?P<toml>.*?)^\+\+\+[ \t]*$)\n?", re.S | re.M
)
_FRONT_TITLE = re.compile(
    r"""^(?:title|linkTitle)\s*[:=]\s*(?P<quote>["']?)(?P<title>.+?)(?P=quote)\s*$""", re.MULTILINE
)
_SHORTCODE = re.compile(r"\{\{[<%]\s*/?\s*(?P<inside>.*?)\s*/?\s*[>%]\}\}", re.DOTALL)
_SHORTCODE_TEXT = re.compile(r"""(?:\btext|\btitle|\bname)\s*=\s*"([^"]*)"|\btext\s*=\s*'([^']*)'""")
_ANCHOR = re.compile(r"\s*\{#[\w\-:.]+(?:\s[^}]*)?\}\s*$")
_CONTAINER = re.compile(r"^ {0,3}:{3,}[ \t]*(?:[\w-]+)?[ \t]*(?P<label>[^\n{]*)(?:\{[^}\n]*\})?[ \t]*$", re.MULTILINE)
_ALERT = re.compile(r"\A\[!(NOTE|TIP|IMPORTANT|WARNING|CAUTION)\][ \t]*\n?", re.IGNORECASE)
_UNDER_TEXT = re.compile(r"^((?! {0,3}#)[^\n]*\S[^\n]*\n)(#{1,6} )", re.MULTILINE)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_FENCE = re.compile(
    r"^ {0,3}(?P<fence>`{3,}|~{3,})[^\n]*\n.*?(?:^ {0,3}(?P=fence)[`~]*[ \t]*$|\Z)", re.MULTILINE | re.DOTALL
)


def convert_markdown(text: str) -> Converted:
    """Convert one page: marks, link targets and comments gone, code as it stands.

    The title is that of the front matter, else the first heading.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    title = ""
    front = _FRONT_MATTER.match(text)
    if front:
        named = _FRONT_TITLE.search(front["yaml"] or front["toml"] or "")
        title = named["title"] if named else ""
        text = text[front.end() :]
    builder = TextBuilder()
    _Writer(builder).all(SyntaxTreeNode(_parser().parse(_outside_code(text))).children)
    return builder.finish(title=title or builder.first_heading())


def without_comment_headings(text: str) -> str:
    """For text that is Markdown by guess only: a ``#`` line right under another is no heading but a comment."""
    pieces: list[str] = []
    position = 0
    for fence in _FENCE.finditer(text):
        pieces += [_UNDER_TEXT.sub(r"\1\\\2", text[position : fence.start()]), fence.group()]
        position = fence.end()
    return "".join([*pieces, _UNDER_TEXT.sub(r"\1\\\2", text[position:])])


@cache
def _parser() -> MarkdownIt:
    return MarkdownIt("commonmark").enable(["table", "strikethrough"])


def _outside_code(text: str) -> str:
    """Remove what is neither Markdown nor text: shortcodes, container marks, comments; code blocks stay untouched."""
    pieces: list[str] = []
    position = 0
    for fence in _FENCE.finditer(text):
        pieces += [_without_extras(text[position : fence.start()]), fence.group()]
        position = fence.end()
    return "".join([*pieces, _without_extras(text[position:])])


def _without_extras(text: str) -> str:
    if "{{" in text:
        text = _SHORTCODE.sub(_shortcode_text, text)
    if ":::" in text:
        text = _CONTAINER.sub(lambda match: f"\n{match['label'].strip()}\n", text)
    return _COMMENT.sub("", text) if "<!--" in text else text


def _shortcode_text(match: re.Match[str]) -> str:
    """What a Hugo shortcode shows, as far as it says so itself."""
    found = _SHORTCODE_TEXT.search(match["inside"])
    if found:
        return found[1] or found[2] or ""
    heading = re.match(r"""heading\s+"(\w+)\"""", match["inside"])
    return heading[1].capitalize() if heading else ""


class _Writer:
    """One pass over the syntax tree."""

    def __init__(self, builder: TextBuilder) -> None:
        self._to = builder

    def all(self, nodes: list[SyntaxTreeNode]) -> None:
        for node in nodes:
            self._one(node)

    def _one(self, node: SyntaxTreeNode) -> None:
        if node.type == "heading":
            self._to.heading(_ANCHOR.sub("", _inline(node)), int(node.tag[1]))
        elif node.type == "paragraph":
            self._to.paragraph(_lines(node))
        elif node.type in ("fence", "code_block"):
            self._to.code(node.content)
        elif node.type in ("bullet_list", "ordered_list"):
            self._list(node)
        elif node.type == "table":
            header = [[_inline(cell) for cell in row.children] for row in _rows(node, "thead")]
            self._to.table(header, [[_inline(cell) for cell in row.children] for row in _rows(node, "tbody")])
        elif node.type == "blockquote":
            self._quote(node)
        elif node.type == "html_block":
            write_html(parsed(node.content), self._to)
        elif node.children:
            self.all(node.children)

    def _quote(self, node: SyntaxTreeNode) -> None:
        """A quotation, or an alert of GitHub's kind: its label goes in front."""
        first = node.children[0] if node.children else None
        if first is not None and first.type == "paragraph" and (alert := _ALERT.match(_lines(first))):
            self._to.paragraph(f"{alert[1].capitalize()}: {_ALERT.sub('', _lines(first))}")
            self.all(node.children[1:])
        else:
            self.all(node.children)

    def _list(self, node: SyntaxTreeNode) -> None:
        """Simple items as lines of one list; what else an item holds as blocks of their own behind it."""
        lines: list[str] = []
        number = int(node.attrs.get("start", 1)) if node.type == "ordered_list" else 0
        for item in node.children:
            mark = f"{number}. " if number else "- "
            number += bool(number)
            rest = list(item.children)
            text = one_line(_lines(rest.pop(0))) if rest and rest[0].type == "paragraph" else ""
            lines.append(f"{mark}{text}".rstrip())
            while rest and (nested := _nested(rest[0])):
                lines.extend(nested)
                rest.pop(0)
            if rest:
                self._to.list("\n".join(lines))
                lines = []
                self.all(rest)
        self._to.list("\n".join(line for line in lines if line not in ("-", "")))


def _nested(node: SyntaxTreeNode, depth: int = 1) -> list[str]:
    """A list of nothing but one-paragraph items, and such lists, as indented lines; else empty."""
    if node.type not in ("bullet_list", "ordered_list") or depth > 8:
        return []
    lines: list[str] = []
    for number, item in enumerate(node.children, int(node.attrs.get("start", 1))):
        mark = f"{number}. " if node.type == "ordered_list" else "- "
        if not item.children or item.children[0].type != "paragraph":
            return []
        lines.append("  " * depth + mark + one_line(_lines(item.children[0])))
        for inner in item.children[1:]:
            below = _nested(inner, depth + 1)
            if not below:
                return []
            lines.extend(below)
    return lines


def _rows(table: SyntaxTreeNode, part: str) -> list[SyntaxTreeNode]:
    return [row for group in table.children if group.type == part for row in group.children]


def _inline(node: SyntaxTreeNode) -> str:
    return one_line(_lines(node))


def _lines(node: SyntaxTreeNode) -> str:
    """Text of a paragraph; a soft line break joins, between Chinese characters without a blank."""
    parts: list[str] = []
    _collect(node, parts)
    lines = "".join(parts).split("\n")
    return "\n".join(one_line(line) for line in lines).strip()


def _collect(node: SyntaxTreeNode, parts: list[str]) -> None:
    for child in node.children:
        if child.type in ("text", "code_inline"):
            parts.append(child.content)
        elif child.type == "softbreak":
            before = parts[-1][-1:] if parts else ""
            parts.append("" if before and ord(before) >= 0x2E80 else " ")
        elif child.type == "hardbreak":
            parts.append("\n")
        elif child.type == "image":
            parts.append(child.content)
        elif child.type == "html_inline":
            parts.append("\n" if child.content.lower().startswith("<br") else "")
        else:
            _collect(child, parts)
