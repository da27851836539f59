"""What is known of a candidate for a query, as named numbers in a fixed order: the input of learned rankers."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ranking.fields import NumericField
from ranking.overlaps import Floats, QueryTerms
from retrieval.analysis import ANALYSIS_VERSION, language_of
from retrieval.errors import InvalidRequest
from retrieval.types import Candidate

Vectors = NDArray[np.float32]
"""``[candidates, columns]``."""

CODE_VERSION = "1"
"""Changes whenever the same candidates would give other numbers under the same names."""

STAGES = ("lexical", "dense", "fused", "late", "rerank")
"""Stages whose judgement is a feature; one that saw a passage not is NaN in its columns."""

_OF_A_STAGE: Mapping[str, str] = {
    "found": "1 where the stage saw the passage, 0 where not; NaN when it saw none of the query's",
    "rank": "place from 1",
    "score": "on the stage's own scale",
    "z": "score less the mean, over the spread, of what the stage saw for this query; 0 without a spread",
    "below": "z less the z of the stage's best",
}
_OF_TEXT: Mapping[str, str] = {
    "text.coverage": "weight of the query's terms in the text, of all; weights are rarity among the candidates",
    "text.best_match": "BM25 with that rarity",
    "text.pairs": "share of the query's neighbouring terms that are neighbours in the text",
    "text.proximity": "Buettcher's: sum of weights over squared distance of neighbouring terms, logarithm",
    "text.first": "where the first term stands, as a share of the length",
    "text.phrase": "1 where the text holds the whole query",
    "title.coverage": "as of the text, in the title",
    "title.phrase": "as of the text, in the title",
    "title.share": "share of the title's terms that are the query's",
    "headings.coverage": "as of the text, in the headings",
    "all.coverage": "as of the text, in title, headings and text together",
    "all.coverage.below": "the same less that of the candidate with the most",
    "text.best_match.below": "text.best_match less that of the best, over the best",
}
_OF_SHAPE: Mapping[str, str] = {
    "query.terms": "distinct terms of the query",
    "query.characters": "code points of the query",
    "query.chinese": "1 for a query in Chinese",
    "passage.terms": "terms of the text",
    "passage.same_language": "1 where text and query are in one language",
    "passage.ordinal": "the passage's place in its document, from 0",
    "passage.siblings": "candidates of the same document, itself among them",
    "title.terms": "terms of the title",
    "candidates.agreement": "share of the first ten of both channels that they have in common; NaN without both",
    "candidates.covered": "the most that a candidate covers of the query",
    "candidates.channels": "how many channels found the passage",
}
_HEAD = 10
"""Of each channel, for their agreement."""


@dataclass(frozen=True)
class FeatureSet:
    """The columns in force, and how they are computed. Thread-safe.

    ``fields`` are the user's own numbers, in this order behind the fixed columns.
    """

    fields: tuple[NumericField, ...] = ()

    @cached_property
    def definitions(self) -> Mapping[str, str]:
        """What each column says, by its name, in order."""
        stages = {f"{stage}.{name}": told for stage in STAGES for name, told in _OF_A_STAGE.items()}
        own = {field.column: f"metadata {field.key} as {field.kind}" for field in self.fields}
        return {**stages, **_OF_TEXT, **_OF_SHAPE, **own}

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(self.definitions)

    @property
    def fields_text(self) -> str:
        """The user's own numbers as ``ranking.fields.numeric_fields`` reads them."""
        return ", ".join(f"{field.key}:{field.kind}" for field in self.fields)

    @cached_property
    def version(self) -> str:
        """First 12 hex digits of sha256 over names, definitions, and the versions of code and analysis."""
        told = json.dumps([CODE_VERSION, ANALYSIS_VERSION, list(self.definitions.items())], ensure_ascii=False)
        return hashlib.sha256(told.encode()).hexdigest()[:12]

    def __call__(self, query: str, candidates: Sequence[Candidate], now: float | None = None) -> Vectors:
        """float32 ``[candidates, columns]`` in the order of ``candidates``, which may be any.

        What is not known is NaN. Values of one candidate depend on all of them: rarity and standardised
        scores are of this list. ``now`` is seconds since 1970, by default the present, and is what ages count to.
        """
        table = np.full((len(candidates), len(self.names)), np.nan)
        if candidates:
            columns = {
                **_stages(candidates),
                **_texts(query, candidates),
                **_shapes(query, candidates),
                **self._own(candidates, time.time() if now is None else now),
            }
            columns["candidates.covered"] = np.full(len(candidates), columns["all.coverage"].max())
            for number, name in enumerate(self.names):
                table[:, number] = columns[name]
        return table.astype(np.float32)

    def _own(self, candidates: Sequence[Candidate], now: float) -> dict[str, Floats]:
        rows = [candidate.passage.metadata for candidate in candidates] if self.fields else []
        return {field.column: field.values(rows, now) for field in self.fields}


def columns_without(names: Sequence[str], stages: Sequence[str]) -> tuple[str, ...]:
    """The columns that do not depend on these stages. Raises InvalidRequest for a stage that has none."""
    unknown = [stage for stage in stages if stage not in STAGES]
    if unknown:
        raise InvalidRequest(f"{unknown[0]!r} is no stage with features; those are {', '.join(STAGES)}")
    return tuple(name for name in names if name.split(".")[0] not in stages)


@dataclass(frozen=True, slots=True)
class Stamp:
    """Which features a served vector is of, and which model scored it."""

    features: str
    """``FeatureSet.version``."""
    model: str
    """Hash of the learned ranker; empty where none was there yet."""


def stamped(stamp: Stamp, vector: Vectors) -> str:
    """One candidate's vector as it travels with the candidate: ``FEATURES:MODEL:VECTOR``."""
    return f"{stamp.features}:{stamp.model}:{packed(vector)}"


def unstamped(text: str) -> tuple[Stamp, str]:
    """The stamp and the packed vector; both empty for a candidate that has none."""
    features, _, rest = text.partition(":")
    model, _, vector = rest.partition(":")
    return Stamp(features, model), vector


def packed(vector: Vectors) -> str:
    """One candidate's vector as text: float32, little-endian, in base64."""
    return base64.b64encode(np.ascontiguousarray(vector, "<f4").tobytes()).decode()


def unpacked(texts: Sequence[str], columns: int) -> Vectors:
    """The vectors again, bit for bit, ``[texts, columns]``. Raises InvalidRequest for what is none."""
    try:
        block = b"".join(base64.b64decode(text, validate=True) for text in texts)
    except ValueError as error:
        raise InvalidRequest(f"a logged vector is damaged: {error}") from error
    if len(block) != 4 * columns * len(texts):
        raise InvalidRequest(f"a logged vector does not hold {columns} numbers: it is of another set of features")
    return np.frombuffer(block, "<f4").reshape(len(texts), columns).astype(np.float32, copy=False)


def _stages(candidates: Sequence[Candidate]) -> dict[str, Floats]:
    columns: dict[str, Floats] = {}
    for stage in STAGES:
        seen = [candidate.stages.get(stage) for candidate in candidates]
        rank = np.array([np.nan if each is None else each.rank for each in seen], np.float64)
        score = np.array([np.nan if each is None else each.score for each in seen], np.float64)
        there = np.isfinite(score)
        blank = np.full(len(candidates), np.nan)
        found = there.astype(np.float64) if there.any() else blank
        z = _standard(score, there)
        below = z - z[there].max() if there.any() else blank
        columns |= dict(zip((f"{stage}.{name}" for name in _OF_A_STAGE), (found, rank, score, z, below), strict=True))
    return columns


def _standard(score: Floats, there: NDArray[np.bool_]) -> Floats:
    z = np.full(len(score), np.nan)
    if there.any():
        known = score[there]
        spread = known.std()
        z[there] = (known - known.mean()) / spread if spread > 1e-9 else 0.0
    return z


def _texts(query: str, candidates: Sequence[Candidate]) -> dict[str, Floats]:
    terms = QueryTerms(query)
    passages = [candidate.passage for candidate in candidates]
    body = terms.found_in(
        [f"{passage.context}\n{passage.text}" if passage.context else passage.text for passage in passages]
    )
    title = terms.found_in([passage.title for passage in passages])
    heads = terms.found_in(["\n".join(passage.headings) for passage in passages])
    held = body.held | title.held | heads.held
    weights = terms.weights(held)
    of_text, of_title = body.overlaps(weights), title.overlaps(weights)
    covered = held @ weights / weights.sum() if len(weights) else np.full(len(passages), np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.minimum(1.0, title.held.sum(axis=1) / of_title.lengths)
        below = (of_text.best_match - of_text.best_match.max()) / of_text.best_match.max()
    return {
        "text.coverage": of_text.coverage,
        "text.best_match": of_text.best_match,
        "text.pairs": of_text.pairs,
        "text.proximity": of_text.proximity,
        "text.first": of_text.first,
        "text.phrase": of_text.phrase,
        "text.best_match.below": np.where(np.isfinite(below), below, np.nan),
        "title.coverage": of_title.coverage,
        "title.phrase": of_title.phrase,
        "title.share": np.where(np.isfinite(share), share, np.nan),
        "title.terms": of_title.lengths,
        "headings.coverage": heads.overlaps(weights).coverage,
        "all.coverage": covered,
        "all.coverage.below": covered - covered.max(),
        "passage.terms": of_text.lengths,
        "query.terms": np.full(len(passages), float(len(terms.terms))),
    }


def _shapes(query: str, candidates: Sequence[Candidate]) -> dict[str, Floats]:
    count, language = len(candidates), language_of(query)
    owners = [candidate.passage.document_id for candidate in candidates]
    of_document: dict[str, int] = {}
    for owner in owners:
        of_document[owner] = of_document.get(owner, 0) + 1
    channels = [[stage for stage in ("lexical", "dense") if stage in each.stages] for each in candidates]
    return {
        "query.characters": np.full(count, float(len(query))),
        "query.chinese": np.full(count, float(language == "zh")),
        "passage.same_language": np.array([float(language_of(c.passage.text) == language) for c in candidates]),
        "passage.ordinal": np.fromiter(_ordinals(candidates), np.float64, count),
        "passage.siblings": np.array([float(of_document[owner]) for owner in owners]),
        "candidates.agreement": np.full(count, _agreement(candidates)),
        "candidates.channels": np.array([float(len(each)) for each in channels]),
    }


def _ordinals(candidates: Sequence[Candidate]) -> Iterator[float]:
    for candidate in candidates:
        _, _, ordinal = candidate.passage.passage_id.rpartition("#")
        yield float(ordinal) if ordinal.isdecimal() else np.nan


def _agreement(candidates: Sequence[Candidate]) -> float:
    heads = []
    for stage in ("lexical", "dense"):
        ranked = [(each.stages[stage].rank, each.passage.passage_id) for each in candidates if stage in each.stages]
        heads.append({name for rank, name in ranked if rank <= _HEAD})
    least = min(map(len, heads))
    return len(heads[0] & heads[1]) / least if least else np.nan
