"""Which language a text is in, as far as its script tells, and whether a model that was trained for some reads it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from retrieval.types import Language

_LETTER: Final = re.compile(r"[^\W\d_]")
_HAN: Final = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003347f]")
_OTHER_WORD: Final = re.compile("[^\\W\\d_\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003347f]+")
_SCRIPTS: Final[tuple[tuple[re.Pattern[str], float, frozenset[str]], ...]] = (
    (re.compile("[ぁ-ゟァ-ヺ]"), 0.2, frozenset({"ja"})),  # beside Han, which Japanese is written with too
    (re.compile("[\u1100-\u11ff\uac00-\ud7a3]"), 0.3, frozenset({"ko"})),
    (re.compile("[\u0400-\u052f]"), 0.5, frozenset({"be", "bg", "kk", "mk", "mn", "ru", "sr", "uk"})),
    (re.compile("[\u0370-\u03ff\u1f00-\u1fff]"), 0.5, frozenset({"el"})),
    (re.compile("[\u0600-\u06ff]"), 0.5, frozenset({"ar", "fa", "ur"})),
    (re.compile("[\u0590-\u05ff]"), 0.5, frozenset({"he", "yi"})),
    (re.compile("[\u0900-\u097f]"), 0.5, frozenset({"hi", "mr", "ne", "sa"})),
    (re.compile("[\u0e00-\u0e7f]"), 0.5, frozenset({"th"})),
)
"""Letters, the share of all from which they tell, and the languages that are written so."""

SHARE: Final = 0.3
"""Of Chinese words: people ask in Chinese about things with English names."""


def language_of(text: str) -> Language:
    """``zh`` when Chinese words are at least 30 % of all, two Han characters counting as one word, else ``en``."""
    if text.isascii():
        return "en"
    chinese = len(_HAN.findall(text)) / 2
    return "zh" if chinese and chinese >= SHARE * (chinese + len(_OTHER_WORD.findall(text))) else "en"


def reads(languages: Sequence[str], text: str) -> bool:
    """Whether a model trained for ``languages`` (ISO 639-1, ``*`` for all) was trained for text like this.

    What is in Latin letters counts as English: detectors that tell German from English take up to ten of a hundred
    short English queries for something else, and each of these would lose its dense channel.
    """
    if "*" in languages:
        return True
    if text.isascii():
        return "en" in languages
    letters = len(_LETTER.findall(text))
    for script, share, written in _SCRIPTS:
        count = len(script.findall(text))
        if count and count >= share * letters:
            return not written.isdisjoint(languages)
    return language_of(text) in languages
