"""Markup becomes text and blocks: nothing of the content lost, nothing of the markup left."""

from __future__ import annotations

import pytest

from indexing.converted import Converted
from indexing.converters import convert_file, convert_text
from indexing.decoding import text_format
from indexing.formats.html import convert_html
from indexing.formats.markdown import convert_markdown
from indexing.formats.plain import convert_plain
from indexing.formats.rst import convert_rst


def blocks(document: Converted) -> list[tuple[str, tuple[str, ...], str]]:
    return [(block.kind, block.headings, document.text[block.start : block.end]) for block in document.blocks]


def texts(document: Converted) -> list[str]:
    return [document.text[block.start : block.end] for block in document.blocks]


RST = """
:orphan:

.. _pumps:

=====
Pumps
=====

.. toctree::
   :hidden:

   valves

See :ref:`the valves <valves>`, :doc:`/topics/oil`, :class:`~shop.models.Pump`, :meth:`.Pump.start`
and ``p.run()``; `the site <https://example.org/>`_ knows |more|, says the FAQ_.

.. versionadded:: 3.2

   The hand pump.

.. note:: Mind the *pressure*.

Starting
--------

.. class:: Pump(size, *, oil=None)

   A pump.

   .. method:: start(force=False)

      Starts it::

          pump.start()

After the class.

.. setting:: PUMP_OIL

.. code-block:: console
   :linenos:
   :caption: In ``/bin``

   $ pump --start

=====  =====
Name   Litre
=====  =====
small  1
large  20
=====  =====

#. First
#. Second

   - inner

term
    What it means.

.. unheard-of:: argument words
   :option: value

   Kept :strange-role:`content`.

.. |more| replace:: much more
"""


def test_restructuredtext_keeps_its_content_and_loses_its_markup() -> None:
    document = convert_rst(RST)
    assert document.title == "Pumps"
    assert blocks(document)[1][2] == (
        "See the valves, /topics/oil, Pump, Pump.start() and p.run(); the site knows much more, says the FAQ."
    )
    for mark in ("::", ":ref:", "``", "toctree", ":orphan:", "linenos", "_pumps", ":option:"):
        assert mark not in document.text.replace("pump.start()", "")
    for kept in (
        "Note: Mind the pressure.",
        "New in version 3.2: The hand pump.",
        "Kept content.",
        "argument words",
        "In /bin",
    ):
        assert kept in texts(document)


def test_described_objects_are_headings_over_their_description_and_no_further() -> None:
    found = {text: path for _, path, text in blocks(convert_rst(RST))}
    pump, start = "Pump(size, *, oil=None)", "start(force=False)"
    assert found["A pump."] == ("Pumps", "Starting", pump)
    assert found["Starts it:"] == ("Pumps", "Starting", pump, start)
    assert found["pump.start()"] == ("Pumps", "Starting", pump, start)
    assert found["After the class."] == ("Pumps", "Starting")


def test_restructuredtext_tables_lists_and_code_are_blocks_of_their_kind() -> None:
    document = convert_rst(RST)
    kinds = {text: kind for kind, _, text in blocks(document)}
    assert kinds["Name | Litre\nsmall | 1\nlarge | 20"] == "table"
    assert kinds["1. First\n2. Second\n  - inner"] == "list"
    assert kinds["term: What it means."] == "list"
    assert kinds["$ pump --start"] == "code"
    table = next(block for block in document.blocks if block.kind == "table")
    assert document.text[table.start : table.header_end] == "Name | Litre"


@pytest.mark.parametrize(
    "broken",
    [
        "Title\n===\n\ntext `unclosed\n\n.. code-block::\n",
        "|undefined| and `a`_ and [1]_ and *open",
        "=====\nA\n\n====\nB\n=",
        "+---+\n| a |\n+--",
        ".. class::\n\n   kept words",
        ".. list-table::\n\n   * - kept words\n     - b\n   * - c",
        ".. include:: /etc/passwd\n\nkept words",
        ".. raw:: html\n   :file: /etc/passwd\n\nkept words",
        ".. csv-table::\n   :file: /etc/passwd\n\nkept words",
        ":unknown:`kept words`",
    ],
)
def test_broken_restructuredtext_is_read_without_a_word_on_stderr(
    broken: str, capfd: pytest.CaptureFixture[str]
) -> None:
    document = convert_rst(broken)
    assert capfd.readouterr() == ("", "")
    assert "root:" not in document.text
    assert ("kept words" in document.text) == ("kept words" in broken)


MARKDOWN = """---
title: "The Pump"
weight: 3
---
# Pump {#pump}

A **bold** [link](https://example.org/x) with `code`,
two lines <!-- hidden --> and {{< glossary_tooltip text="valves" term_id="v" >}}.

> [!NOTE]
> Mind it.

::: tip Careful
Inside.
:::

| Name | Litre |
|------|------:|
| small | 1 |

1. one
2. two
   - inner

   ```sh
   run --it  # not *a* heading
   ```

## 维护
每年检查
一次。

<details><summary>More</summary><p>Folded text</p><script>no()</script></details>

![A picture](x.png)
"""


def test_markdown_keeps_its_content_and_loses_its_markup() -> None:
    document = convert_markdown(MARKDOWN)
    assert document.title == "The Pump"
    assert blocks(document) == [
        ("heading", ("Pump",), "Pump"),
        ("paragraph", ("Pump",), "A bold link with code, two lines and valves."),
        ("paragraph", ("Pump",), "Note: Mind it."),
        ("paragraph", ("Pump",), "Careful"),
        ("paragraph", ("Pump",), "Inside."),
        ("table", ("Pump",), "Name | Litre\nsmall | 1"),
        ("list", ("Pump",), "1. one\n2. two\n  - inner"),
        ("code", ("Pump",), "run --it  # not *a* heading"),
        ("heading", ("Pump", "维护"), "维护"),
        ("paragraph", ("Pump", "维护"), "每年检查一次。"),
        ("paragraph", ("Pump", "维护"), "More"),
        ("paragraph", ("Pump", "维护"), "Folded text"),
        ("paragraph", ("Pump", "维护"), "A picture"),
    ]


HTML = """<!doctype html><html lang="en"><head><title>Pump — Shop</title><style>p{}</style></head>
<body><nav>Home | About</nav><main><h1>Pump<a class="headerlink" href="#p">¶</a></h1>
<p>First<br>line with <b>bold</b> &amp; <a href="/x">link</a>.</p><div>Bare text<p>inside</p>tail</div>
<ul><li>one</li><li>two<ul><li>inner</li></ul></li></ul>
<dl><dt>term</dt><dd>meaning</dd></dl>
<table><tr><th>Name</th><th>Litre</th></tr><tr><td>small</td><td>1</td></tr></table>
<pre><span>def</span> f():
    pass</pre><h2>More</h2><p hidden>secret</p><script>no()</script><p>End.</p></main>
<footer>© Shop</footer></body></html>"""


def test_html_gives_its_main_content_and_nothing_around_it() -> None:
    document = convert_html(HTML)
    assert document.title == "Pump"
    assert document.metadata == {"lang": "en"}
    assert blocks(document) == [
        ("heading", ("Pump",), "Pump"),
        ("paragraph", ("Pump",), "First\nline with bold & link."),
        ("paragraph", ("Pump",), "Bare text"),
        ("paragraph", ("Pump",), "inside"),
        ("paragraph", ("Pump",), "tail"),
        ("list", ("Pump",), "- one\n- two\n  - inner"),
        ("list", ("Pump",), "term: meaning"),
        ("table", ("Pump",), "Name | Litre\nsmall | 1"),
        ("code", ("Pump",), "def f():\n    pass"),
        ("heading", ("Pump", "More"), "More"),
        ("paragraph", ("Pump", "More"), "End."),
    ]


def test_html_in_the_encoding_it_declares() -> None:
    page = '<html><head><meta charset="gbk"><title>水泵</title></head><body><p>水泵在盖子后面</p></body></html>'
    assert convert_file(page.encode("gbk"), "a.html").text == "水泵在盖子后面"


@pytest.mark.parametrize("page", ["<?xml version='1.0'?><r><p>kept</p></r>", "kept", "</p>kept<b", "<p>kept<p><ul>"])
def test_odd_html_is_read_without_warnings(page: str) -> None:
    assert "kept" in convert_html(page).text


def test_plain_text_stays_as_it_is_but_for_underlined_headings() -> None:
    text = "NAME\n----\npump - pumps\n\nOPTIONS\n-------\n- one\n- two\n\n    indented code\n\nEnd."
    document = convert_plain(text)
    assert document.text == text
    assert [(kind, path) for kind, path, _ in blocks(document)] == [
        ("heading", ("NAME",)),
        ("paragraph", ("NAME",)),
        ("heading", ("OPTIONS",)),
        ("list", ("OPTIONS",)),
        ("code", ("OPTIONS",)),
        ("paragraph", ("OPTIONS",)),
    ]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (RST, "rst"),
        (MARKDOWN, "markdown"),
        (HTML, "html"),
        ("# Title\n\nSome text.\n\n## More\n\nText.", "markdown"),
        ("Just words.\n\nAnd more of them.", "plain"),
        ("def f():\n    # a comment\n    return 1\n\n# another\n\nx = 1", "plain"),
        ("#!/bin/sh\n# set up\nrun\n# clean up\nrm x", "plain"),
        ("NAME\n----\ngit - x\n\n----\ncode\n----\nlinkgit:git-add[1]", "plain"),
        ("======\nPump\n======\n\nUse ``run``.", "rst"),
        ("Pump(1)\n=======\n\n[verse]\n``run'' it, see linkgit:git-x[1].\n\nOPTIONS\n~~~~~~~\n\nA\n~~~\n", "plain"),
        ('def f():\n    """See :class:`X`.\n\n    .. note:: y\n    """\n', "plain"),
        ("Use the {{< glossary_tooltip term_id='x' >}}.", "markdown"),
        ("Tag\n===\n\n.. code-block:: html\n\n   <p>a</p><p>b</p><p>c</p>\n", "rst"),
        ("#include <stdio.h>\nint main() {}", "plain"),
        ("a < b && c > d\nmore", "plain"),
    ],
)
def test_the_format_of_a_text_is_told_by_its_content(text: str, wanted: str) -> None:
    assert text_format(text) == wanted


def test_a_text_file_is_read_as_told() -> None:
    data = b"Title\n=====\n\nSee :ref:`x`.\n"
    assert convert_file(data, "a.txt", "plain").text == data.decode().strip()
    assert convert_file(data, "a.txt", "rst").text == "Title\n\nSee x."
    assert convert_file(data, "a.md", "rst").text.startswith("Title")


def test_a_text_in_a_row_keeps_to_plain_unless_its_markup_is_plain_to_see() -> None:
    assert convert_text("one # two * three").text == "one # two * three"
    assert convert_text(MARKDOWN).title == "The Pump"
    assert convert_text("<p>a</p><p>b</p><p>c</p>").text == "a\n\nb\n\nc"


def test_a_byte_order_mark_left_in_a_row_does_not_hide_its_front_matter() -> None:
    document = convert_text("\ufeff---\ntitle: 配额\n---\n\nOne pod.\n")
    assert (document.title, document.text) == ("配额", "One pod.")


def test_comments_in_code_that_lost_its_fences_are_no_headings_of_a_guessed_text() -> None:
    text = "# Guide\n\nRun this:\n\nset_up()\n# then tidy up\ntidy()\n\n## Next\nMore.\n\n```\nx\n# y\n```\n"
    document = convert_text(text)
    assert [path[-1] for kind, path, _ in blocks(document) if kind == "heading"] == ["Guide", "Next"]
    assert "# then tidy up" in document.text
    assert "x\n# y" in document.text


@pytest.mark.parametrize(
    "listing", ["(0.000 hidden)\n--------------", "$ run --it\n==========", "Then it ends.\n-------------"]
)
def test_underlined_lines_of_a_listing_are_no_headings(listing: str) -> None:
    assert {kind for kind, _, _ in blocks(convert_plain(f"{listing}\n\nWords."))} == {"paragraph"}
