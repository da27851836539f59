"""What the page's modules compute, asked of them in the browser that runs them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.browser.page import Page

pytestmark = pytest.mark.slow


@pytest.fixture
def modules(page: Page) -> Page:
    page.open()
    return page


@pytest.mark.parametrize(
    ("text", "span", "base", "expected"),
    [
        ("plain words", (0, 5), 0, "plain"),
        ("🚀🚀 lift off", (3, 7), 0, "lift"),
        ("🚀🚀 lift off", (103, 107), 100, "lift"),
        ("数据库🚀迁移", (4, 6), 0, "迁移"),
        ("e\u0301a 👩‍🚀 b", (11, 12), 3, "b"),
        ("short", (3, 99), 0, "rt"),
        ("short", (0, 3), 2, "s"),
        ("short", (90, 99), 0, ""),
    ],
)
def test_spans_of_code_points_cut_the_right_words(
    modules: Page, text: str, span: tuple[int, int], base: int, expected: str
) -> None:
    cut = "const {range} = await load('/text.js'); return args[0].slice(...range(args[0], args[1], args[2]));"
    assert modules.module(cut, text, list(span), base) == expected


@pytest.mark.parametrize(
    ("query", "text", "marked"),
    [
        ("How do I write migrations?", "Writing a migration is how it is done.", ["Writing", "migration"]),
        ("select_related", "Use select_related or QuerySet.select", ["select_related", "select"]),
        ("query set", "A QuerySet is lazy", ["QuerySet"]),
        ("filtering", "filters, filtered, the filter", ["filters", "filtered", "filter"]),
        ("数据库怎么回滚？", "数据库会自动回滚。", ["数据库", "回滚"]),
        ("Django 的迁移", "Django 迁移很快", ["Django", "迁移"]),
        ("what is it", "what it is", ["what", "it", "is"]),
        ("", "nothing to mark", []),
        ("(.*)[a-z]+\\", "a (.*)[a-z]+\\ b", []),
    ],
)
def test_the_words_of_a_query_are_found_as_the_index_finds_them(
    modules: Page, query: str, text: str, marked: list[str]
) -> None:
    script = (
        "const {terms, matches} = await load('/text.js');"
        "return matches(args[1], terms(args[0])).map(([start, end]) => args[1].slice(start, end));"
    )
    found = modules.module(script, query, text)
    assert [word for word in found if word not in ("a", "z", "b")] == marked


def test_pieces_join_to_the_text_whatever_is_marked_and_cited(modules: Page) -> None:
    broken = modules.module(
        """
        const {pieces} = await load("/text.js");
        let seed = 7;
        const below = (n) => (seed = (seed * 1103515245 + 12345) % 2147483648) % n;
        const wrong = [];
        for (let trial = 0; trial < 500; trial += 1) {
          const text = "x🚀数y ".repeat(below(6));
          const ranges = () => Array.from({length: below(4)}, () => [below(30), below(30)].sort((a, b) => a - b));
          const cited = ranges().map((range, id) => ({id: `c${id}`, range}));
          const cut = pieces(text, ranges(), cited);
          if (cut.map((piece) => piece.text).join("") !== text) wrong.push(text);
          for (const {id, range: [start, end]} of cited) {
            const own = cut.filter((piece) => piece.ids.includes(id)).map((piece) => piece.text).join("");
            if (own !== text.slice(start, end)) wrong.push([text, start, end, own]);
          }
        }
        return wrong;
        """
    )
    assert broken == []


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_a_stream_gives_the_same_events_however_it_is_cut(modules: Page, size: int, newline: str) -> None:
    first = ': hello\n\nevent: message\ndata: {"delta":"数🚀"}\n\n'
    body = first + 'event: message\ndata: {"delta":\ndata: "b"}\n\ndata: 1\n\n'
    found: list[Any] = modules.module(
        """
        const {stream} = await load("/api.js");
        const bytes = new TextEncoder().encode(args[0]);
        const real = window.fetch;
        window.fetch = async () => new Response(new ReadableStream({
          start(control) {
            for (let at = 0; at < bytes.length; at += args[1]) control.enqueue(bytes.slice(at, at + args[1]));
            control.close();
          },
        }));
        const events = [];
        try {
          for await (const event of stream("/v1/answer", {}, undefined)) events.push([event.event, event.data]);
        } finally {
          window.fetch = real;
        }
        return events;
        """,
        body.replace("\n", newline),
        size,
    )
    assert found == [["message", {"delta": "数🚀"}], ["message", {"delta": "b"}], ["message", 1]]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Run `migrate` now.", [["text", "Run "], ["code", "migrate"], ["text", " now."]]),
        ("So:\n```python\nx = 1\n```\nDone.", [["text", "So:\n"], ["block", "x = 1"], ["text", "\nDone."]]),
        ("```\nnot yet closed", [["block", "not yet closed"]]),
        ("**Yes**, 2 ** 3 and `a", [["strong", "Yes"], ["text", ", 2 ** 3 and `a"]]),
        ("plain", [["text", "plain"]]),
        ("", []),
    ],
)
def test_code_in_an_answer_is_laid_out_and_its_signs_stay_unseen(
    modules: Page, text: str, shown: list[list[str]]
) -> None:
    nodes = modules.module(
        """
        const {laidOut, marked} = await load("/prose.js");
        const nodes = laidOut(args[0], 0, args[0].length, marked(args[0]));
        return nodes.map((node) => [node.className ?? "text", node.textContent]);
        """,
        text,
    )
    assert "".join(node[1] for node in nodes) == text
    assert [node for node in nodes if node[0] != "sign"] == shown


def test_an_answer_cut_anywhere_joins_to_the_same_text(modules: Page) -> None:
    broken = modules.module(
        """
        const {laidOut, lastWord, marked} = await load("/prose.js");
        const text = "See `a b` and **c** here:\\n```sh\\nls -l\\n```\\n数据库。End";
        const stretches = marked(text);
        const wrong = [];
        for (let from = 0; from <= text.length; from += 1) {
          for (let to = from; to <= text.length; to += 1) {
            const last = lastWord(text, from, to);
            const nodes = [...laidOut(text, from, last, stretches), ...laidOut(text, last, to, stretches)];
            if (nodes.map((node) => node.textContent).join("") !== text.slice(from, to)) wrong.push([from, to]);
          }
        }
        return wrong;
        """
    )
    assert broken == []
