"""Computes the scores of logged vectors again, and says whether they are the ones that were served, bit for bit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from eval.usage_rows import QueryRow
from ranking.features import unpacked
from ranking.ltr import STAGE, LtrModel
from retrieval.errors import InvalidRequest, RiddleError

_AT_ONCE = 8192
"""Vectors that are scored together."""

Row = tuple[str, str, str, float]
"""Request, passage, packed vector, logged score."""


@dataclass(frozen=True, slots=True)
class Replay:
    """What came of it. ``rows`` are results with a vector and a score."""

    rows: int
    same: int
    """Scores that came out with the very bits that were logged."""
    different: int
    lost: Mapping[str, int]
    """Rows that no model could score, by the model's hash."""
    reasons: Mapping[str, str] = field(default_factory=dict)
    """Why, by the model's hash."""
    examples: tuple[str, ...] = ()
    """Some of the results that differ, or cannot be read."""

    @property
    def exact(self) -> bool:
        return not self.different and not self.lost


def replay(queries: Iterable[QueryRow], model_of: Callable[[str], LtrModel], examples: int = 5) -> Replay:
    """Score every logged vector again. ``model_of`` finds a model by its hash, or raises RiddleError."""
    models: dict[str, LtrModel] = {}
    reasons: dict[str, str] = {}
    lost: Counter[str] = Counter()
    counts: Counter[bool] = Counter()
    told: list[str] = []
    for hash_, rows in _batches(queries):
        if hash_ not in models and hash_ not in reasons:
            try:
                models[hash_] = model_of(hash_)
            except RiddleError as error:
                reasons[hash_] = error.detail
        model = models.get(hash_)
        if model is None:
            lost[hash_] += len(rows)
            continue
        for row, again in zip(rows, _scores(model, rows), strict=True):
            same = again is not None and again == row[3]
            counts[same] += 1
            if not same and len(told) < examples:
                now = "its vector cannot be read" if again is None else f"now {again!r}"
                told.append(f"{row[0]} {row[1]}: logged {row[3]!r}, {now}")
    return Replay(
        sum(counts.values()) + sum(lost.values()), counts[True], counts[False], dict(lost), reasons, tuple(told)
    )


def _batches(queries: Iterable[QueryRow]) -> Iterator[tuple[str, list[Row]]]:
    waiting: dict[str, list[Row]] = {}
    for query in queries:
        if not query.ltr:
            continue
        rows = waiting.setdefault(query.ltr, [])
        for each in query.results:
            if each.vector and STAGE in each.features:
                rows.append((query.request_id, each.passage_id, each.vector, each.features[STAGE][1]))
        if len(rows) >= _AT_ONCE:
            yield query.ltr, rows
            del waiting[query.ltr]
    yield from ((hash_, rows) for hash_, rows in waiting.items() if rows)


def _scores(model: LtrModel, rows: list[Row]) -> list[float | None]:
    """The score of each row; None where its vector is not one of the model's features."""
    width = len(model.features.names)
    readable: list[np.ndarray[tuple[int, ...], np.dtype[np.float32]] | None] = []
    for _, _, vector, _ in rows:
        try:
            readable.append(unpacked([vector], width)[0])
        except InvalidRequest:
            readable.append(None)
    whole = [each for each in readable if each is not None]
    scores = iter(model.scores(np.stack(whole)).tolist() if whole else [])
    return [None if each is None else next(scores) for each in readable]
