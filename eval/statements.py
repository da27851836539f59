"""Turns a question and its answer into a statement, and a sentence into a shorter one, where rules are safe."""

from __future__ import annotations

import random
import re

from eval.planted_words import words

_ASKS_AGAIN = re.compile(r"\b(?:why|how|which|who|what|when|where|did|do|does)\b")
_DANGLING = re.compile(r"\b(?:of|in|on|at|to|by|for|with|from|as|about|into|than|called|named|known|given|born)$")
_PARTICIPLE = (
    r"(?:\w+ed|born|built|found|founded|made|held|written|sold|won|known|given|taken|begun|broken|chosen|seen|shot|"
    r"sent|put|set|lost|led|left|spoken|drawn|laid|fought|struck|sworn)"
)
_IRREGULAR = {
    "begin": "began", "become": "became", "win": "won", "leave": "left", "take": "took", "make": "made",
    "build": "built", "hold": "held", "lose": "lost", "give": "gave", "write": "wrote", "buy": "bought",
    "sell": "sold", "find": "found", "get": "got", "go": "went", "come": "came", "lead": "led", "meet": "met",
    "send": "sent", "break": "broke", "fall": "fell", "rise": "rose", "grow": "grew", "fight": "fought",
}  # fmt: skip
_REGULAR = words(
    "die open close start end move join release sign publish establish launch introduce marry return arrive "
    "retire graduate adopt announce pass enter receive happen occur appear invade attack conquer capture "
    "serve play perform attend study live work travel visit create develop produce found form change reach "
    "finish debut discover invent surrender declare abolish resign propose approve complete acquire settle"
)
_PAST = {word: word + ("d" if word.endswith("e") else "ed") for word in _REGULAR} | _IRREGULAR | {
    "marry": "married", "study": "studied", "occur": "occurred", "stop": "stopped"
}  # fmt: skip
_BASE = "|".join(_PAST)
_AUXILIARIES = words("did do does is was were are has have had else would can could will should might may")
_SUBJECT_VERB = (
    rf"(?:was|were|is|are|has|had|{'|'.join(sorted(set(_PAST.values())))})"
)  # fmt: skip
_NOT_SUBJECTS = re.compile(
    r"\b(?:year|date|day|month|time|century|decade|age|percent\w*|type|kind|sort|way|much|long)\b"
)

_WHO = re.compile(rf"^Who (?!(?:{'|'.join(_AUXILIARIES)})\b)(\w+ .+)$")
_WHO_IS = re.compile(r"^Who (is|was|were|are) ((?:the|a|an|one|in|responsible|considered)\b.+)$")
_WHAT_IS = re.compile(r"^What (is|was|are|were) (the .+)$")
_WHICH = re.compile(rf"^(?:What|Which) ((?:\w+ ){{1,3}}?)({_SUBJECT_VERB}) (.+)$")
_WHEN_WAS = re.compile(
    rf"^(?:When|In what year|In which year|What year|Where|In what city|In what country) (was|were|is|are) "
    rf"(.+?) ({_PARTICIPLE})\b ?(.*)$"
)
_WHEN_DID = re.compile(
    rf"^(?:When|In what year|In which year|What year|Where|In what city|In what country) did (.+?) ({_BASE})\b ?(.*)$"
)
_HOW_MANY = re.compile(r"^How many ([\w' -]+?) (live|lived|attended|died|served|took|made|voted|make|participated|"
                       r"are in|were in|were killed|were \w+ed|are \w+ed)\b(.*)$")  # fmt: skip


def english_statement(question: str, answer: str) -> str | None:
    """The question as a statement with its answer; None where no rule is safe.

    >>> english_statement("When was the Louvre opened?", "1793")
    'The Louvre was opened in 1793.'
    """
    asked = re.sub(r"\s+", " ", question).strip().rstrip("?. ")
    answer = answer.strip().rstrip(".,;")
    if not answer or len(answer.split()) > 9 or asked.count("?"):
        return None
    for rule in (_by_subject, _by_time_or_place, _by_number):
        said = rule(asked, answer)
        if said is not None:
            return said[0].upper() + said[1:] + "."
    return None


def _by_subject(asked: str, answer: str) -> str | None:
    if match := _WHO.match(asked):
        return None if _ASKS_AGAIN.search(match[1]) else f"{answer} {match[1]}"
    if (match := _WHO_IS.match(asked)) and not _DANGLING.search(match[2]):
        return f"{answer} {match[1]} {match[2]}"
    if (match := _WHAT_IS.match(asked)) and not _DANGLING.search(match[2]) and not re.search(r" \w+ed$", match[2]):
        return f"{match[2]} {match[1]} {answer}"
    if match := _WHICH.match(asked):
        noun, verb, rest = match.groups()
        unsafe = _NOT_SUBJECTS.search(noun) or _ASKS_AGAIN.search(f"{noun} {rest}") or _DANGLING.search(rest)
        inverted = verb in ("was", "were", "is", "are", "has", "had") and not re.match(
            rf"(?:{_PARTICIPLE}|the|a|an|not|in|on|at|located)\b", rest
        )
        if not unsafe and not inverted and not (rest.startswith("the ") and re.search(rf" {_PARTICIPLE}$", rest)):
            return f"{answer} {verb} {rest}"
    return None


def _by_time_or_place(asked: str, answer: str) -> str | None:
    where = re.match(r"^(?:Where|In what (?:city|country))", asked) is not None
    if match := _WHEN_WAS.match(asked):
        subject, said = match[2], " ".join(filter(None, (match[2], match[1], match[3], match[4])))
    elif match := _WHEN_DID.match(asked):
        subject, said = match[1], " ".join(filter(None, (match[1], _PAST[match[2]], match[3])))
    else:
        return None
    # "the printed circuit": what looks like the verb is a part of the subject.
    if subject.lower() in ("the", "a", "an", "his", "her") or (_DANGLING.search(said) and not said.endswith("born")):
        return None
    return None if _ASKS_AGAIN.search(said) else f"{said} {_adverbial(answer, where=where)}".rstrip()


def _adverbial(answer: str, *, where: bool) -> str:
    if re.match(r"(?:in|on|at|by|during|after|before|since|from|near|around|between|throughout)\b", answer, re.I):
        return answer[0].lower() + answer[1:]
    day = re.search(r"\d{1,2},? ?(?:\d{4})?$", answer) and not re.match(r"\d{4}s?$", answer) and " " in answer
    return f"{'in' if where or not day else 'on'} {answer}"


def _by_number(asked: str, answer: str) -> str | None:
    match = _HOW_MANY.match(asked)
    if match is None or not re.match(r"[\d,.]+(?: (?:million|billion|thousand))?$|[a-z]+$", answer):
        return None
    return f"{answer} {match[1]} {match[2]}{match[3]}"


_OPENING = re.compile(
    r"^(In|On|By|During|Since|After|Before|At|As of|According to|With|For|Under) ([^,]{3,60}), (?=\w)"
)
_ASIDE = re.compile(r"\s*[(（\[][^()（）\[\]]*[)）\]]")
_TAIL = re.compile(r", (?:which|who|where|including|such as|while|although|with|but)\b[^,]*([.!?])$")


def shortened(sentence: str, language: str, rng: random.Random) -> str:
    """A statement that follows from ``sentence``: asides, opening or closing parts left out or moved; or itself."""
    plain = re.sub(r"\s+", " ", _ASIDE.sub("", sentence)).strip()
    if language == "zh":
        return _chinese_part(plain, rng)
    opening = _OPENING.match(plain)
    if opening and plain[-1] == "." and rng.random() < 0.7:
        rest = plain[opening.end() : -1]
        moved = opening[1] in ("In", "On", "By", "During", "Since", "After", "Before", "At") and rng.random() < 0.6
        tail = f" {opening[1].lower()} {opening[2]}." if moved and "," not in rest else "."
        plain = rest[0].upper() + rest[1:] + tail
    cut = _TAIL.sub(r"\1", plain)
    return cut if len(cut.split()) >= 6 and rng.random() < 0.7 else plain


def _chinese_part(sentence: str, rng: random.Random) -> str:
    """The whole, or its first clauses: what they say does not hang on what follows."""
    clauses = re.split(r"[，；]", sentence.rstrip("。；！"))
    if len(clauses) < 2 or rng.random() < 0.3:
        return sentence
    count = rng.randint(1, len(clauses) - 1)
    kept = "，".join(clauses[:count])
    dependent = re.match(
        r"(?:虽|雖|如果|当|當|由于|由於|因为|因為|除了|为了|為了|尽管|儘管|不仅|不僅|随着|隨著|在)", clauses[count - 1]
    )
    return kept + "。" if len(kept) >= 9 and not dependent else sentence
