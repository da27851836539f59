"""Arrow columns on disk, mapped, and values read out of them by row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    """One Arrow file, mapped. Values are read straight from its buffers: Arrow's own scalars cost twenty times as
    much. Opening reads nothing but the footer."""

    def __init__(self, path: Path) -> None:
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
        batches = [reader.get_batch(i) for i in range(reader.num_record_batches)]
        self._starts = np.cumsum([0] + [batch.num_rows for batch in batches])
        self.rows = int(self._starts[-1])
        self._strings: dict[str, list[tuple[memoryview, memoryview]]] = {}
        self._numbers: dict[str, list[NDArray[Any]]] = {}
        for field in reader.schema:
            columns = [batch.column(field.name) for batch in batches]
            if field.type == pa.string():
                self._strings[field.name] = [_string_buffers(column) for column in columns]
            else:
                self._numbers[field.name] = [column.to_numpy() for column in columns]
        self._values = {name: [part.data for part in parts] for name, parts in self._numbers.items()}

    def at(self, rows: Rows | Sequence[int]) -> Values:
        """These rows, for reading one column of them after another. All must be there."""
        wanted = np.asarray(rows, np.int64)
        batches = np.searchsorted(self._starts, wanted, side="right") - 1
        places = list(zip(batches.tolist(), (wanted - self._starts[batches]).tolist(), strict=True))
        return Values(places, self._values, self._strings)

    def column(self, name: str) -> NDArray[Any]:
        """All values of a column of numbers."""
        return np.concatenate([*self._numbers[name], np.empty(0, np.int64)])

    def every(self, name: str, value: int) -> bool:
        """Whether all values of a column of numbers are this one."""
        return all(bool((part == value).all()) for part in self._numbers[name])


class Values:
    """Some rows of a file, in the order asked."""

    __slots__ = ("_numbers", "_places", "_strings")

    def __init__(
        self,
        places: Sequence[tuple[int, int]],
        numbers: Mapping[str, Sequence[memoryview]],
        strings: Mapping[str, Sequence[tuple[memoryview, memoryview]]],
    ) -> None:
        """``places``: of each row its batch and its row in that."""
        self._places, self._numbers, self._strings = places, numbers, strings

    def numbers(self, name: str) -> list[int]:
        parts = self._numbers[name]
        return [parts[batch][row] for batch, row in self._places]

    def strings(self, name: str) -> list[str]:
        parts = self._strings[name]
        return [_decoded(*parts[batch], row) for batch, row in self._places]

    def slices(self, name: str, starts: Sequence[int], ends: Sequence[int]) -> list[str]:
        """Of each string the bytes from ``starts`` to ``ends``, decoded, without touching the rest of it."""
        found = []
        for (batch, row), start, end in zip(self._places, starts, ends, strict=True):
            offsets, content = self._strings[name][batch]
            first = offsets[row]
            found.append(str(content[first + start : first + end], "utf-8"))
        return found


def _decoded(offsets: memoryview, content: memoryview, row: int) -> str:
    return str(content[offsets[row] : offsets[row + 1]], "utf-8")


def _string_buffers(column: Any) -> tuple[memoryview, memoryview]:
    """Offsets (int32) and bytes."""
    _, offsets, content = column.buffers()
    return np.frombuffer(offsets, np.int32).data, memoryview(content if content is not None else b"")
