"""HTML that cannot be broken out of: whatever is not marked as HTML is escaped, and a page may load and run nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape

from eval.question_views import pieces_of
from eval.run_tables import Table, Value
from eval.targets import Answered

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
"""No script and no request: a page of hostile documents does nothing but show them."""

_UNSEEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


class Markup(str):
    """HTML, as it is; made here and from constants only."""

    __slots__ = ()


def text(value: object) -> Markup:
    """Anything as HTML; text is escaped, and what no page may hold is shown as �."""
    return value if isinstance(value, Markup) else Markup(escape(_UNSEEN.sub("�", str(value)), quote=True))


def element(name: str, *content: object, **attributes: str) -> Markup:
    """``element("p", "text", class_="note")``; contents are escaped unless they are Markup."""
    told = "".join(f' {key.rstrip("_").replace("_", "-")}="{text(value)}"' for key, value in attributes.items())
    return Markup(f"<{name}{told}>{joined(content)}</{name}>")


def joined(parts: Iterable[object]) -> Markup:
    return Markup("".join(text(part) for part in parts))


def cut(words: str, most: int) -> str:
    """At most so many characters, and how many were left out."""
    return words if len(words) <= most else f"{words[:most].rstrip()} … ({len(words) - most:,} characters more)"


def number(value: Value) -> str:
    """As people read it: three places or four figures, thousands apart, a dash for nothing."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}" if abs(value) >= 10 else f"{value:.3f}"
    return f"{value:,}" if isinstance(value, int) else value


def table(rows: Table, most: int = 200, longest: int = 400) -> Markup:
    """Numbers stand at the right; a table too wide scrolls by itself. Of more than ``most`` rows it says so."""
    head = element("tr", *(element("th", name, scope="col") for name in rows.columns))
    body = joined(element("tr", *(_cell(value, longest) for value in row)) for row in rows.rows[:most])
    left = len(rows.rows) - most
    more = element("p", f"{left:,} rows more are in the run folder.", class_="note") if left > 0 else ""
    whole = element("table", element("thead", head), element("tbody", body))
    return joined((element("div", whole, class_="wide", tabindex="0"), more))


def cited_answer(answer: Answered, prefix: str = "") -> Markup:
    """The answer with its cited stretches marked and numbered; ``prefix`` names the places that the numbers lead to."""
    parts: list[Markup] = []
    before: tuple[int, ...] = ()
    for piece in pieces_of(answer):
        parts.extend(_numbers(sorted(set(before) - set(piece.citations)), prefix))
        parts.append(element("mark", piece.text) if piece.citations else text(piece.text))
        before = piece.citations
    return element("p", *parts, *_numbers(before, prefix), class_="answer", dir="auto")


def page(title: str, style: str, body: Sequence[Markup]) -> str:
    """A whole document, which needs nothing beside itself."""
    head = (
        Markup('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'),
        Markup('<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">'),
        element("title", title),
        Markup(f"<style>{style}</style>"),
    )
    whole = element("html", element("head", *head), "\n", element("body", *body), lang="en")
    return f"<!DOCTYPE html>\n{whole}\n"


def _cell(value: Value, longest: int) -> Markup:
    if isinstance(value, int | float) or value is None:
        return element("td", number(value), class_="number")
    return element("td", cut(value, longest), dir="auto")


def _numbers(citations: Iterable[int], prefix: str) -> list[Markup]:
    return [
        element("sup", element("a", str(each), href=f"#{prefix}{each}") if prefix else str(each)) for each in citations
    ]
