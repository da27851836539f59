"""The order that all stages of a search decide together: trees before the reranker, the blend after it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from ranking.fields import NumericField
from ranking.ltr import LtrShelf, with_trees
from ranking.pipeline import blended, in_reading_order
from ranking.tuned import TunedShelf
from retrieval.errors import RiddleError
from retrieval.types import Candidate, CollectionInfo

log = logging.getLogger("riddle.ordering")

TREES = "ltr"


class Ordering:
    """What a home folder has learned of how its collections are to be ranked, each by its own name."""

    def __init__(self, home: Path, fields: Sequence[NumericField] = (), reranker: str = "") -> None:
        self._tuned = TunedShelf(home)
        self._reranker = reranker
        self._trees = LtrShelf(home, fields)

    def version(self, collection: str) -> str:
        """Names all that an order hangs on beside the reranker: part of every cache key, and cheap.

        Raises SettingsError for settings that cannot be read.
        """
        return f"{self._tuned.of(collection).version}:{self._trees.adopted().get(collection, '')}"

    async def with_trees(
        self, query: str, collection: str, candidates: Sequence[Candidate], *, hurried: bool = False
    ) -> tuple[tuple[Candidate, ...], tuple[str, ...]]:
        """The candidates as they came, with their features and what the trees say; and what is left out for want of it.

        Features are computed without a model too: the log's are what a first one is trained on. Not for a ``hurried``
        request, whose time is worth more than one row of the log.
        """
        try:
            model = self._trees.of(collection)
            if model is None and hurried:
                return tuple(candidates), ()
            features = self._trees.features_of(collection)
            return await asyncio.to_thread(with_trees, query, candidates, features, model), ()
        except RiddleError as error:
            log.warning("ranked without the learned trees of %s: %s", collection, error.detail)
            return tuple(candidates), (TREES,)

    def reading(self, query: str, info: CollectionInfo, candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
        """The candidates in the order in which a cross-encoder should read them, with what they are worth as scores."""
        return in_reading_order(query, candidates, self._tuned.of(info.name), self._models(info))

    def ordered(self, query: str, info: CollectionInfo, candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
        """The final order, each candidate with its probability of being relevant."""
        return blended(query, candidates, self._tuned.of(info.name), self._models(info))

    def _models(self, info: CollectionInfo) -> Mapping[str, str]:
        return {"dense": info.encoder, "rerank": self._reranker}
