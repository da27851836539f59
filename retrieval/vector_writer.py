"""Writes the vectors of one segment and builds its index, in steps that a killed build does not do again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from retrieval.durable import replace_json, sync_file
from retrieval.errors import InvalidRequest
from retrieval.types import Vectors
from retrieval.vector_index import META, Meta, read_meta, store_kind, write_meta
from retrieval.vector_spec import parse_spec
from retrieval.vector_store import StoreWriter, open_store, remove_store

_STATE = "building.json"
_BLOCK = 65_536

Progress = Callable[[int], None]


class VectorWriter:
    """Streams vectors to ``folder``, then builds what ``close`` is told to.

    ``spec`` (``auto`` too) decides only how vectors are kept meanwhile. After a kill, a writer with ``keep`` goes on
    behind that many vectors, and ``close`` behind the last step that was finished. ``folder`` is made when it is not
    there. Raises InvalidRequest when fewer than ``keep`` vectors are there.
    """

    def __init__(self, folder: Path, dimension: int, spec: str, *, keep: int = 0) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._dimension = folder, dimension
        self._finished = (folder / META).exists() and read_meta(folder).count == keep > 0
        if self._finished:
            self.count = keep
            return
        state = _read_state(folder)
        if state.get("count") != keep:
            (folder / _STATE).unlink(missing_ok=True)
        (folder / META).unlink(missing_ok=True)
        kind = "f16" if spec == "auto" else store_kind(parse_spec(spec))
        self._store = StoreWriter(folder, dimension, kind, keep=keep)
        self.count = keep

    def add(self, vectors: Vectors) -> None:
        """Float32 ``[n, d]``. Raises InvalidRequest for another width or numbers that are not finite; OSError."""
        if not len(vectors):
            return
        if self._finished:
            raise InvalidRequest(f"the index in {self._folder} is finished: nothing can be added")
        (self._folder / _STATE).unlink(missing_ok=True)
        self._store.add(vectors)
        self.count = self._store.count

    def flush(self) -> None:
        """What was added outlives a kill of this process from now on, and can be kept."""
        if not self._finished:
            self._store.flush()

    def abandon(self) -> None:
        """Let go of the files as they are."""
        if not self._finished:
            self._store.close()

    def close(self, spec: str, *, threads: int = 1, progress: Progress | None = None, recall: float = 0.95) -> None:
        """Build the index of ``spec`` (resolved) and remove what it does not need.

        ``progress`` is called with vectors done, and may raise to stop; the finished steps stay. Equal vectors give
        equal files with one thread. Raises InvalidRequest when the spec keeps finer vectors than the writer
        did; OSError.
        """
        if self._finished:
            return
        self._store.close()
        wanted = parse_spec(spec)
        if self._store.kind == "i8" and store_kind(wanted) == "f16":
            raise InvalidRequest(f"{spec} keeps halves, and this writer was told to keep bytes")
        steps = Steps(
            self._folder, {"spec": spec, "count": self.count, "threads": threads}, progress or (lambda done: None)
        )
        if self._store.kind == "f16" and (wanted.family == "Flat" or wanted.codec == "SQ8" or wanted.refine == "SQ8"):
            steps("codes", lambda: self._quantise(steps.progress))
        effort: dict[str, int] = {}
        if wanted.family != "Flat":
            from retrieval.vector_graph import build_graph

            steps(
                "graph", lambda: build_graph(self._folder, wanted, self.count, self._dimension, threads, steps.progress)
            )
        write_meta(self._folder, Meta(spec, self.count, self._dimension, effort))
        if self._store.kind == "f16" and store_kind(wanted) == "i8":
            remove_store(self._folder, "f16")
        steps.forget()

    def _quantise(self, progress: Progress) -> None:
        store = open_store(self._folder, "f16", self.count, self._dimension)
        codes = StoreWriter(self._folder, self._dimension, "i8")
        for start in range(0, self.count, _BLOCK):
            codes.add(store.vectors(slice(start, start + _BLOCK)))
            progress(min(start + _BLOCK, self.count))
        codes.close()


class Steps:
    """Runs named steps once each; what was done stands in a file, and counts only for the same work."""

    def __init__(self, folder: Path, work: dict[str, Any], progress: Progress) -> None:
        self.progress, self._path, self._work = progress, folder / _STATE, work
        state = _read_state(folder)
        same = {name: state.get(name) for name in work} == work
        self._done: list[str] = state["done"] if same else []

    def __call__(self, name: str, step: Callable[[], None]) -> None:
        """Do ``step``, which leaves its files whole before it returns, unless it was done before."""
        if name in self._done:
            return
        step()
        for path in self._path.parent.iterdir():
            sync_file(path)
        self._done.append(name)
        replace_json(self._path, {**self._work, "done": self._done})

    def forget(self) -> None:
        self._path.unlink(missing_ok=True)


def _read_state(folder: Path) -> dict[str, Any]:
    path = folder / _STATE
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}
