"""Finds the weights of a BERT cross-encoder in a model's folder, whichever of the usual files they are in."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.bert_graph import BertShape
from retrieval.errors import ModelMissing
from retrieval.models import ModelFiles
from retrieval.onnx_weights import bert_weights

Floats = NDArray[np.float32]

_HEAD = ("bert.pooler.dense.weight", "bert.pooler.dense.bias", "classifier.weight", "classifier.bias")
_EPSILON = 1e-12
"""Of BERT's layer norms where no configuration says otherwise."""


@dataclass(frozen=True, slots=True)
class PairHead:
    """The end of a BertForSequenceClassification: ``outer(tanh(inner(first token)))``."""

    inner: Floats
    inner_bias: Floats
    outer: Floats
    outer_bias: Floats

    @property
    def named(self) -> Mapping[str, Floats]:
        """As ``retrieval.bert_graph.pair_graph`` wants it."""
        return {
            "dense.weight": self.inner,
            "dense.bias": self.inner_bias,
            "out.weight": self.outer,
            "out.bias": self.outer_bias,
        }

    def logits(self, firsts: Floats) -> Floats:
        """Vectors of first tokens ``[texts, hidden]`` to ``[texts, labels]``."""
        # Row by row: BLAS picks its kernel, and so its rounding, by the number of rows.
        rows = [self.outer @ np.tanh(self.inner @ first + self.inner_bias) + self.outer_bias for first in firsts]
        return np.asarray(rows, np.float32).reshape(len(firsts), len(self.outer_bias))


@dataclass(frozen=True, slots=True)
class BertCrossEncoder:
    """All weights of a BertForSequenceClassification, as float32."""

    tensors: Mapping[str, Floats]
    """By name, those of the encoder with ``bert.`` before them; matrices ``[outputs, inputs]``. Those of a safetensors
    file are read when they are asked for."""
    shape: BertShape

    def tensor(self, name: str) -> Floats:
        """A weight of the encoder by its name in transformers' BertModel. Raises ModelMissing when it is not there."""
        try:
            return self.tensors[f"bert.{name}"]
        except KeyError:
            raise ModelMissing(f"the model's file lacks {name}: pull the model again") from None

    @property
    def head(self) -> PairHead:
        return PairHead(*(self.tensors[name] for name in _HEAD))


def read_cross_encoder(files: ModelFiles) -> BertCrossEncoder | None:
    """The model as such, or None when it is of another architecture or its weights are in a form not read here.

    Reads ``model.safetensors`` beside a ``config.json``, else an ONNX file that onnxruntime's dynamic
    quantisation made.
    """
    if (files.path / "model.safetensors").is_file() and (files.path / "config.json").is_file():
        return stored_cross_encoder(files.path)
    return None if files.onnx is None else quantised_cross_encoder(files.onnx)


def quantised_cross_encoder(path: Path) -> BertCrossEncoder | None:
    """The one in an ONNX file that onnxruntime's dynamic quantisation made, or None when it is of another form."""
    from google.protobuf.message import DecodeError

    try:
        tensors = bert_weights(path)
    except (ModelMissing, DecodeError):
        return None
    hidden = len(tensors["bert.embeddings.LayerNorm.bias"])
    layers = sum(name.endswith("intermediate.dense.bias") for name in tensors)
    heads = _heads(path, hidden)
    return None if heads is None else _whole(tensors, BertShape(layers, heads, _EPSILON))


class _Stored(Mapping[str, Floats]):
    """The tensors of an open safetensors file: a table of 250,000 words is not held twice."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._names = set(file.keys())

    def __getitem__(self, name: str) -> Floats:
        if name not in self._names:
            raise KeyError(name)
        return np.asarray(self._file.get_tensor(name), np.float32)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._names))

    def __len__(self) -> int:
        return len(self._names)


def stored_cross_encoder(folder: Path) -> BertCrossEncoder | None:
    """The one in ``model.safetensors`` and ``config.json``, or None when it is of another architecture.

    Raises ModelMissing when the weights cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    path = folder / "model.safetensors"
    said: Mapping[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if said.get("architectures") != ["BertForSequenceClassification"] or said.get("hidden_act", "gelu") != "gelu":
        return None
    try:
        tensors = _Stored(safe_open(path, "numpy"))
    except (OSError, SafetensorError) as error:
        raise ModelMissing(f"{path} is not a file of weights: {error}: pull the model again") from None
    shape = BertShape(
        int(said["num_hidden_layers"]), int(said["num_attention_heads"]), float(said.get("layer_norm_eps", _EPSILON))
    )
    return _whole(tensors, shape)


def _whole(tensors: Mapping[str, Floats], shape: BertShape) -> BertCrossEncoder | None:
    return BertCrossEncoder(tensors, shape) if all(name in tensors for name in _HEAD) else None


def _heads(path: Path, hidden: int) -> int | None:
    """Heads as the graph splits a vector in the first layer: the constants of its reshape, ``heads`` then ``width``."""
    import onnx
    from onnx import numpy_helper

    numbers: list[int] = []
    for node in onnx.load(path).graph.node:
        if node.op_type == "Constant" and "/layer.0/attention/self/" in node.name:
            value = numpy_helper.to_array(node.attribute[0].t)
            if value.dtype == np.int64 and value.size == 1:
                numbers.append(int(value.reshape(())))
    pairs = pairwise(numbers)
    return next((heads for heads, width in pairs if heads > 1 and width > 1 and heads * width == hidden), None)
