"""Turns texts into unit vectors by a model on disk or by an embedding server."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from retrieval.batching import token_batches
from retrieval.errors import InvalidRequest, ModelMissing
from retrieval.graphs import Engine, GraphRuntime, best_runtime, cores, cpu_flags, open_engine
from retrieval.lanes import Lanes
from retrieval.models import ModelFiles
from retrieval.native_graph import native_encoder, why_not
from retrieval.remote_encoders import Transport, remote_encoder
from retrieval.tokens import Encoded, Tokenizer, model_inputs
from retrieval.types import Encoder, EncoderSpec, Role, Vectors

__all__ = [
    "GraphEncoder",
    "OpenEncoder",
    "Runtime",
    "Transport",
    "open_encoder",
    "prefixed",
    "remote_encoder",
    "spec_of",
    "unit",
]

Runtime = Literal["auto", "native", "onnxruntime", "openvino", "sentence-transformers"]

SINGLE_TOKENS = 128
"""Up to so many tokens in all, a call is a query rather than a batch of passages."""

NATIVE_TOKENS = 128
"""Of a batch of our own kernel, which loses nothing by small ones."""


def spec_of(files: ModelFiles) -> EncoderSpec:
    """What an index must know of an encoder. Raises InvalidRequest when the model is not one."""
    if files.kind != "encoder" or files.dimension is None:
        raise InvalidRequest(f"the model {files.name} is a {files.kind}, and an encoder is needed")
    return EncoderSpec(
        name=files.name,
        dimension=files.dimension,
        max_tokens=files.max_tokens,
        languages=files.languages,
        query_prefix=files.query_prefix,
        passage_prefix=files.passage_prefix,
        fingerprint=files.fingerprint,
    )


def open_encoder(files: ModelFiles, *, runtime: Runtime = "auto", threads: int = 0) -> Encoder:
    """Load an encoder; seconds of work. ``threads`` of 0 means one for each core.

    ``auto`` takes our own kernel where processor and model allow it and the folder has an ONNX graph
    in int8, which is what would run else: onnxruntime for single queries, and for batches what
    ``best_runtime`` says of this processor. Without a graph sentence-transformers runs it. Vectors of
    two runtimes have a cosine of 0.995 to 0.999.
    Raises ModelMissing when the files do not serve, InvalidRequest when the runtime cannot run them.
    """
    spec = spec_of(files)
    graph = files.onnx if files.pooling != "none" else None
    if runtime == "native" or (runtime == "auto" and graph is not None):
        native = native_encoder(files)
        if native is not None:
            engine = Engine(native, Lanes(threads or cores()), NATIVE_TOKENS)
            return GraphEncoder(spec, Tokenizer(files.tokenizer), engine, engine, files.pooling)
        if runtime == "native":
            raise InvalidRequest(f"models.runtime native cannot run {files.name}: {why_not(files)}; leave it at auto")
    if runtime == "sentence-transformers" or (runtime == "auto" and graph is None):
        from retrieval.torch_encoder import TorchEncoder

        return TorchEncoder(files.path, spec, threads)
    if graph is None:
        raise InvalidRequest(
            f"{runtime} needs an ONNX file with CLS or mean pooling, and {files.path} has none: "
            "set models.runtime to sentence-transformers"
        )
    tokenizer = Tokenizer(files.tokenizer)
    if runtime != "auto":
        both = open_engine(_graph_for(runtime, files, graph), runtime, threads)
        return GraphEncoder(spec, tokenizer, both, both, files.pooling)
    single = open_engine(graph, "onnxruntime", threads)
    batched = best_runtime(cpu_flags())
    bulk = single if batched == "onnxruntime" else open_engine(_graph_for(batched, files, graph), batched, threads)
    return GraphEncoder(spec, tokenizer, single, bulk, files.pooling)


def _graph_for(runtime: GraphRuntime, files: ModelFiles, onnx: Path) -> Path:
    """OpenVINO's own form where the folder has it, else the ONNX graph."""
    return (files.openvino or onnx) if runtime == "openvino" else onnx


class OpenEncoder(Encoder, Protocol):
    """An encoder whose two steps can be taken apart, so that texts of many callers share one pass of the model."""

    def tokens(self, texts: Sequence[str], role: Role | None, max_tokens: int) -> list[Encoded]:
        """Each text as the model reads it, special tokens included, cut to ``max_tokens``; no prefix without a role."""
        ...

    def pooled(self, encoded: Sequence[Encoded]) -> NDArray[np.float32]:
        """``[len(encoded), dimension]`` before normalisation; ``unit`` of it is what ``encode`` gives.

        Nothing may be longer than ``spec.max_tokens``.
        """
        ...


def prefixed(spec: EncoderSpec, texts: Sequence[str], role: Role | None) -> list[str]:
    """The texts behind the prefix of their role; as they are without one."""
    prefix = {"query": spec.query_prefix, "passage": spec.passage_prefix, None: ""}[role]
    return [prefix + text for text in texts]


class GraphEncoder:
    """An encoder whose transformer is a graph: tokenise, batch by length, run, pool, normalise."""

    def __init__(self, spec: EncoderSpec, tokenizer: Tokenizer, single: Engine, bulk: Engine, pooling: str) -> None:
        self._spec = spec
        self._tokenizer = tokenizer
        self._single = single
        self._bulk = bulk
        self._pool = {"cls": _first, "mean": _mean}[pooling]

    @property
    def spec(self) -> EncoderSpec:
        return self._spec

    def encode(self, texts: Sequence[str], role: Role) -> Vectors:
        return unit(self.pooled(self.tokens(texts, role, self._spec.max_tokens)))

    def tokens(self, texts: Sequence[str], role: Role | None, max_tokens: int) -> list[Encoded]:
        return self._tokenizer.encode(prefixed(self._spec, texts, role), max_tokens)

    def pooled(self, encoded: Sequence[Encoded]) -> NDArray[np.float32]:
        vectors: NDArray[np.float32] = np.zeros((len(encoded), self._spec.dimension), np.float32)
        lengths = [len(each) for each in encoded]
        engine = self._single if sum(lengths) <= SINGLE_TOKENS else self._bulk

        def fill(batch: list[int]) -> None:
            inputs = model_inputs([encoded[row] for row in batch])
            hidden = engine.graph.run(inputs)
            if hidden.shape[-1] != self._spec.dimension:
                raise ModelMissing(
                    f"{self._spec.name} gives {hidden.shape[-1]} dimensions where its folder says "
                    f"{self._spec.dimension}: riddle models verify {self._spec.name}"
                )
            vectors[batch] = self._pool(hidden, inputs["attention_mask"])

        engine.lanes.run(fill, token_batches(lengths, engine.batch_tokens))
        return vectors


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows divided by their L2 norm; a row of zeros stays."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(norms, 1e-12), np.float32)


def _first(hidden: NDArray[np.float32], mask: NDArray[np.int64]) -> NDArray[np.float32]:
    return hidden[:, 0]


def _mean(hidden: NDArray[np.float32], mask: NDArray[np.int64]) -> NDArray[np.float32]:
    weights = mask[:, :, None].astype(np.float32)
    return np.asarray((hidden * weights).sum(axis=1) / weights.sum(axis=1), np.float32)
