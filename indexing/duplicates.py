"""Which documents of a build say nearly the same: MinHash signatures by rensa, compared band by band."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

SLOTS = 128
"""Numbers of a signature; an estimate of similarity s has the standard error sqrt(s (1 - s) / 128)."""

SIGNATURES_VERSION = "1"
"""Changes with the shingles; rensa's own version of its algorithm goes beside it."""

_SEED = 20
_SHINGLE = 3
_TOKEN = re.compile("[\u3400-\u9fff\U00020000-\U0003ffff]|[^\\W\u3400-\u9fff\U00020000-\U0003ffff]+")
_FOUND_AT_LEAST = 0.9
_LOOKED_AT = 8

Signatures = NDArray[np.uint32]
Hashes = NDArray[np.uint64]


def signatures_version() -> str:
    from rensa import RMinHash

    return f"{SIGNATURES_VERSION}/{RMinHash.ALGORITHM_VERSION}"


def signatures(texts: Sequence[str]) -> Signatures:
    """uint32 ``[128, len(texts)]``, a column a text: of the set of its runs of three tokens.

    Tokens are lower-cased words and single Han characters, so white space, case and punctuation do not
    count. The share of equal numbers in two columns estimates the Jaccard similarity of the two sets.
    """
    from rensa import RMinHash

    if not texts:
        return np.empty((SLOTS, 0), np.uint32)
    shingles, ends = _shingles(texts)
    made = RMinHash.digest_matrix_from_flat_token_hashes(shingles, ends, SLOTS, _SEED)
    return np.ascontiguousarray(np.array(made.to_rows(), np.uint32).T)


def _shingles(texts: Sequence[str]) -> tuple[Hashes, Hashes]:
    """64-bit hashes of the runs of three tokens, texts after one another; and a 0 and where each text's end.

    A text of fewer tokens is one run as it is.
    """
    hashes: list[int] = []
    counts: list[int] = []
    for text in texts:
        tokens = _TOKEN.findall(text.lower())
        short = len(tokens) < _SHINGLE
        hashes += (_hash(" ".join(tokens) or text), 0, 0) if short else map(_hash, tokens)
        counts.append(1 if short else len(tokens) - _SHINGLE + 1)
    flat = np.array(hashes, np.uint64)
    runs = np.zeros(len(flat) - _SHINGLE + 1, np.uint64)
    for place in range(_SHINGLE):
        runs = (runs ^ flat[place : place + len(runs)]) * np.uint64(0x9E3779B97F4A7C15)
        runs ^= runs >> np.uint64(29)
    ends = np.cumsum([0, *counts]).astype(np.uint64)
    # Runs that begin in one text and end in the next are left out: the last two before each next text.
    begins = np.repeat(np.arange(len(counts)) * (_SHINGLE - 1), counts)
    return runs[np.arange(int(ends[-1])) + begins], ends


@lru_cache(maxsize=1 << 17)
def _hash(token: str) -> int:
    digest = hashlib.blake2b(token.encode("utf-8", "surrogatepass"), digest_size=8)
    return int.from_bytes(digest.digest(), "little")


@dataclass(frozen=True, slots=True)
class Duplicates:
    """``kept_for[i]`` is the document in favour of which document ``i`` is dropped, -1 where it is kept.

    ``similarity`` is the estimate for that pair. int64 and float32 ``[documents]``.
    """

    kept_for: NDArray[np.int64]
    similarity: NDArray[np.float32]

    @property
    def dropped(self) -> NDArray[np.bool_]:
        return self.kept_for >= 0


def bands_for(threshold: float) -> int:
    """Into how many bands to cut a signature so that nine in ten pairs at ``threshold`` meet in one, and most above.

    A pair of similarity s meets in one of b bands of r numbers with probability 1 - (1 - s^r)^b (Leskovec,
    Rajaraman, Ullman, Mining of Massive Datasets, 3.4.2); the widest bands that suffice give the fewest
    pairs in vain. At 0.85: 16 bands, which find 0.994 of the pairs at 0.85 and 0.9999 of those at 0.9.
    """
    for rows in (16, 8, 4, 2):
        if 1 - (1 - threshold**rows) ** (SLOTS // rows) >= _FOUND_AT_LEAST:
            return SLOTS // rows
    return SLOTS


def find_duplicates(
    rows_of: Callable[[int, int], Iterable[Signatures]],
    signature_of: Callable[[NDArray[np.int64]], Signatures],
    groups: Hashes,
    threshold: float,
    left_out: NDArray[np.bool_],
    checked: Callable[[int], None] = lambda band: None,
) -> Duplicates:
    """Which documents to drop so that for each a similar one stays, the first of them wherever that can be.

    ``rows_of(first, last)`` gives rows ``first`` to ``last`` of all signatures, in blocks of columns in order;
    ``signature_of`` the whole signatures of some documents, a column each. Only documents of equal
    ``groups`` are compared (those that the same callers may see), none that is ``left_out``. A document
    in favour of which another was dropped is itself never dropped, so what is dropped always has a
    similar one that stays. Memory: 45 bytes a document, 450 MB at ten million, whatever their size.
    """
    count = len(groups)
    found = Duplicates(np.full(count, -1, np.int64), np.zeros(count, np.float32))
    pinned = np.zeros(count, np.bool_)
    bands = bands_for(threshold)
    rows = SLOTS // bands
    for band in range(bands) if count else ():
        checked(band)
        hashes = np.concatenate([_band_hashes(block) for block in rows_of(band * rows, band * rows + rows)])
        hashes ^= groups
        candidates = np.flatnonzero(~(found.dropped | left_out))
        order = candidates[np.argsort(hashes[candidates], kind="stable")]
        for begin, end in _runs(hashes[order]):
            _settle(order[begin:end], signature_of, groups, threshold, found, pinned)
    return found


def _runs(ordered: Hashes) -> Iterable[tuple[int, int]]:
    """Begin and end of the stretches of two or more equal hashes."""
    if not len(ordered):
        return ()
    edges = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1], [True]]))
    long = np.flatnonzero(np.diff(edges) > 1)
    return zip(edges[long].tolist(), edges[long + 1].tolist(), strict=True)


def _settle(
    members: NDArray[np.int64],
    signature_of: Callable[[NDArray[np.int64]], Signatures],
    groups: Hashes,
    threshold: float,
    found: Duplicates,
    pinned: NDArray[np.bool_],
) -> None:
    """Compare the documents of one band with equal hashes: each with the first few of them that stay."""
    staying, columns = members[:1], signature_of(members[:1])
    for begin in range(1, len(members), 4096):
        block = members[begin : begin + 4096]
        block_columns = signature_of(block)
        for place, document in enumerate(block.tolist()):
            column = block_columns[:, place : place + 1]
            similar = (columns == column).mean(axis=0) * (groups[staying] == groups[document])
            best = int(np.argmax(similar))
            if similar[best] >= threshold and not pinned[document]:
                found.kept_for[document] = staying[best]
                found.similarity[document] = similar[best]
                pinned[staying[best]] = True
            elif len(staying) < _LOOKED_AT:
                staying = np.append(staying, document)
                columns = np.concatenate([columns, column], axis=1)


def _band_hashes(block: Signatures) -> Hashes:
    hashes: Hashes = np.zeros(block.shape[1], np.uint64)
    for row in block:
        hashes = (hashes ^ row) * np.uint64(0x9E3779B97F4A7C15)
        hashes ^= hashes >> np.uint64(32)
    return hashes
