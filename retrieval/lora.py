"""Low-rank changes of a model's matrices: reads them from a file and adds them to the weights they change."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import ModelMissing

Floats = NDArray[np.float32]

LORA_A, LORA_B, HEAD = "lora_A", "lora_B", "head"
"""``NAME.lora_A`` ``[rank, inputs]``, ``NAME.lora_B`` ``[outputs, rank]`` change ``NAME.weight``; ``head.`` is new."""


class Adapter:
    """The changes in one safetensors file. ``head`` holds the tensors of a new head, by name without ``head.``, and
    ``about`` what the training said of it; empty where it said nothing."""

    def __init__(self, path: Path) -> None:
        """Raises ModelMissing when the file is not one of changes."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, "numpy") as file:
                said: Mapping[str, str] = file.metadata() or {}
                tensors = {name: file.get_tensor(name).astype(np.float32) for name in file.keys()}  # noqa: SIM118
            self._scale = np.float32(said["scale"])
            self.about: Mapping[str, Any] = json.loads(said.get("about", "{}"))
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise ModelMissing(f"{path} is not a file of low-rank changes: {error}") from None
        self.head = {
            name.removeprefix(f"{HEAD}."): each for name, each in tensors.items() if name.startswith(f"{HEAD}.")
        }
        self._tensors = tensors

    def applied(self, tensor: Callable[[str], Floats]) -> Callable[[str], Floats]:
        """``tensor`` with the changes added: ``W + scale * B @ A`` (Hu et al., ICLR 2022)."""

        def changed(name: str) -> Floats:
            layer = name.removesuffix(".weight")
            low, high = self._tensors.get(f"{layer}.{LORA_A}"), self._tensors.get(f"{layer}.{LORA_B}")
            if not name.endswith(".weight") or low is None or high is None:
                return tensor(name)
            whole: Floats = (tensor(name) + self._scale * (high @ low)).astype(np.float32)
            return whole

        return changed
