"""What happens between the order of a search and its page: the improbable goes, and what says the same makes room."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ranking.diversity import diversified
from retrieval.types import Candidate, Clock
from services.gateway.plan import Plan


async def shown(plan: Plan, candidates: Sequence[Candidate], clock: Clock) -> tuple[Candidate, ...]:
    """Of the ordered candidates those that pages are cut from, in the order in which they are shown.

    The same for every page of a request: it depends on neither k nor cursor. A threshold needs scores that
    are probabilities, which ``plan_of`` has made sure of.
    """
    least = plan.min_probability
    kept = tuple(candidates) if least is None else tuple(each for each in candidates if each.score >= least)
    if not plan.diversity:
        return kept
    with clock("diversity"):
        return await asyncio.to_thread(diversified, kept, plan.diversity)
