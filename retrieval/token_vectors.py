"""Compressed token vectors of passages: in memory, in a segment's files, and the scores of late interaction."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retrieval._native.late import LateQuery, max_sim
from retrieval.errors import IndexUnreadable, InvalidRequest
from retrieval.token_codec import LateSpec
from retrieval.types import Rows
from retrieval.vector_store import mapped

Scores = NDArray[np.float32]

TOKENS, ENDS = "tokens.u8", "ends.i64"


@dataclass(frozen=True, slots=True, eq=False)
class TokenCodes:
    """Tokens of some passages one after another, uint8 ``[sum(counts), width]``; ``counts`` int32 ``[passages]``.

    A passage whose tokens are not known has none.
    """

    spec: LateSpec
    counts: NDArray[np.int32]
    tokens: NDArray[np.uint8]

    @classmethod
    def unknown(cls, spec: LateSpec, passages: int) -> TokenCodes:
        return cls(spec, np.zeros(passages, np.int32), np.empty((0, spec.width), np.uint8))

    def __len__(self) -> int:
        return len(self.counts)

    @property
    def starts(self) -> NDArray[np.int64]:
        """Where each passage's tokens begin, and behind the last where all end."""
        return np.concatenate([[0], np.cumsum(self.counts, dtype=np.int64)])

    def one(self, passage: int) -> TokenCodes:
        """Those of one passage."""
        start, count = int(self.counts[:passage].sum()), int(self.counts[passage])
        return TokenCodes(self.spec, self.counts[passage : passage + 1], self.tokens[start : start + count])

    def split(self, sizes: Sequence[int]) -> list[TokenCodes]:
        """Of the first so many passages, of the next so many, and so on."""
        starts, ends = self.starts, np.cumsum([0, *sizes]).tolist()
        return [
            TokenCodes(self.spec, self.counts[first:last], self.tokens[starts[first] : starts[last]])
            for first, last in itertools.pairwise(ends)
        ]

    def scores(self, query: LateQuery) -> Scores:
        """Late scores of all passages, as ``TokenStore.scores`` has them."""
        rows = np.arange(len(self), dtype=np.int64)
        return max_sim(np.ascontiguousarray(self.tokens), self.starts, rows, query) / np.float32(max(len(query), 1))


def joined(spec: LateSpec, parts: Sequence[TokenCodes | None], passages: Sequence[int]) -> TokenCodes:
    """One after another. What is None, of ``passages`` passages, or of another model or compression, is not known."""
    known = [
        part if part is not None and part.spec == spec else TokenCodes.unknown(spec, count)
        for part, count in zip(parts, passages, strict=True)
    ]
    if not known:
        return TokenCodes.unknown(spec, 0)
    return TokenCodes(
        spec, np.concatenate([each.counts for each in known]), np.concatenate([each.tokens for each in known])
    )


def check_tokens(codes: TokenCodes, passages: int) -> None:
    """Raises InvalidRequest when they are not those of so many passages."""
    right = codes.counts.shape == (passages,) and (codes.counts >= 0).all()
    if not right or codes.tokens.shape != (int(codes.counts.sum()), codes.spec.width):
        raise InvalidRequest(
            f"{passages} passages need token vectors of so many counts, and {int(codes.counts.sum())} tokens of "
            f"{codes.spec.width} bytes; there are {len(codes)} counts and tokens {list(codes.tokens.shape)}"
        )


class TokenWriter:
    """Appends the tokens of a segment's passages to the files in ``folder``, which is made anew."""

    def __init__(self, folder: Path, spec: LateSpec) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._spec, self._end = spec, 0
        self._tokens, self._ends = (folder / TOKENS).open("wb"), (folder / ENDS).open("wb")
        self._ends.write(np.zeros(1, np.int64).data)

    def add(self, codes: TokenCodes | None, passages: int) -> None:
        """The tokens of the next ``passages`` passages; of another spec, or None, they are not known. Raises
        InvalidRequest for what does not fit together; OSError."""
        known = joined(self._spec, [codes], [passages])
        check_tokens(known, passages)
        self._tokens.write(np.ascontiguousarray(known.tokens).data)
        self._ends.write((self._end + known.starts[1:]).data)
        self._end += len(known.tokens)

    def close(self) -> None:
        self._tokens.close()
        self._ends.close()


class TokenStore:
    """The files of one segment, mapped. Immutable and thread-safe."""

    def __init__(self, folder: Path, spec: LateSpec, passages: int) -> None:
        """Raises IndexUnreadable when a file is missing, cut, or of another number of passages."""
        self.spec = spec
        self._starts = mapped(folder / ENDS, np.int64, (passages + 1,))
        total = int(self._starts[-1])
        if total < 0:
            raise IndexUnreadable(f"{folder / ENDS} is damaged: build the collection again")
        self._tokens = mapped(folder / TOKENS, np.uint8, (total, spec.width))

    @property
    def bytes(self) -> int:
        return int(self._tokens.nbytes + self._starts.nbytes)

    def scores(self, rows: Rows, query: LateQuery) -> Scores:
        """For each of ``rows``, in their order, the mean over the query's tokens of the best cosine with one of the
        passage's, float32; NaN where the passage's tokens are not known."""
        return max_sim(self._tokens, self._starts, rows, query) / np.float32(max(len(query), 1))

    def codes(self, rows: Rows) -> TokenCodes:
        """The tokens of these passages, in the order asked, bit by bit."""
        starts, ends = self._starts[rows], self._starts[rows + 1]
        counts = (ends - starts).astype(np.int32)
        firsts = np.cumsum(counts, dtype=np.int64) - counts
        places = np.arange(int(counts.sum()), dtype=np.int64) + np.repeat(starts - firsts, counts)
        return TokenCodes(self.spec, counts, self._tokens[places])
