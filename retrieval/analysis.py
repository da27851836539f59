"""How text becomes index terms: the same for passages and for queries, in English, Chinese and mixtures of both."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

from retrieval.analysis_tokens import HAN_RUN, KANA_RUN, MAX_TERM, Rules, bigrams, folded
from retrieval.errors import InvalidRequest
from retrieval.languages import language_of
from retrieval.sentences import sentences

__all__ = [
    "ANALYSIS_VERSION",
    "Analysis",
    "AnalysisSettings",
    "analyse",
    "default_analysis",
    "language_of",
    "sentences",
]

ANALYSIS_VERSION = "2"
"""Changes whenever some text gives other terms; an index of another version is not read."""

_REMEMBERED = 1 << 18
"""Words whose terms are kept at hand; when there are more, all are forgotten (some 60 MB at most)."""

_OFTEN = 24
"""What is longer between two spaces, such as a link or a sentence in Chinese, is hardly ever met again."""


@dataclass(frozen=True, slots=True)
class AnalysisSettings:
    """What a collection brings of its own.

    ``synonyms`` are groups of words or phrases that mean the same; a query with one of them looks for the others
    too. ``words`` are names that the rules would cut apart, such as ``S/4HANA``, ``.NET`` or ``阿里云``: each gives
    a term of its own beside those of its parts, whatever its case. Raises InvalidRequest for a word without letters.
    """

    synonyms: tuple[tuple[str, ...], ...] = ()
    words: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for word in (*self.words, *(each for group in self.synonyms for each in group)):
            if not any(map(str.isalnum, word)):
                raise InvalidRequest(f"{word!r} is no word: synonyms and dictionary words hold letters or digits")


class Analysis:
    """Text to terms under one collection's settings. Thread-safe."""

    def __init__(self, settings: AnalysisSettings = AnalysisSettings()) -> None:
        self.settings = settings
        words = sorted({folded(word).lower() for word in settings.words})
        self._rules = Rules(words)
        self._terms = _Terms(self._rules)
        # Where no token holds white space, what stands between two spaces is looked up as it is: a third of the time.
        self._apart = self._rules.tokens if self._rules.spaced else str.split
        self.index_version = _version(ANALYSIS_VERSION, words)
        """What the terms of an index depend on: the code and the user dictionary."""
        self.version = _version(self.index_version, [sorted(group) for group in settings.synonyms])
        """What the results of a query depend on: ``index_version`` and the synonyms, which act on queries alone."""

    def __call__(self, text: str) -> list[str]:
        """Terms of ``text`` in order, repeats kept; none is empty or holds white space.

        Words are lowercased and stemmed (Snowball English). What programmers write as one name is
        given whole and in parts, so that either finds it: ``max_length``, ``maxLength`` and
        ``max-length`` all give ``maxlength max length``; ``os.path`` gives ``os.path os path``;
        ``--dry-run`` gives ``--dry-run dryrun dri run``. Chinese is folded to simplified characters and
        gives jieba's words and, beside them, every bigram, so that a word of two characters counts
        twice and a cut that went wrong costs little. Full-width forms and accents are folded.
        """
        return self.joined(text).split()

    def joined(self, text: str) -> str:
        """The same terms as one string, a space between them: what an index is given."""
        return " ".join(filter(None, map(self._terms.__getitem__, self._apart(folded(text)))))

    def pieces(self, text: str) -> list[tuple[str, ...]]:
        """Runs of terms that stand side by side, in this order, in every text that holds ``text`` word for word.

        Chinese gives its bigrams alone, since where its words end depends on what stands around it; a change
        of script begins a new piece, and a lone character that is not all there is gives none.
        """
        found: list[tuple[str, ...]] = []
        words: list[str] = []
        for token in self._rules.tokens(folded(text)):
            if HAN_RUN.fullmatch(token) or KANA_RUN.fullmatch(token):
                found += [tuple(words), tuple(bigrams(token))]
                words = []
            else:
                words += self._terms[token].split()
        found = [piece for piece in (*found, tuple(words)) if piece]
        longer = [piece for piece in found if len(piece) > 1 or len(piece[0]) > 1 or not HAN_RUN.fullmatch(piece[0])]
        return longer or found

    @staticmethod
    def prefix(word: str) -> str:
        """The beginning of terms that begin like ``word``: folded, not stemmed."""
        return folded(word).lower()[:MAX_TERM]


@cache
def default_analysis() -> Analysis:
    """Without synonyms and dictionary; one a process, so that what it remembers is shared."""
    return Analysis()


def analyse(text: str) -> list[str]:
    """Terms of ``text`` by the default analysis."""
    return default_analysis()(text)


def _version(version: str, settings: Iterable[Any]) -> str:
    """``version`` itself where there are no settings, so that a plain index is not tied to their format."""
    listed = sorted(settings)
    if not listed:
        return version
    return f"{version}-{hashlib.sha256(json.dumps(listed, ensure_ascii=False).encode()).hexdigest()[:8]}"


class _Terms(dict[str, str]):
    """What stands between two spaces to its terms, joined; worked out at the first look and remembered."""

    def __init__(self, rules: Rules) -> None:
        super().__init__()
        self._rules = rules

    def __missing__(self, text: str) -> str:
        tokens = self._rules.tokens(text)
        terms = " ".join([self._rules.terms(token) if token == text else self[token] for token in tokens])
        if len(text) <= _OFTEN:
            if len(self) >= _REMEMBERED:
                self.clear()
            self[text] = terms
        return terms
