"""PDF files: text by page through PDFium, and text recognition for scans where the caller brings it."""

from __future__ import annotations

import io
import re
import threading
from collections.abc import Sequence
from functools import partial
from typing import Any

from indexing.converted import Converted, TextBuilder, one_line
from indexing.formats.ocr import Recognise
from indexing.formats.pdf_layout import Line, headings_by_size, paragraphs, title_line, without_running_lines
from retrieval.errors import SourceUnreadable

_lock = threading.Lock()
"""PDFium is one per process and not thread-safe."""

_PASSWORD = 4
_FIXED_PITCH = 1
_DPI = 300
_MARGIN = 0.12
"""Share of a page's height, above and below, where running heads and page numbers stand."""
_SOFT_HYPHENS = "\x02\ufffe\u00ad"
_JUNK_TITLE = re.compile(
    r"(?i)^(untitled.*|document\d*|microsoft word.*|slide \d+|.*\.(docx?|dvi|tex|indd|pdf|pptx?|odt))$"
)
_FIXED_NAME = re.compile(rb"(?i)mono|courier|consol|cmtt")
_NOT_WORD = re.compile(r"[\W_]+")


def convert_pdf(data: bytes, recognise: Recognise | None = None) -> Converted:
    """Convert a PDF; every block knows its page, counted from 1.

    Headings are those of the outline, else lines set larger than the body. Raises SourceUnreadable
    for a broken file, one under a password, and a scan when ``recognise`` is None.
    """
    import pypdfium2

    with _lock:
        try:
            document = pypdfium2.PdfDocument(data)
        except pypdfium2.PdfiumError as error:
            if getattr(error, "err_code", None) == _PASSWORD or "password" in str(error).lower():
                raise SourceUnreadable("a PDF under a password; save a copy without one") from error
            raise SourceUnreadable(f"a broken PDF ({one_line(str(error))})") from error
        try:
            pages = [_lines(document, number) for number in range(len(document))]
            pages, recognised = _recognised(document, pages, recognise)
            outline = _outline(document)
            title = one_line(str(document.get_metadata_dict().get("Title", "")).replace("\0", ""))
        except pypdfium2.PdfiumError as error:
            raise SourceUnreadable(f"a broken PDF ({one_line(str(error))})") from error
        finally:
            document.close()
    if not any(pages):
        raise SourceUnreadable("a PDF without any text")
    if not title or _JUNK_TITLE.match(title):
        title = title_line(pages[0], pages)
    builder = _built(without_running_lines(pages), outline)
    metadata: dict[str, Any] = {"pages": len(pages)} | ({"recognised_pages": recognised} if recognised else {})
    return builder.finish(title=title or builder.first_heading(), metadata=metadata)


def _built(pages: Sequence[Sequence[Line]], outline: dict[tuple[int, str], int]) -> TextBuilder:
    # An outline often stops at the chapters; what is set large and not in it comes below.
    below = max(outline.values(), default=0)
    sizes = {size: level + below for size, level in headings_by_size(pages).items()}
    builder = TextBuilder()
    for number, lines in enumerate(pages, 1):
        builder.page = number
        listed = {key for page, key in outline if page == number}
        for kind, text, size in paragraphs(lines, sizes, partial(_is_listed, listed)):
            if kind == "heading":
                builder.heading(text, outline.get((number, _key(text))) or sizes.get(round(size, 1), 1))
            elif kind == "code":
                builder.code(text)
            elif kind == "list":
                builder.list(text)
            else:
                builder.paragraph(text)
    return builder


def _is_listed(keys: set[str], line: str) -> bool:
    return _key(line) in keys


def _lines(document: Any, number: int) -> list[Line]:
    """Lines of one page in the order of the file, with size, position and kind of type."""
    import pypdfium2.raw as pdfium

    page = document[number]
    text_page = page.get_textpage()
    text = text_page.get_text_range(errors="ignore")
    lines: list[Line] = []
    position = 0
    for raw in text.split("\n"):
        stripped = raw.strip()
        if stripped.strip(_SOFT_HYPHENS):
            index = pdfium.FPDFText_GetCharIndexFromTextIndex(text_page.raw, position + len(raw) - len(raw.lstrip()))
            last = pdfium.FPDFText_GetCharIndexFromTextIndex(text_page.raw, position + max(len(raw.rstrip()) - 1, 0))
            lines.append(_line(text_page, stripped, index, last, page.get_height()))
        position += len(raw.encode("utf-16-le")) // 2 + 1
    text_page.close()
    page.close()
    return lines


def _line(text_page: Any, text: str, index: int, last: int, height: float) -> Line:
    import pypdfium2.raw as pdfium

    first, last = max(index, 0), max(index, last, 0)
    left, bottom, _, top = text_page.get_charbox(first, loose=True)
    size = pdfium.FPDFText_GetFontSize(text_page.raw, first)
    return Line(
        text=text.rstrip(_SOFT_HYPHENS),
        hyphen=text[-1] in _SOFT_HYPHENS,
        size=round(size if size > 2 else top - bottom, 1),
        left=left,
        right=text_page.get_charbox(last, loose=True)[2],
        top=top,
        bottom=bottom,
        margin=bottom > (1 - _MARGIN) * height or top < _MARGIN * height,
        fixed=all(_is_fixed(text_page, at) for at in {first, (first + last) // 2, last}),
    )


def _is_fixed(text_page: Any, index: int) -> bool:
    """Whether the character is set in type of one width, or is a blank that PDFium put in."""
    import ctypes

    import pypdfium2.raw as pdfium

    if pdfium.FPDFText_IsGenerated(text_page.raw, index) == 1:
        return True
    flags = ctypes.c_int(0)
    name = ctypes.create_string_buffer(128)
    pdfium.FPDFText_GetFontInfo(text_page.raw, index, name, 128, flags)
    return bool(flags.value & _FIXED_PITCH) or bool(_FIXED_NAME.search(name.value))


def _outline(document: Any) -> dict[tuple[int, str], int]:
    """Heading levels by page and text, from the file's outline."""
    levels: dict[tuple[int, str], int] = {}
    for bookmark in document.get_toc(max_depth=6):
        target = bookmark.get_dest()
        page = target.get_index() if target else None
        key = _key(bookmark.get_title())
        if page is not None and key:
            levels.setdefault((page + 1, key), bookmark.level + 1)
    return levels


def _key(text: str) -> str:
    return _NOT_WORD.sub("", text).casefold()


def _recognised(document: Any, pages: list[list[Line]], recognise: Recognise | None) -> tuple[list[list[Line]], int]:
    """Pages that are pictures, read by ``recognise``; a file of nothing but pictures needs it."""
    pictures = [number for number, lines in enumerate(pages) if not lines and _has_picture(document, number)]
    if not pictures:
        return pages, 0
    if recognise is None:
        if len(pictures) == len(pages) or not any(pages):
            raise SourceUnreadable("a scan without text; install tesseract to have it read, or run OCR on it first")
        return pages, 0
    for number in pictures:
        image = document[number].render(scale=_DPI / 72).to_pil()
        buffer = io.BytesIO()
        image.convert("L").save(buffer, format="PNG")
        pages[number] = [Line.plain(line, y) for y, line in enumerate(recognise(buffer.getvalue()).split("\n"))]
        pages[number] = [line for line in pages[number] if line.text]
    return pages, len(pictures)


def _has_picture(document: Any, number: int) -> bool:
    import pypdfium2.raw as pdfium

    return any(found.type == pdfium.FPDF_PAGEOBJ_IMAGE for found in document[number].get_objects(max_depth=3))
