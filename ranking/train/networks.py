"""The networks: the teacher out of its ONNX file, some of its layers, an encoder with a head, and LoRA on them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from retrieval.lora import HEAD, LORA_A, LORA_B
from retrieval.onnx_weights import bert_weights

TARGETS = r".*layer\.\d+\.(?:attention\.self\.(?:query|key|value)|(?:attention\.output|intermediate|output)\.dense)"
_ADAPTER = "default"
_HEADS = {"bert.pooler.dense": "dense", "classifier": "out"}
"""Layers of the head that are trained whole, and their names in the adapter's file."""


@dataclass(frozen=True, slots=True)
class LoraShape:
    """Rank and strength of the changes: a matrix W becomes W + (alpha / rank) B A."""

    rank: int
    alpha: int

    @property
    def scale(self) -> float:
        return self.alpha / self.rank


def teacher_network(onnx: Path) -> Any:
    """transformers' BertForSequenceClassification with the weights of ``onnx`` (retrieval/onnx_weights.py)."""
    from transformers import BertConfig, BertForSequenceClassification

    weights = bert_weights(onnx)
    words = weights["bert.embeddings.word_embeddings.weight"]
    layers = 1 + max(int(name.split(".")[3]) for name in weights if name.startswith("bert.encoder.layer."))
    width = words.shape[1]
    config = BertConfig(
        vocab_size=words.shape[0],
        hidden_size=width,
        num_hidden_layers=layers,
        # Heads are 32 wide in the MiniLM family; no tensor says so.
        num_attention_heads=width // 32,
        intermediate_size=weights["bert.encoder.layer.0.intermediate.dense.weight"].shape[0],
        max_position_embeddings=weights["bert.embeddings.position_embeddings.weight"].shape[0],
        type_vocab_size=weights["bert.embeddings.token_type_embeddings.weight"].shape[0],
        num_labels=1,
    )
    network = BertForSequenceClassification(config)
    network.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    return network.eval()


def some_layers(teacher: Any, layers: Sequence[int]) -> Any:
    """A network of these layers of ``teacher`` (from 0), with its embeddings and its head."""
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig.from_dict({**teacher.config.to_dict(), "num_hidden_layers": len(layers)})
    network = BertForSequenceClassification(config)
    network.bert.embeddings.load_state_dict(teacher.bert.embeddings.state_dict())
    network.bert.pooler.load_state_dict(teacher.bert.pooler.state_dict())
    network.classifier.load_state_dict(teacher.classifier.state_dict())
    for place, layer in enumerate(layers):
        network.bert.encoder.layer[place].load_state_dict(teacher.bert.encoder.layer[layer].state_dict())
    return network


def from_encoder(folder: Path, seed: int) -> Any:
    """The BERT encoder in ``folder`` with a fresh head of one logit over its first token."""
    from transformers import BertForSequenceClassification

    torch.manual_seed(seed)
    # The pooler of an encoder that was trained without one would be noise of another scale.
    return BertForSequenceClassification.from_pretrained(folder, num_labels=1, dtype=torch.float32)


def adapted(network: Any, shape: LoraShape | None) -> None:
    """Freeze what does not travel and put low-rank changes on the rest; without a shape everything but the table of
    words is trained."""
    if shape is None:
        network.bert.embeddings.word_embeddings.weight.requires_grad_(False)
        return
    from peft import LoraConfig

    network.add_adapter(LoraConfig(r=shape.rank, lora_alpha=shape.alpha, target_modules=TARGETS, bias="none"), _ADAPTER)
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(".lora_" in name or any(name.startswith(f"{head}.") for head in _HEADS))


def trained(network: nn.Module) -> dict[str, nn.Parameter]:
    """What is trained, by its name in the network."""
    return {name: value for name, value in network.named_parameters() if value.requires_grad}


def save_adapter(path: Path, network: nn.Module, shape: LoraShape, said: Mapping[str, object]) -> None:
    """Write changes and head as float16 safetensors in the form that retrieval/lora.py reads."""
    from safetensors.torch import save_file

    tensors = {}
    for name, value in trained(network).items():
        for part in (LORA_A, LORA_B):
            if f".{part}." in name:
                layer = name.removeprefix("bert.").partition(f".{part}.")[0]
                tensors[f"{layer}.{part}"] = value
        for layer, short in _HEADS.items():
            if name.startswith(f"{layer}."):
                tensors[f"{HEAD}.{short}.{name.removeprefix(f'{layer}.')}"] = value
    halves = {name: value.detach().cpu().half().contiguous() for name, value in tensors.items()}
    save_file(halves, path, {"scale": repr(shape.scale), "about": json.dumps(said)})
