"""What `riddle bench ann` compares: our indexes, plain faiss and plain hnswlib, each built once and searched alike."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from eval.bench.embeddings import Embeddings
from retrieval.errors import InvalidRequest
from retrieval.types import Rows, Vectors
from retrieval.vector_index import open_index
from retrieval.vector_spec import parse_spec
from retrieval.vector_writer import VectorWriter

Effort = Mapping[str, int]

_POINTS = 64
"""Vectors a centroid is fitted to, in faiss as in our own lists; faiss takes up to 256, for four times the time."""


class Contender(Protocol):
    """An index that can be built in a folder, opened and searched in one thread."""

    name: str

    def build(self, embeddings: Embeddings, folder: Path, threads: int) -> None: ...

    def open(self, folder: Path, embeddings: Embeddings) -> Sequence[Effort]:
        """Make it ready; the efforts that it can be searched with, cheapest first."""
        ...

    def search(self, query: Vectors, k: int, effort: Effort) -> Rows: ...

    def memory(self) -> Mapping[str, int]:
        """Bytes: ``anonymous``, the process's own, and ``mapped``, files in the page cache."""
        ...


def built(contender: Contender, embeddings: Embeddings, work: Path, threads: int) -> tuple[Path, float]:
    """The folder with the index of ``contender`` and the seconds that its building took, then or earlier."""
    folder = work / "".join(
        each if each.isalnum() else "-" for each in f"{embeddings.name} {embeddings.count} {contender.name}"
    )
    done = folder / "built.json"
    if not done.exists():
        folder.mkdir(parents=True, exist_ok=True)
        began = time.perf_counter()
        contender.build(embeddings, folder, threads)
        done.write_text(json.dumps({"seconds": time.perf_counter() - began}), encoding="utf-8")
    return folder, float(json.loads(done.read_text(encoding="utf-8"))["seconds"])


class Ours:
    """An index of this project, by its spec."""

    def __init__(self, spec: str) -> None:
        parse_spec(spec)
        self.name = spec
        self._searchers: dict[tuple[tuple[str, int], ...], Any] = {}

    def build(self, embeddings: Embeddings, folder: Path, threads: int) -> None:
        writer = VectorWriter(folder / "index", embeddings.dimension, self.name)
        for block in embeddings.blocks():
            writer.add(block)
        writer.close(self.name, threads=threads)

    def open(self, folder: Path, embeddings: Embeddings) -> Sequence[Effort]:
        self._index: Any = open_index(folder / "index")
        return list(getattr(self._index, "efforts", [{}]))

    def search(self, query: Vectors, k: int, effort: Effort) -> Rows:
        key = tuple(effort.items())
        if key not in self._searchers:
            self._searchers[key] = self._index.with_effort(effort) if effort else self._index
        rows: Rows = self._searchers[key].search(query, k).rows
        return rows

    def memory(self) -> Mapping[str, int]:
        parts = self._index.memory()
        return {
            kind: sum(size for name, size in parts.items() if name.startswith(kind)) for kind in ("anonymous", "mapped")
        }


class PlainFaiss:
    """faiss as its factory makes it, with ``IndexRefine`` over fp16 for lists of codes."""

    def __init__(self, factory: str) -> None:
        self.name = f"faiss {factory}"
        self._factory = factory

    def build(self, embeddings: Embeddings, folder: Path, threads: int) -> None:
        import faiss

        faiss.omp_set_num_threads(threads)
        index = faiss.index_factory(embeddings.dimension, self._factory, faiss.METRIC_INNER_PRODUCT)
        lists = faiss.try_extract_index_ivf(index)
        if lists is not None:
            lists.cp.max_points_per_centroid = _POINTS
            index.train(embeddings.sample(_POINTS * lists.nlist))
        for block in embeddings.blocks():
            index.add(block)
        faiss.write_index(index, str(folder / "index.faiss"))

    def open(self, folder: Path, embeddings: Embeddings) -> Sequence[Effort]:
        import faiss

        self._faiss: Any = faiss
        path = folder / "index.faiss"
        self._index, self._bytes = faiss.read_index(str(path)), path.stat().st_size
        if self._factory.startswith("HNSW"):
            return [{"ef": ef} for ef in (16, 24, 32, 48, 64, 96, 128, 192, 256, 384)]
        lists: Any = faiss.try_extract_index_ivf(self._index)
        probes = [probes for probes in (8, 16, 32, 48, 64, 96, 128, 192, 256, 384, 512) if probes <= lists.nlist]
        return [{"nprobe": each, "k_factor": factor} for each in probes for factor in (10, 20, 40)]

    def search(self, query: Vectors, k: int, effort: Effort) -> Rows:
        faiss = self._faiss
        faiss.omp_set_num_threads(1)
        if "ef" in effort:
            parameters = faiss.SearchParametersHNSW(efSearch=effort["ef"])
        else:
            inner = faiss.SearchParametersIVF(nprobe=effort["nprobe"])
            parameters = faiss.IndexRefineSearchParameters(k_factor=effort["k_factor"], base_index_params=inner)
        rows: Rows = self._index.search(query[None, :], k, params=parameters)[1][0]
        return rows

    def memory(self) -> Mapping[str, int]:
        return {"anonymous": self._bytes, "mapped": 0}


class PlainHnswlib:
    """hnswlib over float32, as its documentation uses it."""

    def __init__(self, links: int = 16, construction: int = 200) -> None:
        self.name = f"hnswlib M{links} efC{construction}"
        self._links, self._construction = links, construction

    def build(self, embeddings: Embeddings, folder: Path, threads: int) -> None:
        import hnswlib

        index = hnswlib.Index(space="ip", dim=embeddings.dimension)
        index.init_index(embeddings.count, M=self._links, ef_construction=self._construction, random_seed=1)
        done = 0
        for block in embeddings.blocks():
            index.add_items(block, np.arange(done, done + len(block)), num_threads=threads)
            done += len(block)
        index.save_index(str(folder / "index.hnsw"))

    def open(self, folder: Path, embeddings: Embeddings) -> Sequence[Effort]:
        import hnswlib

        self._index: Any = hnswlib.Index(space="ip", dim=embeddings.dimension)
        self._index.load_index(str(folder / "index.hnsw"))
        self._index.set_num_threads(1)
        return [{"ef": ef} for ef in (10, 16, 24, 32, 48, 64, 80, 96, 128, 160, 192, 256, 384)]

    def search(self, query: Vectors, k: int, effort: Effort) -> Rows:
        self._index.set_ef(max(k, effort["ef"]))
        rows: Rows = self._index.knn_query(query[None, :], k=k, num_threads=1)[0][0].astype(np.int64)
        return rows

    def memory(self) -> Mapping[str, int]:
        return {"anonymous": int(self._index.index_file_size()), "mapped": 0}


def peers(names: Sequence[str], dimension: int, lists: int) -> list[Contender]:
    """The plain libraries of those names. Raises InvalidRequest for another."""
    known: dict[str, Contender] = {
        "faiss": PlainFaiss(f"IVF{lists},PQ{dimension // 4}x4fsr,Refine(SQfp16)"),
        "faiss-hnsw": PlainFaiss("HNSW16"),
        "hnswlib": PlainHnswlib(),
    }
    for name in names:
        if name not in known:
            raise InvalidRequest(f"unknown peer {name!r}: choose from {', '.join(known)}")
    return [known[name] for name in names]
