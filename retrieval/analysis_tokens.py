"""What counts as one token in folded text, and which terms each kind of token gives."""

from __future__ import annotations

import re
import threading
import unicodedata
from collections.abc import Sequence
from functools import cache
from operator import add
from typing import Any

import Stemmer

from retrieval.analysis_han import SIMPLIFIED

MAX_TERM = 64
"""Longer terms are cut here: hashes and base64 would otherwise fill the dictionary."""

_HAN = "㐀-䶿一-鿿豈-﫿\U00020000-\U0003347f"
_KANA = "ぁ-ゟ゠-ヿㇰ-ㇿ"
_LETTER = rf"[^\W{_HAN}{_KANA}]"

_WORDS = r"""
      [0-9](?<![\w.,][0-9])[0-9]{0,2}(?:,[0-9]{3})+(?:\.[0-9]+)?(?![\w,])                          # 1,000.5
    | LETTER+(?:['.\-]LETTER+)*(?:\+\+(?<=\b[A-Za-z]\+\+)(?!\w)|\#(?<=\b[A-Za-z]\#)(?!\w))?         # os.path, C++
    | -(?<![\w\-+]-)-?[A-Za-z][A-Za-z0-9]*(?:[-_][A-Za-z0-9]+)*                                    # -o, --dry-run
    """
"""Each branch begins with what is cheap to rule out: the search tries all three at every space."""
_FULL_WIDTH = {wide: wide - 0xFEE0 for wide in range(0xFF01, 0xFF5F)} | {0x3000: 0x20}
_FOLD = SIMPLIFIED | _FULL_WIDTH | str.maketrans({
    "\u2019": "'", "\u2018": "'", "\u02bc": "'", "\u2010": "-", "\u2011": "-", "\u00ad": None,
})  # fmt: skip
_FOLDED = re.compile(f"[{re.escape(''.join(map(chr, _FOLD)))}]")
_MARKS = re.compile("[\u0300-\u036f]")
_CAMEL = re.compile(r"[a-z][A-Z]|[A-Z]{2}[a-z]")
_CAMEL_PART = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|[0-9]+")
_PLURAL_ACRONYM = re.compile(r"[A-Z]+s")
_PIECE = re.compile(r"[^_\-]+")
HAN_RUN = re.compile(f"[{_HAN}々]+")
KANA_RUN = re.compile(f"[{_KANA}]+")

_local = threading.local()


class Rules:
    """Tokens and their terms where ``words``, folded and lowercase, are names in their own right. Thread-safe."""

    def __init__(self, words: Sequence[str]) -> None:
        self._words = frozenset(words)
        self._han_words = tuple(filter(HAN_RUN.fullmatch, words))
        self.tokens = _token_pattern([word for word in words if not HAN_RUN.fullmatch(word)]).findall
        """Folded text to its tokens in order."""
        self.spaced = any(" " in word for word in words)
        """Whether a token may hold white space; by the plain rules none does."""

    def terms(self, token: str) -> str:
        """Terms of one token with a space between them, at least one."""
        if token.islower() and token.isascii() and token.isalpha() and token not in self._words:
            terms = [token]
        elif HAN_RUN.fullmatch(token):
            return _han_terms(token, self._han_words)
        else:
            terms = self._word_terms(token)
        return " ".join(_stemmer().stemWords([term[:MAX_TERM] for term in terms]))

    def _word_terms(self, token: str) -> list[str]:
        terms: list[str] = []
        if token.lower() not in self._words:
            _add_token(token, terms)
            return terms
        for part in _plain_tokens().findall(token):
            if HAN_RUN.fullmatch(part):
                terms += _han_terms(part, self._han_words).split()
            else:
                _add_token(part, terms)
        whole = "".join(token.lower().split())
        return terms if whole in terms else [whole, *terms]


def folded(text: str) -> str:
    """Full-width forms, accents, typographic quotes and traditional characters as their plain forms."""
    if text.isascii():
        return text
    if _FOLDED.search(text):  # to look for them takes a tenth of the time
        text = text.translate(_FOLD)
    if not unicodedata.is_normalized("NFKC", text):
        text = unicodedata.normalize("NFKC", text).translate(_FOLD)
    if unicodedata.is_normalized("NFD", text) and not _MARKS.search(text):
        return text
    return unicodedata.normalize("NFC", _MARKS.sub("", unicodedata.normalize("NFD", text)))


def _token_pattern(words: Sequence[str]) -> re.Pattern[str]:
    """The pattern of tokens; where words of the dictionary stand, they come first, the longest before the others."""
    if not words:
        return _plain_tokens()
    listed = "|".join(re.escape(word) for word in sorted(words, key=lambda word: (-len(word), word)))
    own = rf"(?<!{_LETTER})(?<!{_LETTER}['.\-])(?i:{listed})(?!['.\-]?{_LETTER})"
    words_and_own = f"{own} | {_WORDS.replace('LETTER', _LETTER)}"
    return re.compile(rf"{words_and_own} | (?:(?!{own})[{_HAN}々])+ | [{_KANA}]+", re.VERBOSE)


@cache
def _plain_tokens() -> re.Pattern[str]:
    return re.compile(rf"{_WORDS.replace('LETTER', _LETTER)} | [{_HAN}々]+ | [{_KANA}]+", re.VERBOSE)


def _stemmer() -> Any:
    """Stemmer objects are not thread-safe, hence one a thread."""
    stemmer = getattr(_local, "stemmer", None)
    if stemmer is None:
        stemmer = _local.stemmer = Stemmer.Stemmer("english", 0)  # no cache below ours
    return stemmer


def _add_token(token: str, terms: list[str]) -> None:
    if KANA_RUN.fullmatch(token):
        terms.extend(bigrams(token))
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


def bigrams(run: str) -> list[str]:
    """Each two characters that stand side by side; of one character itself."""
    return list(map(add, run, run[1:])) or [run]


@cache
def _jieba(words: tuple[str, ...]) -> Any:
    """jieba's dictionary takes a moment to load, so only text with Chinese in it pays."""
    import rjieba

    jieba = rjieba.Jieba()
    for word in words:
        jieba.add_word(word, None, None)
    return jieba
