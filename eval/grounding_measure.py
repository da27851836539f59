"""Measures a grounder on statements with known verdicts that nothing of it was trained on or chosen by."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eval.grounding import Grounder
from eval.grounding_cases import ABSENT, CONTRADICTED, SUPPORTED, Pair
from eval.grounding_science import claims
from eval.grounding_scores import macro_recall, supported_accuracy
from eval.grounding_sets import questions, thirds

_TOKENS = 64
"""Of a passage, at most, as in training."""

_TIMED = 60


@dataclass(frozen=True, slots=True)
class SetFigures:
    """Of one set. ``two_way``: balanced accuracy of supported against the two others; ``against_contradicted``: the
    same with the absent ones left out; ``three_way``: the mean of the three verdicts' recalls, in ``recalls``.
    ``by_kind`` maps a verdict and how its pairs came about to how many there are and the share judged rightly:
    for a planted error, that it was not called supported."""

    name: str
    pairs: int
    two_way: float
    against_contradicted: float
    three_way: float
    recalls: tuple[float, float, float]
    by_kind: dict[str, tuple[int, float]] = field(default_factory=dict)


def held_apart(root: Path, limit: int, seed: int) -> dict[str, list[Pair]]:
    """By name: all of SciFact's claims of the part ``measure``, and ``limit`` pairs of each other set.

    SQuAD's articles of that part; CMRC 2018's trial part; DRCD, in traditional characters. A third of each
    verdict. Raises InvalidRequest when a set is missing below ``root``.
    """
    squad, drcd = root / "squad" / "train-v1.1.json.gz", root / "drcd" / "dev.json.gz"
    return {
        "scifact": claims(root / "scifact", "measure", _TOKENS, seed),
        "squad": thirds(questions(squad, "measure", "en", _TOKENS, seed), limit),
        "cmrc2018": thirds(questions(root / "cmrc2018" / "trial.json.gz", None, "zh", _TOKENS, seed), limit),
        "drcd": thirds(questions(drcd, None, "zh", _TOKENS, seed), limit),
    }


def measure(grounder: Grounder, sets: dict[str, list[Pair]]) -> list[SetFigures]:
    """The figures of each set, in order."""
    return [
        figures(name, pairs, grounder.check([(pair.statement, pair.passage) for pair in pairs]))
        for name, pairs in sets.items()
    ]


def figures(name: str, pairs: Sequence[Pair], probabilities: NDArray[np.float32]) -> SetFigures:
    """The figures of one set from the grounder's probabilities."""
    labels = np.array([pair.label for pair in pairs], np.int64)
    likeliest = probabilities.argmax(1)
    stated = labels != ABSENT
    kinds: dict[str, list[bool]] = {}
    for pair, said in zip(pairs, likeliest, strict=True):
        right = bool(said == SUPPORTED) == (pair.label == SUPPORTED)
        kinds.setdefault(f"{('supported', 'contradicted', 'absent')[pair.label]}/{pair.kind}", []).append(right)
    return SetFigures(
        name=name,
        pairs=len(pairs),
        two_way=supported_accuracy(labels, probabilities),
        against_contradicted=supported_accuracy(labels[stated], probabilities[stated]),
        three_way=macro_recall(labels, probabilities),
        recalls=(
            float(np.mean(likeliest[labels == SUPPORTED] == SUPPORTED)),
            float(np.mean(likeliest[labels == CONTRADICTED] == CONTRADICTED)),
            float(np.mean(likeliest[labels == ABSENT] == ABSENT)),
        ),
        by_kind={kind: (len(right), float(np.mean(right))) for kind, right in sorted(kinds.items())},
    )


def milliseconds(
    grounder: Grounder, pairs: Sequence[Pair], clock: Callable[[], float] = time.perf_counter, seed: int = 0
) -> float:
    """The median time of one statement against one passage, asked one at a time."""
    taken = []
    for pair in random.Random(seed).sample(list(pairs), min(len(pairs), _TIMED)):
        began = clock()
        grounder.check([(pair.statement, pair.passage)])
        taken.append((clock() - began) * 1000)
    return float(np.median(taken))
