"""Other numbers in the place of a statement's: plausible ones, of the same shape, digits and words."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

from eval.planted_words import NUMBER_WORDS, ORDINALS

Edit = tuple[int, int, str]
"""``text[start:end]`` becomes the third."""

_NUMBER = re.compile(r"(?<![A-Za-z0-9_.,/:-])\d{1,3}(?:,\d{3})+(?:\.\d+)?(?![A-Za-z0-9_])|"
                     r"(?<![A-Za-z0-9_.,/:-])\d+(?:\.\d+)?(?![A-Za-z_]|[.,]?\d)")  # fmt: skip
_BOUND = re.compile(
    r"(?:more than|over|at least|less than|under|at most|up to|fewer than|below|above|exceed\w*|around|about|"
    r"超过|超過|多于|多於|少于|少於|至少|不到|最多|以上|大于|大於|小于|小於|约|約|近)\s*\S{0,2}$",
    re.IGNORECASE,
)  # fmt: skip
_WORDS = re.compile(rf"\b(?:{'|'.join(NUMBER_WORDS)})\b(?! of (?:the|which|them))", re.IGNORECASE)
_ORDINALS = re.compile(rf"\b(?:{'|'.join(ORDINALS[1:])})\b(?! (?:World|war|half|hand))", re.IGNORECASE)
_HAN = re.compile(
    r"(?<![一二三四五六七八九十百千万萬第星期])([二三四五六七八九十两兩]|十[一二三四五六七八九]|[二三四五六七八九]十)"
    r"(?=[个個名位座条條次种種部岁歲所场場架艘支队隊家项項天层層届屆])"
)
_HAN_NUMBERS = "二三四五六七八九十"
_THIS_YEAR = 2030


def number_edits(statement: str, passage: str, rng: random.Random) -> list[Edit]:
    """Every number of ``statement`` that can be another, one edit each.

    Bounds ("more than 100") stay: a changed one may still hold. New values are numbers of ``passage`` of
    the same shape, or made up, and do not stand in the statement already.
    """
    others = [match.group() for match in _NUMBER.finditer(passage)]
    edits = []
    for match in _NUMBER.finditer(statement):
        if _BOUND.search(statement[: match.start()]):
            continue
        new = _another(match.group(), statement[match.end() : match.end() + 1], others, statement, rng)
        if new:
            edits.append((match.start(), match.end(), new))
    return edits + list(_words(statement, rng))


def _another(old: str, after: str, others: list[str], statement: str, rng: random.Random) -> str:
    taken = set(_NUMBER.findall(statement))
    alike = [each for each in others if len(each) == len(old) and ("," in each) == ("," in old) and each not in taken]
    if alike and len(old) >= 2 and rng.random() < 0.5:
        return rng.choice(alike)
    for _ in range(12):
        new = _made_up(old, after, rng)
        if new not in taken and new not in others:
            return new
    return ""


def _made_up(old: str, after: str, rng: random.Random) -> str:
    whole, _, places = old.replace(",", "").partition(".")
    value = float(f"{whole}.{places or 0}")
    if not places and "," not in old and len(whole) == 4 and 1000 <= value < _THIS_YEAR:
        return str(min(int(value) + rng.choice([-1, 1]) * rng.choice([1, 2, 3, 5, 7, 10, 12, 20, 30]), _THIS_YEAR))
    if after == "月" or (not places and value <= 12):
        return str(rng.randint(1, 12))
    if after in ("日", "號", "号") or (not places and value <= 31):
        return str(rng.randint(2, 31))
    changed = value * rng.choice([0.3, 0.5, 0.6, 0.75, 1.3, 1.5, 1.8, 2.5, 4.0])
    if after in ("%", "％") and value <= 100:
        changed = min(changed, 98.0) if changed != value else value / 2
    if places:
        return f"{changed:,.{len(places)}f}" if "," in old else f"{changed:.{len(places)}f}"
    # As round as the old one was: 1,500,000 does not become 1,123,457.
    zeros = len(whole) - len(whole.rstrip("0"))
    step = 10 ** min(zeros, max(len(whole) - 2, 0))
    rounded = max(round(changed / step) * step, 1)
    return f"{rounded:,}" if "," in old else str(rounded)


def _words(statement: str, rng: random.Random) -> Iterator[Edit]:
    for pattern, words in ((_WORDS, NUMBER_WORDS), (_ORDINALS, ORDINALS)):
        for match in pattern.finditer(statement):
            old = match.group()
            new = rng.choice([each for each in words if each != old.lower()])
            yield match.start(), match.end(), new.capitalize() if old[0].isupper() else new
    for match in _HAN.finditer(statement):
        same = {"两": "二", "兩": "二"}.get(match.group(1), match.group(1))
        new = rng.choice([each for each in _HAN_NUMBERS if each != same])
        if new == "二" and len(match.group(1)) == 1:
            new = "三" if same != "三" else "四"
        yield match.start(1), match.end(1), new
