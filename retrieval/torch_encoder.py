"""Runs any sentence-transformers model in PyTorch, with whatever pooling its folder names."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from retrieval.batching import token_batches
from retrieval.errors import ModelMissing
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
