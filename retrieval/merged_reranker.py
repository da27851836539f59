"""A cross-encoder's folder out of the folder of its base and what training changed of it, for every runtime here."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.bert_checkpoint import quantised_cross_encoder, stored_cross_encoder
from retrieval.bert_graph import BertShape, pair_graph
from retrieval.errors import ModelMissing
from retrieval.lora import Adapter

Floats = NDArray[np.float32]

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
TOKENIZER = ("tokenizer.json", "tokenizer_config.json")
GRAPH = "onnx/model_int8.onnx"

LANGUAGES: Mapping[str, tuple[str, ...]] = {"english": ("en",), "bilingual": ("en", "zh")}
"""That each student reads, by its name in an adapter."""

_OF_LAYER = (
    *(f"attention.self.{name}" for name in ("query", "key", "value")),
    "attention.output.dense",
    "attention.output.LayerNorm",
    "intermediate.dense",
    "output.dense",
    "output.LayerNorm",
)
_HEAD = {"bert.pooler.dense": "dense", "classifier": "out"}


@dataclass(frozen=True, slots=True)
class _Base:
    """Weights by their names in transformers' BertModel, and the configuration of a BertForSequenceClassification."""

    tensor: Callable[[str], Floats]
    config: Mapping[str, Any]


def merge(base: Path, adapter: Path, into: Path) -> None:
    """Write ``WEIGHTS``, ``CONFIG``, ``TOKENIZER`` and ``CARD``: what transformers and sentence-transformers read.

    ``base`` is the folder of a BERT encoder or cross-encoder in safetensors, or of a cross-encoder in ONNX whose
    matrices onnxruntime made int8; of the last the layers that the adapter names are taken. Weights are kept in half
    precision, which is finer than what they are run in. Raises ModelMissing when either is not what it should be.
    """
    from safetensors.numpy import save_file

    changes = Adapter(adapter)
    student = str(changes.about.get("student", ""))
    if student not in LANGUAGES or not {f"{short}.weight" for short in _HEAD.values()} <= set(changes.head):
        raise ModelMissing(f"{adapter} holds no changes that make a reranker")
    if (base / WEIGHTS).is_file() and (base / CONFIG).is_file():
        found = _encoder(base)
    else:
        found = _some_layers(base, [int(layer) for layer in changes.about["layers"]])
    held = {name: value.astype(np.float16) for name, value in _tensors(found, changes)}
    save_file(held, into / WEIGHTS, {"format": "pt"})
    (into / CONFIG).write_text(json.dumps(found.config, indent=2) + "\n", encoding="utf-8")
    # safetensors leaves its file to its owner alone.
    shutil.copymode(into / CONFIG, into / WEIGHTS)
    for name in TOKENIZER:
        shutil.copyfile(base / name, into / name)
    (into / CARD).write_text(card(LANGUAGES[student]), encoding="utf-8")


def export(folder: Path) -> None:
    """Write ``GRAPH`` of the cross-encoder that ``merge`` wrote: what onnxruntime and OpenVINO run, in int8."""
    model = stored_cross_encoder(folder)
    if model is None:
        raise ModelMissing(f"{folder} holds no BERT cross-encoder")
    (folder / GRAPH).parent.mkdir(exist_ok=True)
    (folder / GRAPH).write_bytes(pair_graph(model.tensor, model.shape, model.head.named, integers=True))


def _tensors(base: _Base, changes: Adapter) -> Iterator[tuple[str, Floats]]:
    """Every weight under its name in BertForSequenceClassification, matrices ``[outputs, inputs]``."""
    tensor = changes.applied(base.tensor)
    names = [f"embeddings.{name}_embeddings.weight" for name in ("word", "position", "token_type")]
    parts = [f"encoder.layer.{n}.{name}" for n in range(base.config["num_hidden_layers"]) for name in _OF_LAYER]
    for part in ("embeddings.LayerNorm", *parts):
        names += [f"{part}.weight", f"{part}.bias"]
    for name in names:
        yield f"bert.{name}", tensor(name)
    for long, short in _HEAD.items():
        for kind in ("weight", "bias"):
            yield f"{long}.{kind}", changes.head[f"{short}.{kind}"]


def _encoder(folder: Path) -> _Base:
    from safetensors import SafetensorError, safe_open

    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        file: Any = safe_open(folder / WEIGHTS, "numpy")
    except (OSError, ValueError, SafetensorError) as error:
        raise ModelMissing(f"{folder} holds no encoder: {error}: pull the model again") from None
    prefix = "bert." if config.get("architectures") == ["BertForSequenceClassification"] else ""
    return _Base(lambda name: np.asarray(file.get_tensor(prefix + name), np.float32), {**config, **_pair_config()})


def _some_layers(folder: Path, layers: Sequence[int]) -> _Base:
    teacher = quantised_cross_encoder(folder / "model.onnx")
    if teacher is None or max(layers) >= teacher.shape.layers:
        raise ModelMissing(f"{folder} holds no cross-encoder with the layers {list(layers)}: pull the model again")

    def tensor(name: str) -> Floats:
        parts = name.split(".")
        if parts[:2] == ["encoder", "layer"]:
            parts[2] = str(layers[int(parts[2])])
        return teacher.tensor(".".join(parts))

    return _Base(tensor, {**_config(tensor, BertShape(len(layers), teacher.shape.heads, teacher.shape.epsilon)),
                          **_pair_config()})  # fmt: skip


def _config(tensor: Callable[[str], Floats], shape: BertShape) -> Mapping[str, Any]:
    words, hidden = tensor("embeddings.word_embeddings.weight").shape
    return {
        "model_type": "bert",
        "hidden_act": "gelu",
        "hidden_size": hidden,
        "intermediate_size": len(tensor("encoder.layer.0.intermediate.dense.bias")),
        "layer_norm_eps": shape.epsilon,
        "max_position_embeddings": len(tensor("embeddings.position_embeddings.weight")),
        "num_attention_heads": shape.heads,
        "num_hidden_layers": shape.layers,
        "pad_token_id": 0,
        "type_vocab_size": len(tensor("embeddings.token_type_embeddings.weight")),
        "vocab_size": words,
    }


def _pair_config() -> Mapping[str, Any]:
    return {
        "architectures": ["BertForSequenceClassification"],
        # What it is loaded in; kept are halves.
        "dtype": "float32",
        "id2label": {"0": "LABEL_0"},
        "label2id": {"LABEL_0": 0},
        # Scores are logits, as everywhere in Riddle.
        "sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity"},
    }


def card(languages: Sequence[str]) -> str:
    """The front matter from which a folder that no registry lists tells its languages."""
    return "---\nlanguage:\n" + "".join(f"- {each}\n" for each in languages) + "---\n"
