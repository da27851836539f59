"""Writes the vectors of one segment and builds its index, in steps that a killed build does not do again."""

from __future__ import annotations

from pathlib import Path

from retrieval.errors import InvalidRequest
from retrieval.types import Vectors
from retrieval.vector_index import META, Meta, read_meta, store_kind, write_meta
from retrieval.vector_spec import Spec, parse_spec, smallest
from retrieval.vector_steps import Progress, Steps, forget, read_state
from retrieval.vector_store import Codes, Halves, StoreWriter, open_store, remove_store

_BLOCK = 65_536


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
        if read_state(folder).get("count") != keep:
            forget(folder)
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
        forget(self._folder)
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
        if self.count < smallest(wanted):
            raise InvalidRequest(f"{self.count:,} vectors are too few for {spec}: resolve the spec for so many")
        steps = Steps(
            self._folder, {"spec": spec, "count": self.count, "threads": threads}, progress or (lambda done: None)
        )
        if self._store.kind == "f16" and (wanted.family == "Flat" or wanted.codec == "SQ8" or wanted.refine == "SQ8"):
            steps("codes", lambda: self._quantise(steps.progress))
        effort = self._build(wanted, threads, recall, steps)
        write_meta(self._folder, Meta(spec, self.count, self._dimension, effort))
        if self._store.kind == "f16" and store_kind(wanted) == "i8":
            remove_store(self._folder, "f16")
        if wanted.family in {"Graph", "IVF"}:  # they have them in another order
            remove_store(self._folder, "i8")
        if wanted.family == "IVF":
            from retrieval.vector_lists import remove_aside

            remove_aside(self._folder)
            if wanted.codec != "SQ8":
                from retrieval.vector_ivf import remove_ivf_aside

                remove_ivf_aside(self._folder)
                remove_store(self._folder, "f16")
        forget(self._folder)

    def _build(self, spec: Spec, threads: int, recall: float, steps: Steps) -> dict[str, int]:
        """Returns the effort that a search needs for ``recall``."""
        if spec.family == "Flat":
            return {}
        store = open_store(self._folder, store_kind(spec), self.count, self._dimension)
        if spec.family == "Graph":
            from retrieval.graph import build_cell_graph

            codes = open_store(self._folder, "i8", self.count, self._dimension)
            assert isinstance(codes, Codes)
            return build_cell_graph(self._folder, spec, codes, threads, steps, recall)
        if spec.family == "HNSW":
            from retrieval.vector_graph import build_graph

            return build_graph(self._folder, spec, store, threads, steps, recall)
        if spec.codec == "SQ8":
            from retrieval.vector_listed import build_listed

            codes = open_store(self._folder, "i8", self.count, self._dimension)
            assert isinstance(codes, Codes)
            finer = store if isinstance(store, Halves) else None
            return build_listed(self._folder, spec, codes, finer, threads, steps, recall)
        from retrieval.vector_ivf import build_ivf

        return build_ivf(self._folder, spec, store, threads, steps, recall)

    def _quantise(self, progress: Progress) -> None:
        store = open_store(self._folder, "f16", self.count, self._dimension)
        codes = StoreWriter(self._folder, self._dimension, "i8")
        try:
            for start in range(0, self.count, _BLOCK):
                codes.add(store.vectors(slice(start, start + _BLOCK)))
                progress(min(start + _BLOCK, self.count))
        finally:
            codes.close()
