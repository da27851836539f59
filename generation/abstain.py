"""Whether the evidence found carries an answer, on whatever scale it was scored."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from generation.overlap import TermWeights, content_terms
from retrieval.types import Candidate, Language

Scale = Literal["rerank", "dense", "coverage"]
"""``rerank``: the best logit of the reranker. ``dense``: the best cosine. ``coverage``: see ``coverage``."""

THRESHOLDS = Path(__file__).with_name("abstention.toml")
"""Written by benchmarks/fit_abstention.py, with the figures of the fit and its date."""

IDF_FLOOR = 1.0
"""Every term of the question counts at least this much, so that the figure depends little on how many
candidates there are to count frequencies in."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """How good the best candidate is, on the best scale that these candidates have been scored on."""

    language: Language
    scale: Scale
    value: float


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The least value that carries an answer, by language and scale; a scale without one always does."""

    least: Mapping[tuple[Language, Scale], float]

    def carry(self, evidence: Evidence) -> bool:
        return evidence.value >= self.least.get((evidence.language, evidence.scale), -math.inf)


def load_thresholds(path: Path = THRESHOLDS) -> Thresholds:
    """Read thresholds from a TOML file of tables ``[en.rerank]`` with a key ``threshold``."""
    tables = tomllib.loads(path.read_text(encoding="utf-8"))
    languages: tuple[Language, ...] = ("en", "zh")
    scales: tuple[Scale, ...] = ("rerank", "dense", "coverage")
    return Thresholds(
        {
            (language, scale): float(tables[language][scale]["threshold"])
            for language in languages
            for scale in scales
            if scale in tables.get(language, {})
        }
    )


def evidence(question: str, candidates: Sequence[Candidate], language: Language) -> Evidence:
    """The evidence for an answer; ``candidates`` must not be empty.

    The reranker judges question and passage together, so its word counts before the encoder's, and
    that before the words'. A scale counts when it saw any candidate.
    """
    reranked = [c.stages["rerank"].score for c in candidates if "rerank" in c.stages]
    if reranked:
        return Evidence(language, "rerank", logit(max(reranked)))
    cosines = [c.stages["dense"].score for c in candidates if "dense" in c.stages]
    if cosines:
        return Evidence(language, "dense", max(cosines))
    return Evidence(language, "coverage", coverage(question, candidates))


def coverage(question: str, candidates: Sequence[Candidate]) -> float:
    """The largest share of the question's weight that one candidate covers, 0 to 1.

    Terms weigh by how rare they are among the candidates, so that what recall matched on anyway
    counts little, and a name that only one passage holds, or none, decides.
    """
    wanted = set(content_terms(question))
    held = [set(content_terms(candidate.passage.full_text)) for candidate in candidates]
    weights = TermWeights(held, floor=IDF_FLOOR)
    return max((weights.coverage(wanted, terms) for terms in held), default=0.0)


def logit(probability: float) -> float:
    """The inverse of the logistic function, within what a float32 score can say."""
    clipped = min(max(probability, 1e-9), 1 - 1e-7)
    return math.log(clipped / (1 - clipped))
