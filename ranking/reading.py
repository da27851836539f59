"""Reads candidates with a cross-encoder in rounds: as deep as the time allows, and no deeper than can matter."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ranking.budget import Budget, estimated_tokens
from ranking.cross_encoder import PAIR_TOKENS
from ranking.early_stop import settled

ROUND = 16
"""Candidates of the first round; later rounds read as many as were read before, so there are few of them."""


class RoundReranker(Protocol):
    """A reranker that can be asked for some pairs now and for more later."""

    def score_round(
        self, query: str, texts: Sequence[str], deadline: float | None = None
    ) -> tuple[NDArray[np.float32], int]: ...


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read of the candidates."""

    logits: NDArray[np.float32]
    """One for each candidate, NaN where it was not read."""
    planned: int
    """As many as there was time for, by the plan."""
    settled: bool
    """Whether reading ended because the rest could not change the top."""
    late: bool
    """Whether time ran out before what was planned was read."""

    @property
    def read(self) -> int:
        return int((~np.isnan(self.logits)).sum())


def read(
    reranker: RoundReranker,
    budget: Budget,
    query: str,
    texts: Sequence[str],
    prior: Sequence[float],
    *,
    k: int,
    left_ms: float | None,
    whole: bool = False,
    lengths: Sequence[int] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Reading:
    """Logits of the foremost ``texts``, which the rung below gave the scores ``prior``, best first.

    ``left_ms`` is the time from now that reading may take; without it everything is read that can still change
    the first ``k``, which for a ``k`` of 0 is all. ``whole`` begins all of it whatever the plan says, and leaves
    only time itself to end it. ``lengths`` are about how many tokens the pairs have, where they are known before the
    texts are made: ``texts`` may be a sequence that makes them when they are asked for, round by round, and then
    counts as reading. ``clock`` gives seconds and is the one that the reranker's deadline is measured by.
    """
    logits: NDArray[np.float32] = np.full(len(texts), np.nan, np.float32)
    began = clock()
    lengths = estimated_tokens(query, texts, PAIR_TOKENS) if lengths is None else lengths
    in_flight = budget.begin()
    done = planned = 0
    over = False
    try:
        plan = budget.plan(1e9 if left_ms is None else left_ms, lengths, in_flight)
        planned = len(texts) if whole else plan.count
        deadline = None if left_ms is None else began + plan.stop_ms / 1000
        while done < planned and not over:
            upto = min(planned, max(ROUND, 2 * done))
            logits[done:upto], _ = reranker.score_round(query, texts[done:upto], deadline)
            if np.isnan(logits[done:upto]).any():
                return Reading(logits, planned, settled=False, late=True)
            done = upto
            over = k > 0 and settled(logits[:done].tolist(), prior, k)
    finally:
        known = np.flatnonzero(~np.isnan(logits))
        tokens = sum(lengths[row] for row in known.tolist())
        budget.end(len(known), tokens, (clock() - began) * 1000, in_flight)
    return Reading(logits, planned, settled=over and done < len(texts), late=planned < len(texts) and not over)
