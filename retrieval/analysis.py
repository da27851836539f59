"""How text becomes index terms: the same for passages and for queries, in English, Chinese and mixtures of both."""

from __future__ import annotations

import re
import threading
import unicodedata
from functools import cache
from typing import Any

import Stemmer

from retrieval.sentences import sentences
from retrieval.types import Language

__all__ = ["ANALYSIS_VERSION", "analyse", "language_of", "sentences"]

ANALYSIS_VERSION = "1"
"""Changes whenever ``analyse`` gives other terms for some text; an index of another version is not read."""

MAX_TERM = 64
"""Longer terms are cut here: hashes and base64 would otherwise fill the dictionary."""

_HAN = "㐀-䶿一-鿿豈-﫿\U00020000-\U0003347f"
_KANA = "ぁ-ゟ゠-ヿㇰ-ㇿ"
_LETTER = rf"[^\W{_HAN}{_KANA}]"

_TOKEN = re.compile(
    rf"""
      (?P<han>[{_HAN}々]+)
    | (?P<kana>[{_KANA}]+)
    | (?P<flag>(?<![\w\-+])--?[A-Za-z][A-Za-z0-9]*(?:[-_][A-Za-z0-9]+)*)
    | (?P<sign>(?<!\w)[A-Za-z](?:\+\+|\#)(?!\w))
    | (?P<thousands>(?<![\w.,])[0-9]{{1,3}}(?:,[0-9]{{3}})+(?:\.[0-9]+)?(?![\w,]))
    | (?P<word>{_LETTER}+(?:['.\-]{_LETTER}+)*)
    """,
    re.VERBOSE,
)
_FOLD = str.maketrans({"\u2019": "'", "\u2018": "'", "\u02bc": "'", "\u2010": "-", "\u2011": "-", "\u00ad": None})
_MARKS = re.compile("[\u0300-\u036f]")
_CAMEL = re.compile(r"[a-z][A-Z]|[A-Z]{2}[a-z]")
_CAMEL_PART = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|[0-9]+")
_PLURAL_ACRONYM = re.compile(r"[A-Z]+s")
_PIECE = re.compile(r"[^_\-]+")
_HAN_LETTER = re.compile(f"[{_HAN}]")

_local = threading.local()


def analyse(text: str) -> list[str]:
    """Terms of ``text`` in order, repeats kept; none holds white space.

    Words are lowercased and stemmed (Snowball English). What programmers write as one name is
    given whole and in parts, so that either finds it: ``max_length``, ``maxLength`` and
    ``max-length`` all give ``maxlength max length``; ``os.path`` gives ``os.path os path``;
    ``--dry-run`` gives ``--dry-run dryrun dri run``. Chinese gives jieba's words and, beside
    them, the bigrams that are not words already. Full-width forms and accents are folded.
    """
    terms: list[str] = []
    for match in _TOKEN.finditer(_folded(text)):
        token = match.group()
        kind = match.lastgroup
        if kind == "word":
            _add_word(token, terms)
        elif kind == "han":
            _add_han(token, terms)
        elif kind == "kana":
            terms.extend(_bigrams(token))
        elif kind == "flag":
            terms.append(token.lower()[:MAX_TERM])
            _add_word(token.lstrip("-"), terms)
        elif kind == "thousands":
            terms.append(token.replace(",", ""))
        else:
            terms.append(token.lower())
    return terms


def language_of(text: str) -> Language:
    """``zh`` when Han characters are at least 30 % of the letters, else ``en``."""
    if text.isascii():
        return "en"
    han = len(_HAN_LETTER.findall(text))
    return "zh" if han and han >= 0.3 * sum(map(str.isalpha, text)) else "en"


def _folded(text: str) -> str:
    if text.isascii():
        return text
    text = unicodedata.normalize("NFKC", text).translate(_FOLD)
    decomposed = unicodedata.normalize("NFD", text)
    return unicodedata.normalize("NFC", _MARKS.sub("", decomposed))


def _stem(word: str) -> str:
    """Stemmer objects are not thread-safe, hence one a thread."""
    stemmer = getattr(_local, "stemmer", None)
    if stemmer is None:
        stemmer = _local.stemmer = Stemmer.Stemmer("english")
    stem: str = stemmer.stemWord(word[:MAX_TERM])
    return stem


def _add_word(token: str, terms: list[str]) -> None:
    if token.isalpha() and not _CAMEL.search(token):
        terms.append(_stem(token.lower()))
    elif "." in token:
        _add_dotted(token, terms)
    elif "_" in token or "-" in token:
        pieces = _PIECE.findall(token)
        joined = "".join(pieces)
        if joined != token and len(pieces) == 1:  # __init__, _private
            terms.append(token.lower()[:MAX_TERM])
        elif len(pieces) > 1:
            terms.append(_stem(joined.lower()))
        for piece in pieces:
            _add_word(piece, terms)
    elif _CAMEL.search(token) and not _PLURAL_ACRONYM.fullmatch(token):
        terms.append(_stem(token.lower()))
        terms.extend(_stem(part.lower()) for part in _CAMEL_PART.findall(token))
    else:
        terms.append(_stem(token.lower()))


def _add_dotted(token: str, terms: list[str]) -> None:
    """Dotted names whole and in parts; of a version number also ``major.minor``; a decimal only whole."""
    terms.append(token.lower()[:MAX_TERM])
    pieces = token.split(".")
    if all(map(str.isdigit, pieces)):
        if len(pieces) > 2:
            terms.append(".".join(pieces[:2])[:MAX_TERM])
        return
    for piece in pieces:
        _add_word(piece, terms)


def _add_han(run: str, terms: list[str]) -> None:
    if len(run) == 1:
        terms.append(run)
        return
    words = _segmenter().cut(run)
    known = set(words)
    terms.extend(word[:MAX_TERM] for word in words)
    terms.extend(pair for pair in _bigrams(run) if pair not in known)


def _bigrams(run: str) -> list[str]:
    return [run[i : i + 2] for i in range(len(run) - 1)] or [run]


@cache
def _segmenter() -> Any:
    """jieba's dictionary takes a moment to load, so only text with Chinese in it pays."""
    import rjieba

    return rjieba.Jieba()
