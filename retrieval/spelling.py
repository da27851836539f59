"""What a person meant to type: words that a collection does not know, as the nearest that it does.

Nothing here tells a caller of a word that stands only in documents it may not see. Whether a word is known is asked of
passages that the caller may see, and a suggestion is a word as it is written in one of those.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from retrieval.analysis_tokens import folded
from retrieval.filters import Scope
from retrieval.snapshot import Snapshot
from retrieval.types import Correction
from retrieval.vocabulary import SHORTEST, Near, Vocabulary, edits, words_in

RARER: Final = 4.0
"""A word one edit farther away has to stand there e^4, 55, times as often to be preferred."""
MOST: Final = 6
"""Of a query's words so many are put right at most."""
FEW: Final = 3
"""So many words are put right though the query may have no others."""
TRIED: Final = 32
"""The likeliest words that are looked for among what the caller may see: so many could not all be hidden."""
SHOWN: Final = 3
"""Of those that are there so many are looked for as they are written."""
READ: Final = 8
"""Passages in which a suggestion is looked for as it is written."""

_PIECE: Final = re.compile(r"\S+")
_QUOTED: Final = re.compile(r'["＂“][^"＂”]*["＂”]')
_AROUND: Final = ".,;:!?()[]{}'’‘…"


@dataclass(frozen=True, slots=True)
class _Typed:
    """A word of the query where it stands; ``plain`` is folded and lowercase."""

    start: int
    end: int
    text: str
    plain: str


def corrected(query: str, snapshot: Snapshot, words: Callable[[], Vocabulary], scope: Scope) -> Correction | None:
    """``query`` with its misspelt words put right; None where nothing is amiss, or nothing better is known.

    Only words that no passage holds which the principals of ``scope`` may read, whatever its filter; what takes their
    place stands in a passage that ``scope`` admits, filter included. Words within quotes, names with digits, dots,
    dashes or capitals inside, abbreviations, words of three letters and less, and Chinese are left as they are. Words
    that were run together are parted where they stand side by side somewhere, and parted ones joined. Where more than
    ``FEW`` words and more than half of them are unknown nothing is changed: that is another language or subject.
    ``words`` are asked for only where a word is unknown. Raises what that raises.
    """
    typed = list(_typed(query))
    readable = Scope(principals=scope.principals)
    known = snapshot.holds([each.plain for each in typed], readable)
    doubtful = [place for place, knows in enumerate(known) if not knows and len(typed[place].plain) >= SHORTEST]
    if not doubtful or len(doubtful) > max(FEW, len(typed) // 2):
        return None
    look = _Look(snapshot, words(), scope)
    made: list[tuple[_Typed, str]] = []
    for place in doubtful[:MOST]:
        if made and typed[place].start < made[-1][0].end:  # taken into the word before
            continue
        found = look.joined(typed, place, query) or look.single(typed[place])
        if found is not None:
            made.append(found)
    if not made:
        return None
    text = query
    for each, better in reversed(made):
        text = text[: each.start] + better + text[each.end :]
    return Correction(text, tuple((each.text, better) for each, better in made))


def _typed(query: str) -> Iterator[_Typed]:
    """The words of ``query`` that could be misspelt."""
    plain = _QUOTED.sub(lambda found: " " * len(found.group()), query)
    shouted = query.isupper()
    for piece in _PIECE.finditer(plain):
        text = piece.group().strip(_AROUND)
        text = text[:-2] if text[-2:].lower() in ("'s", "’s") else text
        start = piece.start() + piece.group().find(text)
        whole = [found.group() for found in words_in(text)]
        if whole == [text] and len(text) >= SHORTEST - 1 and (shouted or not text.isupper()):
            yield _Typed(start, start + len(text), text, folded(text).lower())


class _Look:
    """Looks for words that one caller may see."""

    def __init__(self, snapshot: Snapshot, vocabulary: Vocabulary, scope: Scope) -> None:
        self._snapshot, self._vocabulary, self._scope = snapshot, vocabulary, scope
        readable = snapshot.count(Scope(principals=scope.principals))[0]
        self._hidden = readable < snapshot.info.documents
        """Whether there are documents that the caller may not see."""

    def single(self, typed: _Typed) -> tuple[_Typed, str] | None:
        """The nearest word, or the two words that were run together."""
        likely = [near.word for near in sorted(self._vocabulary.near(typed.plain), key=_likeliest)[:TRIED]]
        there = [word for word, held in zip(likely, self._snapshot.holds(likely, self._scope), strict=True) if held]
        for word in there[:SHOWN]:
            form = self._form(word, typed.plain)
            if form:
                return typed, _cased(form, typed.text)
        for left, right in self._vocabulary.halves(typed.plain)[:SHOWN]:
            if self._stand(left, right):
                return typed, _cased(f"{left} {right}", typed.text)
        return None

    def joined(self, typed: Sequence[_Typed], place: int, query: str) -> tuple[_Typed, str] | None:
        """The word that this one makes with its neighbour, when they stand side by side and are one word there."""
        for first in (place - 1, place):
            if not 0 <= first < len(typed) - 1:
                continue
            one, other = typed[first], typed[first + 1]
            whole = one.plain + other.plain
            if (
                query[one.end : other.start].isspace()
                and whole in self._vocabulary.counts
                and self._snapshot.holds([whole], self._scope)[0]
                and (form := self._form(whole, whole))
            ):
                both = _Typed(one.start, other.end, query[one.start : other.end], whole)
                return both, _cased(form, one.text)
        return None

    def _form(self, word: str, typed: str) -> str | None:
        """``word`` as it may be shown: itself where nothing is hidden from the caller, else it or the form nearest to
        ``typed`` that stands in a passage which the caller may see. None where a few of those have none."""
        if not self._hidden:
            return word
        terms = self._snapshot.analysis(word)
        forms = {
            plain
            for plain in self._read(word)
            if plain == word or (plain[0] == word[0] and self._snapshot.analysis(plain) == terms)
        }
        return word if word in forms else min(forms, key=lambda form: (edits(form, typed), form), default=None)

    def _stand(self, left: str, right: str) -> bool:
        """Whether these two words stand side by side, as written, in a passage that the caller may see."""
        words = list(self._read(f'"{left} {right}"'))
        return any(words[at] == left and words[at + 1] == right for at in range(len(words) - 1))

    def _read(self, query: str) -> Iterator[str]:
        """The words of a few passages that this finds."""
        for passage in self._snapshot.passages(self._snapshot.lexical(query, READ, self._scope).rows):
            yield from (folded(found.group()).lower() for found in words_in(passage.full_text))


def _likeliest(near: Near) -> tuple[float, str]:
    return RARER * near.distance - math.log(near.count), near.word


def _cased(word: str, like: str) -> str:
    """``word`` with the capitals of ``like``: all, the first, or none."""
    if like.isupper():
        return word.upper()
    return word[:1].upper() + word[1:] if like[:1].isupper() else word
