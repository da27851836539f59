"""Other names in the place of a statement's: of the same kind, from the passage where it has one."""

from __future__ import annotations

import functools
import random
import re
from collections.abc import Sequence
from typing import Any

from eval.planted_numbers import Edit
from eval.planted_words import (
    CHINESE_COUNTRIES,
    CHINESE_DYNASTIES,
    CHINESE_PLACES,
    COUNTRIES,
    DEMONYMS,
    MONTHS,
    WEEKDAYS,
    words,
)  # fmt: skip
from retrieval.sentences import sentences

_CAPITAL = r"[A-Z][\w-]*\w"
_NAME = re.compile(rf"\b{_CAPITAL}(?: (?:(?:of|the|de|van|von|di|la|el|al) )?{_CAPITAL})*")
_ORGANISATION = re.compile(
    r"\b(?:University|College|Company|Church|Party|Army|Empire|Corporation|Council|Department|Museum|Institute|"
    r"School|Museum|Association|League|Union|Court|Club|Records|Act|War|Battle|Treaty|Revolution|River|Island)\b"
)
_LISTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("month", MONTHS), ("weekday", WEEKDAYS), ("country", COUNTRIES), ("demonym", DEMONYMS),
)  # fmt: skip
_NOT_NAMES = frozenset(
    words(
        "The This That These Those It Its In On At For If When While We You They He She A An But And However His "
        "Her Their There Here After Before During Since Although Though As By From To With Of Most Many Some All "
        "Both Each One Two Three Other Others According What Who Where Which How Why Not No Also Another Such "
        "Between Among Under Over Because Following Despite Unlike Like Until Then Thus Therefore Today Only "
        "Even Several Various More Less"
    )
)
_TITLE = re.compile(r"《([^《》]{2,20})》")
_LATIN = re.compile(r"(?<![A-Za-z0-9])[A-Z][A-Za-z]{2,}(?: [A-Z][A-Za-z]+)*(?![A-Za-z0-9])")
_FOREIGN = re.compile(r"[㐀-鿿]{1,5}(?:·[㐀-鿿]{1,6})+")
_FUNCTION = "的于於在是和与與了为為被从從由而及或等也就都有这這那其之以后後前"


def english_name_edits(statement: str, passage: str, rng: random.Random) -> list[Edit]:
    """An edit for every name that has another of its kind.

    What stands in one sentence of the passage with the old name is not taken for it: "Paris, France".
    """
    spans = [span.span() for span in sentences_with_names(passage)]
    found = [(passage[start:end], start) for start, end in spans]
    edits = []
    for match in _english_names(statement, passage):
        old = match.group()
        kind, listed = _kind(old)
        near = " ".join(passage[start:end] for start, end in sentences(passage) if old in passage[start:end])
        others = {
            name for name, _ in found
            if _kind(name)[0] == kind and not _share_words(name, old) and name not in near and name not in statement
        }  # fmt: skip
        pool = sorted(others) or [name for name in listed if name not in statement and name not in near]
        if pool:
            edits.append((match.start(), match.end(), rng.choice(pool)))
    return edits


def sentences_with_names(passage: str) -> list[re.Match[str]]:
    """The names of a passage, those left out that only begin a sentence."""
    return _english_names(passage, passage)


def _english_names(text: str, passage: str) -> list[re.Match[str]]:
    begins = {start for start, _ in sentences(text)}
    found = []
    for match in _NAME.finditer(text):
        words = match.group().split()
        if words[0] in _NOT_NAMES or len(match.group()) < 3:
            continue
        if match.start() in begins and len(words) == 1 and not _elsewhere(words[0], passage):
            continue
        found.append(match)
    return found


def _elsewhere(word: str, passage: str) -> bool:
    """Whether a word with which a sentence begins has its capital within a sentence too."""
    return re.search(rf"[a-z,;] {re.escape(word)}\b", passage) is not None


def _kind(name: str) -> tuple[str, tuple[str, ...]]:
    for kind, listed in _LISTS:
        if name in listed:
            return kind, listed
    if name.isupper() and " " not in name:
        return "acronym", ()
    if _ORGANISATION.search(name):
        return "organisation", ()
    return ("names" if " " in name else "name"), ()


def _share_words(left: str, right: str) -> bool:
    return bool(set(left.lower().split()) & set(right.lower().split()) - {"of", "the", "de", "van", "von"})


def chinese_name_edits(statement: str, folded: str, passage: str, rng: random.Random) -> list[Edit]:
    """The same for Chinese. ``folded`` is the statement in simplified characters, of equal length.

    Countries, places and dynasties become others of their list; titles in 《》, Latin names, names with a
    dot and persons named twice become others of the passage. A replacement from a list is simplified.
    """
    edits: list[Edit] = []
    for listed in (CHINESE_COUNTRIES, CHINESE_PLACES, CHINESE_DYNASTIES):
        for match in _alternation(listed).finditer(folded):
            pool = [name for name in listed if name not in folded and name not in passage]
            edits += [(match.start(), match.end(), rng.choice(pool))] if pool else []
    for pattern, group in ((_TITLE, 1), (_LATIN, 0)):
        names = sorted({match.group(group) for match in pattern.finditer(passage)})
        for match in pattern.finditer(statement):
            edits += _swap(statement, passage, match.span(group), names, rng)
    persons = sorted(_persons(passage))
    for name in persons:
        at = statement.find(name)
        if at >= 0:
            alike = [other for other in persons if ("·" in other) == ("·" in name)]
            edits += _swap(statement, passage, (at, at + len(name)), alike, rng)
    return edits


@functools.cache
def _alternation(listed: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(sorted(listed, key=len, reverse=True)))


def _swap(statement: str, passage: str, span: tuple[int, int], names: Sequence[str], rng: random.Random) -> list[Edit]:
    old = statement[span[0] : span[1]]
    near = " ".join(passage[start:end] for start, end in sentences(passage) if old in passage[start:end])
    pool = [
        name for name in names
        if name not in statement and name not in near and name not in old and old not in name
    ]  # fmt: skip
    return [(*span, rng.choice(pool))] if pool else []


def _persons(passage: str) -> set[str]:
    """Names with a dot, and words tagged as a person's that the passage holds twice or more."""
    dotted = {_trimmed(match.group()) for match in _FOREIGN.finditer(passage)}
    tagged = {
        word for word, tag in _jieba().tag(passage)
        if tag == "nr" and 2 <= len(word) <= 4 and word[-1] not in _FUNCTION and word[0] not in _FUNCTION
    }  # fmt: skip
    return {name for name in dotted if "·" in name} | {name for name in tagged if passage.count(name) >= 2}


def _trimmed(name: str) -> str:
    """Before the first dot only what follows the last function word: the writing has no spaces."""
    first, dot, rest = name.partition("·")
    cut = max((first.rfind(character) for character in _FUNCTION), default=-1)
    end = min((at for at in (rest.find(each) for each in _FUNCTION) if at > 0), default=len(rest))
    return first[cut + 1 :] + dot + rest[:end] if first[cut + 1 :] and rest[:end] else ""


@functools.cache
def _jieba() -> Any:
    import rjieba

    return rjieba.Jieba()
