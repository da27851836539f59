"""Real documentation through the converters: Django's pages, English and Chinese sets, real PDFs."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import pytest

from indexing.chunking import ChunkSettings, chunk, count_tokens
from indexing.items import Item, convert_item, read_items
from indexing.records import FieldMap
from indexing.sources import Source, plan
from services.demo import DJANGO, fetch_pages
from tests.requires import HOME, need

pytestmark = pytest.mark.slow

LEFTOVER = re.compile(r"(?<!`):(?:ref|doc|class|meth|setting|attr|func|mod|ticket):`|^\s*\.\. [\w-]+::", re.MULTILINE)


def test_every_page_of_django_converts_with_a_title_headings_and_no_markup_left() -> None:
    pages = fetch_pages(DJANGO, HOME / "demo", lambda line: None)
    planned = plan([Source(pages, "rst")])
    assert list(planned.rejected) == []
    passages = 0
    marked: list[str] = []
    for file in planned.files:
        [item] = read_items(file)
        assert isinstance(item, Item), item
        document, converted = convert_item(item)
        assert document.title, file.name
        assert converted.blocks[0].kind == "heading", file.name
        chunks = chunk(converted, ChunkSettings())
        assert chunks, file.name
        passages += len(chunks)
        prose = "\n".join(document.text[b.start : b.end] for b in converted.blocks if b.kind in ("paragraph", "list"))
        marked += [file.name] if LEFTOVER.search(prose) else []
    assert len(list(planned.files)) >= 500
    assert 6_000 < passages < 12_000
    # These few write about reStructuredText itself.
    assert len(marked) <= 4, marked


@pytest.mark.parametrize(
    "name", ["kubernetes-docs-zh", "vue-zh", "python313-zh", "debian-handbook-zh", "tldr-zh", "vue-en"]
)
def test_documentation_in_rows_gives_passages_of_sane_size_with_their_text(name: str) -> None:
    path = need.data("techdocs") / f"{name}.jsonl.gz"
    sizes: list[int] = []
    for line in islice_lines(path, 120):
        item = Item(name, "fallback", line, None, FieldMap())
        document, converted = convert_item(item)
        assert document.document_id != "fallback"
        chunks = chunk(converted, ChunkSettings())
        sizes.extend(count_tokens(document.text[each.start : each.end]) for each in chunks)
    assert max(sizes) <= ChunkSettings().max_tokens
    assert 60 < sorted(sizes)[len(sizes) // 2] <= 200


def islice_lines(path: Path, count: int) -> list[bytes]:
    with gzip.open(path) as stream:
        return [line for line, _ in zip(stream, range(count), strict=False) if json.loads(line)["text"].strip()]
