"""A BERT encoder's forward pass as an ONNX graph, built from its tensors, for float32 or int8 arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

_OPSET, _IR = 20, 10
_MASKED = -10000.0
"""Added to the attention logits of padding; exp of it is 0, and half precision holds it."""
_ROWS = 8192
"""That are quantised at a time."""


@dataclass(frozen=True, slots=True)
class BertShape:
    """What of a BERT encoder its tensors alone do not say."""

    layers: int
    heads: int
    epsilon: float


def bert_graph(
    tensor: Callable[[str], Floats], shape: BertShape, *, integers: bool, head: Mapping[str, Floats] | None = None
) -> bytes:
    """The serialised graph: int64 ``input_ids`` and ``attention_mask`` ``[batch, length]`` to ``last_hidden_state``.

    With the weights of a ``head`` it gives ``probabilities`` ``[batch, classes]`` instead: of the first token's
    vector, the mean and the greatest of all tokens' vectors, side by side, ``dense`` and tanh, then ``out``.
    It takes ``token_type_ids`` too, then: the head's ``mark`` is added to the vectors of tokens that have 1 there.

    ``tensor`` gives the weights by their names in transformers' BertModel. Segments are all 0. The table
    of words is kept in int8 with a scale for each row. With ``integers`` every linear layer is multiplied
    in int8, activations quantised as they come (ONNX ``DynamicQuantizeLinear``, which onnxruntime fuses);
    without, in float32.
    """
    import onnx

    graph = _Graph(integers)
    hidden = _embeddings(graph, tensor, shape, None if head is None else head["mark"])
    bias = _attention_bias(graph)
    for layer in range(shape.layers):
        part = _below(tensor, layer)
        hidden = _fed(graph, part, _attention(graph, part, hidden, bias, shape), hidden, shape)
    if head is None:
        graph.node("Identity", [hidden], output="last_hidden_state")
        shaped: list[str | int] = ["batch", "length", len(tensor("embeddings.LayerNorm.bias"))]
        model = graph.model(("input_ids", "attention_mask"), "last_hidden_state", shaped)
    else:
        _head(graph, hidden, head)
        taken = ("input_ids", "attention_mask", "token_type_ids")
        model = graph.model(taken, "probabilities", ["batch", len(head["out.bias"])])
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def pair_graph(
    tensor: Callable[[str], Floats], shape: BertShape, head: Mapping[str, Floats], *, integers: bool
) -> bytes:
    """The same of a cross-encoder: ``token_type_ids`` are segments, and it gives ``logits`` ``[batch, labels]``.

    They come of the first token's vector by the ``head``: ``dense`` and tanh, then ``out``. Of the last layer nothing
    is computed for the other tokens but their keys and values.
    """
    import onnx

    graph = _Graph(integers)
    hidden = _segmented(graph, tensor, shape)
    bias = _attention_bias(graph)
    for layer in range(shape.layers):
        part = _below(tensor, layer)
        if layer + 1 < shape.layers:
            hidden = _fed(graph, part, _attention(graph, part, hidden, bias, shape), hidden, shape)
        else:
            first = graph.node("Slice", [hidden, graph.numbers(0), graph.numbers(1), graph.numbers(1)])
            hidden = _fed(graph, part, _attention(graph, part, hidden, bias, shape, first), first, shape)
    pooled = graph.node("Squeeze", [hidden, graph.numbers(1)])
    inner = graph.node("Tanh", [graph.plain(pooled, head["dense.weight"], head["dense.bias"])])
    logits = graph.plain(inner, head["out.weight"], head["out.bias"])
    graph.node("Identity", [logits], output="logits")
    taken = ("input_ids", "attention_mask", "token_type_ids")
    model = graph.model(taken, "logits", ["batch", len(head["out.bias"])])
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def quantised_rows(matrix: Floats) -> tuple[NDArray[np.int8], Floats]:
    """Each row as int8 in [-127, 127] and its scale, the largest magnitude of the row over 127."""
    numbers, scales = np.empty(matrix.shape, np.int8), np.empty(len(matrix), np.float32)
    # In blocks: a table of 250,000 words would take three times its size beside it otherwise.
    for at in range(0, len(matrix), _ROWS):
        rows = matrix[at : at + _ROWS]
        most = np.maximum(np.abs(rows).max(axis=1), np.float32(1e-12))
        scales[at : at + _ROWS] = most.astype(np.float32) / np.float32(127)
        numbers[at : at + _ROWS] = np.rint(rows / scales[at : at + _ROWS, None])
    return numbers, scales


def _below(tensor: Callable[[str], Floats], layer: int) -> Callable[[str], Floats]:
    """``tensor`` by its name within one layer."""
    return lambda name: tensor(f"encoder.layer.{layer}.{name}")


def _embeddings(graph: _Graph, tensor: Callable[[str], Floats], shape: BertShape, mark: Floats | None) -> str:
    word = _words(graph, tensor)
    if mark is not None:
        marked = graph.node("Unsqueeze", [graph.node("Cast", ["token_type_ids"], to=1), graph.numbers(2)])
        word = graph.node("Add", [word, graph.node("Mul", [marked, graph.constant(mark)])])
    # Every token is of the first segment, whose vector goes into the positions'.
    places = tensor("embeddings.position_embeddings.weight") + tensor("embeddings.token_type_embeddings.weight")[0]
    return _normalised(graph, graph.node("Add", [word, _places(graph, places)]), tensor, "embeddings", shape)


def _segmented(graph: _Graph, tensor: Callable[[str], Floats], shape: BertShape) -> str:
    """The embeddings of a pair, whose tokens are of the first or of the second segment."""
    segments = graph.constant(tensor("embeddings.token_type_embeddings.weight"))
    placed = graph.node("Add", [_words(graph, tensor), _places(graph, tensor("embeddings.position_embeddings.weight"))])
    whole = graph.node("Add", [placed, graph.node("Gather", [segments, "token_type_ids"])])
    return _normalised(graph, whole, tensor, "embeddings", shape)


def _words(graph: _Graph, tensor: Callable[[str], Floats]) -> str:
    words, scales = quantised_rows(tensor("embeddings.word_embeddings.weight"))
    table, steps = graph.constant(words), graph.constant(scales[:, None])
    rows = graph.node("Cast", [graph.node("Gather", [table, "input_ids"])], to=1)
    return graph.node("Mul", [rows, graph.node("Gather", [steps, "input_ids"])])


def _places(graph: _Graph, places: Floats) -> str:
    """The vectors of positions from 0 to the batch's length."""
    length = graph.node("Shape", ["input_ids"], start=1, end=2)
    return graph.node("Slice", [graph.constant(places), graph.numbers(0), length, graph.numbers(0)])


def _attention_bias(graph: _Graph) -> str:
    """0 where a token is and ``_MASKED`` where padding is, ``[batch, 1, 1, length]``."""
    mask = graph.node("Cast", ["attention_mask"], to=1)
    wide = graph.node("Unsqueeze", [mask, graph.numbers(1, 2)])
    missing = graph.node("Sub", [graph.scalar(1.0), wide])
    return graph.node("Mul", [missing, graph.scalar(_MASKED)])


def _attention(
    graph: _Graph, part: Callable[[str], Floats], hidden: str, bias: str, shape: BertShape, asking: str = ""
) -> str:
    """Attention over all heads, of all tokens or of those whose vectors are ``asking``."""
    names = ("key", "value") if asking else ("query", "key", "value")
    turned = _heads(graph, part, hidden, names, shape)
    split = graph.nodes("Split", [turned], len(names), axis=1, num_outputs=len(names))
    query = _heads(graph, part, asking, ("query",), shape) if asking else split[0]
    key, value = split[-2:]
    logits = graph.node("MatMul", [query, graph.node("Transpose", [key], perm=[0, 1, 3, 2])])
    weights = graph.node("Softmax", [graph.node("Add", [logits, bias])], axis=-1)
    mixed = graph.node("Transpose", [graph.node("MatMul", [weights, value])], perm=[0, 2, 1, 3])
    return graph.node("Reshape", [mixed, graph.numbers(0, 0, len(part("attention.self.query.bias")))])


def _heads(graph: _Graph, part: Callable[[str], Floats], hidden: str, names: Sequence[str], shape: BertShape) -> str:
    """Queries, keys or values of one multiplication, ``[batch, heads of each name, length, width]``."""
    pairs = [_weights(part, f"attention.self.{name}") for name in names]
    width = len(pairs[0][1]) // shape.heads
    # The logits' 1 / sqrt(width) goes into the queries.
    rates = [np.float32(width**-0.5 if name == "query" else 1) for name in names]
    weight = np.concatenate([each[0] * rate for each, rate in zip(pairs, rates, strict=True)])
    offset = np.concatenate([each[1] * rate for each, rate in zip(pairs, rates, strict=True)])
    together = graph.linear(hidden, weight, offset)
    heads = graph.node("Reshape", [together, graph.numbers(0, 0, len(names) * shape.heads, width)])
    return graph.node("Transpose", [heads], perm=[0, 2, 1, 3])


def _fed(graph: _Graph, part: Callable[[str], Floats], attended: str, before: str, shape: BertShape) -> str:
    """The rest of a layer, for tokens whose vectors were ``before``."""
    hidden = _residual(graph, part, "attention.output", attended, before, shape)
    inner = graph.node("Gelu", [graph.linear(hidden, *_weights(part, "intermediate.dense"))])
    return _residual(graph, part, "output", inner, hidden, shape)


def _residual(
    graph: _Graph, part: Callable[[str], Floats], name: str, value: str, before: str, shape: BertShape
) -> str:
    """The end of a block: a linear layer, what went into the block added, normalised."""
    changed = graph.linear(value, *_weights(part, f"{name}.dense"))
    return _normalised(graph, graph.node("Add", [changed, before]), part, name, shape)


def _normalised(graph: _Graph, value: str, part: Callable[[str], Floats], name: str, shape: BertShape) -> str:
    scale, offset = (graph.constant(part(f"{name}.LayerNorm.{which}")) for which in ("weight", "bias"))
    return graph.node("LayerNormalization", [value, scale, offset], axis=-1, epsilon=shape.epsilon)


def _head(graph: _Graph, hidden: str, head: Mapping[str, Floats]) -> None:
    """In float32 throughout: it is small, and its rounding would go straight into the probabilities."""
    mask = graph.node("Unsqueeze", [graph.node("Cast", ["attention_mask"], to=1), graph.numbers(2)])
    places = graph.numbers(1)
    first = graph.node("Squeeze", [graph.node("Gather", [hidden, graph.numbers(0)], axis=1), places])
    total = graph.node("ReduceSum", [graph.node("Mul", [hidden, mask]), places], keepdims=0)
    mean = graph.node("Div", [total, graph.node("ReduceSum", [mask, places], keepdims=0)])
    missing = graph.node("Mul", [graph.node("Sub", [graph.scalar(1.0), mask]), graph.scalar(_MASKED)])
    most = graph.node("ReduceMax", [graph.node("Add", [hidden, missing]), places], keepdims=0)
    inner = graph.plain(graph.node("Concat", [first, mean, most], axis=-1), head["dense.weight"], head["dense.bias"])
    logits = graph.plain(graph.node("Tanh", [inner]), head["out.weight"], head["out.bias"])
    graph.node("Softmax", [logits], output="probabilities", axis=-1)


def _weights(part: Callable[[str], Floats], name: str) -> tuple[Floats, Floats]:
    """A linear layer's ``[outputs, inputs]`` and ``[outputs]``."""
    return part(f"{name}.weight").copy(), part(f"{name}.bias")


class _Graph:
    """Nodes and constants so far; names are numbers in the order of making, so that equal input gives equal bytes."""

    def __init__(self, integers: bool) -> None:
        self._integers = integers
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._quantised: dict[str, tuple[str, str, str]] = {}

    def constant(self, value: NDArray[Any]) -> str:
        from onnx import numpy_helper

        name = f"c{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def numbers(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64))

    def scalar(self, value: float) -> str:
        return self.constant(np.array(value, np.float32))

    def node(self, kind: str, inputs: Sequence[str], output: str = "", **attributes: object) -> str:
        (name,) = self.nodes(kind, inputs, 1, output, **attributes)
        return name

    def nodes(self, kind: str, inputs: Sequence[str], count: int, output: str = "", **attributes: object) -> list[str]:
        from onnx import helper

        names = [output] if output else [f"n{len(self._nodes)}.{number}" for number in range(count)]
        self._nodes.append(helper.make_node(kind, list(inputs), names, **attributes))
        return names

    def linear(self, value: str, weight: Floats, offset: Floats) -> str:
        """``value @ weight.T + offset``, in the graph's arithmetic."""
        if not self._integers:
            return self.plain(value, weight, offset)
        return self.node("Add", [self._integer(value, weight), self.constant(offset)])

    def plain(self, value: str, weight: Floats, offset: Floats) -> str:
        """The same in float32."""
        return self.node("Add", [self.node("MatMul", [value, self.constant(weight.T)]), self.constant(offset)])

    def _integer(self, value: str, weight: Floats) -> str:
        """The pattern of onnxruntime's own dynamic quantisation, a scale for each output."""
        numbers, scales = quantised_rows(weight)
        if value not in self._quantised:
            codes, step, zero = self.nodes("DynamicQuantizeLinear", [value], 3)
            self._quantised[value] = codes, step, zero
        codes, step, zero = self._quantised[value]
        origin = self.constant(np.zeros(len(scales), np.int8))
        product = self.node("MatMulInteger", [codes, self.constant(numbers.T), zero, origin])
        scale = self.node("Mul", [step, self.constant(scales)])
        return self.node("Mul", [self.node("Cast", [product], to=1), scale])

    def model(self, taken: Sequence[str], result: str, shape: Sequence[str | int]) -> Any:
        from onnx import TensorProto, helper

        inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "length"]) for name in taken]
        output = helper.make_tensor_value_info(result, TensorProto.FLOAT, list(shape))
        graph = helper.make_graph(self._nodes, "bert", inputs, [output], self._constants)
        return helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR, producer_name="riddle"
        )
