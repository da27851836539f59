"""Where sentences begin and end, in English, Chinese and mixtures of both, as exact spans of the text."""

from __future__ import annotations

import re

_OPENERS = "\"'“‘«‹「『（《〈【([{*_`"
_CLOSERS = "\"'”’»›」』）》〉】)]}*_`"

_ITEM = r"(?:[-*+•‣◦·–]|\(?[0-9]{1,3}[.)、]|\(?[a-zA-Z][.)]|\#{1,6}|>)"

_BOUNDARY = re.compile(
    rf"""
      (?P<blank>\n[^\S\n]*\n\s*)                                     # a blank line
    | (?P<item>\n[^\S\n]*(?={_ITEM}[^\S\n]))                         # a list item or a heading begins
    | (?P<heading>^\#{{1,6}}[^\S\n][^\n]*(?:\n|\Z))                       # a heading, whole
    | (?P<cjk>[。！？；｡]+[{re.escape(_CLOSERS)}]*)
    | (?P<latin>[.!?…]+[{re.escape(_CLOSERS)}]*(?:\[[0-9,\ –-]+\])*(?=\s|\Z))          # .[3] too
    """,
    re.VERBOSE | re.MULTILINE,
)


def _words(listed: str) -> frozenset[str]:
    return frozenset(listed.split())


# Words that a full stop follows without ending the sentence, whatever comes next.
_NEVER = _words(
    "e.g i.e eg ie cf vs viz resp approx ca mr mrs ms dr prof rev hon st sr jr gen col sgt capt lt fig figs eq eqs "
    "vol vols pp sec secs ch chap ref refs ed eds al dept univ incl excl a.k.a w.r.t"
)
# Words that end a sentence only when a capital follows.
_SOMETIMES = _words(
    "etc inc ltd co corp u.s u.k u.n e.u a.m p.m ph.d b.sc m.sc jan feb mar apr jun jul aug sep sept oct nov dec"
)
# After an abbreviation of the second kind these words are the likely start of a new sentence.
_STARTERS = _words("The This That These Those It In On At For If When While We You They He She A An But And However")
# Abbreviations only before a number: "No. 5", and yet "I said no. He left."
_NUMBERED = _words("no nos min max est")

_LAST_WORD = re.compile(r"[^\W_](?:[\w.]*[^\W_])?$")
_WORD = re.compile(r"\w+")
_IDENTIFIER = re.compile(r"[a-z]\w*[._(]\w|[a-z]\w*[A-Z]|[a-z]\w*_\w|`")
_ITEM_NUMBER = re.compile(r"(?:^|\n)[^\S\n]*\(?(?:[0-9]{1,3}|[a-zA-Z])$")
_CONTINUES = "，、：；,;:)）]】"


def sentences(text: str) -> list[tuple[int, int]]:
    """Spans ``(start, end)`` in code points, end exclusive, in order; between them is only white space.

    A single line break does not end a sentence, unless a list item or a heading follows it; a
    blank line does. Abbreviations, initials, decimals, version numbers and an ellipsis before a
    lowercase word do not. Closing quotes and brackets stay with the sentence they close.
    """
    spans: list[tuple[int, int]] = []
    start = 0
    for match in _BOUNDARY.finditer(text):
        kind = match.lastgroup
        if (kind == "cjk" and not _ends_cjk(text, match.end())) or (
            kind == "latin" and not _ends_latin(text, start, match)
        ):
            continue
        _append_trimmed(spans, text, start, match.end())
        start = match.end()
    _append_trimmed(spans, text, start, len(text))
    return spans


def _append_trimmed(spans: list[tuple[int, int]], text: str, start: int, end: int) -> None:
    piece = text[start:end]
    left = len(piece) - len(piece.lstrip())
    stripped = len(piece.strip())
    if stripped:
        spans.append((start + left, start + left + stripped))


def _ends_cjk(text: str, end: int) -> bool:
    """A closing quote followed by a comma goes on: “好！”，他说。"""
    return end >= len(text) or text[end] not in _CONTINUES


def _ends_latin(text: str, start: int, match: re.Match[str]) -> bool:
    mark = match.group()
    follows = _next_word(text, match.end())
    if not follows:
        return True
    lowercase = follows.lstrip(_OPENERS)[:1].islower() and not _IDENTIFIER.match(follows)
    closed = any(character in _CLOSERS for character in mark)
    if mark[0] in "!?":
        return not (lowercase and closed)  # "Really?" he asked.
    if mark.startswith(("..", "…")):
        return not lowercase
    before = text[max(start, match.start() - 40) : match.start()]
    if _ITEM_NUMBER.search(("\n" if start == match.start() - len(before) else "") + before):
        return False
    found = _LAST_WORD.search(before)
    word = found.group() if found else ""
    return not lowercase and _full_stop_ends(word, follows, closed=closed)


def _full_stop_ends(word: str, follows: str, *, closed: bool) -> bool:
    """Whether a full stop after ``word`` ends the sentence, when ``follows`` comes next and is no lowercase word."""
    lower = word.lower()
    if lower in _NUMBERED:
        return not follows.lstrip(_OPENERS)[:1].isdigit()
    if lower in _NEVER:
        return False
    initials = word.isascii() and word[:1].isupper() and word != "I" and all(len(part) == 1 for part in word.split("."))
    if lower in _SOMETIMES or initials:
        first = _WORD.search(follows)
        return closed or (first is not None and first.group() in _STARTERS)
    return True


def _next_word(text: str, position: int) -> str:
    """The next 40 characters after white space; "" at the end of a paragraph."""
    ahead = text[position : position + 80]
    stripped = ahead.lstrip()
    if "\n\n" in ahead[: len(ahead) - len(stripped)]:
        return ""
    return stripped[:40]
