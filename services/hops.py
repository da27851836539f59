"""What our own services say to each other: the JSON between gateway, recall and rank."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

from pydantic import Field, FiniteFloat, TypeAdapter

from retrieval.types import Candidate, CollectionInfo, Document, Ranked, Recalled, StageScore
from services.ports import CollectionView, NewCollection, Put, RecallRequest, Remove, Rights, Written
from services.wire import Wire

RECALL_CALL = TypeAdapter(RecallRequest)
RECALLED = TypeAdapter(Recalled)
COLLECTION = TypeAdapter(CollectionInfo)
VIEW = TypeAdapter(CollectionView)
VIEWS = TypeAdapter(list[CollectionView])
DOCUMENT = TypeAdapter(Document)
RIGHTS = TypeAdapter(Rights)
CHANGES = TypeAdapter(list[Put | Remove])
WRITTEN = TypeAdapter(Written)
NEW_COLLECTION = TypeAdapter(NewCollection)
NAME = TypeAdapter(str)
MADE = TypeAdapter(bool)
NOTHING = TypeAdapter(None)
"""Our nouns are dataclasses that pydantic reads and writes as they are; both ends are of one version."""


class RankCall(Wire):
    query: str
    candidates: list[Candidate]
    depth: Annotated[int, Field(ge=0)]
    deadline_ms: FiniteFloat | None = None


class ReadCall(RankCall):
    whole: bool = False


class Placed(Wire):
    """One candidate's place in the final order; ``index`` counts in the call's candidates."""

    index: Annotated[int, Field(ge=0)]
    score: FiniteFloat
    scored_by: str
    stages: dict[str, StageScore]


class RankReply(Wire):
    """Texts do not travel back: the caller still holds them."""

    version: str
    order: list[Placed]
    timings_ms: dict[str, float]
    degraded: list[str]


class Pipeline(Wire):
    version: str


RANK_CALL = TypeAdapter(RankCall)
READ_CALL = TypeAdapter(ReadCall)
RANK_REPLY = TypeAdapter(RankReply)
PIPELINE = TypeAdapter(Pipeline)


def rank_reply(version: str, candidates: Sequence[Candidate], ranked: Ranked) -> RankReply:
    """Say the order of ``ranked`` as places in ``candidates``."""
    index = {candidate.passage.passage_id: place for place, candidate in enumerate(candidates)}
    return RankReply(
        version=version,
        order=[
            Placed(index=index[c.passage.passage_id], score=c.score, scored_by=c.scored_by, stages=dict(c.stages))
            for c in ranked.candidates
        ],
        timings_ms=dict(ranked.timings_ms),
        degraded=list(ranked.degraded),
    )


def ranked_from(reply: RankReply, candidates: Sequence[Candidate]) -> Ranked:
    """Put ``candidates`` in the reply's order. Raises ValueError unless each is placed exactly once."""
    if sorted(placed.index for placed in reply.order) != list(range(len(candidates))):
        raise ValueError("the reply does not place each candidate once")
    return Ranked(
        tuple(
            replace(candidates[placed.index], score=placed.score, scored_by=placed.scored_by, stages=placed.stages)
            for placed in reply.order
        ),
        reply.timings_ms,
        tuple(reply.degraded),
    )
