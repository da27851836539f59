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
      (?<![\w.,])[0-9]{{1,3}}(?:,[0-9]{{3}})+(?:\.[0-9]+)?(?![\w,])               # 1,000.5
    | {_LETTER}+(?:['.\-]{_LETTER}+)*(?:(?<=\b[A-Za-z])(?:\+\+|\#)(?!\w))?       # words, os.path, max_length, C++
    | (?<![\w\-+])--?[A-Za-z][A-Za-z0-9]*(?:[-_][A-Za-z0-9]+)*                   # -o, --dry-run
    | [{_HAN}々]+
    | [{_KANA}]+
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
_HAN_RUN = re.compile(f"[{_HAN}々]+")
_KANA_RUN = re.compile(f"[{_KANA}]+")

_local = threading.local()


def analyse(text: str) -> list[str]:
    """Terms of ``text`` in order, repeats kept; none holds white space.

    Words are lowercased and stemmed (Snowball English). What programmers write as one name is
    given whole and in parts, so that either finds it: ``max_length``, ``maxLength`` and
    ``max-length`` all give ``maxlength max length``; ``os.path`` gives ``os.path os path``;
    ``--dry-run`` gives ``--dry-run dryrun dri run``. Chinese gives jieba's words and, beside
    them, every bigram, so that a word of two characters counts twice and a cut that went wrong
    costs little. Full-width forms and accents are folded.
    """
    terms: list[str] = []
    for token in _TOKEN.findall(_folded(text)):
        if token.islower() and token.isalpha():
            terms.append(token)
        else:
            _add_token(token, terms)
    if max(map(len, terms), default=0) > MAX_TERM:
        terms = [term[:MAX_TERM] for term in terms]
    stems: list[str] = _stemmer().stemWords(terms)
    return stems


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


def _stemmer() -> Any:
    """Stemmer objects are not thread-safe, hence one a thread."""
    stemmer = getattr(_local, "stemmer", None)
    if stemmer is None:
        stemmer = _local.stemmer = Stemmer.Stemmer("english")
    return stemmer


def _add_token(token: str, terms: list[str]) -> None:
    if _HAN_RUN.fullmatch(token):
        _add_han(token, terms)
    elif _KANA_RUN.fullmatch(token):
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


def _add_han(run: str, terms: list[str]) -> None:
    if len(run) == 1:
        terms.append(run)
        return
    terms.extend(_segmenter().cut(run))
    terms.extend(_bigrams(run))


def _bigrams(run: str) -> list[str]:
    return [run[i : i + 2] for i in range(len(run) - 1)] or [run]


@cache
def _segmenter() -> Any:
    """jieba's dictionary takes a moment to load, so only text with Chinese in it pays."""
    import rjieba

    return rjieba.Jieba()
