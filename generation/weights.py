"""Where a generator's weights lie in the form that transformers and vLLM load at once, made once from GGUF."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from retrieval.errors import ModelMissing
from retrieval.models import ModelFiles


def loadable_folder(files: ModelFiles) -> Path:
    """The folder to load ``files`` from: its own when it holds safetensors, else one dequantised from its GGUF file.

    The dequantised folder lies inside the model's, named by its fingerprint; it is written aside
    and renamed, so it is whole when it is there. Making it takes most of a minute for 135 M
    parameters and four bytes a parameter on disk. Raises ModelMissing, and OSError when the disk
    does not take it.
    """
    if (files.path / "config.json").is_file() and any(files.path.glob("*.safetensors")):
        return files.path
    gguf = sorted(files.path.glob("*.gguf"))
    if len(gguf) != 1:
        raise ModelMissing(f"{files.path} holds {len(gguf)} GGUF files, not one: riddle models pull {files.name}")
    ready = files.path / f"float32-{files.fingerprint}"
    if not ready.is_dir():
        aside = Path(tempfile.mkdtemp(prefix=".float32-", dir=files.path))
        try:
            _dequantise(gguf[0], aside)
            _move(aside, ready)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    return ready


def _dequantise(gguf: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent,
        gguf_file=gguf.name,
        quantization_config=GgufConfig(dequantize=True),
        dtype=torch.float32,
        local_files_only=True,
    )
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name, local_files_only=True).save_pretrained(folder)
    folder.chmod(0o755)


def _move(aside: Path, ready: Path) -> None:
    """Flush and rename; another process that was quicker wins."""
    for path in aside.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    try:
        aside.rename(ready)
    except OSError:
        if not ready.is_dir():
            raise
