"""The words of a collection as people write them: how often each stands there, and which lie near a misspelt one."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Final

from rapidfuzz import distance, process

from retrieval.analysis_tokens import folded

SHORTEST: Final = 4
"""Shorter words are never corrected: nearly every one is near another."""
TWICE_WRONG: Final = 8
"""From this length on a word may differ at two places."""
LONGEST: Final = 32
MOST_WORDS: Final = 500_000
"""Words that are kept, the most frequent: some 60 MB. The rest are rarely what is meant."""

_LETTER: Final = (
    r"[^\W\d_ªº\u02b0-\u02ff\u3005-\u30ff\u31f0-\u31ff\u3400-\u9fff\uac00-\ud7a3\uf900-\ufaff\U00020000-\U0003347f]"
)
_WORD: Final = re.compile(rf"(?<![\w@#$\\]){_LETTER}{{2,{LONGEST}}}(?!\w)")
_CAMEL: Final = re.compile(r"[a-z][A-Z]|[A-Z]{2}[a-z]")


@dataclass(frozen=True, slots=True)
class Near:
    """A word of the collection within reach of another: ``distance`` in edits, ``count`` in occurrences."""

    word: str
    distance: int
    count: int


def count_words(texts: Iterable[str]) -> Counter[str]:
    """How often each word stands in ``texts``, folded and lowercase.

    A word is a run of two letters or more of an alphabet; what stands between digits or underscores, names such as
    ``maxLength``, and scripts without spaces between words are none. Some 25 microseconds for a text of 80 words.
    """
    written: Counter[str] = Counter()
    for text in texts:
        written.update(_WORD.findall(text))
    counts: Counter[str] = Counter()
    for word, count in written.items():
        if not _CAMEL.search(word):
            counts[folded(word).lower()] += count
    return counts


def words_in(text: str) -> Iterator[re.Match[str]]:
    """Where the words of ``text`` stand, as they are written there; names such as ``maxLength`` are none."""
    return (found for found in _WORD.finditer(text) if not _CAMEL.search(found.group()))


def reach(word: str) -> int:
    """At how many places a word of this length may be wrong (as Algolia has it, in letters: from 4 one, from 8 two)."""
    return 0 if len(word) < SHORTEST or len(word) > LONGEST else 1 if len(word) < TWICE_WRONG else 2


def edits(one: str, other: str) -> int:
    """Letters inserted, dropped, replaced or swapped with their neighbour (optimal string alignment)."""
    return int(distance.OSA.distance(one, other))


class Vocabulary:
    """Words by length and first letter, in which those near another are looked for. Immutable and thread-safe.

    Where the first letter is wrong or missing nothing else may be: to look at all words that begin otherwise would take
    ten times as long. 113,000 words: under a millisecond a word; 500,000: some seven.
    """

    def __init__(self, counts: Mapping[str, int], most: int = MOST_WORDS) -> None:
        kept = counts if len(counts) <= most else dict(islice(Counter(counts).most_common(), most))
        self.counts: Mapping[str, int] = kept
        self._letters = {word[0] for word in kept}
        self._shelves: dict[tuple[int, str], list[str]] = defaultdict(list)
        for word in kept:
            if SHORTEST - 1 <= len(word) <= LONGEST:
                self._shelves[len(word), word[0]].append(word)

    def __len__(self) -> int:
        return len(self.counts)

    def near(self, word: str) -> list[Near]:
        """All words within ``reach(word)`` edits of ``word`` and not itself, in no order."""
        found: list[Near] = []
        most = reach(word)
        for length in range(len(word) - most, len(word) + most + 1) if most else ():
            for first in dict.fromkeys(word[:2]):
                shelf = self._shelves.get((length, first))
                if shelf:
                    matches = process.extract(
                        word, shelf, scorer=distance.OSA.distance, score_cutoff=most, limit=None, processor=None
                    )
                    found += [Near(each, int(steps), self.counts[each]) for each, steps, _ in matches if steps]
        for letter in self._letters - {*word[:2]} if most else ():
            found += [
                Near(each, 1, self.counts[each]) for each in (letter + word, letter + word[1:]) if each in self.counts
            ]
        return found

    def halves(self, word: str) -> list[tuple[str, str]]:
        """Ways to read ``word`` as two words that were run together, the likelier first."""
        cuts = range(SHORTEST - 1, len(word) - SHORTEST + 2)  # none in a word that is too short
        both = [(word[:cut], word[cut:]) for cut in cuts if {word[:cut], word[cut:]} <= self.counts.keys()]
        return sorted(both, key=lambda pair: -min(self.counts[pair[0]], self.counts[pair[1]]))
