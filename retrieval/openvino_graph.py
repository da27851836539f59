"""Runs a transformer in OpenVINO, in its own form or in ONNX; dynamic quantisation is taken out of the latter first."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.batching import Tokens
from retrieval.errors import ModelMissing


class OpenVinoGraph:
    """OpenVINO on the CPU; bf16 where the processor multiplies it in hardware, which OpenVINO decides itself.

    OpenVINO runs the integer operators of a dynamically quantised file three times slower than plain
    ones (6,927 against 2,316 ms for 20 pairs on AVX2), so those are folded into float weights.
    """

    def __init__(self, path: Path, threads: int) -> None:
        import openvino

        core = openvino.Core()
        try:
            model = core.read_model(path if path.suffix == ".xml" else plain_weights(path))
            self._model: Any = core.compile_model(
                model, "CPU", {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
            )
        except RuntimeError as error:
            raise ModelMissing(f"{path} is not a model that OpenVINO reads: {error}") from None
        self._wanted = [each.get_any_name() for each in self._model.inputs]
        # An infer request serves one thread at a time.
        self._thread = threading.local()

    def run(self, inputs: Mapping[str, Tokens]) -> NDArray[np.float32]:
        request = getattr(self._thread, "request", None)
        if request is None:
            request = self._thread.request = self._model.create_infer_request()
        result = request.infer({name: inputs[name] for name in self._wanted})
        return np.array(result[0], np.float32)


def save_openvino(graph: bytes, path: Path) -> None:
    """Write an ONNX graph with plain weights as OpenVINO's ``path`` (.xml) and its .bin, weights in half precision."""
    import openvino

    openvino.save_model(openvino.Core().read_model(graph), path, compress_to_fp16=True)


def plain_weights(path: Path) -> bytes:
    """The ONNX file with what onnxruntime's dynamic quantisation put in taken out, the weights in float32.

    Each ``DynamicQuantizeLinear``, ``MatMulInteger``, ``Cast``, ``Mul`` becomes one ``MatMul``, each
    quantised table behind a ``Gather`` a float one. Activations are no longer rounded, so the result is
    nearer to the original model than the file's own. A file without such operators comes back as it is.
    Raises ModelMissing when it is not an ONNX file.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(path)
    except (DecodeError, OSError) as error:
        raise ModelMissing(f"{path} is not an ONNX file: {error}") from None
    _Unquantiser(model.graph).run()
    data: bytes = model.SerializeToString()
    return data


class _Unquantiser:
    """Rewrites one graph in place."""

    def __init__(self, graph: Any) -> None:
        self._graph = graph
        self._constants = {each.name: each for each in graph.initializer}
        self._producer = {name: node for node in graph.node for name in node.output}
        self._consumers: dict[str, list[Any]] = {}
        for node in graph.node:
            for name in node.input:
                self._consumers.setdefault(name, []).append(node)

    def run(self) -> None:
        replaced: dict[str, Any] = {}
        gone: set[str] = set()
        for node in self._graph.node:
            if node.op_type == "MatMulInteger":
                self._matmul(node, replaced, gone)
            elif node.op_type == "DequantizeLinear":
                self._table(node, replaced, gone)
        nodes = [replaced.get(node.output[0], node) for node in self._graph.node if node.output[0] not in gone]
        used = {name for node in nodes for name in node.input}
        constants = [each for each in self._graph.initializer if each.name in used]
        del self._graph.node[:], self._graph.initializer[:]
        self._graph.node.extend(nodes)
        self._graph.initializer.extend(constants)

    def _matmul(self, node: Any, replaced: dict[str, Any], gone: set[str]) -> None:
        """``Mul(Cast(MatMulInteger(quantised x, w)), x_scale * w_scale)`` to ``MatMul(x, float w)``."""
        from onnx import helper

        quantise = self._producer[node.input[0]]
        (cast,) = self._consumers[node.output[0]]
        (scaled,) = self._consumers[cast.output[0]]
        scales = self._producer[next(name for name in scaled.input if name != cast.output[0])]
        weight_scale = next(name for name in scales.input if name != quantise.output[1])
        weight = self._float(node.input[1], weight_scale, node.input[3])
        replaced[scaled.output[0]] = helper.make_node("MatMul", [quantise.input[0], weight], [scaled.output[0]])
        gone.update(each.output[0] for each in (quantise, node, cast, scales))

    def _table(self, node: Any, replaced: dict[str, Any], gone: set[str]) -> None:
        """``DequantizeLinear(Gather(quantised table))`` to ``Gather(float table)``."""
        from onnx import helper

        gather = self._producer[node.input[0]]
        table = self._float(gather.input[0], node.input[1], node.input[2])
        replaced[node.output[0]] = helper.make_node("Gather", [table, gather.input[1]], [node.output[0]])
        gone.add(gather.output[0])

    def _float(self, weight: str, scale: str, zero: str) -> str:
        from onnx import numpy_helper

        value, step, origin = (numpy_helper.to_array(self._constants[name]) for name in (weight, scale, zero))
        name = f"{weight}_float"
        plain = (value.astype(np.float32) - origin.astype(np.float32)) * step
        self._graph.initializer.append(numpy_helper.from_array(plain.astype(np.float32), name))
        return name
