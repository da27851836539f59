"""Statements with known verdicts out of SciFact, SQuAD, CMRC 2018 and DRCD, in parts that share no article."""

from __future__ import annotations

import gzip
import hashlib
import itertools
import json
import random
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from eval.grounding_cases import ABSENT, CONTRADICTED, SUPPORTED, Case, Pair, around, pairs_of
from eval.planted import Language, planted
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
_CLAIM = re.compile(
    r"\b(?:is|are|was|were|has|have|can|does|not|increases?|reduces?|promotes?|inhibits?|regulates?|induces?|causes?|"
    r"leads?|requires?|mediates?|controls?|activates?|drives?|prevents?|protects?|enhances?|suppresses|predicts?|"
    r"improves?|impairs?|modulates?|contributes?|reveals?|determines?|confers?|limits?|links?|decreases?)\b"
)


def part_of(key: str) -> Part:
    """The part of an article or a group of claims, by a hash of its name: 62, 8 and 30 of 100."""
    at = int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big") / 2**32
    return "train" if at < 0.62 else "choice" if at < 0.70 else "measure"


def claims(folder: Path, part: Part, tokens: int, seed: int) -> list[Pair]:
    """SciFact's claims with gold evidence: the evidence sentences, and as many passages that do not say it.

    Claims that share an abstract are in one part. With ``measure`` the evidence stands alone; otherwise
    neighbours come along as far as ``tokens`` allows. Absent are the most similar of 60 other abstracts,
    and for claims without evidence likewise.
    """
    rng = random.Random(seed)
    corpus, asked, groups = _scifact(folder)
    found = []
    for claim in asked:
        key = groups[claim["_id"]]
        if part_of(key) != part:
            continue
        for evidence in claim["evidence"]:
            units = corpus[evidence["doc"]]["sentences"]
            size = 0.0 if part == "measure" else rng.uniform(0.5, 1.0) * tokens
            label = SUPPORTED if evidence["label"] == "SUPPORT" else CONTRADICTED
            passage = around(units, evidence["sentences"], size, "en", rng)
            found.append(Pair(claim["text"], passage, label, "en", "gold", "scifact", key))
            if part == "train" and label == SUPPORTED and rng.random() < 0.5:
                wrong = planted(claim["text"], corpus[evidence["doc"]]["text"], "en", rng)
                if wrong is not None:
                    found.append(Pair(wrong[0], passage, CONTRADICTED, "en", wrong[1], "scifact", key))
        mine = {each["doc"] for each in claim["evidence"]}
        others = [each for each in rng.sample(sorted(corpus), 60) if each not in mine]
        far = max(others, key=lambda each: _overlap(claim["text"], corpus[each]["text"]))
        units = corpus[far]["sentences"]
        best = max(range(len(units)), key=lambda at: _overlap(claim["text"], units[at]))
        passage = around(units, [best], rng.uniform(0.3, 0.8) * tokens, "en", rng)
        found.append(Pair(claim["text"], passage, ABSENT, "en", "elsewhere", "scifact", key))
    return found


def abstracts(folder: Path, tokens: int, seed: int) -> Iterator[Pair]:
    """Titles that make a claim and sentences of SciFact's abstracts, except those of claims kept for measuring."""
    rng = random.Random(seed)
    corpus, asked, groups = _scifact(folder)
    kept = {each["doc"] for claim in asked if part_of(groups[claim["_id"]]) != "train" for each in claim["evidence"]}
    names = [name for name in sorted(corpus) if name not in kept and len(corpus[name]["sentences"]) > 3]
    rng.shuffle(names)
    for name in names:
        units = tuple(corpus[name]["sentences"])
        elsewhere = tuple(corpus[each]["text"] for each in rng.sample(names, 20) if each != name)
        title = str(corpus[name]["title"]).strip()
        if _CLAIM.search(title) and "?" not in title and ":" not in title:
            best = max(range(len(units)), key=lambda at: _overlap(title, units[at]))
            yield from pairs_of(
                Case(title, units, best, "en", "title", "scifact", name, corpus[name]["text"], elsewhere), tokens, rng
            )
        at = rng.randrange(len(units))
        case = Case(
            shortened(units[at], "en", rng),
            units,
            at,
            "en",
            "sentence",
            "scifact",
            name,
            corpus[name]["text"],
            elsewhere,
        )
        yield from pairs_of(case, tokens, rng)


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
    return max(holding, key=lambda at: _overlap(question, units[at])) if holding else None


def _overlap(left: str, right: str) -> int:
    return len(set(analyse(left)) & set(analyse(right)))


def _squad(path: Path) -> list[Mapping[str, Any]]:
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            return list(json.load(file)["data"])
    except (OSError, ValueError, KeyError) as error:
        raise InvalidRequest(f"{path} is not a gzipped SQuAD file: {error}") from None


def _tidy(abstract: dict[str, Any]) -> dict[str, Any]:
    """The abstract without the line ends that some of its sentences carry in writing."""
    return abstract | {"sentences": [each.replace("\\n", " ").strip() for each in abstract["sentences"]]}


def _scifact(folder: Path) -> tuple[dict[str, Any], list[Any], dict[str, str]]:
    """The abstracts by id, the claims, and each claim's group: the smallest abstract that it hangs together with."""
    try:
        with gzip.open(folder / "corpus.jsonl.gz", "rt", encoding="utf-8") as file:
            corpus = {each["_id"]: _tidy(each) for each in map(json.loads, file)}
        with gzip.open(folder / "queries.jsonl.gz", "rt", encoding="utf-8") as file:
            asked = [json.loads(line) for line in file]
    except (OSError, ValueError, KeyError) as error:
        raise InvalidRequest(f"{folder} is not SciFact's folder: {error}") from None
    group: dict[str, str] = {}

    def root(name: str) -> str:
        while group.setdefault(name, name) != name:
            name = group[name]
        return name

    for claim in asked:
        docs = sorted(each["doc"] for each in claim["evidence"])
        for left, right in itertools.pairwise(docs):
            first, second = sorted((root(left), root(right)))
            group[second] = first
    # One claim is there twice, without evidence: both stand under the later id.
    named = {claim["text"]: claim["_id"] for claim in asked}
    return corpus, asked, {
        claim["_id"]: root(claim["evidence"][0]["doc"]) if claim["evidence"] else f"claim {named[claim['text']]}"
        for claim in asked
    }  # fmt: skip
