"""Arrow columns on disk, mapped, and values read out of them by row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from retrieval.types import Rows

ColumnType = Literal["string", "int32", "int64"]


class ColumnsWriter:
    """Writes rows into a new file, as many at a time as lie between two calls of ``flush``."""

    def __init__(self, path: Path, types: Mapping[str, ColumnType]) -> None:
        self._schema = pa.schema([(name, getattr(pa, kind)()) for name, kind in types.items()])
        self._file = pa.OSFile(str(path), "wb")
        self._writer = pa.ipc.new_file(self._file, self._schema)
        self._rows: list[Mapping[str, Any]] = []

    def add(self, row: Mapping[str, Any]) -> None:
        """A value for every column."""
        self._rows.append(row)

    def flush(self) -> None:
        """Write what was added since as one batch. Raises OSError."""
        if self._rows:
            self._writer.write_batch(pa.RecordBatch.from_pylist(self._rows, schema=self._schema))
            self._rows = []

    def close(self) -> None:
        """Write the rest and the footer, without which the file cannot be read. Raises OSError."""
        self.flush()
        self._writer.close()
        self._file.close()

    def abandon(self) -> None:
        """Let go of the file as it is."""
        self._file.close()


class Columns:
    """One Arrow file, mapped. Values are read straight from its buffers, many rows at a time: Arrow's own
    scalars cost twenty times as much, and a search reads 200 passages. Opening reads nothing but the footer."""

    def __init__(self, path: Path) -> None:
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
        batches = [reader.get_batch(i) for i in range(reader.num_record_batches)]
        self._starts = np.cumsum([0] + [batch.num_rows for batch in batches])
        self.rows = int(self._starts[-1])
        self._strings: dict[str, list[tuple[NDArray[np.int32], memoryview]]] = {}
        self._numbers: dict[str, list[NDArray[Any]]] = {}
        for field in reader.schema:
            columns = [batch.column(field.name) for batch in batches]
            if field.type == pa.string():
                self._strings[field.name] = [_string_buffers(column) for column in columns]
            else:
                self._numbers[field.name] = [column.to_numpy() for column in columns]

    def numbers(self, name: str, rows: Rows) -> list[int]:
        parts = self._numbers[name]
        values: list[int] = [0] * len(rows)
        for batch, places, local in self._by_batch(rows):
            if len(places) == len(rows):
                found: list[int] = parts[batch][local].tolist()
                return found
            for place, value in zip(places.tolist(), parts[batch][local].tolist(), strict=True):
                values[place] = value
        return values

    def column(self, name: str) -> NDArray[Any]:
        """All values of a column of numbers."""
        return np.concatenate([*self._numbers[name], np.empty(0, np.int64)])

    def every(self, name: str, value: int) -> bool:
        """Whether all values of a column of numbers are this one."""
        return all(bool((part == value).all()) for part in self._numbers[name])

    def strings(self, name: str, rows: Rows) -> list[str]:
        return self.slices(name, rows, None, None)

    def slices(self, name: str, rows: Rows, start: Sequence[int] | None, end: Sequence[int] | None) -> list[str]:
        """Of each string the bytes from ``start`` to ``end``, decoded, without touching the rest of it."""
        decoded = [""] * len(rows)
        for batch, places, local in self._by_batch(rows):
            offsets, content = self._strings[name][batch]
            bounds = zip(places.tolist(), offsets[local].tolist(), offsets[local + 1].tolist(), strict=True)
            for place, first, last in bounds:
                if start is not None and end is not None:
                    first, last = first + start[place], first + end[place]
                decoded[place] = str(content[first:last], "utf-8")
        return decoded

    def _by_batch(self, rows: Rows) -> Iterator[tuple[int, NDArray[np.int64], Rows]]:
        """For each batch that holds some of ``rows``: its number, their places among them, and their rows in it."""
        batches = np.searchsorted(self._starts, rows, side="right") - 1
        for batch in np.unique(batches).tolist():
            places = np.flatnonzero(batches == batch)
            yield batch, places, rows[places] - self._starts[batch]


def _string_buffers(column: Any) -> tuple[NDArray[np.int32], memoryview]:
    _, offsets, content = column.buffers()
    return np.frombuffer(offsets, np.int32), memoryview(content if content is not None else b"")
