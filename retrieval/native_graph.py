"""Runs BERT encoders and cross-encoders by our own kernel, in the caller's thread; a text's result knows no company."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from retrieval._native.transformer import Texts, Transformer, available, served
from retrieval.batching import Tokens
from retrieval.bert_checkpoint import BertCrossEncoder, read_cross_encoder
from retrieval.bert_graph import BertShape
from retrieval.encoder_checkpoint import BertEncoder, read_encoder
from retrieval.models import ModelFiles

Floats = NDArray[np.float32]


class NativeGraph:
    """``[batch, labels]`` logits. Several threads may run one at once."""

    def __init__(self, model: BertCrossEncoder) -> None:
        """Raises ValueError for sizes that the kernel does not take."""
        self._head = model.head
        self._transformer = Transformer(model.tensor, model.shape)

    @property
    def bytes(self) -> int:
        """Of memory that weights and tables take."""
        return self._transformer.bytes

    def run(self, inputs: Mapping[str, Tokens]) -> Floats:
        return self._head.logits(self._transformer.firsts(_texts(inputs)))


class NativeEncoder:
    """``[batch, length, hidden]``, zeros beyond a text's end; for ``cls`` pooling of the first token alone,
    ``[batch, 1, hidden]``. Several threads may run one at once."""

    def __init__(self, model: BertEncoder, *, cls: bool) -> None:
        """Raises ValueError for sizes that the kernel does not take."""
        self._cls = cls
        self._transformer = Transformer(model.tensor, model.shape)

    def run(self, inputs: Mapping[str, Tokens]) -> Floats:
        texts = _texts(inputs)
        if self._cls:
            return self._transformer.firsts(texts)[:, None]
        kept = inputs["attention_mask"] != 0
        hidden = np.zeros((*kept.shape, self._transformer.hidden), np.float32)
        hidden[kept] = self._transformer.tokens(texts)
        return hidden


def _texts(inputs: Mapping[str, Tokens]) -> Texts:
    kept = inputs["attention_mask"] != 0
    starts = np.concatenate([[0], np.cumsum(kept.sum(axis=1))]).astype(np.int64)
    # Padding is on the right, so what is kept of the rows, one after another, are the texts.
    return Texts(inputs["input_ids"][kept].astype(np.int32), inputs["token_type_ids"][kept].astype(np.uint8), starts)


def why_not(files: ModelFiles) -> str:
    """What keeps our kernel from running a model that ``native_graph`` or ``native_encoder`` gave None for."""
    if not available():
        return "this processor has no AVX-512 VNNI, or no compiler was there when Riddle was installed"
    return f"{files.path} holds no BERT that our kernel takes, as model.safetensors or quantised by onnxruntime"


def native_graph(files: ModelFiles) -> NativeGraph | None:
    """The model on our kernel, or None where processor, architecture, sizes or files do not serve."""
    if not available():
        return None
    model = read_cross_encoder(files)
    if model is None:
        return None
    return NativeGraph(model) if _fits(model.tensor, model.shape) else None


def native_encoder(files: ModelFiles) -> NativeEncoder | None:
    """The same of an encoder with CLS or mean pooling."""
    if not available() or files.pooling == "none":
        return None
    model = read_encoder(files)
    if model is None or not _fits(model.tensor, model.shape):
        return None
    return NativeEncoder(model, cls=files.pooling == "cls")


def _fits(tensor: Callable[[str], Floats], shape: BertShape) -> bool:
    inner = len(tensor("encoder.layer.0.intermediate.dense.bias"))
    return served(len(tensor("embeddings.LayerNorm.bias")), inner, shape.heads)
