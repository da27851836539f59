"""What a build reads: files and folders, walked in a fixed order, as items that are each one file or one row."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Literal

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

_CORPUS = ("corpus.jsonl", "corpus.jsonl.gz")


@dataclass(frozen=True, slots=True)
class Source:
    """A file or folder to build from, and how to read what in it is open to interpretation."""

    path: Path
    format: Forced | None = None
    fields: FieldMap = field(default_factory=FieldMap)


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


@dataclass(frozen=True, slots=True)
class Plan:
    """The files of a build, in order, and those that are no documents."""

    files: tuple[SourceFile, ...]
    rejected: tuple[Rejected, ...]


def require(paths: Sequence[Path]) -> None:
    """Raises InvalidRequest for a source that is not there."""
    for path in paths:
        if not path.exists():
            raise InvalidRequest(f"{path}: no such file or folder")


def plan(sources: Sequence[Source | Path]) -> Plan:
    """List what there is to read. Raises InvalidRequest for a source that is not there.

    Hidden files and folders are passed over. A folder with ``corpus.jsonl`` is a BEIR set: its corpus
    is read, its queries and judgements are not. A file that several sources hold is read once; different
    files of one name in several sources have the name of their source in front of it.
    """
    files: list[SourceFile] = []
    rejected: list[Rejected] = []
    chosen = [each if isinstance(each, Source) else Source(each) for each in sources]
    require([source.path for source in chosen])
    for source in chosen:
        if source.path.is_dir():
            _walk(source, files, rejected)
        else:
            name = _printable(source.path.name)
            kind = _row_kind(name) or "document"
            files.append(SourceFile(source.path, name, name, kind, source.format, source.fields))
    return Plan(tuple(_distinct(files) if len(chosen) > 1 else files), tuple(rejected))


def _walk(source: Source, files: list[SourceFile], rejected: list[Rejected]) -> None:
    corpus = next((source.path / name for name in _CORPUS if (source.path / name).is_file()), None)
    if corpus is not None:
        files.append(SourceFile(corpus, corpus.name, corpus.name, "jsonl", source.format or "plain", source.fields))
        return
    begins = len(files)
    for folder, subfolders, names in os.walk(source.path):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for file_name in sorted(names):
            path = Path(folder) / file_name
            if file_name.startswith(".") or not path.is_file():
                continue
            name = _printable(path.relative_to(source.path).as_posix())
            rows = _row_kind(file_name)
            if rows or PurePath(file_name).suffix.lower() in SUFFIXES:
                files.append(SourceFile(path, name, name, rows or "document", source.format, source.fields))
            else:
                rejected.append(Rejected(name, _unsupported(file_name)))
    references = CrossReferences((file.name, file.path) for file in files[begins:])
    files[begins:] = [replace(file, references=references) for file in files[begins:]]


def _distinct(files: Sequence[SourceFile]) -> list[SourceFile]:
    """Each file once, the last time it is named; names that several files share with their source's name in front."""
    once = list({file.path.resolve(): file for file in files}.values())
    shared = Counter(file.name for file in once)
    return [replace(file, name=f"{_origin(file)}/{file.name}") if shared[file.name] > 1 else file for file in once]


def _origin(file: SourceFile) -> str:
    """The name of the folder that ``file.page`` counts from."""
    path = file.path.resolve()
    return _printable(path.parents[len(PurePath(file.page).parts) - 1].name)


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


def _printable(name: str) -> str:
    """A name that can be written as UTF-8; bytes of other encodings become replacement characters."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
