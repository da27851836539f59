"""Vectors in files as they are kept: halves, or bytes with a scale a vector; mapped, read and scored by row."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from retrieval import _native
from retrieval.errors import IndexUnreadable, InvalidRequest
from retrieval.types import Hits, Rows, Vectors

Kind = Literal["f16", "i8"]

Name = Literal["vectors", "listed"]
"""``vectors`` by row, or ``listed`` in the order of lists."""

_FILES: dict[Name, tuple[str, str, str]] = {
    "vectors": ("vectors.f16", "vectors.i8", "scales.f32"),
    "listed": ("listed.f16", "listed.i8", "listed-scales.f32"),
}

_BLOCK = 8192
"""Vectors that are widened to float32 at a time."""


class Halves:
    """float16 ``[n, d]``: a unit vector's numbers to 11 bits."""

    kind: Kind = "f16"
    count: int
    dimension: int

    def __init__(self, halves: NDArray[np.float16]) -> None:
        self.halves = halves
        self.count, self.dimension = halves.shape

    def vectors(self, rows: Rows | slice) -> Vectors:
        """Those rows as float32 ``[n, d]``."""
        return np.asarray(self.halves[rows], np.float32)

    def score(self, rows: Rows, query: NDArray[np.float32]) -> NDArray[np.float32]:
        """Inner products of those rows, in their order, with ``query`` (float32 ``[d]``)."""
        return _native.score_rows_f16(self.halves, rows, query)

    @property
    def bytes(self) -> int:
        return int(self.halves.nbytes)


class Codes:
    """int8 ``[n, d]`` and a float32 scale a row: half the size of halves, and scanned several times as fast."""

    kind: Kind = "i8"
    count: int
    dimension: int

    def __init__(self, codes: NDArray[np.int8], scales: NDArray[np.float32]) -> None:
        self.codes, self.scales = codes, scales
        self.count, self.dimension = codes.shape

    def vectors(self, rows: Rows | slice) -> Vectors:
        return np.asarray(self.codes[rows] * self.scales[rows, None], np.float32)

    def score(self, rows: Rows, query: NDArray[np.float32]) -> NDArray[np.float32]:
        return _native.score_rows_int8(self.codes, self.scales, rows, query)

    def scan(
        self, query: NDArray[np.float32], depth: int, bits: NDArray[np.uint8] | None = None
    ) -> tuple[Rows, Vectors]:
        """The best ``depth`` rows, of those alone whose bit is set, with scores by int8 on both sides."""
        return _native.scan_int8(self.codes, self.scales, query, depth, bits)

    @property
    def bytes(self) -> int:
        return int(self.codes.nbytes + self.scales.nbytes)


class Ordered:
    """A store whose vectors lie in an order of their own: row ``r`` at ``places[r]`` (int32) of ``base``."""

    def __init__(self, base: Halves | Codes, places: NDArray[np.int32]) -> None:
        self.base, self._places = base, places
        self.kind: Kind = base.kind
        self.count, self.dimension = base.count, base.dimension

    def vectors(self, rows: Rows | slice) -> Vectors:
        return self.base.vectors(self._places[rows].astype(np.int64))

    def score(self, rows: Rows, query: NDArray[np.float32]) -> NDArray[np.float32]:
        return self.base.score(self._places[rows].astype(np.int64), query)

    @property
    def bytes(self) -> int:
        return self.base.bytes


Store = Halves | Codes | Ordered
"""An immutable matrix of vectors, safe for threads."""


class StoreWriter:
    """Appends vectors to the files of one kind in ``folder``; the first ``keep`` that lie there already stay.

    Raises InvalidRequest for vectors of another width or with numbers that are not finite, and when fewer than
    ``keep`` are there; OSError.
    """

    def __init__(self, folder: Path, dimension: int, kind: Kind, *, name: Name = "vectors", keep: int = 0) -> None:
        self.kind, self.dimension, self.count = kind, dimension, keep
        halves, codes, scales = _FILES[name]
        widths = {halves: 2 * dimension} if kind == "f16" else {codes: dimension, scales: 4}
        self._files = []
        for file_name, width in widths.items():
            path = folder / file_name
            there = path.stat().st_size if path.exists() else 0
            if there < keep * width:
                raise InvalidRequest(f"{path} holds {there // width:,} vectors, not the {keep:,} that should be kept")
            file = path.open("r+b" if path.exists() else "wb")
            file.truncate(keep * width)
            file.seek(keep * width)
            self._files.append(file)

    def add(self, vectors: Vectors) -> None:
        if vectors.ndim != 2 or vectors.shape[1] != self.dimension:
            raise InvalidRequest(f"want vectors of {self.dimension} numbers, got {list(vectors.shape)}")
        if not np.isfinite(vectors).all():
            raise InvalidRequest("a vector holds a number that is not finite")
        for start in range(0, len(vectors), _BLOCK):
            block = np.ascontiguousarray(vectors[start : start + _BLOCK], np.float32)
            self._write((block.astype(np.float16),) if self.kind == "f16" else _native.quantise_int8(block))
        self.count += len(vectors)

    def copy(self, store: Halves | Codes, rows: Rows) -> None:
        """Append rows of a store of the same kind, bit by bit."""
        self._write((store.halves[rows],) if isinstance(store, Halves) else (store.codes[rows], store.scales[rows]))
        self.count += len(rows)

    def _write(self, parts: tuple[NDArray[Any], ...]) -> None:
        for file, part in zip(self._files, parts, strict=True):
            file.write(part.data)

    def flush(self) -> None:
        """Hand what was added to the system, so that it is there after a kill of this process."""
        for file in self._files:
            file.flush()

    def close(self) -> None:
        for file in self._files:
            file.close()


def open_store(folder: Path, kind: Kind, count: int, dimension: int, *, name: Name = "vectors") -> Halves | Codes:
    """Map the files of ``kind``. Raises IndexUnreadable when they are missing or of another size."""
    halves, codes, scales = (folder / file for file in _FILES[name])
    if kind == "f16":
        return Halves(mapped(halves, np.float16, (count, dimension)))
    return Codes(mapped(codes, np.int8, (count, dimension)), mapped(scales, np.float32, (count,)))


def store_of(vectors: Vectors) -> Codes:
    """The same in memory, out of float32 vectors."""
    return Codes(*_native.quantise_int8(np.ascontiguousarray(vectors, np.float32)))


def remove_store(folder: Path, kind: Kind) -> None:
    halves, codes, scales = _FILES["vectors"]
    for file in (halves,) if kind == "f16" else (codes, scales):
        (folder / file).unlink(missing_ok=True)


def best(rows: Rows, scores: NDArray[np.float32], depth: int) -> Hits:
    """The best ``depth`` of scored rows, ties by row."""
    order = np.lexsort((rows, -scores))[:depth]
    return Hits(rows[order], scores[order])


def mapped(path: Path, dtype: type[np.generic], shape: tuple[int, ...]) -> NDArray[Any]:
    """A file as a matrix that is read when it is used. Raises IndexUnreadable when it is missing or of another size."""
    wanted = int(np.prod(shape)) * np.dtype(dtype).itemsize
    size = path.stat().st_size if path.exists() else -1
    if size != wanted:
        found = "is missing" if size < 0 else f"has {size:,} bytes, not {wanted:,}"
        raise IndexUnreadable(f"{path} {found}: build the collection again")
    if not wanted:  # an empty file cannot be mapped
        return np.empty(shape, dtype)
    mapped: NDArray[Any] = np.memmap(path, dtype, "r", shape=shape).view(np.ndarray)
    return mapped
