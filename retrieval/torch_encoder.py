"""Runs any sentence-transformers model in PyTorch, with whatever pooling its folder names."""

from __future__ import annotations

import functools
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.batching import token_batches
from retrieval.encoders import prefixed
from retrieval.errors import ModelMissing
from retrieval.tokens import Encoded, Tokenizer, model_inputs
from retrieval.types import EncoderSpec, Role, Vectors

_BATCH_TOKENS = 4096


class TorchEncoder:
    """``SentenceTransformer`` on the CPU. Calls take turns: PyTorch's threads are shared by the process."""

    def __init__(self, folder: Path, spec: EncoderSpec, threads: int) -> None:
        import torch
        from sentence_transformers import SentenceTransformer

        if threads:
            torch.set_num_threads(threads)
        try:
            self._model: Any = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
        except (OSError, ValueError, KeyError, AttributeError) as error:
            raise ModelMissing(f"{folder} is not a model that sentence-transformers reads: {error}") from None
        self._model.max_seq_length = spec.max_tokens
        self._model.eval()
        self._folder = folder
        self._spec = spec
        self._turn = threading.Lock()

    @property
    def spec(self) -> EncoderSpec:
        return self._spec

    def encode(self, texts: Sequence[str], role: Role) -> Vectors:
        prefix = self._spec.query_prefix if role == "query" else self._spec.passage_prefix
        vectors: Vectors = np.zeros((len(texts), self._spec.dimension), np.float32)
        # Characters stand in for tokens here; the model's own tokenizer runs inside.
        lengths = [min(len(text) // 4 + 2, self._spec.max_tokens) for text in texts]
        for batch in token_batches(lengths, _BATCH_TOKENS):
            with self._turn:
                found = self._model.encode(
                    [prefix + texts[row] for row in batch],
                    batch_size=len(batch),
                    # Prefixes are ours: the folder's own prompts must not come on top.
                    prompt="",
                    normalize_embeddings=True,
                    convert_to_numpy=True,
                    show_progress_bar=False,
                )
            vectors[batch] = np.asarray(found, np.float32)
        return vectors

    def tokens(self, texts: Sequence[str], role: Role | None, max_tokens: int) -> list[Encoded]:
        """As ``OpenEncoder`` says. Raises ModelMissing when the folder has no fast tokenizer's file."""
        return self._tokenizer.encode(prefixed(self._spec, texts, role), max_tokens)

    def pooled(self, encoded: Sequence[Encoded]) -> NDArray[np.float32]:
        """As ``OpenEncoder`` says; a model that normalises by itself gives unit rows here too."""
        import torch

        vectors: NDArray[np.float32] = np.zeros((len(encoded), self._spec.dimension), np.float32)
        for batch in token_batches([len(each) for each in encoded], _BATCH_TOKENS):
            inputs = {
                name: torch.from_numpy(values) for name, values in model_inputs([encoded[row] for row in batch]).items()
            }
            with self._turn, torch.inference_mode():
                vectors[batch] = self._model(inputs)["sentence_embedding"].numpy()
        return vectors

    @functools.cached_property
    def _tokenizer(self) -> Tokenizer:
        path = self._folder / "tokenizer.json"
        if not path.is_file():
            raise ModelMissing(f"{self._folder} holds no tokenizer.json, without which tokens cannot be counted")
        return Tokenizer(path)
