"""The grounding model while it is trained: a BERT encoder with low-rank changes, and a head that says the verdict."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from retrieval.lora import HEAD, LORA_A, LORA_B

TARGETS = (
    r".*encoder\.layer\.\d+\.(?:attention\.self\.(?:query|key|value)|(?:attention\.output|intermediate|output)\.dense)"
)


@dataclass(frozen=True, slots=True)
class LoraShape:
    """Rank and strength of the changes: a matrix W becomes W + (alpha / rank) B A."""

    rank: int = 32
    alpha: int = 64

    @property
    def scale(self) -> float:
        return self.alpha / self.rank


class GroundingNetwork(nn.Module):
    """Logits ``[batch, 3]`` from the first token's vector, the mean and the greatest of all tokens' vectors.

    Tokens with a segment of 1 (``Tokenizer.encode_marked``) get the vector ``mark`` on top of their own.
    """

    def __init__(self, encoder: Any, lora: LoraShape) -> None:
        """``encoder`` is a transformers BertModel; its own weights are frozen."""
        from peft import LoraConfig, get_peft_model

        super().__init__()
        config = LoraConfig(r=lora.rank, lora_alpha=lora.alpha, target_modules=TARGETS, bias="none")
        self.lora = lora
        self.encoder = get_peft_model(encoder, config)
        words = encoder.get_input_embeddings()
        width = int(encoder.config.hidden_size)
        self.dense = nn.Linear(3 * width, width)
        self.out = nn.Linear(width, 3)
        # As large as a word's vector, so that it is seen from the first step on.
        self.mark = nn.Parameter(torch.randn(width) * words.weight.std().item())
        self._words = [words]  # not a part of this module: the encoder's

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        marked = self._words[0](input_ids) + token_type_ids[:, :, None] * self.mark
        hidden = self.encoder(inputs_embeds=marked, attention_mask=attention_mask).last_hidden_state.float()
        mask = attention_mask[:, :, None].float()
        mean = (hidden * mask).sum(1) / mask.sum(1)
        most = (hidden + (mask - 1.0) * 10000.0).amax(1)
        logits: Tensor = self.out(torch.tanh(self.dense(torch.cat([hidden[:, 0], mean, most], 1))))
        return logits

    def trained(self) -> dict[str, nn.Parameter]:
        """What is trained, by its name in the adapter's file."""
        found = {f"{HEAD}.mark": self.mark}
        for name, parameter in self.encoder.named_parameters():
            for part in (LORA_A, LORA_B):
                if f".{part}." in name:
                    found[f"{name.partition('.model.')[2].partition(f'.{part}.')[0]}.{part}"] = parameter
        for layer in ("dense", "out"):
            for part, parameter in getattr(self, layer).named_parameters():
                found[f"{HEAD}.{layer}.{part}"] = parameter
        return found


def open_network(base: Path, lora: LoraShape, dropout: float) -> GroundingNetwork:
    """The network over the encoder in ``base``, with a fresh head and changes that do nothing yet."""
    from transformers import BertModel

    encoder = BertModel.from_pretrained(
        base,
        add_pooling_layer=False,
        dtype=torch.float32,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=0.0,
    )
    return GroundingNetwork(encoder, lora)


def save_adapter(
    path: Path, network: GroundingNetwork, offsets: NDArray[np.float32], said: Mapping[str, object]
) -> None:
    """Write what was trained as float16 safetensors, with ``said`` and the strength in its metadata.

    ``offsets`` ``[3]`` are added to the head's last bias.
    """
    from safetensors.torch import save_file

    tensors = {name: value.detach().cpu().half().contiguous() for name, value in network.trained().items()}
    bias = f"{HEAD}.out.bias"
    tensors[bias] = (network.out.bias.detach().cpu() + torch.from_numpy(offsets)).half()
    save_file(tensors, path, {"scale": repr(network.lora.scale), "about": json.dumps(said)})
