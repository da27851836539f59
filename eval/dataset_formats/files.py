"""Lines and rows of files, gzip or not, with where each stands, so that one that cannot be read can be named."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NoReturn

from retrieval.errors import InvalidRequest
from retrieval.types import Document

SPLITS = ("test", "dev", "train")
"""Which split is taken when none is named, first that exists."""

GZ = ".gz"


def present(path: Path) -> Path | None:
    """The file itself or the same with ``.gz`` behind it, if one is there."""
    return next((found for found in (path, path.with_name(path.name + GZ)) if found.is_file()), None)


def existing(path: Path) -> Path:
    """The same. Raises InvalidRequest when neither is there."""
    if found := present(path):
        return found
    raise InvalidRequest(f"{path}: no such file, nor {path.name}{GZ}")


def plain_name(path: Path) -> str:
    """The file's name without ``.gz``, in lower case."""
    return path.name.lower().removesuffix(GZ)


def files_of(folder: Path) -> list[Path]:
    """All files below a folder by name, hidden ones left out."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts))


def open_text(path: Path) -> IO[str]:
    """A file as text. What is not UTF-8 in it stays readable as surrogates, for ``legible`` or for refusal."""
    if path.suffix.lower() == GZ:
        return gzip.open(path, "rt", encoding="utf-8", errors="surrogateescape")
    return path.open(encoding="utf-8", errors="surrogateescape")


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines that hold more than white space, with their numbers from 1. Raises InvalidRequest for damaged gzip."""
    with open_text(path) as stream:
        try:
            yield from ((number, line) for number, line in enumerate(stream, 1) if line.strip())
        except (EOFError, gzip.BadGzipFile) as error:
            raise InvalidRequest(f"{path} is no whole gzip file: {error}") from error


def rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Objects of a JSONL file with their lines' numbers. Raises InvalidRequest naming a line that holds none."""
    for number, line in lines(path):
        try:
            line.encode()
            row = json.loads(line)
        except ValueError as error:
            refuse(path, number, f"is no JSON ({error})")
        if not isinstance(row, dict):
            refuse(path, number, "is no JSON object")
        yield number, row


def first_row(path: Path) -> dict[str, Any]:
    """The first object of a JSONL file; empty when the file is."""
    return next((row for _, row in rows(path)), {})


def corpus(path: Path) -> Iterator[Document]:
    """Documents of ``corpus.jsonl``: ``_id``, ``text`` and perhaps ``title``, other fields left alone."""
    for number, row in rows(path):
        document_id, text = row.get("_id", row.get("id")), row.get("text")
        if document_id is None or not isinstance(text, str):
            refuse(path, number, "needs an _id and a text")
        yield Document(str(document_id), text, str(row.get("title") or ""), source=path.name)


def legible(text: str) -> str:
    """Text as ``open_text`` read it, with bytes that were not UTF-8 taken for Windows Latin-1, as older sets are."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogateescape").decode("cp1252", "replace")
    return text


def split_in(path: Path, splits: Sequence[str] = SPLITS) -> str:
    """The split that a file's name speaks of as a word of its own, such as ``dev`` in ``dev-v1.1.json``; else empty."""
    words = "".join(letter if letter.isalnum() else " " for letter in plain_name(path)).split()
    return next((split for split in splits if split in words), "")


def refuse(path: Path, number: int, why: str) -> NoReturn:
    raise InvalidRequest(f"{path} line {number}: {why}")
