"""Scores query and passage together in one transformer, in rounds, as many pairs as the deadline allows."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from retrieval.batching import token_batches
from retrieval.errors import InvalidRequest, ModelMissing
from retrieval.graphs import Engine, best_runtime, cores, cpu_flags, open_engine
from retrieval.lanes import Lanes
from retrieval.models import ModelFiles
from retrieval.native_graph import native_graph, why_not
from retrieval.tokens import Tokenizer, model_inputs
from retrieval.types import Reranker

Runtime = Literal["auto", "native", "onnxruntime", "openvino", "sentence-transformers"]

PAIR_TOKENS = 256
"""Longest pair that is read; what is longer is cut. Over BM25's first 20 on SciFact, SQuAD, MedQuAD and
Cranfield (225 to 300 queries each, weights in float32) pairs of up to 512 tokens gave nDCG@10 of 0.699,
0.878, 0.796 and 0.396, pairs of 256 0.701, 0.871, 0.806 and 0.394, with 4 to 31 % fewer tokens to read."""

MICRO_BATCHES = 4
"""The deadline is looked at this often, or more: a batch holds no more than this part of the tokens."""

NATIVE_BATCH_TOKENS = 128
"""Of our own kernel, which loses nothing by small batches: 100 pairs of 128 tokens took one thread 779 ms one by
one and 775 in twos. Short pairs share a batch, so that the weights are read from memory once for several."""


def open_reranker(files: ModelFiles, *, runtime: Runtime = "auto", threads: int = 0) -> CrossEncoder:
    """Load a cross-encoder; ``threads`` of 0 means one for each core.

    ``auto`` takes our own kernel where processor and model allow it, else ``best_runtime`` of an ONNX
    file, else sentence-transformers, which reads any cross-encoder. Whatever runs, a pair's score does
    not hang on what is scored beside it. Raises ModelMissing when the files do not serve, InvalidRequest
    when the model is of another kind or the runtime asked for cannot run it.
    """
    if files.kind != "reranker":
        raise InvalidRequest(f"the model {files.name} is an {files.kind}, and a reranker is needed")
    tokenizer = Tokenizer(files.tokenizer)
    longest = min(files.max_tokens, PAIR_TOKENS)
    return CrossEncoder(files.name, files.languages, tokenizer, pair_engine(files, runtime, threads), longest)


def pair_engine(files: ModelFiles, runtime: Runtime, threads: int) -> Engine:
    """What runs a cross-encoder here, as ``open_reranker`` says; raises what it raises."""
    native = native_graph(files) if runtime in ("auto", "native") else None
    if native is not None:
        return Engine(native, Lanes(threads or cores()), NATIVE_BATCH_TOKENS)
    if runtime == "native":
        raise InvalidRequest(f"models.runtime native cannot run {files.name}: {why_not(files)}; leave it at auto")
    if runtime == "sentence-transformers" or (runtime == "auto" and files.onnx is None):
        from retrieval.torch_graph import TorchGraph

        return Engine(TorchGraph(files.path, threads), Lanes(1), 2048)
    if files.onnx is None:
        raise ModelMissing(f"{files.path} holds no ONNX file, which {runtime} needs: leave models.runtime at auto")
    if runtime == "openvino" or (runtime == "auto" and best_runtime(cpu_flags()) == "openvino"):
        return open_engine(files.onnx, "openvino", threads)
    # onnxruntime's dynamic quantisation takes one scale for a whole batch: a pair's score moved by up to 0.7 with
    # its neighbours. Alone it costs no more (1,338 ms of one thread for 100 pairs one by one, 1,430 in sixteens).
    engine = open_engine(files.onnx, "onnxruntime", threads)
    return Engine(engine.graph, engine.lanes, 1)


class CrossEncoder(Reranker):
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
        scores, _ = self.score_round(query, texts, deadline)
        late = np.isnan(scores)
        # Batches are of like length, not of neighbours: only what lies before the first gap is a head.
        return scores[: int(np.argmax(late))] if late.any() else scores

    def score_round(
        self, query: str, texts: Sequence[str], deadline: float | None = None
    ) -> tuple[NDArray[np.float32], int]:
        """A logit for each text, NaN where the deadline came first, and how many tokens were read.

        A pair's score is the same in whichever round it is read, so a caller may ask for a few texts,
        look at them, and ask for more; each round is batched by itself.
        """
        scores: NDArray[np.float32] = np.full(len(texts), np.nan, np.float32)

        def late() -> bool:
            return deadline is not None and self._clock() >= deadline

        if not texts or late():
            return scores, 0
        pairs = self._tokenizer.encode_pairs(query, texts, self._pair_tokens)
        lengths = [len(pair) for pair in pairs]

        def fill(batch: list[int]) -> None:
            logits = self._engine.graph.run(model_inputs([pairs[row] for row in batch]))
            scores[batch] = logits.reshape(len(batch), -1)[:, 0]

        budget = min(self._engine.batch_tokens, sum(lengths) // MICRO_BATCHES)
        self._engine.lanes.run(fill, token_batches(lengths, budget), late)
        return scores, sum(length for length, score in zip(lengths, scores, strict=True) if not np.isnan(score))
