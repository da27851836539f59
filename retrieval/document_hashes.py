"""How a segment finds documents by id: one bisection over sorted hashes, and a look at the ids that they lead to."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from retrieval.types import Rows


def hash_of(document_id: str) -> int:
    """64 bits of BLAKE2b."""
    return int.from_bytes(hashlib.blake2b(document_id.encode(), digest_size=8).digest(), "little")


def hashes_of(document_ids: Sequence[str]) -> NDArray[np.uint64]:
    """The hash of each, in order."""
    return np.array([hash_of(each) for each in document_ids], np.uint64)


def find(
    ids: NDArray[np.uint64],
    rows: Rows,
    document_ids: Sequence[str],
    hashes: NDArray[np.uint64],
    names: Callable[[Rows], list[str]],
) -> list[int]:
    """The row of each document, -1 where there is none.

    ``ids`` are all hashes, sorted, ``rows`` what each belongs to, ``hashes`` those of ``document_ids``; ``names`` says
    which ids stand in some rows.
    """
    found = [-1] * len(document_ids)
    places = np.searchsorted(ids, hashes)

    def alike(asked: NDArray[np.int64]) -> NDArray[np.int64]:
        inside = asked[places[asked] < len(ids)]
        return np.asarray(inside[ids[places[inside]] == hashes[inside]], np.int64)

    pending = alike(np.arange(len(hashes)))
    while len(pending):
        there = rows[places[pending]]
        others = []
        for at, row, name in zip(pending.tolist(), there.tolist(), names(there), strict=True):
            if name == document_ids[at]:
                found[at] = row
            else:  # two ids of one hash: it may be the next
                others.append(at)
        places[others] += 1
        pending = alike(np.array(others, np.int64))
    return found
