"""Questions that a collection answers about itself: a sentence of a passage, asked of the passage without it.

What is known is which passage it came from; whether a stage finds it there tells, with nobody's judgement, how far the
stage can be trusted on texts like these. (The inverse cloze task: Lee et al., ACL 2019, who train by it.)
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ranking.blend import Judged
from ranking.pipeline import RankPipeline
from ranking.stage_table import table_of
from retrieval.analysis import analyse, language_of
from retrieval.fusion import rrf
from retrieval.late_encoder import LateEncoder
from retrieval.sentences import sentences
from retrieval.snapshot import Snapshot
from retrieval.types import Candidate, Encoder, Hits, Passage, Rows, StageScore

LEAST_TERMS, MOST_TERMS = 4, 30
"""A sentence of fewer terms asks for nothing in particular; one of more is no question."""

_TRIES = 20
"""Passages looked at for each item that is wanted."""


@dataclass(frozen=True, slots=True)
class KnownItem:
    """A question, the row of the passage that it came from, and that passage without it."""

    query: str
    row: int
    passage: Passage
    """Its text is what remains."""


def draw_items(snapshot: Snapshot, count: int, seed: int = 0) -> list[KnownItem]:
    """Up to ``count`` items, each of another passage; fewer where passages of several sentences are rare."""
    rng = random.Random(seed)
    total = sum(view.passages for view in snapshot.views)
    rows = rng.sample(range(total), min(total, count * _TRIES))
    items: list[KnownItem] = []
    for row, passage in zip(rows, snapshot.passages(rows), strict=True):
        if len(items) == count:
            break
        if snapshot.find([passage.document_id])[0] is None:
            continue  # deleted
        if item := _item(row, passage, rng):
            items.append(item)
    return items


def _item(row: int, passage: Passage, rng: random.Random) -> KnownItem | None:
    spans = [(start, end) for start, end in sentences(passage.text) if passage.text[start:end].strip()]
    fits = [span for span in spans if LEAST_TERMS <= len(analyse(passage.text[slice(*span)])) <= MOST_TERMS]
    if len(spans) < 3 or not fits:
        return None
    start, end = rng.choice(fits)
    rest = passage.text[:start] + passage.text[end:]
    return KnownItem(" ".join(passage.text[start:end].split()), row, replace(passage, text=rest))


def ask_items(
    items: Sequence[KnownItem],
    snapshot: Snapshot,
    encoder: Encoder | None,
    pipeline: RankPipeline,
    depth: int = 50,
    say: Callable[[int, int], None] = lambda done, total: None,
    late: LateEncoder | None = None,
) -> Iterator[Judged]:
    """What each stage says of ``depth`` candidates for each item, the passage in question without its sentence.

    The index holds the sentence, so what it says of that passage is put right: the lexical score by the
    share that the rest has of the whole's BM25, cosine and late score by encoding the rest. ``late`` is the model that
    the snapshot's token vectors come from.
    """
    for done, item in enumerate(items, 1):
        candidates = _candidates(item, snapshot, encoder, late, depth)
        ranked = pipeline.rank(item.query, candidates, depth=len(candidates)).candidates
        table = table_of(item.query, ranked)
        gains = np.array([float(each.passage.passage_id == item.passage.passage_id) for each in ranked])
        yield Judged(table, gains)
        say(done, len(items))


def _candidates(
    item: KnownItem, snapshot: Snapshot, encoder: Encoder | None, late: LateEncoder | None, depth: int
) -> list[Candidate]:
    channels = {"lexical": snapshot.lexical(item.query, depth)}
    rest = 0.0
    if encoder is not None and {"*", language_of(item.query)} & set(encoder.spec.languages):
        asked = encoder.encode([item.query], "query")[0]
        rest = float(encoder.encode([item.passage.full_text], "passage")[0] @ asked)
        channels["dense"] = _rescored(snapshot.dense(asked, depth), item.row, lambda score: rest)
    pool = snapshot.passages(channels["lexical"].rows)
    share = _share(item, [each.full_text for each in pool], snapshot.passages([item.row])[0].full_text)
    channels["lexical"] = _rescored(channels["lexical"], item.row, lambda score: score * share)
    fused = rrf(channels)
    kept = Hits(fused.rows[:depth], fused.scores[:depth])
    if item.row not in kept.rows:
        return []
    stages = {**channels, "fused": kept}
    if late is not None and {"*", language_of(item.query)} & set(late.languages):
        stages["late"] = _late(item, kept.rows, snapshot, late)
    return _with_stages(stages, item, snapshot)


def _late(item: KnownItem, rows: Rows, snapshot: Snapshot, late: LateEncoder) -> Hits:
    query = late.query(item.query)
    rest = float(late.encode([item.passage.full_text]).scores(query)[0])
    scores = snapshot.late(rows, query)
    known = ~np.isnan(scores)
    return _rescored(Hits(rows[known], scores[known]), item.row, lambda score: rest)


def _rescored(hits: Hits, row: int, change: Callable[[float], float]) -> Hits:
    """With the score of ``row`` changed, in the order that follows."""
    scores = hits.scores.copy()
    for at in np.flatnonzero(hits.rows == row):
        scores[at] = change(float(scores[at]))
    order = np.lexsort((hits.rows, -scores))
    return Hits(hits.rows[order], scores[order])


def _share(item: KnownItem, pool: Sequence[str], whole: str) -> float:
    """The part of the whole passage's BM25 that it has without the sentence, rarity as in the candidates."""
    wanted = set(analyse(item.query))
    counts = Counter(term for text in pool for term in wanted & set(analyse(text)))
    rarity = {term: math.log1p(len(pool) / (1 + counts[term])) for term in wanted}
    with_it, without = (_saturated(text, rarity) for text in (whole, item.passage.full_text))
    return without / with_it if with_it > 0 else 0.0


def _saturated(text: str, rarity: Mapping[str, float]) -> float:
    """BM25 with k1 of 1.2 and no normalisation of length, which the sentence hardly changes."""
    counts = Counter(analyse(text))
    return sum(weight * counts[term] * 2.2 / (counts[term] + 1.2) for term, weight in rarity.items() if counts[term])


def _with_stages(stages: Mapping[str, Hits], item: KnownItem, snapshot: Snapshot) -> list[Candidate]:
    rows = stages["fused"].rows.tolist()
    seen: dict[int, dict[str, StageScore]] = {row: {} for row in rows}
    for stage, hits in stages.items():
        for rank, (row, score) in enumerate(zip(hits.rows.tolist(), hits.scores.tolist(), strict=True), 1):
            if row in seen:
                seen[row][stage] = StageScore(rank, score)
    return [
        Candidate(item.passage if row == item.row else passage, seen[row]["fused"].score, "fused", seen[row])
        for row, passage in zip(rows, snapshot.passages(rows), strict=True)
    ]
