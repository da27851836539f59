"""Which converter reads what: by suffix, by content, or as told."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import PurePath
from typing import Literal, get_args

from indexing.converted import Converted
from indexing.crossrefs import Links
from indexing.decoding import binary_kind, decode, text_format
from indexing.formats.ocr import Recognise
from retrieval.errors import InvalidRequest, SourceUnreadable

CONVERTERS_VERSION = "2"
"""Changes whenever some file would be converted differently; unfinished builds of another version start over."""

Format = Literal["plain", "markdown", "rst", "html", "pdf", "docx"]
"""What a document may be."""

Forced = Literal["plain", "markdown", "rst", "html"]
"""What ``.txt`` files, files without a suffix, and texts in rows may be told to be."""

SUFFIXES: dict[str, Format | None] = {
    ".md": "markdown",
    ".markdown": "markdown",
    ".mdown": "markdown",
    ".mdx": "markdown",
    ".rst": "rst",
    ".rest": "rst",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".pdf": "pdf",
    ".docx": "docx",
    ".txt": None,
    ".text": None,
    "": None,
}
"""Formats by suffix; None is told by content."""

# What libraries raise on input that they did not foresee. The file is set aside with the reason; a
# failing disk or memory is none of these.
_BROKEN = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    NotImplementedError,
    RecursionError,
    SyntaxError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)


def forced_format(name: str | None) -> Forced | None:
    """Check a format given by name; ``text`` and ``txt`` mean plain, ``md`` Markdown. Raises InvalidRequest."""
    if name is None or name == "":
        return None
    known = {"text": "plain", "txt": "plain", "md": "markdown", "restructuredtext": "rst", "htm": "html"}
    for each in get_args(Forced):
        if known.get(name.lower(), name.lower()) == each:
            found: Forced = each
            return found
    raise InvalidRequest(f"no format is called {name!r}; there are {', '.join(get_args(Forced))}")


def convert_file(
    data: bytes, name: str, forced: Forced | None = None, recognise: Recognise | None = None, links: Links = ()
) -> Converted:
    """Convert the bytes of a file called ``name``.

    ``forced`` says how to read a text whose suffix leaves it open; ``recognise`` reads scans;
    ``links`` are titles of other pages for reStructuredText. Raises
    SourceUnreadable with the reason for people when there is nothing to be had from it.
    """
    if not data.strip(b"\0 \t\r\n\xef\xbb\xbf"):
        raise SourceUnreadable("empty")
    suffix = PurePath(name).suffix.lower()
    kind = SUFFIXES.get(suffix)
    if kind is None and forced is None and binary_kind(data) == "PDF":
        kind = "pdf"
    try:
        converted = _convert(data, kind, forced, recognise, links)
    except _BROKEN as error:
        raise SourceUnreadable(f"could not be converted ({type(error).__name__}: {_short(error)})") from error
    if not converted.text:
        raise SourceUnreadable("no text in it")
    return converted


def convert_text(text: str, forced: Forced | None = None) -> Converted:
    """Convert a text that came in a row; its markup is told by content unless ``forced``."""
    text = text.removeprefix("\ufeff")  # left over from a file that the row was made of
    # A heading, a fence or a directive needs a line to itself; one line can only be HTML.
    told = forced or (text_format(text) if "\n" in text or text.lstrip().startswith("<") else "plain")
    if told == "markdown" and forced is None:
        from indexing.formats.markdown import without_comment_headings

        text = without_comment_headings(text)
    try:
        return _convert_text(text, told)
    except _BROKEN as error:
        raise SourceUnreadable(f"could not be converted ({type(error).__name__}: {_short(error)})") from error


def _convert(
    data: bytes, kind: Format | None, forced: Forced | None, recognise: Recognise | None, links: Links
) -> Converted:
    if kind == "pdf":
        from indexing.formats.pdf import convert_pdf

        return convert_pdf(data, recognise)
    if kind == "docx":
        from indexing.formats.docx import convert_docx

        return convert_docx(data)
    text = decode(data, declared=kind == "html" or forced == "html")
    return _convert_text(text, kind or forced or text_format(text), links)


def _convert_text(text: str, kind: Format, links: Links = ()) -> Converted:
    if kind == "markdown":
        from indexing.formats.markdown import convert_markdown

        return convert_markdown(text)
    if kind == "rst":
        from indexing.formats.rst import convert_rst

        return convert_rst(text, links)
    if kind == "html":
        from indexing.formats.html import convert_html

        return convert_html(text)
    from indexing.formats.plain import convert_plain

    return convert_plain(text)


def _short(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 160 else f"{text[:157]}..."
