"""How text becomes index terms: the same for passages and for queries, in English, Chinese and mixtures of both."""

from __future__ import annotations

import hashlib
import json
import re
import threading
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from operator import add
from typing import Any

import Stemmer

from retrieval.analysis_han import SIMPLIFIED
from retrieval.errors import InvalidRequest
from retrieval.sentences import sentences
from retrieval.types import Language

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

MAX_TERM = 64
"""Longer terms are cut here: hashes and base64 would otherwise fill the dictionary."""

_REMEMBERED = 1 << 18
"""Tokens whose terms are kept at hand; when there are more, all are forgotten (some 40 MB at most)."""

_SHORT_RUN = 4
"""Longer stretches of Chinese are hardly ever met again and are not remembered."""

_HAN = "㐀-䶿一-鿿豈-﫿\U00020000-\U0003347f"
_KANA = "ぁ-ゟ゠-ヿㇰ-ㇿ"
_LETTER = rf"[^\W{_HAN}{_KANA}]"

_TOKEN = rf"""
      (?<![\w.,])[0-9]{{1,3}}(?:,[0-9]{{3}})+(?:\.[0-9]+)?(?![\w,])               # 1,000.5
    | {_LETTER}+(?:['.\-]{_LETTER}+)*(?:(?<=\b[A-Za-z])(?:\+\+|\#)(?!\w))?       # words, os.path, max_length, C++
    | (?<![\w\-+])--?[A-Za-z][A-Za-z0-9]*(?:[-_][A-Za-z0-9]+)*                   # -o, --dry-run
    """
_FULL_WIDTH = {wide: wide - 0xFEE0 for wide in range(0xFF01, 0xFF5F)} | {0x3000: 0x20}
_FOLD = SIMPLIFIED | _FULL_WIDTH | str.maketrans({
    "\u2019": "'", "\u2018": "'", "\u02bc": "'", "\u2010": "-", "\u2011": "-", "\u00ad": None,
})  # fmt: skip
_MARKS = re.compile("[\u0300-\u036f]")
_CAMEL = re.compile(r"[a-z][A-Z]|[A-Z]{2}[a-z]")
_CAMEL_PART = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|[0-9]+")
_PLURAL_ACRONYM = re.compile(r"[A-Z]+s")
_PIECE = re.compile(r"[^_\-]+")
_HAN_LETTER = re.compile(f"[{_HAN}]")
_HAN_RUN = re.compile(f"[{_HAN}々]+")
_KANA_RUN = re.compile(f"[{_KANA}]+")

_local = threading.local()


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
        words = sorted({_folded(word).lower() for word in settings.words})
        self._terms = _Terms(words)
        self._token = _token_pattern([word for word in words if not _HAN_RUN.fullmatch(word)])
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
        return " ".join(map(self._terms.__getitem__, self._token.findall(_folded(text))))

    def pieces(self, text: str) -> list[tuple[str, ...]]:
        """Runs of terms that stand side by side, in this order, in every text that holds ``text`` word for word.

        Chinese gives its bigrams alone, since where its words end depends on what stands around it; a change
        of script begins a new piece, and a lone character that is not all there is gives none.
        """
        found: list[tuple[str, ...]] = []
        words: list[str] = []
        for token in self._token.findall(_folded(text)):
            if _HAN_RUN.fullmatch(token) or _KANA_RUN.fullmatch(token):
                found += [tuple(words), tuple(_bigrams(token))]
                words = []
            else:
                words += self._terms[token].split()
        found = [piece for piece in (*found, tuple(words)) if piece]
        longer = [piece for piece in found if len(piece) > 1 or len(piece[0]) > 1 or not _HAN_RUN.fullmatch(piece[0])]
        return longer or found

    @staticmethod
    def prefix(word: str) -> str:
        """The beginning of terms that begin like ``word``: folded, not stemmed."""
        return _folded(word).lower()[:MAX_TERM]


@cache
def default_analysis() -> Analysis:
    """Without synonyms and dictionary; one a process, so that what it remembers is shared."""
    return Analysis()


def analyse(text: str) -> list[str]:
    """Terms of ``text`` by the default analysis."""
    return default_analysis()(text)


def language_of(text: str) -> Language:
    """``zh`` when Han characters are at least 30 % of the letters, else ``en``."""
    if text.isascii():
        return "en"
    han = len(_HAN_LETTER.findall(text))
    return "zh" if han and han >= 0.3 * sum(map(str.isalpha, text)) else "en"


def _folded(text: str) -> str:
    if text.isascii():
        return text
    text = text.translate(_FOLD)
    if not unicodedata.is_normalized("NFKC", text):
        text = unicodedata.normalize("NFKC", text).translate(_FOLD)
    if unicodedata.is_normalized("NFD", text) and not _MARKS.search(text):
        return text
    return unicodedata.normalize("NFC", _MARKS.sub("", unicodedata.normalize("NFD", text)))


def _version(version: str, settings: Iterable[Any]) -> str:
    """``version`` itself where there are no settings, so that a plain index is not tied to their format."""
    listed = sorted(settings)
    if not listed:
        return version
    return f"{version}-{hashlib.sha256(json.dumps(listed, ensure_ascii=False).encode()).hexdigest()[:8]}"


def _token_pattern(words: list[str]) -> re.Pattern[str]:
    """The pattern of tokens; where words of the dictionary stand, they come first, the longest before the others."""
    if not words:
        return _plain_tokens()
    listed = "|".join(re.escape(word) for word in sorted(words, key=lambda word: (-len(word), word)))
    own = rf"(?<!{_LETTER})(?i:{listed})(?!{_LETTER})"
    return re.compile(rf"{own} | {_TOKEN} | (?:(?!{own})[{_HAN}々])+ | [{_KANA}]+", re.VERBOSE)


@cache
def _plain_tokens() -> re.Pattern[str]:
    return re.compile(rf"{_TOKEN} | [{_HAN}々]+ | [{_KANA}]+", re.VERBOSE)


class _Terms(dict[str, str]):
    """Token to its terms, joined; worked out at the first look and remembered."""

    def __init__(self, words: Iterable[str]) -> None:
        super().__init__()
        self._words = frozenset(words)
        self._han_words = tuple(filter(_HAN_RUN.fullmatch, words))

    def __missing__(self, token: str) -> str:
        if _HAN_RUN.fullmatch(token):
            terms = _han_terms(token, self._han_words)
            if len(token) > _SHORT_RUN:
                return terms
        else:
            terms = " ".join(_stemmer().stemWords([term[:MAX_TERM] for term in self._word_terms(token)]))
        if len(self) >= _REMEMBERED:
            self.clear()
        self[token] = terms
        return terms

    def _word_terms(self, token: str) -> list[str]:
        terms: list[str] = []
        if token.lower() not in self._words:
            _add_token(token, terms)
            return terms
        for part in _plain_tokens().findall(token):
            if _HAN_RUN.fullmatch(part):
                terms += self[part].split()
            else:
                _add_token(part, terms)
        whole = "".join(token.lower().split())
        return terms if whole in terms else [whole, *terms]


def _stemmer() -> Any:
    """Stemmer objects are not thread-safe, hence one a thread."""
    stemmer = getattr(_local, "stemmer", None)
    if stemmer is None:
        stemmer = _local.stemmer = Stemmer.Stemmer("english")
    return stemmer


def _add_token(token: str, terms: list[str]) -> None:
    if _KANA_RUN.fullmatch(token):
        terms.extend(_bigrams(token))
    elif token[0] == "-":
        terms.append(token.lower())
        _add_word(token.lstrip("-"), terms)
    elif "," in token:
        terms.append(token.replace(",", ""))
    else:
        _add_word(token, terms)


def _add_word(token: str, terms: list[str]) -> None:
    if token.isalpha() and (token[1:].islower() or not _CAMEL.search(token)):
        terms.append(token.lower())
    elif "." in token:
        _add_dotted(token, terms)
    elif "_" in token or "-" in token:
        pieces = _PIECE.findall(token)
        if len(pieces) > 1:
            terms.append("".join(pieces).lower())
        else:  # __init__, _private
            terms.append(token.lower())
        for piece in pieces:
            _add_word(piece, terms)
    else:
        terms.append(token.lower())
        if _CAMEL.search(token) and not _PLURAL_ACRONYM.fullmatch(token):
            terms.extend(part.lower() for part in _CAMEL_PART.findall(token))


def _add_dotted(token: str, terms: list[str]) -> None:
    """Dotted names whole and in parts; of a version number also ``major.minor``; a decimal only whole."""
    terms.append(token.lower())
    pieces = token.split(".")
    if all(map(str.isdigit, pieces)):
        if len(pieces) > 2:
            terms.append(".".join(pieces[:2]))
        return
    for piece in pieces:
        _add_word(piece, terms)


def _han_terms(run: str, words: tuple[str, ...]) -> str:
    if len(run) == 1:
        return run
    cut = _jieba(words).cut(run)
    if len(run) > MAX_TERM:
        cut = [word[:MAX_TERM] for word in cut]
    return " ".join((*cut, *map(add, run, run[1:])))


def _bigrams(run: str) -> list[str]:
    return list(map(add, run, run[1:])) or [run]


@cache
def _jieba(words: tuple[str, ...]) -> Any:
    """jieba's dictionary takes a moment to load, so only text with Chinese in it pays."""
    import rjieba

    jieba = rjieba.Jieba()
    for word in words:
        jieba.add_word(word, None, None)
    return jieba
