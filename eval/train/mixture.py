"""What the grounding model is trained on: how much of each source, balanced by verdict, kept in one file."""

from __future__ import annotations

import gzip
import itertools
import json
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

from eval.grounding_cases import Pair
from eval.planted import traditional
from retrieval.errors import InvalidRequest

SHARES = {"claims": 0.08, "abstracts": 0.40, "squad": 0.28, "cmrc2018": 0.24}
"""Of a training set. SciFact's claims are few: each comes back with other neighbours and other errors."""

TRADITIONAL = 0.25
"""Of the Chinese pairs, turned into traditional characters one by one."""


def mixture(root: Path, size: int, tokens: int, seed: int) -> list[Pair]:
    """``size`` pairs of the parts ``train`` in random order, a third of each verdict; ``root`` holds the sets."""
    from eval.grounding_science import abstracts, claims
    from eval.grounding_sets import questions, thirds

    made: dict[str, Callable[[int], Iterable[Pair]]] = {
        "claims": lambda turn: claims(root / "scifact", "train", tokens, turn),
        "abstracts": lambda turn: abstracts(root / "scifact", tokens, turn),
        "squad": lambda turn: questions(root / "squad" / "train-v1.1.json.gz", "train", "en", tokens, turn),
        "cmrc2018": lambda turn: questions(root / "cmrc2018" / "train.json.gz", "train", "zh", tokens, turn),
    }
    rng = random.Random(seed)
    found: list[Pair] = []
    for name, make in made.items():
        endless = itertools.chain.from_iterable(make(seed * 1000 + turn) for turn in itertools.count())
        found += thirds(endless, round(size * SHARES[name]))
    rng.shuffle(found)
    return [_in_traditional(pair) if pair.language == "zh" and rng.random() < TRADITIONAL else pair for pair in found]


def choices(root: Path, each: int, tokens: int, seed: int) -> list[Pair]:
    """Pairs of the parts ``choice``: all of SciFact's claims, ``each`` of SQuAD and of CMRC 2018."""
    from eval.grounding_science import claims
    from eval.grounding_sets import questions, thirds

    return [
        *claims(root / "scifact", "choice", tokens, seed),
        *thirds(questions(root / "squad" / "train-v1.1.json.gz", "choice", "en", tokens, seed), each),
        *thirds(questions(root / "cmrc2018" / "train.json.gz", "choice", "zh", tokens, seed), each),
    ]


def _in_traditional(pair: Pair) -> Pair:
    return replace(pair, statement=traditional(pair.statement), passage=traditional(pair.passage))


def write_pairs(path: Path, pairs: Iterable[Pair]) -> None:
    """One JSON object a line, gzipped, the same bytes for the same pairs."""
    with path.open("wb") as file, gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed:
        for pair in pairs:
            packed.write((json.dumps(asdict(pair), ensure_ascii=False) + "\n").encode())


def read_pairs(path: Path) -> list[Pair]:
    """What ``write_pairs`` wrote. Raises InvalidRequest for another file."""
    try:
        return list(_lines(path))
    except (OSError, EOFError, ValueError, TypeError) as error:
        raise InvalidRequest(f"{path} holds no pairs: {error}") from None


def _lines(path: Path) -> Iterator[Pair]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            yield Pair(**json.loads(line))
