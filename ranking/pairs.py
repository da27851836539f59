"""A cross-encoder in two steps, reading and scoring, so that pairs of many callers share one pass of the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ranking.cross_encoder import Runtime, pair_engine
from retrieval.batching import token_batches
from retrieval.errors import InvalidRequest
from retrieval.graphs import Engine
from retrieval.models import ModelFiles
from retrieval.tokens import Encoded, Tokenizer, model_inputs


class PairScorer(Protocol):
    """Scores pairs that are tokens already. Thread-safe."""

    @property
    def name(self) -> str: ...

    @property
    def max_tokens(self) -> int:
        """The longest pair that the model reads, special tokens included."""
        ...

    def pairs(self, query: str, texts: Sequence[str], max_tokens: int, text_tokens: int | None = None) -> list[Encoded]:
        """Query and each text as one input, cut to ``max_tokens``; of a text at most ``text_tokens`` are kept.

        The text is cut and the query is not, except that it gets half of the room at most.
        """
        ...

    def logits(self, pairs: Sequence[Encoded]) -> NDArray[np.float32]:
        """Relevance, one logit a pair, in order. No pair may be longer than ``max_tokens``."""
        ...


def open_pair_scorer(files: ModelFiles, *, runtime: Runtime = "auto", threads: int = 0) -> PairScorer:
    """Load a cross-encoder, run by whatever ``ranking.cross_encoder.open_reranker`` runs it by; raises what it raises.

    Unlike that it reads pairs as long as the model does: who asks for scores decides what to leave out.
    """
    if files.kind != "reranker":
        raise InvalidRequest(f"the model {files.name} is an {files.kind}, and a reranker is needed")
    return GraphPairs(files.name, Tokenizer(files.tokenizer), pair_engine(files, runtime, threads), files.max_tokens)


class GraphPairs:
    """PairScorer over an exported transformer with one logit for a pair."""

    def __init__(self, name: str, tokenizer: Tokenizer, engine: Engine, max_tokens: int) -> None:
        self._name = name
        self._tokenizer = tokenizer
        self._engine = engine
        self._max_tokens = max_tokens

    @property
    def name(self) -> str:
        return self._name

    @property
    def max_tokens(self) -> int:
        return self._max_tokens

    def pairs(self, query: str, texts: Sequence[str], max_tokens: int, text_tokens: int | None = None) -> list[Encoded]:
        if text_tokens is not None:
            (bare,) = self._tokenizer.encode_pairs(query, [""], max_tokens)
            max_tokens = min(max_tokens, len(bare) + text_tokens)
        return self._tokenizer.encode_pairs(query, texts, max_tokens)

    def logits(self, pairs: Sequence[Encoded]) -> NDArray[np.float32]:
        found: NDArray[np.float32] = np.zeros(len(pairs), np.float32)

        def fill(batch: list[int]) -> None:
            logits = self._engine.graph.run(model_inputs([pairs[row] for row in batch]))
            found[batch] = logits.reshape(len(batch), -1)[:, 0]

        self._engine.lanes.run(fill, token_batches([len(pair) for pair in pairs], self._engine.batch_tokens))
        return found
