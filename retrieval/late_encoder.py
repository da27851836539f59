"""Token vectors of queries and passages by a model of late interaction on disk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from retrieval._native.late import LateQuery
from retrieval.batching import padded, token_batches
from retrieval.encoders import unit
from retrieval.errors import InvalidRequest, ModelMissing
from retrieval.graphs import Engine, open_engine
from retrieval.models import ModelFiles
from retrieval.token_codec import Codec, LateFile, LateSpec, read_late_file
from retrieval.token_vectors import TokenCodes
from retrieval.tokens import Tokenizer
from retrieval.types import Vectors

LATE_FILE = "late.safetensors"


class LateEncoder(Protocol):
    """Turns passages into compressed token vectors, and queries into what is scored against them. Thread-safe."""

    @property
    def spec(self) -> LateSpec: ...

    @property
    def languages(self) -> tuple[str, ...]:
        """ISO 639-1 codes that it was trained for; ``("*",)`` when it is meant for all."""
        ...

    def encode(self, texts: Sequence[str]) -> TokenCodes:
        """The tokens of ``texts``, order kept; text beyond the model's room is cut. Every text has some tokens."""
        ...

    def query(self, text: str) -> LateQuery: ...


def open_late(files: ModelFiles, *, bits: int = 2, threads: int = 0) -> GraphLateEncoder:
    """Load a model of late interaction; seconds of work. ``threads`` of 0 means one for each core.

    Raises InvalidRequest when the model is of another kind or the bits are not 2 or 4, ModelMissing when its files do
    not serve.
    """
    late, codec = _read(files, bits)
    if files.onnx is None:
        raise ModelMissing(f"{files.path} holds no ONNX file: riddle models pull {files.name}")
    engine = open_engine(files.onnx, "onnxruntime", threads)
    return GraphLateEncoder(files, late, codec, engine)


def late_spec(files: ModelFiles, *, bits: int = 2) -> LateSpec:
    """That of what ``open_late`` opens, without loading the transformer. Raises as it does."""
    return _read(files, bits)[1].spec


def _read(files: ModelFiles, bits: int) -> tuple[LateFile, Codec]:
    if files.kind != "late":
        raise InvalidRequest(f"the model {files.name} is a {files.kind}, and one of late interaction is needed")
    late = read_late_file(files.path / LATE_FILE)
    return late, late.codec(files.name, files.fingerprint, bits)


class GraphLateEncoder:
    """A model whose transformer is a graph that ends at the hidden states: mark, run, project, normalise, compress."""

    def __init__(self, files: ModelFiles, late: LateFile, codec: Codec, engine: Engine) -> None:
        self.codec = codec
        self.languages = files.languages
        self._late, self._engine = late, engine
        self._tokenizer = Tokenizer(files.tokenizer)
        self._most = files.max_tokens
        self._marks = {mark: self._tokenizer.id_of(mark) for mark in (late.query_mark, late.passage_mark)}
        self._without = np.array(sorted(late.without), np.int64)
        self._projection = np.ascontiguousarray(late.projection.T, np.float32)

    @property
    def spec(self) -> LateSpec:
        return self.codec.spec

    def encode(self, texts: Sequence[str]) -> TokenCodes:
        found = self._passages(texts)
        counts = np.array([len(codes) for codes in found], np.int32)
        tokens = np.concatenate(found) if found else np.empty((0, self.spec.width), np.uint8)
        return TokenCodes(self.spec, counts, tokens)

    def query(self, text: str) -> LateQuery:
        return self.codec.query(self.query_vectors(text))

    def query_vectors(self, text: str) -> Vectors:
        """Float32 ``[tokens, d]`` of the text's own tokens, at most the model's number. A row is as long as its token
        is important, on average 1, so that the mean of best products is a weighted mean of cosines.

        ColBERT fills a query up with ``[MASK]`` (Khattab and Zaharia, SIGIR 2020). That is left out: this model was
        exported without the projection that it was trained with, and under another one its masks cost more than they
        bring (see the model's card).
        """
        (ids,) = self._ids([text], self._late.query_mark, self._late.query_tokens)
        weights = self._late.importance[ids]
        if not weights.any():  # of nothing but marks
            weights = np.ones(len(ids), np.float32)
        kept = weights > 0
        vectors: Vectors = self._run([ids])[0][kept] * (weights[kept] / weights[kept].mean())[:, None]
        return vectors

    def passage_vectors(self, texts: Sequence[str]) -> list[Vectors]:
        """Of each text the vectors before compression, float32 ``[tokens, d]``."""
        rows = self._ids(texts, self._late.passage_mark, self._most)
        found: list[Vectors] = [np.empty((0, 0), np.float32)] * len(rows)

        def fill(batch: list[int]) -> None:
            ids = [rows[row] for row in batch]
            for row, vectors in zip(batch, self._run(ids), strict=True):
                found[row] = vectors[: len(rows[row])][~np.isin(rows[row], self._without)]

        self._engine.lanes.run(fill, token_batches([len(each) for each in rows], self._engine.batch_tokens))
        return found

    def _passages(self, texts: Sequence[str]) -> list[NDArray[np.uint8]]:
        return [self.codec.encode(vectors) for vectors in self.passage_vectors(texts)]

    def _ids(self, texts: Sequence[str], mark: str, most: int) -> list[list[int]]:
        """Token ids with the mark behind the first, which is ``[CLS]``; ``most`` of them with it."""
        encoded = self._tokenizer.encode(texts, most - 1)
        return [[each.ids[0], self._marks[mark], *each.ids[1:]] for each in encoded]

    def _run(self, ids: Sequence[Sequence[int]]) -> Vectors:
        """Float32 ``[batch, longest, d]``, unit vectors."""
        inputs = padded(ids)
        mask = padded([[1] * len(each) for each in ids])
        hidden = self._engine.graph.run(
            {"input_ids": inputs, "attention_mask": mask, "token_type_ids": np.zeros_like(inputs)}
        )
        if hidden.shape[-1] != len(self._projection):
            raise ModelMissing(f"{self.spec.model} gives {hidden.shape[-1]} numbers, not {len(self._projection)}")
        flat = unit(hidden.reshape(-1, hidden.shape[-1]) @ self._projection)
        vectors: Vectors = flat.reshape(*inputs.shape, -1)
        return vectors
