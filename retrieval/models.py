"""What a model's folder on disk holds: its kind, size, pooling, prefixes and languages, and where to look for it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from retrieval.errors import ModelMissing

Kind = Literal["encoder", "reranker", "generator", "grounder", "late"]
Pooling = Literal["cls", "mean", "none"]

MANIFEST = "riddle-model.json"
"""Beside the files of a model that `riddle models pull` put there; written last, so its presence means whole."""

WEIGHTS = ("*.onnx", "*.safetensors", "*.gguf", "pytorch_model*.bin")

_POOLINGS: Mapping[str, Pooling] = {"cls_token": "cls", "cls": "cls", "mean_tokens": "mean", "mean": "mean"}


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A model on disk and what one must know to run it.

    ``dimension`` is that of an encoder's vectors, None for other kinds. ``max_tokens`` counts special
    tokens. ``fingerprint`` is the first 16 hex digits of a sha256 over weights, tokenizer, pooling,
    prefixes and ``max_tokens``.
    """

    name: str
    path: Path
    kind: Kind
    dimension: int | None
    max_tokens: int
    pooling: Pooling
    query_prefix: str
    passage_prefix: str
    languages: tuple[str, ...]
    fingerprint: str

    @property
    def onnx(self) -> Path | None:
        """The ONNX graph to run, a quantised one before a plain one; None when there is none."""
        for folder in (self.path, self.path / "onnx"):
            for name in ("model_int8.onnx", "model_quantized.onnx", "model.onnx"):
                if (folder / name).is_file():
                    return folder / name
        return None

    @property
    def openvino(self) -> Path | None:
        """The graph in OpenVINO's own form; None when there is none, and OpenVINO reads the ONNX one."""
        for folder in (self.path / "openvino", self.path):
            if (folder / "openvino_model.xml").is_file():
                return folder / "openvino_model.xml"
        return None

    @property
    def tokenizer(self) -> Path:
        """The fast tokenizer's file. Raises ModelMissing when the folder has none."""
        path = self.path / "tokenizer.json"
        if not path.is_file():
            raise ModelMissing(f"{self.path} holds no tokenizer.json; only models with a fast tokenizer can be used")
        return path


def folder_name(name: str) -> str:
    """The folder below ``home/models`` for a model name or hub id: ``org/name`` becomes ``org--name``."""
    return name.replace("/", "--")


def find_model(name: str, home: Path) -> ModelFiles:
    """Find a model by its name, by its hub id (case does not matter), or by the path of a folder.

    Order: ``home/models/<name>``, a model there whose manifest names that hub id, then a folder of
    that path in the layout of sentence-transformers. Raises ModelMissing, which says how to get it.
    """
    models = home / "models"
    direct = models / folder_name(name)
    if (direct / MANIFEST).is_file():
        return read_model(direct)
    for folder, manifest in _manifests(models):
        if name.lower() in (str(manifest.get("name")).lower(), str(manifest.get("hub")).lower()):
            return read_model(folder)
    if Path(name).expanduser().is_dir():
        return read_model(Path(name).expanduser())
    raise ModelMissing(f"the model {name} is not in {models}: riddle models pull {name}")


def read_model(folder: Path) -> ModelFiles:
    """Read a model's folder: its manifest, or else the configuration files that the model's makers left there.

    Raises ModelMissing when the folder is not a model's.
    """
    manifest = folder / MANIFEST
    if not manifest.is_file():
        return _read_plain(folder)
    said = _json(manifest)
    try:
        return ModelFiles(
            name=said["name"],
            path=folder,
            kind=said["kind"],
            dimension=said["dimension"],
            max_tokens=said["max_tokens"],
            pooling=said["pooling"],
            query_prefix=said["query_prefix"],
            passage_prefix=said["passage_prefix"],
            languages=tuple(said["languages"]),
            fingerprint=said["fingerprint"],
        )
    except KeyError as missing:
        raise ModelMissing(f"{manifest} lacks {missing}: riddle models pull {folder.name} writes it again") from None


def fingerprint(hashes: Mapping[str, str], *settings: object) -> str:
    """First 16 hex digits of the sha256 over weight and tokenizer hashes and the settings that shape the output.

    ``hashes`` maps file name to sha256; files other than weights and ``tokenizer.json`` do not count.
    """
    counted = {
        name: value
        for name, value in hashes.items()
        if Path(name).name == "tokenizer.json" or any(Path(name).match(pattern) for pattern in WEIGHTS)
    }
    text = json.dumps([sorted(counted.items()), settings], ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def sha256(path: Path) -> str:
    """The sha256 of a file, as hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _manifests(models: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    if models.is_dir():
        for folder in sorted(models.iterdir()):
            if not folder.name.startswith(".") and (folder / MANIFEST).is_file():
                yield folder, _json(folder / MANIFEST)


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelMissing(f"{path} cannot be read ({error}): riddle models pull {path.parent.name}") from None


def _json_or_empty(path: Path) -> dict[str, Any]:
    said = _json(path) if path.is_file() else {}
    return said if isinstance(said, dict) else {}


def _read_plain(folder: Path) -> ModelFiles:
    """A folder in the layout of sentence-transformers or transformers."""
    config = _json_or_empty(folder / "config.json")
    weights = sorted({path for pattern in WEIGHTS for at in (folder, folder / "onnx") for path in at.glob(pattern)})
    if not weights or not (config or any(path.suffix == ".gguf" for path in weights)):
        raise ModelMissing(f"{folder} is not a model's folder: it needs config.json and weights beside it")
    kind = _kind(config, weights)
    # A model without pooling files is pooled by its mean, as sentence-transformers does.
    pooling, dimension = _pooling(folder, config)
    longest = _json_or_empty(folder / "sentence_bert_config.json").get("max_seq_length")
    max_tokens = int(longest or min(int(config.get("max_position_embeddings", 512)), 8192))
    prompts = _json_or_empty(folder / "config_sentence_transformers.json").get("prompts") or {}
    query = str(prompts.get("query", ""))
    passage = str(prompts.get("passage") or prompts.get("document") or "")
    tokenizer = [path for path in [folder / "tokenizer.json"] if path.is_file()]
    hashes = {path.relative_to(folder).as_posix(): sha256(path) for path in [*weights, *tokenizer]}
    return ModelFiles(
        name=folder.resolve().name,
        path=folder,
        kind=kind,
        dimension=dimension if kind == "encoder" else None,
        max_tokens=max_tokens,
        pooling=pooling if kind == "encoder" else "none",
        query_prefix=query,
        passage_prefix=passage,
        languages=_languages(folder / "README.md"),
        fingerprint=fingerprint(hashes, pooling, query, passage, max_tokens),
    )


def _kind(config: Mapping[str, Any], weights: list[Path]) -> Kind:
    architectures = " ".join(config.get("architectures") or [])
    if "ForSequenceClassification" in architectures:
        return "reranker"
    if "ForCausalLM" in architectures or any(path.suffix == ".gguf" for path in weights):
        return "generator"
    return "encoder"


def _pooling(folder: Path, config: Mapping[str, Any]) -> tuple[Pooling, int]:
    """How token vectors become one vector, and of how many dimensions; what is neither CLS nor mean is ``none``.

    Folders with a pooling of ``none`` still run in sentence-transformers, which knows more kinds.
    """
    modules = json.loads((folder / "modules.json").read_text("utf-8")) if (folder / "modules.json").is_file() else []
    dimension = int(config.get("hidden_size") or config.get("d_model") or config.get("dim") or 0)
    pooling: Pooling = "none" if modules else "mean"
    for module in modules:
        kind = str(module.get("type", "")).rpartition(".")[2]
        said = _json_or_empty(folder / str(module.get("path", "")) / "config.json")
        if kind == "Pooling":
            modes = [
                key.removeprefix("pooling_mode_") for key, on in said.items() if key.startswith("pooling_mode_") and on
            ]
            if "pooling_mode" in said:
                modes = [str(said["pooling_mode"])]
            pooling = _POOLINGS.get(modes[0] if len(modes) == 1 else "", "none")
        elif kind == "Dense":
            pooling, dimension = "none", int(said.get("out_features", dimension))
    return pooling, dimension


def _languages(card: Path) -> tuple[str, ...]:
    """The languages in the front matter of a model card; ``("*",)`` when it names none."""
    if not card.is_file():
        return ("*",)
    front = re.match(r"---\n(.*?)\n---", card.read_text(encoding="utf-8", errors="replace"), re.DOTALL)
    named = re.search(r"^language:[ \t]*(.*(?:\n[ \t]*- .*)*)", front[1], re.MULTILINE) if front else None
    codes = tuple(re.findall(r"\b[a-z]{2}\b", named[1])) if named else ()
    return codes if codes and "multilingual" not in (named[1] if named else "") else ("*",)
