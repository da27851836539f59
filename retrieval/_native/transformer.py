"""A BERT encoder's forward pass in int8 on processors with AVX-512 VNNI, texts laid end to end without padding.

Every row of activations has its own scale, so nothing of a text depends on what else is in the batch: the same text
gives the same bits alone and in any company.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval._native.library import address, level, loaded
from retrieval.bert_graph import BertShape, quantised_rows

Floats = NDArray[np.float32]

_PANEL = 64
"""Outputs that the kernel multiplies at a time (kPanel in transformer.h)."""
_WIDTH = 32
"""A head's width is a multiple of it, 128 at most."""

_P, _I = ctypes.c_void_p, ctypes.c_int64


class _Linear(ctypes.Structure):
    _fields_ = (("codes", _P), ("scales", _P), ("offsets", _P), ("sums", _P), ("outputs", _I), ("inputs", _I))


class _Norm(ctypes.Structure):
    _fields_ = (("weight", _P), ("offset", _P))


class _Layer(ctypes.Structure):
    _fields_ = (
        ("attention", _Linear), ("output", _Linear), ("up", _Linear), ("down", _Linear),
        ("attended", _Norm), ("fed", _Norm),
    )  # fmt: skip


class _Model(ctypes.Structure):
    _fields_ = (
        ("words", _P), ("word_scales", _P), ("places", _P), ("segments", _P), ("embedded", _Norm), ("layers", _P),
        ("hidden", _I), ("inner", _I), ("heads", _I), ("count", _I), ("epsilon", ctypes.c_float),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Texts:
    """Token ids of texts one after another; text ``n`` is ``[starts[n], starts[n + 1])``."""

    ids: NDArray[np.int32]
    types: NDArray[np.uint8]
    """Segment numbers, as many."""
    starts: NDArray[np.int64]


def available() -> bool:
    """Whether this machine runs the kernel."""
    return level() == "avx512"


def served(hidden: int, inner: int, heads: int) -> bool:
    """Whether the kernel takes a model of these sizes."""
    width = hidden // heads
    return hidden % _PANEL == inner % _PANEL == 0 and hidden == heads * width and width in (32, 64, 96, 128)


class Transformer:
    """A BERT encoder's weights in the kernel's layout. Thread-safe: only read once it is made."""

    def __init__(self, tensor: Callable[[str], Floats], shape: BertShape) -> None:
        """``tensor`` gives weights by their names in transformers' BertModel. Raises ValueError for other sizes."""
        words, scales = quantised_rows(tensor("embeddings.word_embeddings.weight"))
        places, segments = (tensor(f"embeddings.{name}_embeddings.weight") for name in ("position", "token_type"))
        self.hidden = words.shape[1]
        self._most = len(words), len(segments), len(places)
        inner = len(tensor("encoder.layer.0.intermediate.dense.bias"))
        if not served(self.hidden, inner, shape.heads):
            raise ValueError(f"the kernel serves no model of {self.hidden} by {inner} with {shape.heads} heads")
        self._kept: list[NDArray[np.uint8]] = []
        self._layers = (_Layer * shape.layers)(*(self._layer(tensor, number, shape) for number in range(shape.layers)))
        self._model = _Model(
            self._keep(words), self._keep(scales), self._keep(places), self._keep(segments),
            self._norm(tensor, "embeddings.LayerNorm"), ctypes.addressof(self._layers),
            self.hidden, inner, shape.heads, shape.layers, shape.epsilon,
        )  # fmt: skip

    @property
    def bytes(self) -> int:
        """Of memory that weights and tables take."""
        return sum(len(each) for each in self._kept)

    def firsts(self, texts: Texts) -> Floats:
        """The last layer's vector of each text's first token, float32 ``[texts, hidden]``, in the caller's thread.

        Raises ValueError for a text without tokens or beyond what the model's tables hold.
        """
        return self._run(texts, True, len(texts.starts) - 1)

    def tokens(self, texts: Texts) -> Floats:
        """The last layer's vectors of all tokens, float32 ``[tokens, hidden]``; otherwise as ``firsts``."""
        return self._run(texts, False, len(texts.ids))

    def _run(self, texts: Texts, firsts: bool, rows: int) -> Floats:
        library = loaded()
        if library is None or not available():
            raise ValueError("this processor has no kernel for transformers")
        self._check(texts)
        out = np.empty((rows, self.hidden), np.float32)
        failed = library.riddle_transformer(
            ctypes.addressof(self._model), address(texts.ids), address(texts.types), address(texts.starts),
            len(texts.starts) - 1, int(firsts), address(out),
        )  # fmt: skip
        if failed:
            raise MemoryError("no memory for a transformer's pass")
        return out

    def _check(self, texts: Texts) -> None:
        """The kernel reads without looking, so nothing may lie outside of the tables."""
        words, segments, places = self._most
        lengths = np.diff(texts.starts)
        whole = (
            texts.ids.dtype == np.int32 and texts.types.dtype == np.uint8 and texts.starts.dtype == np.int64
            and texts.ids.flags.c_contiguous and texts.types.flags.c_contiguous and texts.starts.flags.c_contiguous
            and len(texts.ids) == len(texts.types) and texts.starts[0] == 0 and texts.starts[-1] == len(texts.ids)
        )  # fmt: skip
        if not whole or (len(lengths) and (lengths.min() < 1 or lengths.max() > places)):
            raise ValueError(f"texts of 1 to {places} tokens are wanted, laid end to end as int32 ids and uint8 types")
        if len(texts.ids) and (texts.ids.min() < 0 or texts.ids.max() >= words or texts.types.max() >= segments):
            raise ValueError(f"token ids lie in 0..{words - 1} and segments in 0..{segments - 1}")

    def _layer(self, tensor: Callable[[str], Floats], number: int, shape: BertShape) -> _Layer:
        prefix = f"encoder.layer.{number}."
        # The softmax is one of powers of 2, so the logits' scale and log2(e) go into the queries.
        rate = np.float32(np.log2(np.e) / np.sqrt(self.hidden // shape.heads))
        names = (("query", rate), ("key", np.float32(1)), ("value", np.float32(1)))
        stem = f"{prefix}attention.self."
        weight = np.concatenate([tensor(f"{stem}{name}.weight") * by for name, by in names])
        offset = np.concatenate([tensor(f"{stem}{name}.bias") * by for name, by in names])
        return _Layer(
            self._linear(weight, offset),
            *(
                self._linear(tensor(f"{prefix}{name}.weight"), tensor(f"{prefix}{name}.bias"))
                for name in ("attention.output.dense", "intermediate.dense", "output.dense")
            ),
            self._norm(tensor, f"{prefix}attention.output.LayerNorm"),
            self._norm(tensor, f"{prefix}output.LayerNorm"),
        )

    def _linear(self, weight: Floats, offset: Floats) -> _Linear:
        codes, scales = quantised_rows(weight)
        outputs, inputs = codes.shape
        packed = codes.reshape(outputs // _PANEL, _PANEL, inputs // 4, 4).transpose(0, 2, 1, 3)
        sums = 128 * codes.sum(axis=1, dtype=np.int32)
        return _Linear(
            self._keep(packed),
            self._keep(scales),
            self._keep(offset),
            self._keep(sums.astype(np.int32)),
            outputs,
            inputs,
        )

    def _norm(self, tensor: Callable[[str], Floats], name: str) -> _Norm:
        return _Norm(self._keep(tensor(f"{name}.weight")), self._keep(tensor(f"{name}.bias")))

    def _keep(self, value: NDArray[np.generic]) -> int:
        """The address of a copy that begins at a cache line: a load across two lines takes twice as long."""
        plain = np.ascontiguousarray(value).reshape(-1).view(np.uint8)
        room = np.empty(len(plain) + 64, np.uint8)
        begin = -address(room) % 64
        room[begin : begin + len(plain)] = plain
        self._kept.append(room)
        return address(room) + begin
