"""reStructuredText as Sphinx projects write it: content kept, markup gone, whatever directives and roles are used."""

from __future__ import annotations

import re
import threading
from typing import Any

from indexing.converted import Converted, TextBuilder
from indexing.crossrefs import Links
from indexing.formats.rst_nodes import write_document
from indexing.formats.rst_vocabulary import register_names

_lock = threading.Lock()
"""docutils keeps directives and roles in tables of the whole process."""

_DIRECTIVE = re.compile(r"^[ \t]*(?:\.\. +)(?:\|[^|\n]+\| +)?([\w][\w:+.\-]*?) ?::(?:\s|$)", re.MULTILINE)
_ROLE = re.compile(r":([A-Za-z][\w:+.\-]*):`")
_ROLE_AFTER = re.compile(r"`:([A-Za-z][\w:+.\-]*):")


def convert_rst(text: str, links: Links = ()) -> Converted:
    """Convert one page. Never fails on bad markup: what docutils cannot read stays as text.

    ``links`` are titles of what it refers to on other pages.
    """
    with _lock:
        register_names(set(_DIRECTIVE.findall(text)), set(_ROLE.findall(text)) | set(_ROLE_AFTER.findall(text)))
        document = _parse(text, links)
    builder = TextBuilder()
    write_document(document, builder)
    return builder.finish(title=builder.first_heading())


def _parse(text: str, links: Links) -> Any:
    """The document tree before transforms: references stay where they are, with the text they show."""
    from docutils import frontend, utils
    from docutils.parsers.rst import Parser

    settings = frontend.get_default_settings(Parser)
    settings.report_level = 5
    settings.halt_level = 6
    settings.warning_stream = False
    settings.file_insertion_enabled = False
    settings.raw_enabled = False
    settings.syntax_highlight = "none"
    settings.smart_quotes = False
    settings.line_length_limit = 10_000_000
    settings.link_titles = dict(links)
    document = utils.new_document("page", settings)
    Parser().parse(text, document)
    return document
