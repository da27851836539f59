"""Turns a Chinese question and its answer into a statement: the answer takes the place of the question word."""

from __future__ import annotations

import re

import rjieba

from eval.planted import folded

_UNSAFE = re.compile(
    r"为什么|为何|怎么|如何|怎样|怎麼|是否|能否|吗$|哪些方面|什么意思|可不可以|有没有|是不是|什么原因|什么样|怎么样|甚么"
)
_WHERE = re.compile(r"什么地方|哪个地方|哪里|何处|何地|哪儿|什么位置")
_WHEN = re.compile(r"什么时候|什么时间|哪个时候|何时|哪一年|哪年|哪一天|哪天|何年|几年|哪一日")
_WHO = re.compile(r"谁|何人|哪位|哪个人|哪一位|什么人")
_HOW = re.compile(r"多(?=[高长大久远重宽深快])[高长大久远重宽深快]")
_COUNT = re.compile(r"多少|几")
_WHICH = re.compile(r"哪一?[几两二三四五]?[个種种位座部支家所国年次项首条款类本处届场方]?|什么|何种|何")
_ENDING = re.compile(r"[?？。！!．.\s]+$")
_NOUN = re.compile(r"^n|^vn$|^an$|^s$|^f$")


def chinese_statement(question: str, answer: str) -> str | None:
    """The question as a statement with its answer, in the script they have; None where no rule is safe.

    >>> chinese_statement("范廷颂是什么时候被任为主教的？", "1963年")
    '范廷颂是1963年被任为主教的。'
    """
    asked = _ENDING.sub("", question.strip())
    asked = re.sub(r"^(?:请问|請問)[，,]?", "", asked)
    answer = _ENDING.sub("", answer.strip()).rstrip("，,；;")
    simple, said = folded(asked), folded(answer)
    if not 1 <= len(answer) <= 24 or re.search(r"[?？]", asked) or _UNSAFE.search(simple) or _repeats(simple, said):
        return None
    span = _asked_for(simple, said)
    if span is None:
        return None
    start, end, cut = span
    return f"{asked[:start]}{answer[cut:]}{asked[end:]}。"


def _asked_for(asked: str, answer: str) -> tuple[int, int, int] | None:
    """What of the question the answer replaces, and how much of the answer's beginning to leave out."""
    for pattern in (_WHERE, _WHEN, _WHO):
        if match := pattern.search(asked):
            return match.start(), match.end(), _said_twice(asked[: match.start()], answer)
    if match := _HOW.search(asked):
        return match.start(), match.end(), 1 if answer[0] == match.group()[-1] else 0
    if match := _COUNT.search(asked):
        number = re.match(r"[约約大]*[\d,.一二三四五六七八九十百千万亿两多余]+", answer)
        if number is None:
            return None
        return match.start(), match.end() + _shared(answer[number.end() :], asked[match.end() :]), 0
    if match := _WHICH.search(asked):
        return match.start(), _noun_end(asked, match.end()), _said_twice(asked[: match.start()], answer)
    return None


def _said_twice(before: str, answer: str) -> int:
    """How many characters end the text before and begin the answer: 在 + 在北京."""
    return 1 if before and before[-1] == answer[0] and before[-1] in "在于是由被从自" and len(answer) > 1 else 0


def _shared(unit: str, after: str) -> int:
    """The length of what follows the number in the answer where the question says it too; 0 for a bare number."""
    return len(unit) if unit and after.startswith(unit) else 0


def _noun_end(text: str, start: int) -> int:
    """The end of the nouns after a question word: they are what the answer names."""
    end = start
    for word, tag in rjieba.tag(text[start:]):
        if not _NOUN.match(tag) or end - start >= 6:
            break
        end += len(word)
    return end


def _repeats(asked: str, answer: str) -> bool:
    """Whether the answer says a stretch of four characters that the question says too: it is a sentence of its own."""
    return any(answer[at : at + 4] in asked for at in range(len(answer) - 3))
