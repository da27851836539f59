"""How much of what one text says another one holds, by the words that carry meaning."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Set
from functools import cache

from retrieval.analysis import analyse

_ENGLISH_FUNCTION_WORDS = (
    "a an the this that these those and or but nor so if then than as of in on at by for from to into onto with "
    "without within about over under between through during before after is are was were be been being am do does "
    "did done doing have has had having can could will would shall should may might must i you he she it we they "
    "me him her us them my your his its our their who whom whose which what when where why how there here not no "
    "yes also too very just only some any all each both more most other such own same"
)
# Cut out of the text before it is segmented, so that no bigram reaches across the hole.
_CHINESE_FUNCTION_WORDS = re.compile(
    "为什么|什么时候|什么样|是什么|有什么|什么|怎么样|怎么|怎样|如何|为何|何时|何地|何人|哪一|哪些|哪个|哪里|哪儿|哪位|哪年|哪"
    "|谁|多少|多久|几个|几|吗|呢|请问|请|是否|能否|可否|以及|或者|因为|所以|但是|然而|而且|并且|于是|其中|之间"
    "|的|了|着|是|在|和|与|或|及|对|被|把|从|由|于|为|以|而|也|都|就|还|又|有|个|这|那|它|他|她|们|其|之|等|中|上|下"
)
_NUMBER = re.compile(r"[0-9]+(?:[.,][0-9]+)*")


@cache
def _function_words() -> frozenset[str]:
    return frozenset(analyse(_ENGLISH_FUNCTION_WORDS))


def content_terms(text: str) -> list[str]:
    """Analysed terms of ``text`` without function and question words, in order, repeats kept."""
    return [term for term in analyse(_CHINESE_FUNCTION_WORDS.sub(" ", text)) if term not in _function_words()]


def numbers(text: str) -> frozenset[str]:
    """Numbers as written, thousands separators dropped: what two statements must share to say the same."""
    return frozenset(number.replace(",", "") for number in _NUMBER.findall(text))


class TermWeights:
    """Inverse document frequencies over a handful of texts, given as their terms.

    ``weight(t) = floor + ln(1 + (n - df + 0.5) / (df + 0.5))``, as in BM25 (Robertson and Zaragoza,
    2009) but for the floor: positive everywhere, highest for a term that no text holds. With few
    texts the logarithm says little, and a floor keeps it from saying all.
    """

    def __init__(self, texts: Iterable[Collection[str]], floor: float = 0.0) -> None:
        frequency: Counter[str] = Counter()
        self._floor = floor
        self._texts = 0
        for terms in texts:
            self._texts += 1
            frequency.update(set(terms))
        self._frequency = frequency

    def weight(self, term: str) -> float:
        holding = self._frequency[term]
        return self._floor + math.log1p((self._texts - holding + 0.5) / (holding + 0.5))

    def mass(self, terms: Iterable[str]) -> float:
        return sum(map(self.weight, terms))

    def coverage(self, wanted: Set[str], held: Set[str]) -> float:
        """Share of the weight of ``wanted`` that ``held`` has, 0 to 1; 0 when nothing is wanted."""
        total = self.mass(wanted)
        return self.mass(wanted & held) / total if total else 0.0
