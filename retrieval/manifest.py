"""What the manifest of a generation says: format, analysis, encoder, counts, and the checksum of each file."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retrieval.analysis import ANALYSIS_VERSION
from retrieval.durable import checksum, replace_json
from retrieval.errors import IndexUnreadable
from retrieval.types import CollectionInfo, EncoderSpec

FORMAT = 1
"""Raised when older code could not read what newer code writes."""

NAME = "manifest.json"

FULL_CHECK_BYTES = 256 * 2**20
"""Opening reads every byte of a generation up to this size (0.2 s); of a larger one it compares file sizes."""


@dataclass(frozen=True, slots=True)
class FileEntry:
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """``files`` maps paths inside the generation's folder; ``vectors`` is the index's spec string."""

    collection: str
    number: int
    created: str
    documents: int
    passages: int
    vectors: str
    encoder: EncoderSpec
    files: Mapping[str, FileEntry]
    format: int = FORMAT
    analysis: str = ANALYSIS_VERSION

    def info(self) -> CollectionInfo:
        return CollectionInfo(
            name=self.collection,
            generation=f"{self.collection}@{self.number}",
            documents=self.documents,
            passages=self.passages,
            encoder=self.encoder.name,
            dimension=self.encoder.dimension,
            bytes=sum(entry.bytes for entry in self.files.values()),
            created=self.created,
        )


def list_files(folder: Path) -> dict[str, FileEntry]:
    """Sizes and checksums of all files below ``folder``, the manifest apart. Lock files are empty and left out."""
    return {
        path.relative_to(folder).as_posix(): FileEntry(path.stat().st_size, checksum(path))
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != NAME and not path.name.endswith(".lock")
    }


def write_manifest(folder: Path, manifest: Manifest) -> None:
    replace_json(folder / NAME, dataclasses.asdict(manifest))


def read_manifest(folder: Path) -> Manifest:
    """Read and check format and analysis. Raises IndexUnreadable; FileNotFoundError when there is none."""
    path = folder / NAME
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        written = int(values["format"])
        if written > FORMAT:
            raise IndexUnreadable(
                f"{folder} is of format {written}, written by a newer Riddle; this one reads up to {FORMAT}: upgrade it"
            )
        encoder = {**values.pop("encoder")}
        encoder["languages"] = tuple(encoder["languages"])
        files = {name: FileEntry(**entry) for name, entry in values.pop("files").items()}
        manifest = Manifest(**values, encoder=EncoderSpec(**encoder), files=files)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise IndexUnreadable(f"{path} is damaged ({error}): build the collection again") from error
    if manifest.analysis != ANALYSIS_VERSION:
        raise IndexUnreadable(
            f"{folder} was analysed by version {manifest.analysis}, and this Riddle's is {ANALYSIS_VERSION}: "
            f"build the collection {manifest.collection} again from its sources"
        )
    return manifest


def check_files(folder: Path, manifest: Manifest, *, full: bool) -> None:
    """Raises IndexUnreadable naming the first file that is missing, cut or (``full``) changed."""
    for name, entry in manifest.files.items():
        path = folder / name
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            raise IndexUnreadable(f"{path} is missing: build the collection again") from None
        if size != entry.bytes:
            raise IndexUnreadable(f"{path} has {size} bytes and should have {entry.bytes}: build the collection again")
        if full and checksum(path) != entry.sha256:
            raise IndexUnreadable(f"{path} is damaged (its checksum differs): build the collection again")


def check_encoder(manifest: Manifest, encoder: EncoderSpec) -> None:
    """Raises IndexUnreadable when vectors of ``encoder`` cannot be compared with those of the generation.

    Fingerprints decide where both are known (a server may not tell its own), else name and dimension.
    """
    built = manifest.encoder
    if built.fingerprint and encoder.fingerprint:
        matches = built.fingerprint == encoder.fingerprint
    else:
        matches = built.name == encoder.name
    if not matches or built.dimension != encoder.dimension:
        raise IndexUnreadable(
            f"{manifest.collection} was built with the encoder {_named(built)}, and {_named(encoder)} is in use: "
            "set the encoder it was built with, or build it again"
        )


def _named(encoder: EncoderSpec) -> str:
    return f"{encoder.name} ({encoder.dimension}-d, {encoder.fingerprint or 'no fingerprint'})"
