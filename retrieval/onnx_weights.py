"""Reads the weights of a BERT back out of an ONNX file whose matrices onnxruntime's dynamic quantisation made int8."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import ModelMissing

Floats = NDArray[np.float32]

_QUANTISED, _SCALE, _ZERO = "_quantized", "_scale", "_zero_point"
_SUFFIXES = ("/MatMul_quant", "/Gemm_MatMul_quant")
_WEIGHTS = (_QUANTISED, _SCALE, _ZERO)


def bert_weights(path: Path) -> dict[str, Floats]:
    """Every tensor as float32 under its name in transformers' BertForSequenceClassification, matrices
    ``[outputs, inputs]``: ``(number - zero point) * scale``.

    A matrix has lost its name in such a file; the node that multiplies by it still has the layer's. Raises
    ModelMissing when the file is of another kind.
    """
    found = _weights(path, ("bert.", "classifier."))
    if "bert.embeddings.word_embeddings.weight" not in found or "classifier.weight" not in found:
        raise ModelMissing(f"{path} is not a BERT cross-encoder with int8 weights as onnxruntime makes them")
    return found


def encoder_weights(path: Path) -> dict[str, Floats]:
    """The same of an encoder, under the names in transformers' BertModel."""
    found = _weights(path, ("embeddings.", "encoder."))
    wanted = ("embeddings.word_embeddings.weight", "encoder.layer.0.attention.self.query.weight")
    if not all(name in found for name in wanted):
        raise ModelMissing(f"{path} is not a BERT encoder with int8 weights as onnxruntime makes them")
    return found


def _weights(path: Path, stems: tuple[str, ...]) -> dict[str, Floats]:
    import onnx
    from onnx import numpy_helper

    try:
        graph = onnx.load(path).graph
    except (OSError, ValueError, onnx.onnx_cpp2py_export.checker.ValidationError) as error:
        raise ModelMissing(f"{path} is not an ONNX file: {error}") from None
    held = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    found = {
        name: np.array(value, np.float32)  # a copy: what onnx gives cannot be written
        for name, value in held.items()
        if name.startswith(stems) and not name.endswith(_WEIGHTS)
    }
    for name in [name for name in held if ".embeddings." in f".{name}" and name.endswith(_QUANTISED)]:
        found[name.removesuffix(_QUANTISED)] = _dequantised(held, name)
    for node in graph.node:
        if node.op_type == "MatMulInteger" and node.name.endswith(_SUFFIXES):
            found[f"{_layer(node.name)}.weight"] = _dequantised(held, node.input[1]).T.copy()
    return found


def _layer(node: str) -> str:
    for suffix in sorted(_SUFFIXES, key=len, reverse=True):
        node = node.removesuffix(suffix)
    return node.strip("/").replace("/", ".")


def _dequantised(held: Mapping[str, NDArray[Any]], name: str) -> Floats:
    stem = name.removesuffix(_QUANTISED)
    numbers, scale, zero = held[name], held[f"{stem}{_SCALE}"], held[f"{stem}{_ZERO}"]
    whole: Floats = (numbers.astype(np.float32) - np.float32(zero)) * np.float32(scale)
    return whole
