"""Approximate search over lists of short codes (faiss, fast-scan), with the best scored again from the store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.bitmap import Bitmap
from retrieval.errors import DiskFull, IndexUnreadable
from retrieval.types import Hits, Rows, Vectors
from retrieval.vector_effort import calibrated
from retrieval.vector_index import Meta, check_query, store_kind
from retrieval.vector_listed import open_listed, write_listed
from retrieval.vector_lists import ASSIGNED, BLOCK, CENTROIDS, Lists, build_lists, remove_aside
from retrieval.vector_planner import MARGIN, ListScan, Planner, margin_for
from retrieval.vector_spec import Spec, parse_spec
from retrieval.vector_steps import Steps
from retrieval.vector_store import Codes, Halves, Ordered, best, mapped

INDEX = "lists.faiss"
PROBES = (4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)

_TRAINED, _CODED = "codec.faiss", "coded.u8"
_SAMPLE = 65_536
"""Vectors that the codec is trained on."""
_AT_ONCE = 65_536
_SEED = 20240501

CANDIDATES = (50, 100, 200, 400)


def build_ivf(
    folder: Path, spec: Spec, store: Halves | Codes, threads: int, steps: Steps, recall: float
) -> dict[str, int]:
    """Write lists, codes and the index over what ``store`` holds; returns the effort that ``recall`` takes."""
    _faiss().omp_set_num_threads(threads)
    build_lists(folder, store, spec.lists, threads, steps)
    steps("order", lambda: write_listed(folder, store, steps))
    steps("codec", lambda: _train(folder, spec, store))
    for start in range(0, store.count, BLOCK):
        steps(f"code {start}", lambda start=start: _encode(folder, store, start, steps))  # type: ignore[misc]
    steps("pack", lambda: _pack(folder, spec, store))
    meta = Meta(str(spec), store.count, store.dimension, {"probes": 1, "candidates": 1})
    index = open_ivf(folder, meta)
    margin = margin_for(index.scan, recall)
    return {**calibrated(index, index.with_effort, index.efforts, recall), "margin": margin}


def remove_ivf_aside(folder: Path) -> None:
    remove_aside(folder)
    for name in (_TRAINED, _CODED):
        (folder / name).unlink(missing_ok=True)


class Ivf:
    """Lists of codes in memory, vectors mapped. Centroids are compared as int8, which a fast-scan index would not."""

    def __init__(self, meta: Meta, index: Any, lists: Lists, store: Ordered) -> None:
        self.spec, self.count, self.dimension = meta.spec, meta.count, meta.dimension
        self._meta, self._index, self._lists, self._store = meta, index, lists, store
        self._probes, self._candidates = meta.effort["probes"], meta.effort["candidates"]
        self.scan = ListScan(meta.spec, lists, store.base, store, meta.effort.get("margin", MARGIN))
        self._planner = Planner(self.scan)

    def with_effort(self, effort: Mapping[str, int]) -> Ivf:
        """The same index, searched harder or less hard."""
        return Ivf(replace(self._meta, effort={**self._meta.effort, **effort}), self._index, self._lists, self._store)

    @property
    def efforts(self) -> list[dict[str, int]]:
        """What ``with_effort`` takes, cheapest first."""
        return _ladder(self.count, parse_spec(self.spec))

    def search(self, vector: NDArray[np.float32], depth: int, *, allowed: Bitmap | None = None) -> Hits:
        check_query(self, vector, allowed)
        depth = min(depth, self.count)
        if depth < 1:
            return Hits.empty()
        if allowed is None:
            return self._search(vector, depth, None, 1.0)
        planned = self._planner.search(vector, depth, allowed)
        if planned is not None:
            return planned
        return self._search(vector, depth, allowed, self._planner.share(allowed))

    def _search(self, vector: NDArray[np.float32], depth: int, allowed: Bitmap | None, share: float) -> Hits:
        faiss = _faiss()
        wider = max(1.0, depth / 10) ** 0.25 * share**-0.5
        lists, products = self._lists.nearest(vector, min(self._lists.count, int(np.ceil(self._probes * wider))))
        candidates = max(self._candidates, 4 * depth)
        selector = None if allowed is None else faiss.IDSelectorBitmap(allowed.bits)
        parameters = faiss.SearchParametersIVF(nprobe=len(lists), sel=selector)
        scores, rows = np.empty(candidates, np.float32), np.empty(candidates, np.int64)
        at = faiss.swig_ptr
        faiss.omp_set_num_threads(1)
        self._index.search_preassigned_c(
            1, at(vector), candidates, at(lists), at(products), at(scores), at(rows), False, parameters
        )
        found = rows[rows >= 0]
        if allowed is not None and len(found) < candidates:  # the nearest lists hold too little that is allowed
            return self.scan.search(vector, depth, allowed=allowed)
        return best(found, self._store.score(found, vector), depth)

    def vectors(self, rows: Rows | slice) -> Vectors:
        return self._store.vectors(rows)

    def memory(self) -> Mapping[str, int]:
        return {
            "anonymous codes": self.count * (self._index.code_size + 8),
            "anonymous lists": self._lists.bytes + 4 * self.count,
            "mapped store": self._store.bytes,
        }


def open_ivf(folder: Path, meta: Meta) -> Ivf:
    """Raises IndexUnreadable."""
    path = folder / INDEX
    try:
        index = _faiss().read_index(str(path))
    except RuntimeError as error:
        raise IndexUnreadable(f"{path} cannot be read ({error}): build the collection again") from error
    lists, store = open_listed(folder, meta, store_kind(parse_spec(meta.spec)))
    if (index.ntotal, index.d, index.nlist) != (meta.count, meta.dimension, lists.count):
        raise IndexUnreadable(f"{path} does not belong to its vectors: build the collection again")
    return Ivf(meta, index, lists, store)


def _train(folder: Path, spec: Spec, store: Halves | Codes) -> None:
    faiss = _faiss()
    centroids = np.fromfile(folder / CENTROIDS, np.float32).reshape(-1, store.dimension)
    quantiser = faiss.IndexFlatIP(store.dimension)
    quantiser.add(centroids)
    if spec.parts:
        index = faiss.IndexIVFPQ(quantiser, store.dimension, len(centroids), spec.parts, 4, faiss.METRIC_INNER_PRODUCT)
        index.by_residual = spec.codec.endswith("r")
        index.pq.cp.seed = _SEED
    else:
        index = faiss.IndexIVFRaBitQ(quantiser, store.dimension, len(centroids), faiss.METRIC_INNER_PRODUCT)
    rows = np.arange(min(store.count, _SAMPLE)) * store.count // min(store.count, _SAMPLE)
    index.train(store.vectors(rows))
    _write(index, folder / _TRAINED)
    with (folder / _CODED).open("wb") as file:
        file.truncate(index.code_size * store.count)


def _encode(folder: Path, store: Halves | Codes, start: int, steps: Steps) -> None:
    faiss = _faiss()
    index = faiss.read_index(str(folder / _TRAINED))
    assigned = mapped(folder / ASSIGNED, np.int32, (store.count,))
    last = min(start + BLOCK, store.count)
    with (folder / _CODED).open("r+b") as file:
        file.seek(index.code_size * start)
        for first in range(start, last, _AT_ONCE):
            end = min(first + _AT_ONCE, last)
            vectors = np.ascontiguousarray(store.vectors(slice(first, end)))
            lists = assigned[first:end].astype(np.int64)
            codes = np.empty((end - first, index.code_size), np.uint8)
            at = faiss.swig_ptr
            index.encode_vectors(end - first, at(vectors), at(lists), at(codes), False)
            file.write(codes.data)
            steps.progress(end)


def _pack(folder: Path, spec: Spec, store: Halves | Codes) -> None:
    faiss = _faiss()
    index = faiss.read_index(str(folder / _TRAINED))
    codes = mapped(folder / _CODED, np.uint8, (store.count, index.code_size))
    cells = Lists(folder, store.count, store.dimension).cells
    for number, (first, last) in enumerate(zip(cells.offsets[:-1].tolist(), cells.offsets[1:].tolist(), strict=True)):
        if first < last:
            rows = cells.members[first:last].astype(np.int64)
            held = np.ascontiguousarray(codes[rows])
            index.invlists.add_entries(number, len(rows), faiss.swig_ptr(rows), faiss.swig_ptr(held))
    index.ntotal = store.count
    if spec.parts:
        index = faiss.IndexIVFPQFastScan(index)
    elif spec.codec.endswith("fs"):
        index = faiss.IndexIVFRaBitQFastScan(index)
    _write(index, folder / INDEX)


def _write(index: Any, path: Path) -> None:
    try:
        _faiss().write_index(index, str(path))
    except RuntimeError as error:
        raise DiskFull(f"no space left while writing {path}; what was there before is untouched") from error


def _ladder(count: int, spec: Spec) -> list[dict[str, int]]:
    """Efforts by about what they cost: a probe scans its list, at a fiftieth of what a candidate costs for each row."""
    a_probe = count / spec.lists / 50 + 1
    efforts = [
        {"probes": probes, "candidates": each} for probes in PROBES if probes <= spec.lists for each in CANDIDATES
    ]
    return sorted(efforts, key=lambda effort: effort["probes"] * a_probe + effort["candidates"] / 10)


def _faiss() -> Any:
    import faiss

    return faiss
