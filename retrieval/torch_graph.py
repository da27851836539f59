"""Runs any cross-encoder that sentence-transformers reads, in torch: for models that come without an ONNX file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.batching import Tokens
from retrieval.errors import ModelMissing


class TorchGraph:
    """``[batch, labels]`` logits in float32. Thread-safe."""

    def __init__(self, folder: Path, threads: int) -> None:
        """Reads local files only; ``threads`` of 0 leaves torch its own number. Raises ModelMissing when the files
        are not a cross-encoder's."""
        import inspect

        import torch
        from safetensors import SafetensorError
        from sentence_transformers import CrossEncoder

        if threads:
            torch.set_num_threads(threads)
        try:
            model = CrossEncoder(str(folder), device="cpu", local_files_only=True)
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise ModelMissing(f"{folder} is not a cross-encoder that sentence-transformers reads: {error}") from None
        self._model: Any = model.model.eval()
        self._torch: Any = torch
        self._taken = set(inspect.signature(self._model.forward).parameters)

    def run(self, inputs: Mapping[str, Tokens]) -> NDArray[np.float32]:
        taken = {name: self._torch.from_numpy(value) for name, value in inputs.items() if name in self._taken}
        with self._torch.inference_mode():
            return np.asarray(self._model(**taken).logits.float().numpy(), np.float32)
