"""What riddle-model.json says of a model that was pulled, and whether a folder holds what it should."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from retrieval.models import MANIFEST, fingerprint
from services.model_convert import Converter, remember
from services.model_sources import Entry, ModelFile

_NOT_SAID = ("wheel_bytes", "inside", "aliases", "form", "convert", "converted_bytes")
_CHECKPOINT = ("model.safetensors", "tokenizer.json")


def manifest_of(entry: Entry, converter: Converter | None = None, files: Sequence[ModelFile] = ()) -> dict[str, object]:
    """The manifest of a listed model; for a converted one ``files`` are those that were made.

    The fingerprint of a converted model counts its checkpoint and tokenizer alone: the exports are forms of it, and
    their bytes may change with the library that wrote them. Without a checkpoint what it was made from counts.
    """
    said = {key: value for key, value in dataclasses.asdict(entry).items() if key not in _NOT_SAID}
    if not entry.base:
        # Manifests of models without one were written before there was one.
        del said["base"]
    hashes = {file.name: file.sha256 for file in (files if converter else entry.files)}
    if converter is not None:
        hashes = {name: hashes[name] for name in _CHECKPOINT if name in hashes}
        if _CHECKPOINT[0] not in hashes:
            hashes |= {file.name: file.sha256 for file in entry.files}
        said |= {
            "files": [dataclasses.asdict(file) for file in files],
            "made_from": said["files"],
            "made_by": f"{entry.convert} {converter.version}",
        }
    shape = (entry.pooling, entry.query_prefix, entry.passage_prefix, entry.max_tokens)
    return json.loads(json.dumps({**said, "fingerprint": fingerprint(hashes, *shape)}))  # type: ignore[no-any-return]


def recorded(folder: Path) -> list[ModelFile]:
    """The files that a folder's manifest names; none when there is no manifest that can be read."""
    return [ModelFile(**file) for file in _read(folder).get("files", [])]


def whole(entry: Entry, converter: Converter | None, folder: Path) -> bool:
    """Whether ``folder`` holds this model, every file with its sha256, and a manifest that says the same."""
    files = list(entry.files) if converter is None else recorded(folder)
    expected = manifest_of(entry, converter, files)
    return expected == _read(folder) and not any(file.wrong_with(folder / file.name) for file in files)


def take_over(entry: Entry, converter: Converter, folder: Path, partial: Path) -> None:
    """Let a conversion into ``partial`` go on with those files of a damaged ``folder`` that are right."""
    files = recorded(folder)
    if not files or manifest_of(entry, converter, files) != _read(folder):
        return
    kept = [file for file in files if not file.wrong_with(folder / file.name)]
    for file in kept:
        (partial / file.name).parent.mkdir(parents=True, exist_ok=True)
        (partial / file.name).unlink(missing_ok=True)
        (partial / file.name).hardlink_to(folder / file.name)
    remember(entry, converter, kept, partial)


def _read(folder: Path) -> dict[str, Any]:
    try:
        said = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}
