"""Slips of the hand as people make them at a keyboard, drawn from a seed: for benchmarks of spelling."""

from __future__ import annotations

import random
import re
from typing import Final

_ROWS: Final = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_WORD: Final = re.compile(r"(?<![\w\-./$])[A-Za-z]{4,}(?![\w\-./])")
TWICE: Final = 0.15
"""Of words of eight letters and more, so many get two slips. One in the first letter is made 0.04 of the times."""


def _neighbours() -> dict[str, str]:
    """The keys beside each on a QWERTY keyboard, rows half a key apart."""
    at = {key: (x + y / 2, y) for y, row in enumerate(_ROWS) for x, key in enumerate(row)}
    return {
        key: "".join(other for other, (u, v) in at.items() if other != key and abs(u - x) <= 1 and abs(v - y) <= 1)
        for key, (x, y) in at.items()
    }


NEIGHBOURS: Final = _neighbours()


def slip(word: str, rng: random.Random) -> str:
    """``word`` with a neighbouring key hit for (30 %) or beside (7 %) a letter, two letters swapped (25 %), one dropped
    (25 %) or doubled (13 %): single slips of the four kinds of Damerau (1964)."""
    while True:
        at = 0 if rng.random() < 0.04 else rng.randrange(1, len(word))
        letter, kind = word[at], rng.random()
        beside = rng.choice(NEIGHBOURS.get(letter.lower(), "e"))
        if kind < 0.30:
            made = word[:at] + beside + word[at + 1 :]
        elif kind < 0.37:
            made = word[:at] + letter + beside + word[at + 1 :]
        elif kind < 0.62:
            made = word[: at - 1] + letter + word[at - 1] + word[at + 1 :] if at else word
        elif kind < 0.87:
            made = word[:at] + word[at + 1 :]
        else:
            made = word[:at] + letter + word[at:]
        if made != word:
            return made


def mistyped(query: str, seed: int | str, every: int = 6) -> tuple[str, list[tuple[str, str]]]:
    """``query`` with a slip in one word of each ``every``, one at least; and each as written and as meant.

    Only words of four letters and more, no names with digits, dots or dashes in them. Nothing where there is none.
    """
    rng = random.Random(f"typos {seed}")
    words = list(_WORD.finditer(query))
    chosen = sorted(rng.sample(range(len(words)), min(len(words), max(1, len(query.split()) // every))), reverse=True)
    made: list[tuple[str, str]] = []
    for place in chosen:
        found = words[place]
        wrong = slip(found.group(), rng)
        if len(found.group()) >= 8 and rng.random() < TWICE:
            wrong = slip(wrong, rng)
        if wrong.lower() == found.group().lower():
            continue
        made.append((wrong, found.group()))
        query = query[: found.start()] + wrong + query[found.end() :]
    return query, made[::-1]
