"""Word documents (.docx), by way of the HTML that mammoth makes of their styles."""

from __future__ import annotations

import io
import zipfile
from dataclasses import replace

from indexing.converted import Converted
from indexing.formats.html import convert_html
from retrieval.errors import SourceUnreadable

MAX_UNPACKED = 512 << 20
"""Bytes that a .docx may unpack to; more is taken for an attack."""

_STYLES = """
p[style-name='Title'] => h1:fresh
p[style-name='Subtitle'] => p:fresh
p[style-name='标题'] => h1:fresh
p[style-name='标题 1'] => h1:fresh
p[style-name='标题 2'] => h2:fresh
p[style-name='标题 3'] => h3:fresh
p[style-name='Code'] => pre:separator('\\n')
p[style-name='HTML Preformatted'] => pre:separator('\\n')
"""


def convert_docx(data: bytes) -> Converted:
    """Convert a .docx. Raises SourceUnreadable when it is no such file, broken, or under a password."""
    import mammoth

    if data.startswith(b"\xd0\xcf\x11\xe0"):
        raise SourceUnreadable("under a password, or an old .doc; save it as .docx without a password")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as package:
            names = {entry.filename for entry in package.infolist()}
            unpacked = sum(entry.file_size for entry in package.infolist())
        if "word/document.xml" not in names and "[Content_Types].xml" not in names:
            raise SourceUnreadable("a ZIP archive, but not a Word document")
        if unpacked > MAX_UNPACKED:
            raise SourceUnreadable(f"unpacks to {unpacked >> 20} MiB; the limit is {MAX_UNPACKED >> 20} MiB")
        html = mammoth.convert_to_html(
            io.BytesIO(data), style_map=_STYLES, convert_image=mammoth.images.img_element(lambda image: {})
        ).value
    except (zipfile.BadZipFile, KeyError, ValueError, IndexError, OSError, AttributeError, SyntaxError) as error:
        raise SourceUnreadable(f"a broken .docx ({type(error).__name__}: {error})") from error
    converted = convert_html(f"<html><body>{html}</body></html>")
    return replace(converted, title=converted.title or _first_heading(converted))


def _first_heading(converted: Converted) -> str:
    return next((block.headings[-1] for block in converted.blocks if block.kind == "heading"), "")
