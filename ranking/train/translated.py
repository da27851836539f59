"""Lists in Chinese and across languages with the English teacher's opinion: it reads the translation."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Literal

from ranking.train.lists import Lists, RankedList, fraction
from ranking.train.mining import Told, alike
from ranking.train.sources import Translated
from retrieval.snapshot import Snapshot
from retrieval.types import Document

Way = Literal["zh-zh", "en-zh", "zh-en"]
"""Languages of the question and of its passages, as the student sees them."""

QUESTION_WORDS = (5, 26)
"""How long an English paragraph is that serves as a question."""

PASSAGE_WORDS = 9
_DEPTH, _NEIGHBOURS = 30, 11


def documents(pairs: Sequence[Translated]) -> list[Document]:
    """The English side of those long enough to be passages."""
    return [Document(pair.paragraph_id, pair.en) for pair in pairs if len(pair.en.split()) >= PASSAGE_WORDS]


def translated_lists(pairs: Sequence[Translated], count: int, snapshot: Snapshot, seed: int, told: Told) -> Lists:
    """Lists of short paragraphs as questions, and their neighbours by English recall as passages.

    Half are Chinese throughout. The others cross languages, and hold the question's own translation, judged relevant;
    the neighbours of these are not judged, only scored. All are for training: nobody has judged an order of them.
    """
    by_id = {pair.paragraph_id: pair for pair in pairs}
    low, high = QUESTION_WORDS
    asking = [pair for pair in pairs if low <= len(pair.en.split()) <= high]
    asking = sorted(random.Random(seed).sample(asking, min(count, len(asking))), key=lambda pair: pair.paragraph_id)
    texts: dict[str, str] = {}
    lists: list[RankedList] = []
    for number, pair in enumerate(asking):
        if number % 1000 == 0:
            told(f"python: {number}/{len(asking)} questions searched")
        names = [name.rpartition("#")[0] for name in snapshot.passage_ids(snapshot.lexical(pair.en, _DEPTH).rows)]
        neighbours = [by_id[name] for name in names if name != pair.paragraph_id]
        near = [each for each in neighbours if not alike(each.en, pair.en)][:_NEIGHBOURS]
        if len(near) < 3:
            continue
        way = _way(pair)
        lists.append(_list(pair, near if way == "zh-zh" else [pair, *near], way))
        for each in (pair, *near):
            texts |= {f"{each.paragraph_id}/en": each.en, f"{each.paragraph_id}/zh": each.zh}
    return Lists(texts, lists)


def _way(pair: Translated) -> Way:
    at = fraction(f"way {pair.paragraph_id}")
    return "zh-zh" if at < 0.5 else "en-zh" if at < 0.75 else "zh-en"


def _list(pair: Translated, passages: Sequence[Translated], way: Way) -> RankedList:
    asks, answers = way.split("-")
    own = [int(each.paragraph_id == pair.paragraph_id) for each in passages]
    return RankedList(
        f"{pair.paragraph_id}/{way}",
        "python",
        "train",
        "zh" if way == "zh-zh" else "*",
        pair.zh if asks == "zh" else pair.en,
        tuple(f"{each.paragraph_id}/{answers}" for each in passages),
        tuple(own),
        sum(own),
        teacher_query=pair.en,
        teacher_passages=tuple(f"{each.paragraph_id}/en" for each in passages),
    )
