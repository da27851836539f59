"""One query over one snapshot: both channels side by side, fused, with the passages they found."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from retrieval._native.late import LateQuery
from retrieval.errors import IndexUnreadable, RiddleError, Unavailable
from retrieval.filters import EVERYTHING, Scope
from retrieval.fusion import FusionMethod, Normalisation, fuse
from retrieval.languages import reads
from retrieval.late_encoder import LateEncoder
from retrieval.snapshot import Snapshot
from retrieval.types import Candidate, Clock, Encoder, Hits, Passage, Recalled, Rows, StageScore, Vectors


@dataclass(frozen=True, slots=True)
class RecallSettings:
    """How far recall looks and how the channels are weighed."""

    depth: int = 100
    """Passages that each channel returns, whatever k the caller asks for."""
    fusion: FusionMethod = "rrf"
    """How the channels are fused: by ranks, by scores laid on one scale, or by how each one's are distributed."""
    rrf_k: int = 60
    """The constant of reciprocal rank fusion: the larger, the flatter."""
    normalisation: Normalisation = "min-max"
    """The scale of weighted fusion: each channel's best hit at 1, or standard deviations of its scores."""
    lexical_weight: float = 1.0
    """What a hit of the lexical channel counts for in the fusion; 0 leaves the channel out of it."""
    dense_weight: float = 1.0
    """The same of the dense channel."""

    def __post_init__(self) -> None:
        if self.depth < 1 or not min(self.rrf_k, self.lexical_weight, self.dense_weight) >= 0:
            raise ValueError(f"depth {self.depth} must be at least 1, rrf_k and the weights at least 0")

    @property
    def weights(self) -> Mapping[str, float]:
        return {"lexical": self.lexical_weight, "dense": self.dense_weight}


@dataclass(frozen=True, slots=True)
class Beside:
    """Other words for a query: the lexical channel looks for their terms beside those of the query."""

    meant: str = ""
    """The query with its misspelt words put right: encoders read it in its place. To average both vectors loses."""
    rewordings: tuple[str, ...] = ()
    """Their vectors are averaged with the query's."""
    passages: tuple[str, ...] = ()
    """As an answer could read, for the encoder alone: averaged with the query (HyDE, Gao et al., ACL 2023)."""

    @property
    def texts(self) -> tuple[str, ...]:
        return (self.meant, *self.rewordings) if self.meant else self.rewordings


def recall(
    snapshot: Snapshot,
    encoder: Encoder | None,
    query: str,
    *,
    scope: Scope = EVERYTHING,
    depth: int = 100,
    fusion: FusionMethod = "rrf",
    rrf_k: int = 60,
    normalisation: Normalisation = "min-max",
    weights: Mapping[str, float] | None = None,
    fetch: int | None = None,
    late: LateEncoder | None = None,
    beside: Beside = Beside(),
    ends: float | None = None,
    clock: Clock | None = None,
) -> Recalled:
    """Candidates for ``query``, best fused score first: every passage that either channel found
    and ``scope`` admits, or the first ``fetch`` of them, since their texts cost more to read than to find.

    The query is encoded in a thread of its own while the lexical channel runs. The dense channel
    is left out without an encoder, and for a language that the encoder was not trained for; when the
    encoder fails or is not the one of the index it is left out and ``degraded`` says ``dense``.

    What ``beside`` brings is searched with the query; late interaction reads what was meant and no rewording.

    With ``late`` all candidates whose token vectors are known get the stage ``late``, which changes nothing of their
    order. It is left out where the dense channel would be, and named likewise, also when its query is not encoded by
    ``ends``, a ``time.monotonic()`` instant. That goes on beside all else: ``late`` on the clock is what it adds.
    """
    clock = clock or Clock()
    rankings: dict[str, Hits] = {}
    degraded: tuple[str, ...] = ()
    encoding = None if encoder is None else _begin_encoding(snapshot, encoder, query, beside, clock)
    asking = None if late is None else _begin_asking(snapshot, late, beside.meant or query)
    with clock("lexical"):
        rankings["lexical"] = snapshot.lexical(query, depth, scope, beside.texts)
    if encoding is not None:
        try:
            vector = encoding.result()
            with clock("dense"):
                rankings["dense"] = snapshot.dense(vector, depth, scope)
        except RiddleError:
            degraded = ("dense",)
    with clock("fuse"):
        fused = fuse(rankings, fusion, k=rrf_k, weights=weights, normalisation=normalisation)
    with clock("fetch"):
        taken = Hits(fused.rows[:fetch], fused.scores[:fetch])
        passages = snapshot.passages(taken.rows)
        order = _digest(snapshot.passage_ids(fused.rows))
    stages = rankings | {"fused": taken}
    if asking is not None and len(fused):
        try:
            with clock("late"):
                stages["late"] = _late(snapshot, fused.rows, asking, ends)
        except RiddleError:
            degraded = (*degraded, "late")
    more = len(fused) - len(taken)
    return Recalled(snapshot.info, _candidates(passages, stages), clock.ms, degraded, more=more, order=order)


def _digest(names: Sequence[str]) -> str:
    return hashlib.blake2b("\n".join(names).encode(), digest_size=8).hexdigest()


def _begin_encoding(
    snapshot: Snapshot, encoder: Encoder, query: str, beside: Beside, clock: Clock
) -> Future[NDArray[np.float32]] | None:
    if not snapshot.info.passages or not reads(encoder.spec.languages, query):
        return None

    def encode() -> NDArray[np.float32]:
        snapshot.check_encoder(encoder.spec)
        with clock("embed"):
            vectors = encoder.encode([beside.meant or query, *beside.rewordings], "query")
            if beside.passages:
                vectors = np.concatenate([vectors, encoder.encode(beside.passages, "passage")])
            return vectors[0] if len(vectors) == 1 else _mean(vectors)

    return _pool().submit(encode)


def _begin_asking(snapshot: Snapshot, late: LateEncoder, query: str) -> Future[LateQuery] | None:
    wanted = snapshot.late_spec
    if wanted is None or not snapshot.info.passages or not reads(late.languages, query):
        return None

    def ask() -> LateQuery:
        if late.spec != wanted:
            raise IndexUnreadable(f"token vectors of {wanted} cannot be compared with those of {late.spec}")
        return late.query(query)

    return _pool().submit(ask)


def _late(snapshot: Snapshot, rows: Rows, asking: Future[LateQuery], ends: float | None) -> Hits:
    """Those of ``rows`` whose token vectors are known, best first. Raises what asking raised, or Unavailable."""
    left = None if ends is None else max(0.0, ends - time.monotonic())
    try:
        query = asking.result(left)
    except FutureTimeout as error:
        asking.cancel()
        raise Unavailable("the late encoder took longer than this search had", stage="late") from error
    if left == 0:
        raise Unavailable("the time for this search ended before its candidates were compared", stage="late")
    scores = snapshot.late(rows, query)
    known = ~np.isnan(scores)
    rows, scores = rows[known], scores[known]
    best = np.lexsort((rows, -scores))
    return Hits(rows[best], scores[best])


def _mean(vectors: Vectors) -> NDArray[np.float32]:
    """Their mean direction; that of the first where they cancel each other out."""
    mean = vectors.mean(axis=0)
    length = float(np.linalg.norm(mean))
    return np.asarray(mean / length if length > 1e-6 else vectors[0], np.float32)


def _candidates(passages: Sequence[Passage], stages: Mapping[str, Hits]) -> tuple[Candidate, ...]:
    rows = stages["fused"].rows
    seen: dict[int, dict[str, StageScore]] = {row: {} for row in rows.tolist()}
    for stage, hits in stages.items():
        for rank, (row, score) in enumerate(zip(hits.rows.tolist(), hits.scores.tolist(), strict=True), start=1):
            if row in seen:
                seen[row][stage] = StageScore(rank, score)
    return tuple(
        Candidate(passage, seen[row]["fused"].score, "fused", seen[row])
        for row, passage in zip(rows.tolist(), passages, strict=True)
    )


@cache
def _pool() -> ThreadPoolExecutor:
    """Threads that wait on encoders; made at the first query, shared by all."""
    return ThreadPoolExecutor(thread_name_prefix="encode")
