"""Encoders behind HTTP: OpenAI's embeddings, text-embeddings-inference, and Riddle's own embed service."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol

import numpy as np

from retrieval.batching import token_batches
from retrieval.errors import InvalidRequest, Unavailable
from retrieval.types import EncoderSpec, Role, Vectors

Flavour = Literal["openai", "tei", "riddle"]

_REQUEST_TOKENS = 8192
_REQUEST_TEXTS = 32
"""What text-embeddings-inference takes in one request by default."""


class Transport(Protocol):
    """Posts JSON to one server and returns what it answers, decoded. Thread-safe.

    Time limits, retries and authentication are the transport's. Raises Unavailable when the server
    does not answer, or answers with an error.
    """

    def post(self, path: str, json: Mapping[str, Any]) -> Any: ...


def remote_encoder(
    spec: EncoderSpec, transport: Transport, *, flavour: Flavour = "openai", model: str = ""
) -> RemoteEncoder:
    """An encoder served elsewhere.

    ``openai`` posts ``{"model", "input"}`` to ``/v1/embeddings``; ``tei`` posts ``{"inputs", "normalize",
    "truncate"}`` to ``/embed``; ``riddle`` posts the same with ``"prompt_name"``, the role, and leaves
    prefixes to the server. ``model`` is what the server calls the model, by default ``spec.name``.
    A ``spec.dimension`` of 0 is found out by encoding one word.
    """
    encoder = RemoteEncoder(spec, transport, flavour, model or spec.name)
    return encoder if spec.dimension else RemoteEncoder(encoder.measured(), transport, flavour, model or spec.name)


class RemoteEncoder:
    """Sends texts in requests of like length and checks what comes back."""

    def __init__(self, spec: EncoderSpec, transport: Transport, flavour: Flavour, model: str) -> None:
        self._spec = spec
        self._transport = transport
        self._model = model
        self._flavour = flavour
        self._ask: Callable[[list[str], Role], Any] = {
            "openai": self._openai,
            "tei": self._tei,
            "riddle": self._riddle,
        }[flavour]

    @property
    def spec(self) -> EncoderSpec:
        return self._spec

    def encode(self, texts: Sequence[str], role: Role) -> Vectors:
        vectors: Vectors = np.zeros((len(texts), self._spec.dimension), np.float32)
        # Characters stand in for tokens, which only the server can count.
        lengths = [min(len(text) // 4 + 2, self._spec.max_tokens) for text in texts]
        for batch in token_batches(lengths, _REQUEST_TOKENS, _REQUEST_TEXTS):
            vectors[batch] = self._vectors([texts[row] for row in batch], role)
        return vectors

    def measured(self) -> EncoderSpec:
        """The spec with the dimension that the server's vectors have."""
        from dataclasses import replace

        (row,) = self._rows(["dimension"], "passage")
        return replace(self._spec, dimension=len(row))

    def _vectors(self, texts: list[str], role: Role) -> Vectors:
        rows = self._rows(texts, role)
        if any(len(row) != self._spec.dimension for row in rows):
            raise InvalidRequest(
                f"{self._spec.name} serves vectors of {len(rows[0])} dimensions where {self._spec.dimension} are "
                "needed: name the model that the collection was built with, or build it again",
                stage="embed",
            )
        found = np.asarray(rows, np.float32)
        norms = np.linalg.norm(found, axis=1, keepdims=True)
        if not np.isfinite(found).all() or not norms.all():
            raise Unavailable(
                f"the server of {self._spec.name} sent vectors that are not finite or zero", stage="embed"
            )
        return np.asarray(found / norms, np.float32)

    def _rows(self, texts: list[str], role: Role) -> list[list[float]]:
        try:
            rows = self._ask(texts, role)
            found = [[float(value) for value in row] for row in rows]
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise Unavailable(
                f"the server of {self._spec.name} does not answer as {self._flavour} embeddings do ({error!r}); "
                "check its address and kind",
                stage="embed",
            ) from None
        if len(found) != len(texts):
            raise Unavailable(
                f"the server of {self._spec.name} sent {len(found)} vectors for {len(texts)} texts", stage="embed"
            )
        return found

    def _prefixed(self, texts: list[str], role: Role) -> list[str]:
        prefix = self._spec.query_prefix if role == "query" else self._spec.passage_prefix
        return [prefix + text for text in texts]

    def _openai(self, texts: list[str], role: Role) -> Any:
        body = {"model": self._model, "input": self._prefixed(texts, role), "encoding_format": "float"}
        data = self._transport.post("/v1/embeddings", body)["data"]
        return [item["embedding"] for item in sorted(data, key=lambda item: item["index"])]

    def _tei(self, texts: list[str], role: Role) -> Any:
        body = {"inputs": self._prefixed(texts, role), "normalize": True, "truncate": True}
        return self._transport.post("/embed", body)

    def _riddle(self, texts: list[str], role: Role) -> Any:
        return self._transport.post(
            "/embed", {"inputs": texts, "normalize": True, "truncate": True, "prompt_name": role}
        )
