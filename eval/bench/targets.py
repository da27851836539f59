"""A collection of this process as the benches search it: both channels, fused, with query vectors known beforehand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eval.bench.churn import Found
from retrieval.changes import Change
from retrieval.collection import Collection
from retrieval.durable import exclusive
from retrieval.errors import Conflict
from retrieval.filters import EVERYTHING, Scope
from retrieval.recall import recall
from retrieval.store import CollectionStore
from retrieval.types import Candidate, Encoder, EncoderSpec, Role, Vectors

K = 10


def supplied(dimension: int) -> EncoderSpec:
    """The encoder of a collection whose rows bring their vectors."""
    return EncoderSpec("supplied", dimension, 512, ("*",), fingerprint="supplied")


class Known:
    """An encoder that was told the vector of the next text.

    The time of a model plays no part, unless one is given: then it encodes the text too, as every search in the
    product does, and what it says is thrown away.
    """

    def __init__(self, spec: EncoderSpec, model: Encoder | None = None) -> None:
        self._spec, self._model = spec, model
        self.vector: Vectors = np.zeros(spec.dimension, np.float32)

    @property
    def spec(self) -> EncoderSpec:
        return self._spec

    def encode(self, texts: Sequence[str], role: Role) -> Vectors:
        if self._model is not None:
            self._model.encode(texts, role)
        return np.repeat(self.vector[None, :], len(texts), axis=0)


@dataclass(frozen=True, slots=True)
class OpenCollection:
    """Opens a collection in the process that calls it, and there makes a model for its questions, if any."""

    root: Path
    name: str
    model: Callable[[], Encoder] | None = None
    """Must be picklable."""

    def __call__(self) -> LocalTarget:
        model = None if self.model is None else self.model()
        return LocalTarget(CollectionStore(self.root).open(self.name), model)


class LocalTarget:
    """A collection behind the seam of ``eval.bench.churn.Target``. One thread at a time."""

    channels = frozenset({"lexical", "dense"})

    def __init__(self, collection: Collection, model: Encoder | None = None) -> None:
        self._collection = collection
        self._encoder = Known(collection.encoder, model)

    def candidates(
        self, text: str, vector: Vectors, scope: Scope = EVERYTHING, depth: int = 100, fetch: int | None = None
    ) -> Sequence[Candidate]:
        """The fused candidates of both channels over what the collection holds now."""
        self._encoder.vector = vector
        snapshot = self._collection.snapshot()
        return recall(snapshot, self._encoder, text, scope=scope, depth=depth, fetch=fetch).candidates

    def search(self, text: str, vector: Vectors) -> Sequence[Found]:
        return [found(candidate) for candidate in self.candidates(text, vector, fetch=K)]

    def write(self, changes: Sequence[Change]) -> None:
        refused = [each for each in self._collection.write(changes) if not each.accepted]
        if refused:
            raise Conflict(f"{len(refused)} changes were refused, the first: {refused[0]}")


def settled(root: Path, name: str) -> None:
    """Wait until nobody seals or merges segments of that collection any more."""
    lock = CollectionStore(root).open(name).layout.maintaining
    with exclusive(lock, f"the collection {name} is being maintained without end", wait_s=300):
        pass


def found(candidate: Candidate) -> Found:
    passage = candidate.passage
    batch = passage.metadata.get("batch", -1)
    return Found(passage.document_id, int(str(batch)), frozenset(candidate.stages) & {"lexical", "dense"})
