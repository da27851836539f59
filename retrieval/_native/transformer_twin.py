"""What the transformer's kernel computes, in numpy: the same rounding to int8, row by row."""

from __future__ import annotations

from collections.abc import Callable
from math import erf

import numpy as np
from numpy.typing import NDArray

from retrieval._native.transformer import Texts
from retrieval.bert_graph import BertShape, quantised_rows

Floats = NDArray[np.float32]


def tokens(tensor: Callable[[str], Floats], shape: BertShape, texts: Texts) -> Floats:
    """As ``Transformer.tokens``, from the weights themselves."""
    pieces = [
        _text(tensor, shape, texts.ids[start:end], texts.types[start:end])
        for start, end in zip(texts.starts, texts.starts[1:], strict=False)
    ]
    return np.concatenate(pieces) if pieces else np.empty((0, 0), np.float32)


def _text(
    tensor: Callable[[str], Floats], shape: BertShape, ids: NDArray[np.int32], types: NDArray[np.uint8]
) -> Floats:
    words = _rounded(tensor("embeddings.word_embeddings.weight"))
    places, segments = (tensor(f"embeddings.{name}_embeddings.weight") for name in ("position", "token_type"))
    x = words[ids] + places[: len(ids)] + segments[types]
    x = _normalised(x, tensor, "embeddings.LayerNorm", shape.epsilon)
    for layer in range(shape.layers):
        part = lambda name, prefix=f"encoder.layer.{layer}.": tensor(prefix + name)  # noqa: E731
        mixed = _attention(part, x, shape.heads)
        x = _normalised(
            x + _linear(part, "attention.output.dense", mixed), part, "attention.output.LayerNorm", shape.epsilon
        )
        inner = _linear(part, "intermediate.dense", x)
        inner = inner * (0.5 + 0.5 * np.vectorize(erf, otypes=[np.float32])(inner / np.sqrt(2, dtype=np.float32)))
        x = _normalised(x + _linear(part, "output.dense", inner), part, "output.LayerNorm", shape.epsilon)
    return x.astype(np.float32)


def _attention(part: Callable[[str], Floats], x: Floats, heads: int) -> Floats:
    query, key, value = (_linear(part, f"attention.self.{name}", x) for name in ("query", "key", "value"))
    width = x.shape[1] // heads
    mixed = np.empty_like(x)
    for head in range(heads):
        own = slice(head * width, (head + 1) * width)
        logits = _rounded(query[:, own]) @ _rounded(key[:, own]).T / np.sqrt(width)
        weights = np.rint(65535 * np.exp(logits - logits.max(axis=1, keepdims=True)))
        mixed[:, own] = weights @ _rounded(value[:, own].T).T / weights.sum(axis=1, keepdims=True)
    return mixed


def _linear(part: Callable[[str], Floats], name: str, x: Floats) -> Floats:
    whole: Floats = _rounded(x) @ _rounded(part(f"{name}.weight")).T + part(f"{name}.bias")
    return whole


def _rounded(matrix: Floats) -> Floats:
    codes, scales = quantised_rows(matrix)
    whole: Floats = codes * scales[:, None]
    return whole


def _normalised(x: Floats, tensor: Callable[[str], Floats], name: str, epsilon: float) -> Floats:
    spread = x.var(axis=1, keepdims=True) + np.float32(epsilon)
    whole: Floats = (x - x.mean(axis=1, keepdims=True)) / np.sqrt(spread) * tensor(f"{name}.weight")
    return whole + tensor(f"{name}.bias")
