"""Small real files for tests, made by hand: PDFs with outlines, scans, passwords and Chinese; Word documents."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from xml.sax.saxutils import escape


@dataclass
class Pdf:
    """A PDF as a list of pages of lines ``(size, x, y, text)``; ``F2`` in ``font`` is Courier."""

    pages: list[str] = field(default_factory=list)
    outline: list[tuple[str, int]] = field(default_factory=list)
    title: str = ""

    def page(self, lines: Sequence[tuple[float, float, float, str]], font: str = "F1") -> Pdf:
        drawn = [f"BT /{font} {size} Tf {x} {y} Td ({_escaped(text)}) Tj ET" for size, x, y, text in lines]
        self.pages.append("\n".join(drawn))
        return self

    def chinese_page(self, lines: Sequence[tuple[float, float, float, str]]) -> Pdf:
        drawn = [f"BT /F3 {size} Tf {x} {y} Td <{text.encode('utf-16-be').hex()}> Tj ET" for size, x, y, text in lines]
        self.pages.append("\n".join(drawn))
        return self

    def picture_page(self) -> Pdf:
        self.pages.append("q 400 0 0 500 80 100 cm /Im1 Do Q")
        return self

    def data(self, *, encrypted: bool = False) -> bytes:
        count = len(self.pages)
        first_page = 10
        first_mark = first_page + 2 * count
        pages = " ".join(f"{first_page + 2 * i} 0 R" for i in range(count))
        outlines = f"/Outlines {first_mark} 0 R" if self.outline else ""
        to_unicode = (
            b"/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapName /X def /CMapType 2 def\n"
            b"1 begincodespacerange <0000> <FFFF> endcodespacerange\n"
            b"1 beginbfrange <0000> <FFFF> <0000> endbfrange endcmap end end"
        )
        pixels = zlib.compress(bytes(range(256)) * 16)
        objects: dict[int, bytes] = {
            1: f"<< /Type /Catalog /Pages 2 0 R {outlines} >>".encode(),
            2: f"<< /Type /Pages /Kids [{pages}] /Count {count} >>".encode(),
            3: b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
            4: b"<< /Type /Font /Subtype /Type1 /BaseFont /Courier /Encoding /WinAnsiEncoding >>",
            5: b"<< /Type /Font /Subtype /Type0 /BaseFont /Song /Encoding /Identity-H /DescendantFonts [6 0 R]"
            b" /ToUnicode 7 0 R >>",
            6: b"<< /Type /Font /Subtype /CIDFontType2 /BaseFont /Song /DW 1000 /FontDescriptor 9 0 R"
            b" /CIDSystemInfo << /Registry (Adobe) /Ordering (Identity) /Supplement 0 >> >>",
            7: _stream(b"", to_unicode),
            8: _stream(
                b"/Type /XObject /Subtype /Image /Width 64 /Height 64 /ColorSpace /DeviceGray /BitsPerComponent 8"
                b" /Filter /FlateDecode",
                pixels,
            ),
            9: b"<< /Type /FontDescriptor /FontName /Song /Flags 4 /FontBBox [0 -200 1000 900] /ItalicAngle 0"
            b" /Ascent 900 /Descent -200 /CapHeight 700 /StemV 80 >>",
        }
        for number, drawn in enumerate(self.pages):
            at = first_page + 2 * number
            objects[at] = (
                f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents {at + 1} 0 R /Resources << /Font"
                f" << /F1 3 0 R /F2 4 0 R /F3 5 0 R >> /XObject << /Im1 8 0 R >> >> >>"
            ).encode()
            objects[at + 1] = _stream(b"", drawn.encode("cp1252"))
        self._add_outline(objects, first_mark, first_page)
        trailer = "/Root 1 0 R"
        if self.title:
            objects[max(objects) + 1] = f"<< /Title ({_escaped(self.title)}) >>".encode()
            trailer += f" /Info {max(objects)} 0 R"
        if encrypted:
            objects[max(objects) + 1] = b"<< /Filter /Standard /V 1 /R 2 /P -4 /O <%s> /U <%s> >>" % (
                b"5a" * 32,
                b"a5" * 32,
            )
            trailer += f" /Encrypt {max(objects)} 0 R /ID [<00> <00>]"
        return _assembled(objects, trailer)

    def _add_outline(self, objects: dict[int, bytes], first: int, first_page: int) -> None:
        if not self.outline:
            return
        last = first + len(self.outline)
        objects[first] = f"<< /Type /Outlines /First {first + 1} 0 R /Last {last} 0 R >>".encode()
        for place, (title, page) in enumerate(self.outline, 1):
            following = f"/Next {first + place + 1} 0 R" if first + place < last else ""
            objects[first + place] = (
                f"<< /Title ({_escaped(title)}) /Parent {first} 0 R {following}"
                f" /Dest [{first_page + 2 * page} 0 R /Fit] >>"
            ).encode()


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")


def _stream(entries: bytes, content: bytes) -> bytes:
    return b"<< /Length %d %s >>\nstream\n%s\nendstream" % (len(content), entries, content)


def _assembled(objects: dict[int, bytes], trailer: str) -> bytes:
    out = io.BytesIO()
    out.write(b"%PDF-1.7\n")
    offsets = {}
    for number in sorted(objects):
        offsets[number] = out.tell()
        out.write(b"%d 0 obj\n%s\nendobj\n" % (number, objects[number]))
    table = out.tell()
    size = max(objects) + 1
    out.write(b"xref\n0 %d\n0000000000 65535 f \n" % size)
    for number in range(1, size):
        out.write(b"%010d 00000 n \n" % offsets[number])
    out.write(f"trailer << /Size {size} {trailer} >>\nstartxref\n{table}\n%%EOF\n".encode())
    return out.getvalue()


_W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
_STYLES = {"Heading1": "heading 1", "Heading2": "heading 2", "Title": "Title"}


def docx(body: Sequence[tuple[str, str] | list[list[str]]]) -> bytes:
    """A Word document of paragraphs ``(style id, text)`` and tables (rows of cells)."""
    parts = [_table(each) if isinstance(each, list) else _paragraph(*each) for each in body]
    styles = "".join(
        f'<w:style w:type="paragraph" w:styleId="{key}"><w:name w:val="{name}"/></w:style>'
        for key, name in _STYLES.items()
    )
    files = {
        "[Content_Types].xml": '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        '<Default Extension="xml" ContentType="application/xml"/>'
        '<Override PartName="/word/document.xml" ContentType="application/vnd.openxmlformats-officedocument'
        '.wordprocessingml.document.main+xml"/></Types>',
        "_rels/.rels": '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
        '<Relationship Id="r1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/'
        'officeDocument" Target="word/document.xml"/></Relationships>',
        "word/_rels/document.xml.rels": '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/'
        'relationships"><Relationship Id="r1" Type="http://schemas.openxmlformats.org/officeDocument/2006/'
        'relationships/styles" Target="styles.xml"/></Relationships>',
        "word/styles.xml": f'<w:styles xmlns:w="{_W}">{styles}</w:styles>',
        "word/document.xml": f'<w:document xmlns:w="{_W}"><w:body>{"".join(parts)}</w:body></w:document>',
    }
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as package:
        for name, content in files.items():
            package.writestr(name, f'<?xml version="1.0" encoding="UTF-8"?>{content}')
    return out.getvalue()


def _paragraph(style: str, text: str) -> str:
    properties = f'<w:pPr><w:pStyle w:val="{style}"/></w:pPr>' if style else ""
    return f"<w:p>{properties}<w:r><w:t>{escape(text)}</w:t></w:r></w:p>"


def _table(rows: list[list[str]]) -> str:
    cells = ["".join(f"<w:tc>{_paragraph('', cell)}</w:tc>" for cell in row) for row in rows]
    return f"<w:tbl>{''.join(f'<w:tr>{row}</w:tr>' for row in cells)}</w:tbl>"
