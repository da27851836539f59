"""Spelling where collections are held: their words, counted when a query needs them, and what comes of one request."""

from __future__ import annotations

import logging
import time

from retrieval.collection_words import CollectionWords
from retrieval.errors import Unavailable
from retrieval.filters import Scope
from retrieval.snapshot import Snapshot
from retrieval.spelling import corrected
from retrieval.types import Clock, Correction
from retrieval.vocabulary import Vocabulary
from services.ports import RecallRequest

log = logging.getLogger("riddle.spelling")

STAGE = "spelling"
_NOTHING = Vocabulary({})


class Spelling:
    """Corrects queries. With ``patient`` the first one waits until the words of its collection are counted; ``eager``
    counts those of the default collection at the start. A collection that knows fewer than ``least`` words is left
    alone: most words that it lacks are no slips."""

    def __init__(
        self, words: CollectionWords | None = None, *, patient: bool = False, eager: bool = False, least: int = 0
    ) -> None:
        self._words = words or CollectionWords()
        self._least = least
        self._patient = patient
        self.eager = eager

    def __call__(
        self, request: RecallRequest, snapshot: Snapshot, scope: Scope, ends: float | None, clock: Clock
    ) -> tuple[Correction | None, tuple[str, ...]]:
        """What ``request`` was meant to say, None where nothing is amiss; and what is left out for want of time (until
        ``ends``, a ``time.monotonic()`` instant) or because the words are still being counted."""
        if request.spelling == "off":
            return None, ()
        if ends is not None and time.monotonic() >= ends:
            return None, (STAGE,)
        try:
            with clock(STAGE):
                return corrected(request.query, snapshot, lambda: self._vocabulary(snapshot), scope), ()
        except Unavailable as error:
            log.info("searching a query as it was typed: %s", error.detail)
            return None, (STAGE,)

    def begin(self, snapshot: Snapshot) -> None:
        """Count the words of a collection now, so that its first query need not do without."""
        self._words.get(snapshot)

    def close(self) -> None:
        self._words.close()

    def _vocabulary(self, snapshot: Snapshot) -> Vocabulary:
        found = self._words.wait(snapshot) if self._patient else self._words.get(snapshot)
        if found is None:
            raise Unavailable(f"the words of {snapshot.info.name} are being counted", stage=STAGE)
        return found if len(found) >= self._least else _NOTHING
