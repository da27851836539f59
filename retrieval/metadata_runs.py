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

from retrieval.bitmap import Bitmap
from retrieval.metadata_columns import RARE
from retrieval.metadata_values import DATE, Kind, instant

UInt32s = NDArray[np.uint32]

_USUAL = (
    ("[12][0-9]{3}-[0-9]{2}-[0-9]{2}", None),
    ("[12][0-9]{3}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:[.][0-9]{1,6})?Z", "UTC"),
)
"""Dates that Arrow reads as ``instant`` does and ten times as fast, and the zone that it has to be told."""


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
        if 2 * pairs < documents or (docs[1:] == docs[:-1]).any():
            # lists, or a key that few have: a code for each document would waste space or not say enough
            return arrays | {"docs": docs, "codes": codes} | _by_value(docs, codes, len(values), documents, sets=True)
        each = np.full(documents, len(values), codes.dtype)
        each[docs] = codes
        return arrays | {"codes": each} | _by_value(docs, codes, len(values), documents, sets=False)

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
    when, valid = np.zeros(len(encoded.dictionary), np.int64), np.zeros(len(encoded.dictionary), np.bool_)
    likely = _matching(encoded.dictionary, DATE)
    if likely.any():
        for pattern, zone in _USUAL:
            usual = likely & _matching(encoded.dictionary, pattern)
            try:
                read = encoded.dictionary.filter(pa.array(usual)).cast(pa.timestamp("us", zone)).cast(pa.int64())
            except pa.ArrowInvalid:  # one of them is no date, such as 30 February
                continue
            when[usual], valid[usual] = read.to_numpy(), True
        for place in np.flatnonzero(likely & ~valid).tolist():
            one = instant(encoded.dictionary[place].as_py())
            when[place], valid[place] = one or 0, one is not None
    codes = encoded.indices.to_numpy()
    dated = valid[codes]
    return docs[dated], pa.array(when[codes[dated]])


def _matching(texts: pa.Array, pattern: str) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = pc.match_substring_regex(texts, f"^(?:{pattern})$").to_numpy(zero_copy_only=False)
    return found


def _by_value(
    docs: UInt32s, codes: NDArray[Any], distinct: int, documents: int, *, sets: bool
) -> dict[str, NDArray[Any]]:
    """Counts, the documents of rare values one after another, and with ``sets`` those of the others as bits."""
    counts = np.bincount(codes, minlength=distinct)
    totals = np.concatenate(([0], np.cumsum(counts))).astype(np.min_scalar_type(len(docs)))
    rare = counts * RARE <= documents
    if rare.all():
        return {"totals": totals, "postings": docs[_stable_order(codes)]}
    starts = np.concatenate(([0], np.cumsum(np.where(rare, counts, 0)))).astype(totals.dtype)
    listed = rare[codes]
    arrays = {"totals": totals, "starts": starts, "postings": docs[listed][_stable_order(codes[listed])]}
    if sets:
        frequent = np.flatnonzero(~rare)
        by_code = np.split(docs[~listed][_stable_order(codes[~listed])], np.cumsum(counts[frequent])[:-1])
        arrays["frequent"] = frequent
        arrays["sets"] = np.concatenate([Bitmap.of_rows(each.astype(np.int64), documents).bits for each in by_code])
    return arrays


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
