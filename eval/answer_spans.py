"""How near an answer is to one of the right ones: exact match and F1 as SQuAD and CMRC count them, and containment."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence
from difflib import SequenceMatcher

from retrieval.types import Language

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_CMRC_PUNCTUATION = frozenset("-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』")
_CMRC_PIECE = re.compile(r"[\u4e00-\u9fa5]|[^\W_\u4e00-\u9fa5]+(?:[.,'][^\W_\u4e00-\u9fa5]+)*|\S")
"""A Han character, a word or number of another script, or one other sign. The original has NLTK cut the words."""


def exact_match(answer: str, golds: Sequence[str], language: Language) -> float:
    """1.0 when the answer equals any of ``golds`` once both are normalised, else 0.0."""
    if language == "en":
        return float(any(_squad_tokens(answer) == _squad_tokens(gold) for gold in golds))
    return float(any(_cmrc_text(answer) == _cmrc_text(gold) for gold in golds))


def f1(answer: str, golds: Sequence[str], language: Language) -> float:
    """Overlap with the nearest of ``golds``, 0 to 1; 0.0 without any.

    English: harmonic mean of precision and recall over the bag of words (Rajpurkar et al., EMNLP 2016, evaluate-v1.1).
    Chinese: the same over the longest common run of characters and Latin words (Cui et al., EMNLP 2019,
    cmrc2018_evaluate v5), which DRCD is reported by too.
    """
    if language == "en":
        return max((_bag_f1(_squad_tokens(answer), _squad_tokens(gold)) for gold in golds), default=0.0)
    return max((_run_f1(_cmrc_pieces(answer), _cmrc_pieces(gold)) for gold in golds), default=0.0)


def contains(text: str, golds: Sequence[str], language: Language) -> bool:
    """Whether any of ``golds``, normalised, stands in ``text`` as whole words (English) or as a run of characters.

    Short ones, such as a digit, do so by chance.
    """
    pieces = _squad_tokens if language == "en" else _cmrc_pieces
    held = f" {' '.join(pieces(text))} "
    wanted = (" ".join(pieces(gold)) for gold in golds)
    return any(each and f" {each} " in held for each in wanted)


def _squad_tokens(text: str) -> list[str]:
    """Lowercase, without ASCII punctuation and articles, cut at white space: ``normalize_answer`` of evaluate-v1.1."""
    return _ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split()


def _cmrc_text(text: str) -> str:
    return "".join(character for character in text.lower().strip() if character not in _CMRC_PUNCTUATION)


def _cmrc_pieces(text: str) -> list[str]:
    return _CMRC_PIECE.findall(_cmrc_text(text))


def _bag_f1(answer: Sequence[str], gold: Sequence[str]) -> float:
    common = (Counter(answer) & Counter(gold)).total()
    return _f1(common, len(answer), len(gold))


def _run_f1(answer: Sequence[str], gold: Sequence[str]) -> float:
    run = SequenceMatcher(None, gold, answer, autojunk=False).find_longest_match()
    return _f1(run.size, len(answer), len(gold))


def _f1(common: int, answer: int, gold: int) -> float:
    return 2 * common / (answer + gold) if common else 0.0
