"""Words of English that say which way something goes, in groups of the same sense with their opposites.

A finding stays the same when "reduces" becomes "lowers", and turns around when it becomes "raises". What puts
science in other words, or contradicts it, mostly does no more than that.
"""

from __future__ import annotations

import functools
import itertools
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass

_VERBS = (
    ("increase raise elevate enhance augment boost", "decrease reduce lower diminish attenuate"),
    ("promote stimulate facilitate encourage", "inhibit suppress impede repress hinder block"),
    ("activate", "inactivate deactivate silence"),
    ("upregulate", "downregulate"),
    ("improve ameliorate", "worsen impair aggravate exacerbate"),
    ("cause induce trigger provoke", "prevent avert abolish"),
    ("accelerate hasten", "slow delay retard"),
    ("strengthen reinforce", "weaken undermine"),
    ("stabilize", "destabilize"),
    ("expand extend enlarge", "shrink shorten"),
    ("gain acquire", "lose lack"),
    ("protect shield", "damage harm"),
)
_OTHERS = (
    ("higher greater elevated increased", "lower reduced decreased diminished"),
    ("more", "fewer less"),
    ("increase_in rise_in elevation_of", "decrease_in reduction_in decline_in drop_in reduction_of"),
    ("activation_of stimulation_of induction_of", "inhibition_of suppression_of blockade_of"),
    ("overexpression_of", "knockdown_of deletion_of"),
    ("presence_of abundance_of", "absence_of lack_of deficiency_of"),
    ("high elevated", "low"),
    ("poorer worse", "better"),
    ("necessary_for required_for essential_for indispensable_for", "dispensable_for unnecessary_for"),
    ("important_for crucial_for critical_for", "irrelevant_to unimportant_for negligible_for"),
    ("common frequent prevalent", "rare uncommon infrequent"),
    ("effective efficacious", "ineffective useless"),
    ("beneficial advantageous", "harmful detrimental deleterious"),
    ("susceptible_to vulnerable_to sensitive_to prone_to", "resistant_to insensitive_to immune_to"),
    ("strong pronounced marked", "weak slight"),
    ("stronger", "weaker"),
    ("rapid fast quick", "slow gradual"),
    ("faster", "slower"),
    ("longer", "shorter"),
    ("similar_to comparable_to", "different_from distinct_from"),
    ("many numerous", "few"),
    ("positive", "negative"),
    ("positively", "negatively inversely"),
    ("associated_with linked_to correlated_with", "unrelated_to independent_of"),
    ("dependent_on", "independent_of"),
    ("able_to", "unable_to"),
    ("stable", "unstable"),
    ("normal", "abnormal aberrant"),
    ("excess", "deficiency shortage"),
    ("maximal", "minimal"),
    ("direct", "indirect"),
    ("directly", "indirectly"),
)
_PAST = {"lose": "lost", "shrink": "shrank"}
_VOWEL = re.compile(r"[aeiou]", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Direction:
    """A word of direction in a text: ``text[start:end]``, the words that say the same, and those that say the
    opposite, in the same form."""

    start: int
    end: int
    same: tuple[str, ...]
    opposite: tuple[str, ...]


def directions(text: str) -> list[Direction]:
    """Every word of direction in ``text``, in order."""
    found = []
    for match in _pattern().finditer(text):
        same, opposite = _forms()[match.group().lower()]
        found.append(Direction(*match.span(), same, opposite))
    return found


def reworded(text: str, rng: random.Random) -> str | None:
    """``text`` with one of its words of direction put in another way; None without one."""
    return _with(text, [(each, each.same) for each in directions(text) if each.same], rng)


def opposed(text: str, rng: random.Random) -> str | None:
    """``text`` with one of its words of direction turned around: as a statement it is false then."""
    return _with(text, [(each, each.opposite) for each in directions(text) if each.opposite], rng)


def reversed_(text: str, rng: random.Random) -> str | None:
    """``text`` with its only word of direction turned around; None without one, and with two or more of them."""
    found = directions(text)
    return _with(text, [(found[0], found[0].opposite)], rng) if len(found) == 1 else None


def _with(text: str, choices: list[tuple[Direction, tuple[str, ...]]], rng: random.Random) -> str | None:
    if not choices:
        return None
    place, words = rng.choice(choices)
    new = rng.choice(words)
    if text[place.start].isupper():
        new = new[0].upper() + new[1:]
    before = text[: place.start]
    article = re.search(r"\b([Aa])n? $", before)
    if article:
        before = before[: article.start()] + article.group(1) + ("n " if _VOWEL.match(new) else " ")
    return before + new + text[place.end :]


@functools.cache
def _pattern() -> re.Pattern[str]:
    bare = [verb for side in itertools.chain(*_VERBS) for verb in side.split()]
    words = "|".join(sorted(map(re.escape, _forms().keys() - set(bare)), key=len, reverse=True))
    # A verb's plain form is a noun's as often ("the increase"); it counts where a verb must stand.
    after = "|".join(rf"(?<=\b{word} )" for word in ("to", "not", "can", "may", "could", "will", "would", "might"))
    return re.compile(
        rf"(?<![-\w])(?:{words}|(?:{after})(?:{'|'.join(bare)}))(?![-\w])(?! (?:education|back|limbs?|school|class)\b)",
        re.IGNORECASE,
    )


@functools.cache
def _forms() -> Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    """Each word in each form to (others of its sense, its opposites), both in that form."""
    found: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {}

    def add(left: list[str], right: list[str]) -> None:
        for mine, others in ((left, right), (right, left)):
            for word in mine:
                found.setdefault(word, (tuple(each for each in mine if each != word), tuple(others)))

    for one, other in _OTHERS:
        add(*([each.replace("_", " ") for each in side.split()] for side in (one, other)))
    for one, other in _VERBS:
        for form in (str, _third, _past, _going):
            add([form(each) for each in one.split()], [form(each) for each in other.split()])
    return found


def _third(verb: str) -> str:
    return verb + ("es" if verb.endswith(("s", "sh", "ch")) else "s")


def _past(verb: str) -> str:
    return _PAST.get(verb) or verb + ("d" if verb.endswith("e") else "ed")


def _going(verb: str) -> str:
    return (verb[:-1] if verb.endswith("e") else verb) + "ing"
