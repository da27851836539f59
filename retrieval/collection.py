"""Collections on disk: named, in immutable generations, of which one pointer file says which is current."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from retrieval.durable import disk_full_said_plainly, exclusive, replace_json, sync_file, sync_tree
from retrieval.errors import CollectionNotFound, IndexUnreadable, InvalidRequest
from retrieval.lexical import LexicalWriter
from retrieval.manifest import Manifest, list_files, read_manifest, write_manifest
from retrieval.passages import PassageWriter
from retrieval.reader import LEXICAL, VECTORS, Generation, Part
from retrieval.types import CollectionInfo, EncoderSpec, Vectors
from retrieval.vectors import build_index, resolve

__all__ = ["CollectionStore", "Generation", "IndexSettings", "Part", "write_generation"]

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_POINTER, _GENERATIONS, _STATE, _ASIDE = "CURRENT", "generations", ".state", ".aside-"
_KEPT = 2
"""Generations kept: the current one and the one before it."""

Progress = Callable[[str, int], None]
"""Called with a stage (``write``, ``graph``, ``flush``) and how many passages it has done; may raise to cancel."""


@dataclass(frozen=True, slots=True)
class IndexSettings:
    """How a collection is indexed."""

    vectors: str = "auto"
    """``Flat`` (exact), ``HNSW16`` (graph, 16 links), or ``auto``: by size."""
    threads: int = 1
    """Threads that build the graph; with more than one the graph is not the same at each build."""


class CollectionStore:
    """The collections below one folder: ``<root>/<name>/CURRENT`` and ``<root>/<name>/generations/000042/``.

    Thread-safe, and safe among processes: a reader keeps the generation it holds while another is
    published or the collection is dropped.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._guard = threading.Lock()
        self._manifests: dict[str, tuple[tuple[int, int], Manifest]] = {}
        self._open: dict[str, Generation] = {}

    def names(self) -> list[str]:
        """Names of all collections, sorted."""
        return sorted(path.parent.name for path in self.root.glob(f"*/{_POINTER}") if _NAME.fullmatch(path.parent.name))

    def info(self, name: str) -> CollectionInfo:
        """What is current; costs one ``stat`` while nothing changes. Raises CollectionNotFound, IndexUnreadable."""
        return self._manifest(name).info()

    def open(self, name: str, encoder: EncoderSpec | None = None) -> Generation:
        """The current generation, opened once and shared.

        Raises CollectionNotFound; IndexUnreadable when it is damaged, of a format or analysis that
        this version cannot read, or not built with ``encoder``.
        """
        while True:
            manifest = self._manifest(name)
            with self._guard:
                generation = self._open.get(name)
                if generation is None or generation.info.generation != manifest.info().generation:
                    try:
                        generation = Generation(self._folder(name) / f"{manifest.number:06}", manifest)
                    except IndexUnreadable:
                        if self._replaced_since(name, manifest):
                            continue
                        raise
                    self._open[name] = generation
            if encoder is not None:
                generation.check_encoder(encoder)
            return generation

    def drop(self, name: str) -> None:
        """Remove a collection and its files. Raises CollectionNotFound; Conflict while it is being written."""
        _check_name(name)
        with self.exclusive(name):
            if not (self.root / name / _POINTER).exists():
                raise _not_found(name)
            gone = self.root / _STATE / f"{name}.dropped"
            shutil.rmtree(gone, ignore_errors=True)
            (self.root / name).rename(gone)
            sync_file(self.root)
            with self._guard:
                self._open.pop(name, None)
                self._manifests.pop(name, None)
            shutil.rmtree(gone, ignore_errors=True)

    @contextlib.contextmanager
    def exclusive(self, name: str) -> Iterator[None]:
        """Be the only writer of this collection. Raises InvalidRequest for a bad name, Conflict."""
        _check_name(name)
        with (
            disk_full_said_plainly(f"the collection {name}", self.root),
            exclusive(self.root / _STATE / f"{name}.lock", f"the collection {name} is being written by someone else"),
        ):
            yield

    def stage(self, name: str) -> tuple[Path, int]:
        """A fresh folder to write a generation into, and its number. The caller holds ``exclusive``.

        What writers that were killed left behind is removed first. Numbers are never used again,
        not even after a drop: caches go by them.
        """
        generations = self._folder(name)
        generations.mkdir(parents=True, exist_ok=True)
        used = [int(path.name) for path in generations.iterdir() if path.name.isdigit()]
        last = self.root / _STATE / f"{name}.last"
        number = max([*used, json.loads(last.read_text()) if last.exists() else 0]) + 1
        replace_json(last, number)
        try:
            current = self._current_number(name) or 0
        except IndexUnreadable:  # a rebuild is the way out of that, and until then nothing is thrown away
            current = number
        for path in generations.iterdir():
            if not path.name.isdigit() or int(path.name) > current:
                shutil.rmtree(path)
        shutil.rmtree(self.root / _STATE / f"{name}.dropped", ignore_errors=True)
        aside = generations / f"{_ASIDE}{number:06}"
        aside.mkdir()
        return aside, number

    def publish(self, name: str, aside: Path, number: int) -> CollectionInfo:
        """Make what lies in ``aside`` the current generation. The caller holds ``exclusive``."""
        generations = self._folder(name)
        sync_tree(aside)
        final = aside.rename(generations / f"{number:06}")
        sync_file(generations)
        sync_file(generations.parent)
        sync_file(self.root)
        try:
            replace_json(self.root / name / _POINTER, {"generation": number})
        except OSError:
            if self._current_number(name) != number:
                shutil.rmtree(final, ignore_errors=True)
            raise
        kept = sorted((path for path in generations.iterdir() if path.name.isdigit()), reverse=True)
        for path in kept[_KEPT:]:
            shutil.rmtree(path, ignore_errors=True)
        return self.info(name)

    def _folder(self, name: str) -> Path:
        return self.root / name / _GENERATIONS

    def _manifest(self, name: str) -> Manifest:
        _check_name(name)
        pointer = self.root / name / _POINTER
        while True:
            try:
                stat = pointer.stat()
            except (FileNotFoundError, NotADirectoryError):
                raise _not_found(name) from None
            seen = (stat.st_mtime_ns, stat.st_ino)
            cached = self._manifests.get(name)
            if cached and cached[0] == seen:
                return cached[1]
            number = self._current_number(name)
            try:
                manifest = read_manifest(self._folder(name) / f"{number:06}")
            except FileNotFoundError as error:
                if self._current_number(name) != number:
                    continue
                raise IndexUnreadable(f"{error.filename} is missing: build the collection {name} again") from error
            self._manifests[name] = (seen, manifest)
            return manifest

    def _current_number(self, name: str) -> int | None:
        """The number in the pointer file; None without one. Raises IndexUnreadable."""
        pointer = self.root / name / _POINTER
        try:
            return int(json.loads(pointer.read_text(encoding="utf-8"))["generation"])
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError) as error:
            raise IndexUnreadable(f"{pointer} is damaged ({error}): build the collection {name} again") from error

    def _replaced_since(self, name: str, manifest: Manifest) -> bool:
        return self._current_number(name) != manifest.number


def write_generation(
    store: CollectionStore,
    name: str,
    parts: Iterable[Part],
    *,
    encoder: EncoderSpec,
    settings: IndexSettings | None = None,
    progress: Progress | None = None,
) -> CollectionInfo:
    """Write the documents of ``parts`` as the next generation of ``name`` and make it current.

    Written aside, flushed, checksummed, renamed, then the pointer is replaced: killed anywhere, or
    when ``parts`` or ``progress`` raises, the generation before stays current and whole. Parts are
    taken one at a time, so memory holds one of them. Raises Conflict while another writer is at
    this collection, DiskFull, InvalidRequest for a bad name, a document id that comes twice, chunks
    outside their document, and vectors of another shape or not finite.
    """
    settings = settings or IndexSettings()
    report = progress or (lambda stage, done: None)
    resolve(settings.vectors, 0)
    with store.exclusive(name):
        aside, number = store.stage(name)
        try:
            documents, passages = _write_parts(aside, parts, encoder.dimension, report)
            vectors: Vectors = np.empty((0, encoder.dimension), np.float32)
            if passages:
                vectors = np.memmap(aside / VECTORS, np.float32, "r", shape=(passages, encoder.dimension))
            spec = resolve(settings.vectors, passages)
            build_index(spec, vectors, aside, threads=settings.threads, progress=lambda done: report("graph", done))
            report("flush", passages)
            manifest = Manifest(
                collection=name,
                number=number,
                created=datetime.now(UTC).isoformat(timespec="seconds"),
                documents=documents,
                passages=passages,
                vectors=spec,
                encoder=replace(encoder, languages=tuple(encoder.languages)),
                files=list_files(aside),
            )
            write_manifest(aside, manifest)
            return store.publish(name, aside, number)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise


def _write_parts(folder: Path, parts: Iterable[Part], dimension: int, report: Progress) -> tuple[int, int]:
    """Returns how many documents and passages were written."""
    with (
        PassageWriter(folder) as columns,
        LexicalWriter(folder / LEXICAL) as lexical,
        (folder / VECTORS).open("wb") as vectors,
    ):
        for part in parts:
            _check_part(part, dimension)
            for document, chunks in zip(part.documents, part.chunks, strict=True):
                columns.add(document, chunks)
                for chunk in chunks:
                    text = document.text[chunk.start : chunk.end]
                    lexical.add(document.title, chunk.headings, f"{chunk.context}\n{text}")
            vectors.write(np.ascontiguousarray(part.vectors, np.float32).data)
            report("write", columns.passages)
    return columns.documents, columns.passages


def _check_part(part: Part, dimension: int) -> None:
    count = sum(map(len, part.chunks))
    if len(part.documents) != len(part.chunks) or part.vectors.shape != (count, dimension):
        raise InvalidRequest(
            f"a part of {len(part.documents)} documents with {count} chunks needs vectors [{count}, {dimension}], "
            f"not {list(part.vectors.shape)}"
        )
    if not np.isfinite(part.vectors).all():
        raise InvalidRequest("a part holds a vector with a value that is not finite")


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise InvalidRequest(
            f"{name!r} is no name for a collection: use 1 to 64 of a-z, 0-9, _ and -, beginning with a letter or digit"
        )


def _not_found(name: str) -> CollectionNotFound:
    return CollectionNotFound(f"no collection is called {name!r}")
