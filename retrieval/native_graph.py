"""Runs a BERT cross-encoder by our own kernel, in the caller's thread; a pair's score is the same in any batch."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from retrieval._native.transformer import Texts, Transformer, available, served
from retrieval.batching import Tokens
from retrieval.bert_checkpoint import BertCrossEncoder, read_cross_encoder
from retrieval.models import ModelFiles


class NativeGraph:
    """``[batch, labels]`` logits. Several threads may run one at once."""

    def __init__(self, model: BertCrossEncoder) -> None:
        """Raises ValueError for sizes that the kernel does not take."""
        self._head = model.head
        self._transformer = Transformer(model.tensor, model.shape)

    def run(self, inputs: Mapping[str, Tokens]) -> NDArray[np.float32]:
        kept = inputs["attention_mask"] != 0
        starts = np.concatenate([[0], np.cumsum(kept.sum(axis=1))]).astype(np.int64)
        # Padding is on the right, so what is kept of the rows, one after another, are the texts.
        texts = Texts(
            inputs["input_ids"][kept].astype(np.int32), inputs["token_type_ids"][kept].astype(np.uint8), starts
        )
        return self._head.logits(self._transformer.firsts(texts))


def native_graph(files: ModelFiles) -> NativeGraph | None:
    """The model on our kernel, or None where processor, architecture, sizes or files do not serve."""
    if not available():
        return None
    model = read_cross_encoder(files)
    if model is None:
        return None
    inner = len(model.tensor("encoder.layer.0.intermediate.dense.bias"))
    if not served(len(model.tensor("embeddings.LayerNorm.bias")), inner, model.shape.heads):
        return None
    return NativeGraph(model)
