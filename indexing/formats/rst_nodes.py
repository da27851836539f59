"""Walks a docutils tree and writes its content, in reading order, into the internal form."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from docutils import nodes

from indexing.converted import TextBuilder, one_line
from indexing.formats.rst_vocabulary import described, version_note

_SKIPPED = (
    nodes.comment,
    nodes.target,
    nodes.substitution_definition,
    nodes.pending,
    nodes.raw,
    nodes.transition,
    nodes.decoration,
    nodes.meta,
    nodes.docinfo,
)
_LABELS = {
    nodes.note: "Note",
    nodes.warning: "Warning",
    nodes.tip: "Tip",
    nodes.hint: "Hint",
    nodes.important: "Important",
    nodes.caution: "Caution",
    nodes.danger: "Danger",
    nodes.attention: "Attention",
    nodes.error: "Error",
}
_ROLE_LEFT = re.compile(r":[A-Za-z][\w:+.\-]*:`([^`<]+?)(?:\s*<[^<>]*>)?`")
_LINK_LEFT = re.compile(r"`([^`<]+?)\s*(?:<[^<>]*>)?`__?|\|([^|\s][^|]*)\|_{0,2}|`([^`]+)`")


def write_document(document: Any, builder: TextBuilder) -> None:
    """Write all of ``document``; field lists before the first heading are settings of the page, and left out."""
    substitutions = {
        name: one_line(node.astext()) for name, node in document.substitution_defs.items() if node.astext().strip()
    }
    children = list(document.children)
    while children and isinstance(children[0], (nodes.field_list, nodes.comment, nodes.target)):
        children.pop(0)
    _Writer(builder, substitutions).all(children, level=0)


class _Writer:
    """One pass over a tree. ``level`` is the depth of the section that a node stands in."""

    def __init__(self, builder: TextBuilder, substitutions: dict[str, str]) -> None:
        self._to = builder
        self._substitutions = substitutions
        self._writers: list[tuple[type[Any], Callable[[Any, int], None]]] = [
            (nodes.section, self._section),
            (nodes.paragraph, lambda node, _: self._to.paragraph(self.inline(node))),
            (nodes.rubric, lambda node, _: self._to.paragraph(self.inline(node))),
            (nodes.literal_block, lambda node, _: self._to.code(node.astext())),
            (nodes.doctest_block, lambda node, _: self._to.code(node.astext())),
            (nodes.math_block, lambda node, _: self._to.code(node.astext())),
            (nodes.bullet_list, self._list),
            (nodes.enumerated_list, self._list),
            (nodes.definition_list, self._definitions),
            (nodes.field_list, self._fields),
            (nodes.option_list, self._options),
            (nodes.line_block, lambda node, _: self._to.paragraph("\n".join(self._lines(node)))),
            (nodes.table, self._table),
            (described, self._described),
            (version_note, lambda node, level: self._labelled(node["label"], node.children, level)),
            (nodes.system_message, self._unread),
            (nodes.image, lambda node, _: self._to.paragraph(str(node.get("alt", "")))),
            (nodes.footnote, self._footnote),
            (nodes.citation, self._footnote),
        ]

    def all(self, children: Iterable[Any], level: int) -> None:
        for child in children:
            self.one(child, level)

    def one(self, node: Any, level: int) -> None:
        if isinstance(node, _SKIPPED):
            return
        for kind, write in self._writers:
            if isinstance(node, kind):
                write(node, level)
                return
        label = _LABELS.get(type(node))
        if label:
            self._labelled(label, node.children, level)
        elif isinstance(node, (nodes.admonition, nodes.topic, nodes.sidebar)):
            titles = [child for child in node.children if isinstance(child, nodes.title)]
            rest = [child for child in node.children if not isinstance(child, (nodes.title, nodes.subtitle))]
            self._labelled(self.inline(titles[0]) if titles else "", rest, level)
        elif isinstance(node, nodes.TextElement):
            self._to.paragraph(self.inline(node))
        else:
            self.all(node.children, level)

    def inline(self, node: Any) -> str:
        """The text of a paragraph or title, on one line."""
        return one_line("".join(self._inline_parts(node)))

    def _inline_parts(self, node: Any) -> Iterable[str]:
        for child in node.children:
            if isinstance(child, nodes.Text):
                yield child.astext()
            elif isinstance(child, nodes.substitution_reference):
                yield self._substitutions.get(child["refname"], child.astext())
            elif isinstance(child, nodes.problematic):
                yield plain(child.astext())
            elif isinstance(child, nodes.footnote_reference):
                yield f" [{child.astext()}]" if child.astext() else ""
            elif isinstance(child, nodes.image):
                yield str(child.get("alt", ""))
            elif not isinstance(child, (nodes.target, nodes.raw, nodes.comment, nodes.system_message)) or (
                isinstance(child, nodes.target) and child.children
            ):
                yield from self._inline_parts(child)

    def _section(self, node: Any, level: int) -> None:
        for child in node.children:
            if isinstance(child, nodes.title):
                self._to.heading(self.inline(child), level + 1)
            else:
                self.one(child, level + 1)

    def _described(self, node: Any, level: int) -> None:
        """Signatures as a heading over their description; without a description, as a line of text."""
        signatures = node["signatures"]
        if not node.children or not signatures:
            self._to.paragraph("\n".join(signatures))
            self.all(node.children, level)
            return
        before = self._to.path
        deeper = max(level, before[-1][0] if before else 0) + 1
        self._to.heading(signatures[0], deeper)
        self._to.paragraph("\n".join(signatures[1:]))
        self.all(node.children, deeper)
        self._to.restore(before)

    def _labelled(self, label: str, children: list[Any], level: int) -> None:
        """The label and the first paragraph as one: “Note: …”."""
        first = children[0] if children else None
        if isinstance(first, nodes.paragraph):
            text = self.inline(first)
            self._to.paragraph(f"{label}{_joint(label)}{text}" if label else text)
            children = children[1:]
        else:
            self._to.paragraph(label)
        self.all(children, level)

    def _list(self, node: Any, level: int) -> None:
        items = [child for child in node.children if isinstance(child, nodes.list_item)]
        number = int(node.get("start", 1))
        marks = [f"{number + i}." if isinstance(node, nodes.enumerated_list) else "-" for i in range(len(items))]
        self._items([(f"{mark} ", item.children) for mark, item in zip(marks, items, strict=True)], level)

    def _definitions(self, node: Any, level: int) -> None:
        items: list[tuple[str, list[Any]]] = []
        for item in node.children:
            terms = [self.inline(child) for child in item.children if isinstance(child, (nodes.term, nodes.classifier))]
            definition = [child for child in item.children if isinstance(child, nodes.definition)]
            items.append((f"{' : '.join(terms)}: ", list(definition[0].children) if definition else []))
        self._items(items, level)

    def _fields(self, node: Any, level: int) -> None:
        fields = [child for child in node.children if isinstance(child, nodes.field)]
        self._items([(f"{self.inline(field[0])}: ", list(field[1].children)) for field in fields], level)

    def _options(self, node: Any, level: int) -> None:
        items = [child for child in node.children if isinstance(child, nodes.option_list_item)]
        self._items(
            [(", ".join(option.astext() for option in item[0]) + ": ", list(item[1].children)) for item in items], level
        )

    def _items(self, items: list[tuple[str, list[Any]]], level: int) -> None:
        """Short items as lines of one list; what else an item holds as blocks of their own behind it."""
        lines: list[str] = []
        for mark, found in items:
            children = [child for child in found if not isinstance(child, _SKIPPED)]
            first = children[0] if children else None
            text = self.inline(first) if isinstance(first, nodes.paragraph) else ""
            lines.append(f"{mark}{text}".rstrip())
            rest = children[1:] if text else children
            while rest and (nested := self._nested_lines(rest[0])):
                lines.extend(nested)
                rest = rest[1:]
            if rest:
                self._to.list("\n".join(lines))
                lines = []
                self.all(rest, level)
        self._to.list("\n".join(lines))

    def _nested_lines(self, node: Any) -> list[str]:
        """A plain list inside an item as indented lines; empty when it is anything else."""
        if not isinstance(node, nodes.bullet_list):
            return []
        simple = all(len(item.children) == 1 and isinstance(item[0], nodes.paragraph) for item in node.children)
        return [f"  - {self.inline(item[0])}" for item in node.children] if simple else []

    def _lines(self, node: Any) -> list[str]:
        lines: list[str] = []
        for child in node.children:
            lines.extend(self._lines(child) if isinstance(child, nodes.line_block) else [self.inline(child)])
        return lines

    def _table(self, node: Any, level: int) -> None:
        header: list[list[str]] = []
        rows: list[list[str]] = []
        for title in node.findall(nodes.title):
            self._to.paragraph(self.inline(title))
        for row in node.findall(nodes.row):
            target = header if isinstance(row.parent, nodes.thead) else rows
            target.append([one_line(" ".join(self._flat(entry))) for entry in row.children])
        self._to.table(header, rows)

    def _flat(self, node: Any) -> Iterable[str]:
        """All text below ``node``, for a cell."""
        for child in node.children:
            if isinstance(child, nodes.TextElement) and not isinstance(child, nodes.target):
                yield self.inline(child) if not isinstance(child, nodes.literal_block) else child.astext()
            elif not isinstance(child, _SKIPPED):
                yield from self._flat(child)

    def _footnote(self, node: Any, level: int) -> None:
        label = [child.astext() for child in node.children if isinstance(child, nodes.label)]
        rest = [child for child in node.children if not isinstance(child, nodes.label)]
        self._labelled(f"[{label[0]}]" if label else "", rest, level)

    def _unread(self, node: Any, level: int) -> None:
        """What docutils could not parse it quotes in its message: the words stay, the message goes."""
        for child in node.children:
            if isinstance(child, nodes.literal_block):
                self._to.paragraph(plain(child.astext()))


def plain(markup: str) -> str:
    """Leftover inline markup without its marks: ``:ref:`a <b>``` becomes ``a``."""
    text = _ROLE_LEFT.sub(r"\1", markup)
    text = _LINK_LEFT.sub(lambda match: match[1] or match[2] or match[3], text)
    lines = [line for line in text.splitlines() if not re.match(r"\s*(\.\. [\w:+-]+::\s*$|:[\w-]+:( |$))", line)]
    return re.sub(r"^\s*\.\. [\w:+-]+::\s*", "", "\n".join(lines), flags=re.MULTILINE)


def _joint(label: str) -> str:
    return " " if label.endswith(("?", "!", "]", ":", ".")) else ": "
