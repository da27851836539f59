"""What the manifests of segments and generations say: format, analysis, encoder, counts and checksums."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from retrieval.durable import checksum, replace_json
from retrieval.errors import IndexUnreadable
from retrieval.filters import Fields
from retrieval.token_codec import LateSpec
from retrieval.types import EncoderSpec

FORMAT = 2
"""Raised when older code could not read what newer code writes. 1 was one folder a generation, without changes."""

SEGMENT = "segment.json"

FULL_CHECK_BYTES = 256 * 2**20
"""Opening reads every byte of a segment up to this size (0.2 s); of a larger one it compares file sizes, and
`riddle collections verify` reads everything."""


@dataclass(frozen=True, slots=True)
class CollectionSettings:
    """How a collection is indexed; fixed for a segment when it is written, and kept in every manifest."""

    vectors: str = "auto"
    """The vector index's spec string, such as ``HNSW32,SQ8``; ``auto`` chooses by size, memory and ``recall``."""
    fields: Fields = field(default_factory=dict)
    """Declared types of metadata keys: keyword, number, date, boolean. Others go by the kind of their values."""
    synonyms: tuple[tuple[str, ...], ...] = ()
    """Groups of words that mean the same."""
    words: tuple[str, ...] = ()
    """Words that the Chinese segmenter must not cut, such as product names."""
    memory_bytes: int | None = None
    """What vector indexes may hold in memory; None for no bound. Only ``auto`` heeds it."""
    recall: float = 0.97
    """Recall@10 without a filter that an index is tuned to when it is built; some filters leave a little less."""
    late: LateSpec | None = None
    """The token vectors that passages are kept with, for late interaction; None for none."""


@dataclass(frozen=True, slots=True)
class FileEntry:
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class SegmentManifest:
    """``files`` maps paths inside the segment's folder; ``spec`` is its vector index, ``why`` what chose it."""

    documents: int
    passages: int
    dimension: int
    spec: str
    why: str
    analysis: str
    files: Mapping[str, FileEntry]
    late: LateSpec | None = None
    """The token vectors that it holds, if any."""
    format: int = FORMAT

    @property
    def bytes(self) -> int:
        return sum(entry.bytes for entry in self.files.values())


@dataclass(frozen=True, slots=True)
class SegmentEntry:
    """A segment as a generation names it. ``deleted`` counts its documents that are deleted in this generation."""

    id: str
    documents: int
    passages: int
    bytes: int
    deleted: int = 0
    deleted_passages: int = 0


@dataclass(frozen=True, slots=True)
class Manifest:
    """One generation. ``epoch`` is the number of the last generation that changed what can be found: sealing and
    merging do not. Changes with numbers above ``log_seq`` are in the log, those up to it in the segments."""

    collection: str
    number: int
    epoch: int
    created: str
    """ISO 8601, UTC: when the epoch began."""
    encoder: EncoderSpec
    settings: CollectionSettings
    analysis: str
    log_seq: int = 0
    level: int = 0
    """Whoever published it knew of changes up to this one: what they replaced or removed is deleted in its segments."""
    segments: tuple[SegmentEntry, ...] = ()
    tombstones: Mapping[str, int] = field(default_factory=dict)
    """Versions of documents that were deleted lately, so that a late change of an older version stays refused."""
    recipe: str = ""
    """What the generation was built from, as its builder chose to write it down."""
    format: int = FORMAT


def list_files(folder: Path) -> dict[str, FileEntry]:
    """Sizes and checksums of all files below ``folder``, the manifest apart. Lock files are empty and left out."""
    return {
        path.relative_to(folder).as_posix(): FileEntry(path.stat().st_size, checksum(path))
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != SEGMENT and not path.name.endswith(".lock")
    }


def write_segment_manifest(folder: Path, manifest: SegmentManifest) -> None:
    replace_json(folder / SEGMENT, dataclasses.asdict(manifest))


def read_segment_manifest(folder: Path) -> SegmentManifest:
    """Raises IndexUnreadable."""
    values = _read(folder / SEGMENT)
    try:
        files = {name: FileEntry(**entry) for name, entry in values.pop("files").items()}
        return SegmentManifest(**values | {"late": _late(values)}, files=files)
    except (TypeError, KeyError, AttributeError) as error:
        raise _damaged(folder / SEGMENT, error) from error


def _late(values: Mapping[str, Any]) -> LateSpec | None:
    """Manifests of before there was late interaction do not tell."""
    return None if values.get("late") is None else LateSpec(**values["late"])


def write_manifest(path: Path, manifest: Manifest) -> None:
    replace_json(path, dataclasses.asdict(manifest))


def read_manifest(path: Path) -> Manifest:
    """Raises IndexUnreadable; FileNotFoundError when there is none."""
    values = _read(path)
    try:
        encoder = values.pop("encoder")
        settings = values.pop("settings")
        settings["synonyms"] = tuple(tuple(group) for group in settings["synonyms"])
        settings["words"] = tuple(settings["words"])
        settings["late"] = _late(settings)
        segments = tuple(SegmentEntry(**entry) for entry in values.pop("segments"))
        return Manifest(
            **values,
            encoder=EncoderSpec(**encoder | {"languages": tuple(encoder["languages"])}),
            settings=CollectionSettings(**settings),
            segments=segments,
        )
    except (TypeError, KeyError, AttributeError) as error:
        raise _damaged(path, error) from error


def _read(path: Path) -> dict[str, Any]:
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        written = int(values["format"])
    except (ValueError, TypeError, KeyError) as error:
        raise _damaged(path, error) from error
    if written > FORMAT:
        raise IndexUnreadable(
            f"{path} is of format {written}, written by a newer Riddle; this one reads up to {FORMAT}: upgrade it"
        )
    if written < FORMAT:
        raise IndexUnreadable(
            f"{path} is of format {written}, which this Riddle no longer reads: build the collection again"
        )
    return values


def _damaged(path: Path, error: Exception) -> IndexUnreadable:
    return IndexUnreadable(f"{path} is damaged ({error}): build the collection again, or restore a snapshot")


def check_analysis(manifest: Manifest, version: str) -> None:
    """Raises IndexUnreadable when terms were made otherwise than ``version`` makes them."""
    if manifest.analysis != version:
        raise IndexUnreadable(
            f"the collection {manifest.collection} was analysed by version {manifest.analysis}, and this Riddle's is "
            f"{version}: build it again from its sources"
        )


def check_files(folder: Path, manifest: SegmentManifest, *, full: bool) -> None:
    """Raises IndexUnreadable naming the first file that is missing, cut or (``full``) changed."""
    for name, entry in manifest.files.items():
        path = folder / name
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            raise IndexUnreadable(f"{path} is missing: build the collection again, or restore a snapshot") from None
        if size != entry.bytes:
            raise IndexUnreadable(
                f"{path} has {size} bytes and should have {entry.bytes}: build the collection again, or restore it"
            )
        if full and checksum(path) != entry.sha256:
            raise IndexUnreadable(
                f"{path} is damaged (its checksum differs): build the collection again, or restore a snapshot"
            )


def check_encoder(name: str, built: EncoderSpec, encoder: EncoderSpec) -> None:
    """Raises IndexUnreadable when vectors of ``encoder`` cannot be compared with those of the collection ``name``.

    Fingerprints decide where both are known (a server may not tell its own), else name and dimension.
    """
    if built.fingerprint and encoder.fingerprint:
        matches = built.fingerprint == encoder.fingerprint
    else:
        matches = built.name == encoder.name
    if not matches or built.dimension != encoder.dimension:
        raise IndexUnreadable(
            f"{name} was built with the encoder {_named(built)}, and {_named(encoder)} is in use: "
            "set the encoder it was built with, or `riddle collections reencode` it"
        )


def _named(encoder: EncoderSpec) -> str:
    return f"{encoder.name} ({encoder.dimension}-d, {encoder.fingerprint or 'no fingerprint'})"
