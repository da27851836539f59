"""The dense channel of one segment: opened from its folder, searched under a filter, measured against exact search."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from retrieval.bitmap import Bitmap
from retrieval.durable import replace_json
from retrieval.errors import IndexUnreadable, InvalidRequest
from retrieval.types import Hits, Rows, Vectors
from retrieval.vector_spec import Spec, parse_spec
from retrieval.vector_store import Codes, Kind, Store, best, open_store

META, FORMAT = "vectors.json", 1


class VectorIndex(Protocol):
    """Immutable. Thread-safe; a search runs in the caller's thread alone."""

    count: int
    dimension: int
    spec: str

    def search(self, vector: NDArray[np.float32], depth: int, *, allowed: Bitmap | None = None) -> Hits:
        """The best ``depth`` rows, of ``allowed`` ones alone, by inner product with ``vector`` (float32 ``[d]``, unit).

        Scores are cosines; ties are ordered by row. Fewer come back only when no more are allowed, or when an
        approximate index finds no more. Raises InvalidRequest for a vector or a bitmap of another size.
        """
        ...

    def vectors(self, rows: Rows | slice) -> Vectors:
        """As they are stored, to the precision of the store; float32 ``[n, d]``."""
        ...

    def memory(self) -> Mapping[str, int]:
        """Bytes by part; the names begin with ``anonymous`` (the process's own) or ``mapped`` (the page cache's)."""
        ...


@dataclass(frozen=True, slots=True)
class Meta:
    """What the folder of an index says of itself."""

    spec: str
    count: int
    dimension: int
    effort: Mapping[str, int]
    """How hard to search for the recall that was asked for: what the index measured when it was built."""


def write_meta(folder: Path, meta: Meta) -> None:
    replace_json(folder / META, {"format": FORMAT, **asdict(meta)})


def read_meta(folder: Path) -> Meta:
    """Raises IndexUnreadable."""
    path = folder / META
    try:
        fields: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if (found := fields.pop("format")) != FORMAT:
            raise IndexUnreadable(
                f"{path} is of format {found}, this version reads {FORMAT}: build the collection again"
            )
        return Meta(**fields)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise IndexUnreadable(f"{path} cannot be read ({error}): build the collection again") from error


def open_index(folder: Path) -> VectorIndex:
    """What a VectorWriter closed in ``folder``. Raises IndexUnreadable when a file is missing, cut or of others."""
    meta = read_meta(folder)
    spec = parse_spec(meta.spec)
    if spec.family == "IVF" and spec.codec == "SQ8":
        from retrieval.vector_listed import open_listed_index

        halves = open_store(folder, "f16", meta.count, meta.dimension) if store_kind(spec) == "f16" else None
        assert not isinstance(halves, Codes)
        return open_listed_index(folder, meta, halves)
    if spec.family == "IVF":
        from retrieval.vector_ivf import open_ivf

        return open_ivf(folder, meta)
    if spec.family == "Graph":
        from retrieval.graph import open_cell_graph

        halves = open_store(folder, "f16", meta.count, meta.dimension) if store_kind(spec) == "f16" else None
        assert not isinstance(halves, Codes)
        return open_cell_graph(folder, meta, halves)
    store = open_store(folder, store_kind(spec), meta.count, meta.dimension)
    if spec.family == "Flat":
        codes = store if isinstance(store, Codes) else open_store(folder, "i8", meta.count, meta.dimension)
        assert isinstance(codes, Codes)
        return Flat(meta.spec, codes, store)
    from retrieval.vector_graph import open_graph

    return open_graph(folder, meta, store)


def store_kind(spec: Spec) -> Kind:
    """The precision in which an index of that spec keeps its vectors, and gives them back."""
    return "i8" if spec.keeps == "SQ8" else "f16"


class Flat:
    """Exact search: the codes of all rows, or of all allowed ones, are scanned and the best scored from the store."""

    def __init__(self, spec: str, codes: Codes, store: Store) -> None:
        self.spec, self.count, self.dimension = spec, codes.count, codes.dimension
        self._codes, self._store = codes, store

    def search(self, vector: NDArray[np.float32], depth: int, *, allowed: Bitmap | None = None) -> Hits:
        check_query(self, vector, allowed)
        return scan(self._codes, self._store, vector, depth, allowed)

    def vectors(self, rows: Rows | slice) -> Vectors:
        return self._store.vectors(rows)

    def memory(self) -> Mapping[str, int]:
        finer = {} if self._store is self._codes else {"mapped store": self._store.bytes}
        return {"mapped codes": self._codes.bytes, **finer}


def scan(codes: Codes, store: Store, vector: NDArray[np.float32], depth: int, allowed: Bitmap | None) -> Hits:
    """Exact to the precision of ``store``, in all but name: twice ``depth`` and 64 rows are taken by their codes.

    The rounding of codes moves a cosine by 0.001; that much apart are the tenth and some twentieth best of real text.
    """
    rows, _ = codes.scan(vector, 2 * depth + 64 if depth > 0 else 0, None if allowed is None else allowed.bits)
    return best(rows, store.score(rows, vector), depth)


def check_query(index: VectorIndex, vector: NDArray[np.float32], allowed: Bitmap | None) -> None:
    """Raises InvalidRequest for a vector or a bitmap that does not belong to ``index``."""
    if vector.shape != (index.dimension,):
        raise InvalidRequest(f"the index holds {index.dimension}-d vectors, the query's is {list(vector.shape)}")
    if allowed is not None and allowed.length != index.count:
        raise InvalidRequest(f"the index holds {index.count:,} vectors, the filter is over {allowed.length:,}")
