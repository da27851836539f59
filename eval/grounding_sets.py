"""Statements with known verdicts out of SQuAD, CMRC 2018 and DRCD, in parts that share no article."""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from eval.grounding_cases import Case, Pair, pairs_of
from eval.planted import Language
from eval.statements import english_statement, shortened
from eval.statements_chinese import chinese_statement
from retrieval.analysis import analyse
from retrieval.errors import InvalidRequest
from retrieval.sentences import sentences

Part = Literal["train", "choice", "measure"]
"""``choice`` picks the step of a training run that is kept; ``measure`` is looked at by nothing but measurements."""

_SORT = re.compile(
    r"^who|^when|what year|^where|how many|how much|what (?:city|country|name|percent\w*)|"
    r"谁|誰|何时|什么时候|何時|什麼時候|哪一?年|哪里|什么地方|哪裡|什麼地方|多少|哪个国家|哪個國家|几|幾",
    re.IGNORECASE,
)


def part_of(key: str) -> Part:
    """The part of an article or a group of claims, by a hash of its name: 62, 8 and 30 of 100."""
    at = int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big") / 2**32
    return "train" if at < 0.62 else "choice" if at < 0.70 else "measure"


def questions(path: Path, part: Part | None, language: Language, tokens: int, seed: int) -> Iterator[Pair]:
    """Pairs of a SQuAD file in random order, one or two statements of each paragraph; of all parts with None."""
    rng = random.Random(seed)
    articles = [each for each in _squad(path) if part is None or part_of(str(each["title"])) == part]
    if not articles:
        raise InvalidRequest(f"{path} has no article of the part {part}")
    everything = [paragraph["context"] for article in articles for paragraph in article["paragraphs"]]
    answers = _answers(articles)
    places = [(article, paragraph) for article in articles for paragraph in article["paragraphs"]]
    rng.shuffle(places)
    for article, paragraph in places:
        for case in _cases(path, article, paragraph, language, everything, answers, rng):
            yield from pairs_of(case, tokens, rng)


def thirds(stream: Iterable[Pair], size: int) -> list[Pair]:
    """The first pairs of each verdict in ``stream``, a third of ``size`` each; fewer when the stream ends."""
    counts = [0, 0, 0]
    found: list[Pair] = []
    for pair in stream:
        if counts[pair.label] * 3 < size:
            counts[pair.label] += 1
            found.append(pair)
        if min(counts) * 3 >= size:
            break
    return found


def _cases(
    path: Path, article: Mapping[str, Any], paragraph: Mapping[str, Any], language: Language,
    everything: Sequence[str], answers: Mapping[str, Sequence[str]], rng: random.Random,
) -> Iterator[Case]:  # fmt: skip
    context, title = str(paragraph["context"]), str(article["title"])
    spans = sentences(context)
    units = tuple(context[start:end] for start, end in spans)
    siblings = [each["context"] for each in article["paragraphs"] if each["context"] != context]
    pool = siblings if len(siblings) >= 3 else everything
    source = path.parent.name
    names = context if len(siblings) < 3 else f"{context}\n{rng.choice(siblings)}"
    make: Callable[[str, str], str | None] = english_statement if language == "en" else chinese_statement
    made = []
    for asked in rng.sample(paragraph["qas"], min(len(paragraph["qas"]), 4)):
        answer = str(asked["answers"][0]["text"])
        statement, at = make(asked["question"], answer), _sentence_of(answer, asked["question"], units)
        if statement is None or at is None:
            continue
        elsewhere = tuple(
            each for each in rng.sample(pool, min(len(pool), 12)) if answer not in each and each != context
        )
        others = tuple(_otherwise(str(asked["question"]), answer, context, make, answers, rng))
        made.append(
            Case(statement, units, at, language, "question", source, title, names, elsewhere, answer, others)
        )  # fmt: skip
    yield from made[:2]
    long = [at for at, unit in enumerate(units) if (25 if language == "en" else 12) <= len(unit) <= 260]
    if long and (len(made) < 2 or rng.random() < 0.3):
        at = rng.choice(long)
        elsewhere = tuple(each for each in rng.sample(pool, min(len(pool), 12)) if each != context)
        statement = shortened(units[at], language, rng)
        yield Case(statement, units, at, language, "sentence", source, title, names, elsewhere)


def _otherwise(
    question: str, answer: str, context: str, make: Callable[[str, str], str | None],
    answers: Mapping[str, Sequence[str]], rng: random.Random,
) -> Iterator[str]:  # fmt: skip
    """Statements with answers that other questions of the sort have, of like length and nothing in common."""
    sort = _sort(question)
    if not sort:
        return
    for other in rng.sample(answers[sort], min(len(answers[sort]), 12)):
        alike = 0.5 <= len(other) / len(answer) <= 2 and other[:1].isdigit() == answer[:1].isdigit()
        if alike and other not in answer and answer not in other and other not in context:
            statement = make(question, other)
            if statement is not None:
                yield statement
                return


def _answers(articles: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for article in articles:
        for paragraph in article["paragraphs"]:
            for asked in paragraph["qas"]:
                sort = _sort(asked["question"])
                if sort:
                    found.setdefault(sort, []).append(str(asked["answers"][0]["text"]))
    return found


def _sort(question: str) -> str:
    match = _SORT.search(question)
    return match.group().lower() if match else ""


def _sentence_of(answer: str, question: str, units: Sequence[str]) -> int | None:
    """Of the sentences that hold the answer the one that shares most with the question: offsets are not all right."""
    holding = [at for at, unit in enumerate(units) if answer in unit]
    return max(holding, key=lambda at: overlap(question, units[at])) if holding else None


def overlap(left: str, right: str) -> int:
    return len(set(analyse(left)) & set(analyse(right)))


def _squad(path: Path) -> list[Mapping[str, Any]]:
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            return list(json.load(file)["data"])
    except (OSError, ValueError, KeyError) as error:
        raise InvalidRequest(f"{path} is not a gzipped SQuAD file: {error}") from None
