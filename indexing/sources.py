"""What a build reads: files and folders, walked in a fixed order, as items that are each one file or one row."""

from __future__ import annotations

import hashlib
import os
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from indexing.access import AccessRule, FolderAccess
from indexing.converters import SUFFIXES, Forced
from indexing.crossrefs import CrossReferences
from indexing.records import FieldMap
from retrieval.errors import InvalidRequest

ROW_SUFFIXES: dict[str, Literal["jsonl", "csv", "parquet"]] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
}
MAX_FILE_BYTES = 256 << 20
"""A larger document is set aside; files of rows may be of any size."""

Hashes = NDArray[np.uint64]

_CORPUS = ("corpus.jsonl", "corpus.jsonl.gz")


@dataclass(frozen=True, slots=True)
class Source:
    """A file or folder to build from, how to read what in it is open to interpretation, and who may see it."""

    path: Path
    format: Forced | None = None
    fields: FieldMap = field(default_factory=FieldMap)
    access: tuple[AccessRule, ...] = ()
    """Rules over paths below the folder; they go before its `.riddle-acl` files."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A file or row that was set aside, and why. ``source`` names it for people, rows by their number."""

    source: str
    reason: str


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of a source. ``name`` is a document's id, and the origin of rows: the path within the folder given.

    ``page`` is that path even where ``name`` had to be told apart from another source's.
    """

    path: Path
    name: str
    page: str
    kind: Literal["document", "jsonl", "csv", "parquet"]
    format: Forced | None
    fields: FieldMap
    references: CrossReferences | None = field(default=None, repr=False, compare=False)
    acl: tuple[str, ...] = ()


class Plan:
    """The files of a build in a fixed order, and those that are no documents; walked anew each time it is asked.

    What it keeps in memory is two 64-bit numbers a file when there are several sources, else nothing.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = sources
        self._references = [CrossReferences(pages(source)) for source in sources]
        self._taken = _Taken.of(sources) if len(sources) > 1 else None

    def __iter__(self) -> Iterator[SourceFile | Rejected]:
        for place, (source, references) in enumerate(zip(self._sources, self._references, strict=True)):
            for entry in _walk(source, references):
                if isinstance(entry, Rejected) or self._taken is None:
                    yield entry
                elif self._taken.by(entry, place):
                    shared = self._taken.shares(entry.name)
                    yield replace(entry, name=f"{_origin(entry)}/{entry.name}") if shared else entry

    @property
    def files(self) -> Iterator[SourceFile]:
        return (entry for entry in self if isinstance(entry, SourceFile))

    @property
    def rejected(self) -> Iterator[Rejected]:
        return (entry for entry in self if isinstance(entry, Rejected))


def require(paths: Sequence[Path]) -> None:
    """Raises InvalidRequest for a source that is not there."""
    for path in paths:
        if not path.exists():
            raise InvalidRequest(f"{path}: no such file or folder")


def plan(sources: Sequence[Source | Path]) -> Plan:
    """What there is to read. Raises InvalidRequest for a source that is not there.

    Hidden files and folders are passed over. A folder with ``corpus.jsonl`` is a BEIR set: its corpus
    is read, its queries and judgements are not. A file that several sources hold is read once; different
    files of one name in several sources have the name of their source in front of it.
    """
    chosen = [each if isinstance(each, Source) else Source(each) for each in sources]
    require([source.path for source in chosen])
    return Plan(chosen)


def source_file(
    source: Source, name: str, acl: tuple[str, ...], references: CrossReferences | None = None
) -> SourceFile | Rejected:
    """The file ``name`` below the folder of ``source``, or why it is none that is read."""
    shown, rows = printable(name), _row_kind(name)
    if rows or PurePath(name).suffix.lower() in SUFFIXES:
        kind = rows or "document"
        return SourceFile(source.path / name, shown, shown, kind, source.format, source.fields, references, acl)
    return Rejected(shown, _unsupported(name))


def _walk(source: Source, references: CrossReferences) -> Iterator[SourceFile | Rejected]:
    if not source.path.is_dir():
        access = FolderAccess(source.path.parent, source.access)
        name = printable(source.path.name)
        kind = _row_kind(name) or "document"
        yield SourceFile(source.path, name, name, kind, source.format, source.fields, acl=access.of(name))
        return
    access = FolderAccess(source.path, source.access)
    source, corpus = reading(source)
    if corpus is not None:
        yield source_file(source, corpus, access.of(corpus))
        return
    for name in walked(source.path):
        yield source_file(source, name, access.of(name), references)


def reading(source: Source) -> tuple[Source, str | None]:
    """How a folder is read, and its corpus when it is a BEIR set: that alone, and as it stands."""
    corpus = next((name for name in _CORPUS if (source.path / name).is_file()), None)
    return (source, None) if corpus is None else (replace(source, format=source.format or "plain"), corpus)


def walked(folder: Path) -> Iterator[str]:
    """The files below ``folder`` by their paths within it, in a fixed order, hidden ones left out."""
    for inner, subfolders, names in os.walk(folder):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        below = Path(inner).relative_to(folder)
        for name in sorted(names):
            if not name.startswith(".") and Path(inner, name).is_file():
                yield (below / name).as_posix()


def pages(source: Source) -> Iterator[tuple[str, Path]]:
    """For cross-references: every file of a folder by its name there, walked when the first is asked for."""
    if source.path.is_dir():
        yield from ((printable(name), source.path / name) for name in walked(source.path))


class _Taken:
    """Which of several sources a file is taken from, the last that holds it, and which names several files share."""

    def __init__(self, paths: Hashes, places: NDArray[np.uint32], shared: Hashes) -> None:
        self._paths, self._places, self._shared = paths, places, shared

    @classmethod
    def of(cls, sources: Sequence[Source]) -> _Taken:
        paths, names, places = array("Q"), array("Q"), array("L")
        for place, source in enumerate(sources):
            for entry in _walk(source, CrossReferences(())):
                if isinstance(entry, SourceFile):
                    paths.append(_hash(str(entry.path.resolve())))
                    names.append(_hash(entry.name))
                    places.append(place)
        path, name = np.array(paths, np.uint64), np.array(names, np.uint64)
        # The last of equal paths: the first of them seen from the end.
        unique, backwards = np.unique(path[::-1], return_index=True)
        last = len(path) - 1 - backwards
        shared, counts = np.unique(name[last], return_counts=True)
        return cls(unique, np.array(places, np.uint32)[last], shared[counts > 1])

    def by(self, file: SourceFile, place: int) -> bool:
        """Whether ``file`` is taken from the source at ``place``; one that has come since the walk is."""
        found = _position(self._paths, _hash(str(file.path.resolve())))
        return found is None or int(self._places[found]) == place

    def shares(self, name: str) -> bool:
        return _position(self._shared, _hash(name)) is not None


def _position(values: Hashes, value: int) -> int | None:
    found = int(np.searchsorted(values, np.uint64(value)))
    return found if found < len(values) and int(values[found]) == value else None


def _hash(text: str) -> int:
    digest = hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8)
    return int.from_bytes(digest.digest(), "little")


def _origin(file: SourceFile) -> str:
    """The name of the folder that ``file.page`` counts from."""
    path = file.path.resolve()
    return printable(path.parents[len(PurePath(file.page).parts) - 1].name)


def _row_kind(name: str) -> Literal["jsonl", "csv", "parquet"] | None:
    lower = name.lower()
    packed = lower.endswith(".gz")
    kind = ROW_SUFFIXES.get(PurePath(lower.removesuffix(".gz")).suffix)
    return None if packed and kind == "parquet" else kind


def _unsupported(name: str) -> str:
    suffix = PurePath(name).suffix.lower()
    hints = {
        ".json": "; write one object a line and call it .jsonl",
        ".doc": "; save it as .docx",
        ".gz": "; only .jsonl and .csv are read compressed",
        ".zip": "; unpack it first",
    }
    return f"not a kind of document that is read ({suffix}){hints.get(suffix, '')}"


def printable(name: str) -> str:
    """A name that can be written as UTF-8; bytes of other encodings become replacement characters."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
