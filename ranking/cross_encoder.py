"""Scores query and passage together in one transformer, as many pairs as the deadline allows."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from retrieval.batching import token_batches
from retrieval.errors import InvalidRequest, ModelMissing
from retrieval.graphs import Engine, best_runtime, cpu_flags, open_engine
from retrieval.models import ModelFiles
from retrieval.tokens import Tokenizer, model_inputs
from retrieval.types import Reranker

Runtime = Literal["auto", "onnxruntime", "openvino", "sentence-transformers"]

PAIR_TOKENS = 256
"""Longest pair that is read; what is longer is cut. Over BM25's first 20 on SciFact, SQuAD, MedQuAD and
Cranfield (225 to 300 queries each, weights in float32) pairs of up to 512 tokens gave nDCG@10 of 0.699,
0.878, 0.796 and 0.396, pairs of 256 0.701, 0.871, 0.806 and 0.394, with 4 to 31 % fewer tokens to read."""

MICRO_BATCHES = 4
"""The deadline is looked at this often, or more: a batch holds no more than this part of the tokens."""


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
    engine = open_engine(files.onnx, chosen, threads)
    longest = min(files.max_tokens, PAIR_TOKENS)
    return CrossEncoder(files.name, files.languages, Tokenizer(files.tokenizer), engine, longest)


class CrossEncoder:
    """A transformer with one logit for a pair. Thread-safe.

    ``clock`` is what deadlines are measured by.
    """

    def __init__(
        self,
        name: str,
        languages: tuple[str, ...],
        tokenizer: Tokenizer,
        engine: Engine,
        pair_tokens: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._languages = languages
        self._tokenizer = tokenizer
        self._engine = engine
        self._pair_tokens = pair_tokens
        self._clock = clock

    @property
    def name(self) -> str:
        return self._name

    @property
    def languages(self) -> tuple[str, ...]:
        return self._languages

    def score(self, query: str, texts: Sequence[str], deadline: float | None = None) -> NDArray[np.float32]:
        pairs = self._tokenizer.encode_pairs(query, texts, self._pair_tokens)
        lengths = [len(pair) for pair in pairs]
        scores: NDArray[np.float32] = np.zeros(len(texts), np.float32)
        scored = np.zeros(len(texts), bool)

        def fill(batch: list[int]) -> None:
            logits = self._engine.graph.run(model_inputs([pairs[row] for row in batch]))
            scores[batch] = logits.reshape(len(batch), -1)[:, 0]
            scored[batch] = True

        def late() -> bool:
            return deadline is not None and self._clock() >= deadline

        budget = min(self._engine.batch_tokens, sum(lengths) // MICRO_BATCHES)
        self._engine.lanes.run(fill, token_batches(lengths, budget), late)
        # Batches are of like length, not of neighbours: only what lies before the first gap is a head.
        return scores if scored.all() else scores[: int(np.argmin(scored))]
