"""How the metadata and access lists of a segment's documents become columns on disk, in bounded memory."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Sequence
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from retrieval.filters import Fields, check_acl
from retrieval.metadata_columns import ARRAYS, DIRECTORY, FORMAT
from retrieval.metadata_runs import Run, Spill, UInt32s, as_arrow, dates_among
from retrieval.metadata_values import Kind, typed
from retrieval.types import Metadata

_BLOCK = 1 << 16
_ALIGNED = 64
_SIMPLE: Final[dict[type, Kind]] = {str: "string", int: "integer", float: "real", bool: "boolean"}

Parts = dict[Kind, list[tuple[UInt32s, pa.Array]]]
"""Documents and values of one key in one block, by kind; the documents of each part ascend."""


class MetadataWriter:
    """Streams documents in order into ``columns.bin`` and its directory ``columns.json``.

    Documents are collected by blocks of ``block``; a block's values are numbered and spilled beside the columns.
    ``close`` numbers them anew over all blocks, one column at a time: it holds some 30 bytes for each value of the
    largest column and 130 for each distinct one. Not thread-safe.

    ``fields`` decide what is stored of text: instants alone under a declared date, no instants under another
    declaration, both where nothing is declared. They may be added to later, not changed.
    """

    def __init__(self, folder: Path, fields: Fields, *, block: int = _BLOCK) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._fields = fields
        self._size = block
        self._documents = 0
        self._block: list[Metadata] = []
        self._lists: tuple[list[int], list[Sequence[str]]] = ([], [])
        """Documents of the block that have an access list, and the lists."""
        self._runs: dict[tuple[str | None, Kind], list[Run]] = {}
        self._spill = Spill(folder)

    def add(self, metadata: Metadata, acl: Sequence[str]) -> None:
        """The next document. What filters do not see (``metadata_values.typed``) is left out.

        ``metadata`` is kept for a while and must not be changed. Raises InvalidRequest for a principal that is not
        Unicode text, OSError when there is no space.
        """
        if acl:
            check_acl(acl)
            self._lists[0].append(self._documents)
            self._lists[1].append(tuple(acl))
        self._block.append(metadata)
        self._documents += 1
        if len(self._block) == self._size:
            self._flush()

    def close(self) -> None:
        """Write the columns; without this the folder cannot be read. Raises OSError."""
        self._flush()
        columns = []
        with (self._folder / ARRAYS).open("wb") as file:
            for (key, kind), runs in self._runs.items():
                arrays: dict[str, tuple[int, str, int]] = {}
                for name, array in self._spill.column(runs, self._documents).items():
                    file.write(bytes(-file.tell() % _ALIGNED))
                    arrays[name] = (file.tell(), array.dtype.str, len(array))
                    file.write(array.data)
                columns.append({"key": key, "kind": kind, "arrays": arrays})
        said = {"format": FORMAT, "documents": self._documents, "fields": dict(self._fields), "columns": columns}
        (self._folder / DIRECTORY).write_text(json.dumps(said), encoding="utf-8")
        self.abandon()

    def abandon(self) -> None:
        """Let go of what was spilled."""
        self._spill.close()

    def _flush(self) -> None:
        first = self._documents - len(self._block)
        columns: dict[str | None, tuple[UInt32s, Sequence[Any]]] = {
            key: (docs + np.uint32(first), values) for key, (docs, values) in _transposed(self._block).items()
        }
        columns[None] = np.array(self._lists[0], np.uint32), self._lists[1]
        self._block, self._lists = [], ([], [])
        for key, (docs, values) in columns.items():
            parts: Parts = {}
            _split(docs, values, parts)
            for kind, found in parts.items():
                self._put(key, kind, *_in_order(found))

    def _put(self, key: str | None, kind: Kind, docs: UInt32s, values: pa.Array) -> None:
        declared = self._fields.get(key) if key is not None else "keyword"
        if kind == "string" and declared in (None, "date"):
            dated, instants = dates_among(values, docs)
            if len(dated):
                self._runs.setdefault((key, "date"), []).append(self._spill.put(dated, instants))
        if kind != "string" or declared != "date":
            self._runs.setdefault((key, kind), []).append(self._spill.put(docs, values))


def _transposed(block: Sequence[Metadata]) -> dict[str, tuple[UInt32s, Sequence[Any]]]:
    """By key the places in ``block`` that have it and their values. Keys that all have are read out at once."""
    every = np.arange(len(block), dtype=np.uint32)
    with contextlib.suppress(KeyError):  # as many keys everywhere, and those of the first: mostly so
        if len(set(map(len, block))) == 1:
            return {key: (every, list(map(itemgetter(key), block))) for key in block[0]}
    found: dict[str, tuple[UInt32s, Sequence[Any]]] = {}
    some: dict[str, tuple[list[int], list[Any]]] = {}
    for key, count in Counter(chain.from_iterable(block)).items():
        if count == len(block):
            found[key] = every, list(map(itemgetter(key), block))
        else:
            some[key] = [], []
    if some:
        for place, metadata in enumerate(block):
            for key in metadata:
                if key in some:
                    some[key][0].append(place)
                    some[key][1].append(metadata[key])
    return found | {key: (np.array(places, np.uint32), values) for key, (places, values) in some.items()}


def _split(docs: UInt32s, values: Sequence[Any], parts: Parts, *, listed: bool = False) -> None:
    """Values of any types by kind, a type at a time: what one type brings is converted at once."""
    types = set(map(type, values))
    for type_ in types:
        some_docs, some = docs, values
        if len(types) > 1:
            places = [place for place, value in enumerate(values) if type(value) is type_]
            some_docs, some = docs[places], [values[place] for place in places]
        if issubclass(type_, list | tuple):
            if not listed:  # a list within a list is not seen
                lengths = np.fromiter(map(len, some), np.int64, len(some))
                _split(np.repeat(some_docs, lengths), list(chain.from_iterable(some)), parts, listed=True)
        elif type_ in _SIMPLE:
            _convert(_SIMPLE[type_], some_docs, some, parts)
        else:  # subclasses of the simple types, and what is not seen
            seen = [(place, *one) for place, value in enumerate(some) if (one := typed(value)) is not None]
            for kind in {kind for _, kind, _ in seen}:
                places = [place for place, its_kind, _ in seen if its_kind == kind]
                _convert(kind, some_docs[places], [value for _, its_kind, value in seen if its_kind == kind], parts)


def _convert(kind: Kind, docs: UInt32s, values: Sequence[Any], parts: Parts) -> None:
    try:
        arrow = as_arrow(kind, values)
    except (UnicodeEncodeError, OverflowError):
        places = [place for place, value in enumerate(values) if typed(value) is not None]
        docs, arrow = docs[places], as_arrow(kind, [values[place] for place in places])
    if kind != "real":
        parts.setdefault(kind, []).append((docs, arrow))
        return
    numbers = arrow.to_numpy()
    whole = (numbers == np.floor(numbers)) & (numbers >= -(2.0**63)) & (numbers < 2.0**63)
    real = np.isfinite(numbers) & ~whole
    if whole.any():
        parts.setdefault("integer", []).append((docs[whole], pa.array(numbers[whole].astype(np.int64))))
    if real.any():
        parts.setdefault("real", []).append((docs[real], pa.array(numbers[real])))


def _in_order(parts: Sequence[tuple[UInt32s, pa.Array]]) -> tuple[UInt32s, pa.Array]:
    """The parts as one, by document."""
    if len(parts) == 1:
        return parts[0]
    docs = np.concatenate([part[0] for part in parts])
    order = np.argsort(docs, kind="stable")
    return docs[order], pa.concat_arrays([part[1] for part in parts]).take(pa.array(order))
