"""Scores query and passage together in one transformer, as many pairs as the deadline allows."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from retrieval.batching import token_batches
from retrieval.errors import InvalidRequest, ModelMissing
from retrieval.graphs import Graph, best_runtime, cpu_flags, open_graph
from retrieval.models import ModelFiles
from retrieval.tokens import Tokenizer, model_inputs
from retrieval.types import Reranker

Runtime = Literal["auto", "onnxruntime", "openvino", "sentence-transformers"]

PAIR_TOKENS = 256
BATCH_TOKENS = 1024
"""Tokens between two looks at the clock, padding included."""


def open_reranker(files: ModelFiles, *, runtime: Runtime = "auto", threads: int = 0) -> Reranker:
    """Load a cross-encoder from its ONNX file; ``threads`` of 0 means one for each core.

    ``auto`` takes what ``best_runtime`` says of this processor; so does ``sentence-transformers``, which
    runs encoders only. Raises ModelMissing when the files do not serve, InvalidRequest when the model
    is of another kind.
    """
    if files.kind != "reranker":
        raise InvalidRequest(f"the model {files.name} is an {files.kind}, and a reranker is needed")
    if files.onnx is None:
        raise ModelMissing(f"{files.path} holds no ONNX file, and rerankers run from one")
    chosen = runtime if runtime in ("onnxruntime", "openvino") else best_runtime(cpu_flags())
    graph = open_graph(files.onnx, chosen, threads)
    return CrossEncoder(
        files.name, files.languages, Tokenizer(files.tokenizer), graph, min(files.max_tokens, PAIR_TOKENS)
    )


class CrossEncoder:
    """A transformer with one logit for a pair. Thread-safe.

    ``clock`` is what deadlines are measured by.
    """

    def __init__(
        self,
        name: str,
        languages: tuple[str, ...],
        tokenizer: Tokenizer,
        graph: Graph,
        pair_tokens: int,
        batch_tokens: int = BATCH_TOKENS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._languages = languages
        self._tokenizer = tokenizer
        self._graph = graph
        self._pair_tokens = pair_tokens
        self._batch_tokens = batch_tokens
        self._clock = clock

    @property
    def name(self) -> str:
        return self._name

    @property
    def languages(self) -> tuple[str, ...]:
        return self._languages

    def score(self, query: str, texts: Sequence[str], deadline: float | None = None) -> NDArray[np.float32]:
        pairs = self._tokenizer.encode_pairs(query, texts, self._pair_tokens)
        scores = np.full(len(texts), np.nan, np.float32)
        for batch in token_batches([len(pair) for pair in pairs], self._batch_tokens):
            if deadline is not None and self._clock() >= deadline:
                break
            scores[batch] = self._graph.run(model_inputs([pairs[row] for row in batch])).reshape(len(batch), -1)[:, 0]
        # Batches are of like length, not of neighbours: only what lies before the first gap is a head.
        gaps = np.flatnonzero(np.isnan(scores))
        return scores[: gaps[0]] if len(gaps) else scores
