"""Statements with known verdicts out of SciFact: its claims with their evidence, and its abstracts' own findings."""

from __future__ import annotations

import gzip
import itertools
import json
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from eval.directions import reversed_, reworded
from eval.grounding_cases import ABSENT, CONTRADICTED, SUPPORTED, Case, Pair, around, pairs_of, turned_around
from eval.grounding_sets import Part, overlap, part_of
from eval.planted import planted
from eval.statements import shortened
from retrieval.analysis import analyse
from retrieval.errors import InvalidRequest

_CLAIM = re.compile(
    r"\b(?:is|are|was|were|has|have|can|does|not|increases?|reduces?|promotes?|inhibits?|regulates?|induces?|causes?|"
    r"leads?|requires?|mediates?|controls?|activates?|drives?|prevents?|protects?|enhances?|suppresses|predicts?|"
    r"improves?|impairs?|modulates?|contributes?|reveals?|determines?|confers?|limits?|links?|decreases?)\b"
)
_FOUND = re.compile(
    r"\b(?:show|shows|showed|shown|suggest|suggests|demonstrate|demonstrates|demonstrated|indicate|indicates|conclude|"
    r"find|found|reveal|reveals|revealed|report|propose|observed|identified) that (?!th(?:is|ese)\b|it\b|they\b)(.+)$|"
    r"^CONCLUSIONS?:? (?!Th(?:is|ese)\b|It\b|We\b)(.+)$"
)


def claims(folder: Path, part: Part, tokens: int, seed: int) -> list[Pair]:
    """SciFact's claims with gold evidence: the evidence sentences, and as many passages that do not say it.

    Claims that share an abstract are in one part. With ``measure`` the evidence stands alone; otherwise
    neighbours come along as far as ``tokens`` allows. Absent are the most similar of 60 other abstracts,
    and for claims without evidence likewise.
    """
    rng = random.Random(seed)
    corpus, asked, groups = _scifact(folder)
    # A claim of one part, turned around, may be one of another part.
    apart = {claim["text"] for claim in asked if part_of(groups[claim["_id"]]) != part}
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
            pair = Pair(claim["text"], passage, label, "en", "gold", "scifact", key)
            found.append(pair)
            if part == "train":
                rests = [units[at] for at in evidence["sentences"]]
                variants = _variants(pair, rests, corpus[evidence["doc"]]["text"], rng)
                found += [each for each in variants if each.statement not in apart]
        mine = {each["doc"] for each in claim["evidence"]}
        others = [each for each in rng.sample(sorted(corpus), 60) if each not in mine]
        far = max(others, key=lambda each: overlap(claim["text"], corpus[each]["text"]))
        units = corpus[far]["sentences"]
        best = max(range(len(units)), key=lambda at: overlap(claim["text"], units[at]))
        passage = around(units, [best], rng.uniform(0.3, 0.8) * tokens, "en", rng)
        said = reversed_(claim["text"], rng) if part == "train" and rng.random() < 0.3 else None
        said = None if said in apart else said
        found.append(Pair(said or claim["text"], passage, ABSENT, "en", "elsewhere", "scifact", key))
    return found


def _variants(gold: Pair, evidence: Sequence[str], article: str, rng: random.Random) -> Iterator[Pair]:
    """What else follows from a claim's gold label: the claim in other words, claim or evidence turned around, errors.

    A contradicted claim with its only word of direction turned around is as good as always supported.
    """
    said = reworded(gold.statement, rng)
    if said is not None and rng.random() < 0.5:
        yield replace(gold, statement=said, kind="reworded")
    said = reversed_(gold.statement, rng)
    if said is not None and rng.random() < 0.5:
        yield replace(
            gold, statement=said, label=CONTRADICTED if gold.label == SUPPORTED else SUPPORTED, kind="antonym"
        )
    if gold.label != SUPPORTED:
        return
    if len(evidence) == 1 and rng.random() < 0.5:
        turned = turned_around(gold.statement, evidence[0], rng)
        if turned is not None and evidence[0] in gold.passage:
            passage = gold.passage.replace(evidence[0], turned)
            yield replace(gold, passage=passage, label=CONTRADICTED, kind="antonym")
    if rng.random() < 0.4:
        wrong = planted(gold.statement, article, "en", rng)
        if wrong is not None:
            yield replace(gold, statement=wrong[0], label=CONTRADICTED, kind=wrong[1])


def abstracts(folder: Path, tokens: int, seed: int) -> Iterator[Pair]:
    """Titles that make a claim, what an abstract says it found, and sentences as they stand.

    Abstracts of claims kept for measuring are left out. A finding is judged by the rest of its abstract, from
    which its own sentence is taken: that says it in other words.
    """
    rng = random.Random(seed)
    corpus, asked, groups = _scifact(folder)
    kept = {each["doc"] for claim in asked if part_of(groups[claim["_id"]]) != "train" for each in claim["evidence"]}
    names = [name for name in sorted(corpus) if name not in kept and len(corpus[name]["sentences"]) > 3]
    rng.shuffle(names)
    for name in names:
        units, text = tuple(corpus[name]["sentences"]), corpus[name]["text"]
        elsewhere = tuple(corpus[each]["text"] for each in rng.sample(names, 20) if each != name)

        def case(statement: str, sentences: tuple[str, ...], at: int, kind: str) -> Case:
            return Case(statement, sentences, at, "en", kind, "scifact", name, text, elsewhere)  # noqa: B023

        for statement, others in _findings(str(corpus[name]["title"]).strip(), units):
            best = max(range(len(others)), key=lambda at: overlap(statement, others[at]))
            said = reworded(statement, rng) if rng.random() < 0.5 else None
            yield from pairs_of(case(said or statement, others, best, "title"), tokens, rng)
        if rng.random() < 0.6:
            at = rng.randrange(len(units))
            yield from pairs_of(case(shortened(units[at], "en", rng), units, at, "sentence"), tokens, rng)


def _findings(title: str, units: tuple[str, ...]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """What an abstract found, and the sentences that should say so in other words."""
    if _CLAIM.search(title) and "?" not in title and ":" not in title:
        yield title, units
    for at, unit in enumerate(units):
        found = _FOUND.search(unit)
        told = next(filter(None, found.groups()), "") if found else ""
        others = units[:at] + units[at + 1 :]
        if 30 <= len(told) <= 220:
            statement = told[0].upper() + told[1:]
            wanted = set(analyse(statement))
            if max(len(wanted & set(analyse(each))) for each in others) >= 0.5 * len(wanted):
                yield statement, others


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
