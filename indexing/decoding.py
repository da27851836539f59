"""Bytes to text: which encoding a file is in, and which markup a text is written in."""

from __future__ import annotations

import codecs
import re
from typing import Literal

from retrieval.errors import SourceUnreadable

TextFormat = Literal["plain", "markdown", "rst", "html"]

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_MAGIC = (
    (b"%PDF-", "PDF"),
    (b"PK\x03\x04", "ZIP or Office"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "old Office (.doc, .xls), or an Office file under a password"),
    (b"\x89PNG", "PNG image"),
    (b"\xff\xd8\xff", "JPEG image"),
    (b"GIF8", "GIF image"),
    (b"\x1f\x8b", "gzip"),
    (b"PAR1", "Parquet"),
    (b"\x7fELF", "program"),
)
_DECLARED = re.compile(rb"""(?:charset|encoding)\s*=\s*["']?\s*([\w.:-]+)""", re.IGNORECASE)
_FRONT_MATTER = re.compile(r"\A---\s*\n(?:.*\n)*?---\s*\n")
_MD_HEADING = re.compile(r"(?:\A|\n[ \t]*\n)#{1,6} +\S[^\n]*(?=\n[ \t]*\n|\n?\Z|\n[^#\n])")
_MD_FENCE = re.compile(r"^ {0,3}```[^`\n]*$", re.MULTILINE)
_MD_LINK = re.compile(r"!?\[[^\]\n]+\]\((?:https?://|/|\.|#|[\w-]+[./])[^)\s]*\)")
_MD_TABLE = re.compile(r"^ *\|?(?: *:?-{3,}:? *\|)+(?: *:?-{3,}:?)? *\|?$", re.MULTILINE)
_MD_SHORTCODE = re.compile(r"\{\{[<%] ?/?\w")
_MD_STRONG = re.compile(r"\*\*[^\s*][^*\n]*\*\*")
_CODE_START = re.compile(
    r"\A\s*(?:def|class|import|from|async|public|func|function|package|@\w+|#include|#!)\b[^\n]*[\w:;{)>]\n"
)
_ASCIIDOC = re.compile(
    r"^(?:\[(?:verse|source|listing|quote|NOTE|TIP)\b[^\]\n]*\]|\[\[[\w-]+\]\]|include::\S+\[.*)$|\blinkgit:\w",
    re.MULTILINE,
)
_RST_DIRECTIVE = re.compile(r"^[ \t]*\.\. +(?:\|[^|\n]+\| +)?[A-Za-z][\w:+.-]*::(?:\s|$)", re.MULTILINE)
_RST_LABEL = re.compile(r"^[ \t]*\.\. +_[^\n:]+:", re.MULTILINE)
_RST_ROLE = re.compile(r":[A-Za-z][\w:+.-]*:`[^`\n]")
_RST_UNDERLINE = re.compile(r"^(?P<title>\S[^\n]*)\n(?P<line>([=\-`:'\"~^_*+#<>.])\3{2,})[ \t]*$", re.MULTILINE)
_RST_LITERAL = re.compile(r"(?<!`)``[^`\s][^`\n]*``(?!`)")
_RST_OVERLINE = re.compile(r"^([=\-~^*#])\1{3,}\n\s?\S[^\n]*\n\1{4,}$", re.MULTILINE)
_RST_BLOCK = re.compile(r"::[ \t]*\n[ \t]*\n[ \t]+\S")
_HTML_START = re.compile(
    r"\A\s*(?:<!--.*?-->\s*)*(?:<\?xml[^>]*>\s*)?<(?:!doctype\s+html|html|head|body)\b", re.I | re.S
)
_HTML_CLOSE = re.compile(r"</(?:p|div|h[1-6]|li|table|section|article|pre)>", re.IGNORECASE)


def decode(data: bytes, *, declared: bool = False) -> str:
    """Text of ``data``: UTF-8, or UTF-16/32 by its byte order mark, or GB 18030.

    ``declared`` looks first for an encoding named in the text, as HTML does. Raises
    SourceUnreadable for binary data and for bytes that are none of these.
    """
    for bom, encoding in _BOMS:
        if data.startswith(bom):
            return _strict(data, encoding)
    if kind := binary_kind(data):
        raise SourceUnreadable(f"not text but {kind}")
    if declared and (named := _DECLARED.search(data[:2048])) and (encoding := _known(named[1])):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            pass  # a wrong declaration is common; what follows finds out
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        if (text := _gb18030(data)) is not None:
            return text
        raise _unknown(error.start) from error


def encoding_of(sample: bytes) -> str:
    """Name of the encoding of a text that begins with ``sample``, which may end within a character.

    Raises SourceUnreadable as ``decode`` does.
    """
    for bom, encoding in _BOMS:
        if sample.startswith(bom):
            return encoding
    if kind := binary_kind(sample):
        raise SourceUnreadable(f"not text but {kind}")
    try:
        codecs.getincrementaldecoder("utf-8")().decode(sample)
    except UnicodeDecodeError as error:
        if _gb18030(sample) is None and _gb18030(sample[:-1]) is None and _gb18030(sample[:-3]) is None:
            raise _unknown(error.start) from error
        return "gb18030"
    return "utf-8"


def binary_kind(data: bytes) -> str:
    """What ``data`` is when it is no text: a known format's name, or ``binary data``; else empty."""
    for magic, name in _MAGIC:
        if data.startswith(magic):
            return name
    return "binary data" if b"\0" in data[:8192] else ""


def text_format(text: str) -> TextFormat:
    """Which markup ``text`` is written in, told by its content; ``plain`` when in doubt.

    Asked of ``.txt`` files and of texts in rows. Program code and AsciiDoc have lines that look
    like headings, so one sign alone decides nothing but HTML's own beginning.
    """
    head = text[:200_000]
    if _HTML_START.match(head):
        return "html"
    if _CODE_START.match(head) or _ASCIIDOC.search(head):
        return "plain"
    rst = _rst_signs(head)
    markdown = _markdown_signs(head)
    if rst >= 2 and rst >= markdown:
        return "rst"
    if markdown >= 2:
        return "markdown"
    # Pages about the web quote HTML; a piece of HTML begins with a tag, or is full of them.
    closed = len(_HTML_CLOSE.findall(head))
    if (closed and head.lstrip().startswith("<")) or closed >= max(3, len(head) / 400):
        return "html"
    return "plain"


def _rst_signs(text: str) -> int:
    own = len(_RST_DIRECTIVE.findall(text)) + len(_RST_LABEL.findall(text)) + len(_RST_ROLE.findall(text))
    titles = sum(1 for match in _RST_UNDERLINE.finditer(text) if underlines(match["title"], match["line"]))
    if not own and titles and (_RST_LITERAL.search(text) or _RST_OVERLINE.search(text)):
        own = 1
    if not own:
        return 0
    return own + min(titles, 2) + min(len(_RST_BLOCK.findall(text)), 2)


def _markdown_signs(text: str) -> int:
    headings = _MD_HEADING.findall(text)
    signs = len(headings) + (1 if headings and text.lstrip().startswith("#") else 0)
    signs += min(len(_MD_FENCE.findall(text)) // 2, 3) + min(len(_MD_LINK.findall(text)), 3)
    signs += min(len(_MD_TABLE.findall(text)), 2)
    signs += 2 if _FRONT_MATTER.match(text) or _MD_SHORTCODE.search(text) else 0
    return signs + (1 if _MD_STRONG.search(text) else 0)


def underlines(title: str, line: str) -> bool:
    """Whether ``line`` underlines ``title``: about as wide (wide characters count two), not shorter."""
    width = sum(2 if ord(char) >= 0x2E80 else 1 for char in title.rstrip())
    return len(title.rstrip()) <= len(line.rstrip()) <= width + 4


def _unknown(position: int) -> SourceUnreadable:
    return SourceUnreadable(
        f"not UTF-8 (byte {position}), UTF-16 or GB 18030; convert it first, e.g. with `iconv -f ENCODING -t UTF-8`"
    )


def _strict(data: bytes, encoding: str) -> str:
    try:
        return data.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise SourceUnreadable(
            f"marked as {encoding.removesuffix('-sig').upper()} but broken at byte {error.start}"
        ) from error


def _known(name: bytes) -> str:
    try:
        return codecs.lookup(name.decode("ascii")).name
    except LookupError:
        return ""


def _gb18030(data: bytes) -> str | None:
    """``data`` as GB 18030 if that makes mostly common Chinese; other 8-bit encodings do not."""
    try:
        text = data.decode("gb18030")
    except UnicodeDecodeError:
        return None
    wide = [char for char in text if ord(char) > 127]
    common = 0
    for char in wide:
        try:
            lead = char.encode("gb2312")[0]
        except UnicodeEncodeError:
            continue
        # Rows A1 and A3 are punctuation and full-width forms, B0 to D7 the 3,755 most frequent characters.
        common += lead in (0xA1, 0xA3) or 0xB0 <= lead <= 0xD7
    return text if wide and common >= 0.7 * len(wide) else None
