"""Which words of a statement and of a passage the other has too: told to the model with each token.

A small model finds a changed number or name far sooner when it need not learn first to compare tokens (exact
match marks, as MarkedBERT has them: Boualili et al., SIGIR 2020).
"""

from __future__ import annotations

import re

from eval.planted import folded
from retrieval.tokens import Encoded, Tokenizer

_WORD = re.compile(r"[^\W\d_㐀-鿿]+|\d+(?:[.,]\d+)*|[㐀-鿿]+")
_ENDING = re.compile(r"(?<=\w{3})(?:ing|ed|es|s|ly|d)$")


def encoded(tokenizer: Tokenizer, statement: str, passage: str, tokens: int) -> Encoded:
    """The pair as the model reads it, in training and after: statement first, what both have marked by segment 1."""
    return tokenizer.encode_marked(statement, passage, matched(statement, passage), tokens)


def matched(left: str, right: str) -> tuple[list[bool], list[bool]]:
    """For each character of either text whether its word stands in the other too.

    Latin words count without case and endings, numbers whole, Chinese characters in twos with a neighbour,
    in either script.
    """
    first, second = folded(left).lower(), folded(right).lower()
    return _marks(first, second), _marks(second, first)


def _marks(text: str, other: str) -> list[bool]:
    words = {_bare(match.group()) for match in _WORD.finditer(other) if not _is_han(match.group())}
    marks = [False] * len(text)
    for match in _WORD.finditer(text):
        word, start = match.group(), match.start()
        if not _is_han(word):
            if _bare(word) in words:
                marks[start : match.end()] = [True] * len(word)
        elif len(word) == 1:
            marks[start] = word in other
        else:
            for at in range(len(word) - 1):
                if word[at : at + 2] in other:
                    marks[start + at] = marks[start + at + 1] = True
    return marks


def _is_han(word: str) -> bool:
    return "㐀" <= word[0] <= "鿿"


def _bare(word: str) -> str:
    return word if word[0].isdigit() else _ENDING.sub("", word)
