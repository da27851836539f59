"""Runs an exported transformer, ONNX in and float32 out, by onnxruntime or by OpenVINO; which suits the machine."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from retrieval.batching import Tokens
from retrieval.errors import ModelMissing
from retrieval.lanes import Lanes

GraphRuntime = Literal["onnxruntime", "openvino"]


class Graph(Protocol):
    """A transformer's forward pass. Thread-safe."""

    def run(self, inputs: Mapping[str, Tokens]) -> NDArray[np.float32]:
        """The first output for ``input_ids``, ``attention_mask`` and ``token_type_ids``, each ``[batch, length]``.

        Inputs that the graph does not take are left out.
        """
        ...


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_flags(info: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """Instruction sets of this processor as Linux names them; empty where it does not say."""
    if not info.is_file():
        return frozenset()
    for line in info.read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith(("flags", "Features")):
            return frozenset(line.partition(":")[2].split())
    return frozenset()


def best_runtime(flags: frozenset[str]) -> GraphRuntime:
    """What runs a dynamically quantised graph fastest in batches on a processor with these instruction sets.

    With AMX, OpenVINO on bf16 was more than twice as fast as onnxruntime's int8 (636 against 1,380 ms for
    100 pairs on two cores, as the project's notes have it). On AVX2, onnxruntime's int8 took 1.5 times
    less than OpenVINO on fp32 (1.5 against 2.3 s of one thread for 20 pairs of 170 tokens).
    """
    return "openvino" if {"amx_tile", "amx_bf16"} <= flags else "onnxruntime"


@dataclass(frozen=True, slots=True)
class Engine:
    """A graph and how to feed it: ``lanes`` batches at a time, each of about ``batch_tokens`` tokens."""

    graph: Graph
    lanes: Lanes
    batch_tokens: int


def open_engine(path: Path, runtime: GraphRuntime, threads: int) -> Engine:
    """Load an ONNX file. ``threads`` of 0 means one for each core. Raises ModelMissing when it cannot be read.

    onnxruntime gets small batches, one thread each, several at a time: on AVX2 two threads inside one
    batch cost a tenth more processor time than two batches side by side, threads that spin half as
    much again, and a token costs least in a batch of one (376 us against 404 in a batch of ten).
    OpenVINO gets large batches and spreads each over its own threads.
    """
    threads = threads or cores()
    if runtime == "openvino":
        from retrieval.openvino_graph import OpenVinoGraph

        return Engine(OpenVinoGraph(path, threads), Lanes(1), 2048)
    return Engine(OnnxGraph(path), Lanes(threads), 512)


class OnnxGraph:
    """onnxruntime on the CPU, in the caller's thread alone. Several threads may run one session at once."""

    def __init__(self, path: Path) -> None:
        import onnxruntime
        from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidGraph, InvalidProtobuf, NoSuchFile

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session: Any = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except (Fail, InvalidGraph, InvalidProtobuf, NoSuchFile) as error:
            raise ModelMissing(f"{path} is not a model that onnxruntime reads: {error}") from None
        self._wanted = [each.name for each in self._session.get_inputs()]
        self._output = self._session.get_outputs()[0].name

    def run(self, inputs: Mapping[str, Tokens]) -> NDArray[np.float32]:
        result = self._session.run([self._output], {name: inputs[name] for name in self._wanted})[0]
        return np.asarray(result, np.float32)
