"""Finds the weights of a BERT encoder in a model's folder, in the forms that our kernel is fed from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.bert_graph import BertShape
from retrieval.errors import ModelMissing
from retrieval.models import ModelFiles
from retrieval.onnx_weights import encoder_weights

Floats = NDArray[np.float32]

_CONFIG, _PLAIN = "config.json", "model.safetensors"


@dataclass(frozen=True, slots=True)
class BertEncoder:
    """All weights of a BertModel, as float32, by their names there; matrices ``[outputs, inputs]``."""

    tensors: Mapping[str, Floats]
    shape: BertShape

    def tensor(self, name: str) -> Floats:
        """Raises ModelMissing when it is not there."""
        try:
            return self.tensors[name]
        except KeyError:
            raise ModelMissing(f"the model's file lacks {name}: pull the model again") from None


def read_encoder(files: ModelFiles) -> BertEncoder | None:
    """The model as such, or None when it is of another architecture or its weights are in a form not read here.

    What it is says ``config.json``. Weights are read from ``model.safetensors``, else from an ONNX file that
    onnxruntime's dynamic quantisation made. Raises ModelMissing for weights that cannot be read.
    """
    config = files.path / _CONFIG
    said: Mapping[str, Any] = json.loads(config.read_text(encoding="utf-8")) if config.is_file() else {}
    bert = said.get("architectures") == ["BertModel"] and said.get("hidden_act", "gelu") == "gelu"
    if not bert or said.get("position_embedding_type", "absolute") != "absolute":
        return None
    tensors = _tensors(files)
    if tensors is None:
        return None
    layers, heads = int(said["num_hidden_layers"]), int(said["num_attention_heads"])
    return BertEncoder(tensors, BertShape(layers, heads, float(said.get("layer_norm_eps", 1e-12))))


def _tensors(files: ModelFiles) -> Mapping[str, Floats] | None:
    if (files.path / _PLAIN).is_file():
        return _plain(files.path / _PLAIN)
    if files.onnx is None:
        return None
    from google.protobuf.message import DecodeError

    try:
        return encoder_weights(files.onnx)
    except (ModelMissing, DecodeError):
        return None


def _plain(path: Path) -> Mapping[str, Floats]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as file:
            names = [name for name in file.keys() if name.startswith(("embeddings.", "encoder."))]  # noqa: SIM118
            return {name: np.asarray(file.get_tensor(name), np.float32) for name in names if "position_ids" not in name}
    except (OSError, SafetensorError) as error:
        raise ModelMissing(f"{path} is not a file of weights: {error}: pull the model again") from None
