"""What a build tells of the documents that it dropped, a line each, written without holding their ids in memory."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from indexing.duplicates import Duplicates

Ids = Callable[[int, NDArray[np.int64]], Sequence[str]]
"""Ids of some documents of a partition: called with its place and their rows within it, in order."""


def write_dropped(path: Path, found: Duplicates, ids: Ids, begins: NDArray[np.int64]) -> None:
    """Write ``{"dropped": id, "kept": id, "similarity": 0.93}`` for each document that ``found`` drops.

    ``begins`` says where each partition begins among all documents. The file appears whole or not at all.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    dropped = np.flatnonzero(found.dropped)
    named = np.unique(np.concatenate([dropped, found.kept_for[dropped]]))
    aside = path.with_name(f".{path.name}.new")
    with tempfile.TemporaryFile(dir=path.parent) as texts, aside.open("w", encoding="utf-8") as out:
        ends = _spill(texts, named, ids, begins)
        for document in dropped.tolist():
            kept = int(found.kept_for[document])
            line = {
                "dropped": _text(texts, named, ends, document),
                "kept": _text(texts, named, ends, kept),
                "similarity": round(float(found.similarity[document]), 3),
            }
            out.write(json.dumps(line, ensure_ascii=False) + "\n")
    aside.replace(path)


def _spill(texts: IO[bytes], named: NDArray[np.int64], ids: Ids, begins: NDArray[np.int64]) -> NDArray[np.int64]:
    """Write the ids of the documents ``named`` after one another; returns where each ends, after a 0."""
    ends, end = np.zeros(len(named) + 1, np.int64), 0
    places = np.searchsorted(begins, named, "right") - 1
    for place in np.unique(places).tolist():
        chosen = np.flatnonzero(places == place)
        for row, text in zip(chosen.tolist(), ids(place, named[chosen] - begins[place]), strict=True):
            end += texts.write(text.encode())
            ends[row + 1] = end
    return ends


def _text(texts: IO[bytes], named: NDArray[np.int64], ends: NDArray[np.int64], document: int) -> str:
    row = int(np.searchsorted(named, document))
    texts.seek(int(ends[row]))
    return texts.read(int(ends[row + 1] - ends[row])).decode()
