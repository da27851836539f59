"""How the values of a metadata column are numbered by their order, block by block on disk, then over all blocks."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from retrieval.metadata_columns import RARE
from retrieval.metadata_values import DATE, Kind, instant

UInt32s = NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class Run:
    """A block of one column: distinct values ascending, and pairs of document and value (by its number), in order."""

    distinct: int
    values: tuple[_Stored, ...]
    docs: _Stored
    codes: _Stored


@dataclass(frozen=True, slots=True)
class _Stored:
    offset: int
    dtype: str
    count: int


class Spill:
    """Runs in an unnamed file, which goes when it is closed or its process ends. Raises OSError."""

    def __init__(self, folder: Path) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - close() closes it
        self._end = 0

    def put(self, docs: UInt32s, values: pa.Array) -> Run:
        """Number the values of one block; ``docs`` ascend, and a value that a document repeats is kept once."""
        distinct, codes = numbered(values)
        if len(docs) > 1 and (docs[1:] == docs[:-1]).any():
            pairs = np.unique(docs.astype(np.uint64) << np.uint64(32) | codes)
            docs, codes = (pairs >> np.uint64(32)).astype(np.uint32), pairs.astype(np.uint32)
        stored = tuple(self._write(array) for array in _to_numpy(distinct))
        return Run(len(distinct), stored, self._write(docs), self._write(codes))

    def column(self, runs: Sequence[Run], documents: int) -> dict[str, NDArray[Any]]:
        """The arrays of ``metadata_columns.Column`` and of its values, from the runs of all blocks in order."""
        values, code_of = numbered(
            pa.concat_arrays([_to_arrow([self._read(each) for each in run.values]) for run in runs])
        )
        pairs = sum(run.docs.count for run in runs)
        docs, codes = np.empty(pairs, np.uint32), np.empty(pairs, np.min_scalar_type(len(values)))
        done = first = 0
        for run in runs:
            docs[done : done + run.docs.count] = self._read(run.docs)
            codes[done : done + run.docs.count] = code_of[first : first + run.distinct][self._read(run.codes)]
            done, first = done + run.docs.count, first + run.distinct
        arrays = dict(zip(("values", "offsets"), reversed(_to_numpy(values)), strict=False))
        return (
            arrays | _by_value(docs, codes, len(values), documents) | _by_document(docs, codes, len(values), documents)
        )

    def close(self) -> None:
        self._file.close()

    def _write(self, array: NDArray[Any]) -> _Stored:
        stored = _Stored(self._end, array.dtype.str, len(array))
        self._file.write(array.data)
        self._end += array.nbytes
        return stored

    def _read(self, stored: _Stored) -> NDArray[Any]:
        self._file.seek(stored.offset)
        array = np.frombuffer(self._file.read(stored.count * np.dtype(stored.dtype).itemsize), stored.dtype)
        self._file.seek(self._end)
        return array


def as_arrow(kind: Kind, values: Sequence[Any]) -> pa.Array:
    """Values of one kind. Raises UnicodeEncodeError or OverflowError for what filters do not see."""
    if kind == "string":
        return pa.array(values, pa.large_string())
    return pa.array(np.array(values, np.float64 if kind == "real" else np.int64))


def numbered(values: pa.Array) -> tuple[pa.Array, UInt32s]:
    """Distinct values ascending (text by code point), and for each value its place among them."""
    encoded = values.dictionary_encode()
    order = pc.sort_indices(encoded.dictionary)
    place = np.empty(len(order), np.uint32)
    place[order.to_numpy()] = np.arange(len(order), dtype=np.uint32)
    return encoded.dictionary.take(order), place[encoded.indices.to_numpy()]


def dates_among(texts: pa.Array, docs: UInt32s) -> tuple[UInt32s, pa.Array]:
    """Those of ``docs`` whose text is a full date, and its instant. Each distinct text is read once."""
    encoded = texts.dictionary_encode()
    likely = np.flatnonzero(
        pc.match_substring_regex(encoded.dictionary, f"^(?:{DATE})$").to_numpy(zero_copy_only=False)
    )
    when, valid = np.zeros(len(encoded.dictionary), np.int64), np.zeros(len(encoded.dictionary), np.bool_)
    for place, text in zip(likely.tolist(), encoded.dictionary.take(pa.array(likely)).to_pylist(), strict=True):
        read = instant(text)
        if read is not None:
            when[place], valid[place] = read, True
    codes = encoded.indices.to_numpy()
    dated = valid[codes]
    return docs[dated], pa.array(when[codes[dated]])


def _by_document(docs: UInt32s, codes: NDArray[Any], distinct: int, documents: int) -> dict[str, NDArray[Any]]:
    """A code for each document, where most have one and none has two; else pairs."""
    if 2 * len(docs) < documents or (docs[1:] == docs[:-1]).any():
        return {"docs": docs, "codes": codes}
    each = np.full(documents, distinct, codes.dtype)
    each[docs] = codes
    return {"codes": each}


def _by_value(docs: UInt32s, codes: NDArray[Any], distinct: int, documents: int) -> dict[str, NDArray[Any]]:
    """Counts, and the documents of values that are rare enough to be read that way."""
    counts = np.bincount(codes, minlength=distinct)
    totals = np.concatenate(([0], np.cumsum(counts))).astype(np.min_scalar_type(len(docs)))
    rare = counts * RARE <= documents
    if rare.all():
        return {"totals": totals, "postings": docs[_stable_order(codes)]}
    starts = np.concatenate(([0], np.cumsum(np.where(rare, counts, 0)))).astype(totals.dtype)
    listed = rare[codes]
    return {"totals": totals, "starts": starts, "postings": docs[listed][_stable_order(codes[listed])]}


def _stable_order(codes: NDArray[Any]) -> NDArray[np.int64]:
    """Stable argsort; numpy sorts 16 bits by radix, so wider codes go in two passes."""
    if codes.dtype.itemsize <= 2:
        return np.argsort(codes, kind="stable")
    order = np.argsort(codes.astype(np.uint16), kind="stable")
    return order[np.argsort((codes >> 16).astype(np.uint16)[order], kind="stable")]


def _to_numpy(values: pa.Array) -> tuple[NDArray[Any], ...]:
    """Numbers as they are; text as offsets and bytes."""
    if not pa.types.is_large_string(values.type):
        return (values.to_numpy(),)
    _, offsets, text = values.buffers()
    return (
        np.frombuffer(offsets, np.int64, len(values) + 1, values.offset * 8),
        np.frombuffer(text, np.uint8) if text is not None else np.empty(0, np.uint8),
    )


def _to_arrow(arrays: Sequence[NDArray[Any]]) -> pa.Array:
    if len(arrays) == 1:
        return pa.array(arrays[0])
    offsets, text = arrays
    return pa.LargeStringArray.from_buffers(len(offsets) - 1, pa.py_buffer(offsets), pa.py_buffer(text))
