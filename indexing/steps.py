"""Carries the items of a build through its steps; of finished partitions it keeps numbers in memory, never texts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexing.duplicates import Signatures, find_duplicates
from indexing.ledger import ENTRY, Finished, Ledger
from indexing.partitions import Entry, Maker
from indexing.progress import Meter
from indexing.reports import write_dropped
from indexing.sources import Rejected
from retrieval.errors import Conflict
from retrieval.late_encoder import LateEncoder
from retrieval.segment import Part
from retrieval.token_vectors import TokenCodes

_AGAIN = "another document of this build has this id; the last one was kept"

MAX_REJECTED = 10_000
"""Files and rows that a summary names; those beyond are only counted."""


@dataclass(slots=True)
class Rejections:
    """What was set aside: how many, and the first of them by name."""

    count: int = 0
    named: list[Rejected] = field(default_factory=list)

    def extend(self, rejected: Iterable[Rejected]) -> None:
        for each in rejected:
            self.count += 1
            if len(self.named) < MAX_REJECTED:
                self.named.append(each)


@dataclass(frozen=True, slots=True)
class Settled:
    """Which documents of the partitions go on; ``kept`` by document, in the order of the partitions."""

    kept: NDArray[np.bool_]
    documents: int
    passages: int
    near_duplicates: int


class Steps:
    """One build: partitions are prepared one after another, settled together, embedded, handed on.

    Memory: 29 bytes a document while it is read, at most 75 more while duplicates are looked for, and
    one partition.
    """

    def __init__(self, maker: Maker, ledger: Ledger, meter: Meter) -> None:
        self._maker, self._ledger, self._meter = maker, ledger, meter
        self._partitions: list[Finished] = []
        self._index: list[NDArray[Any]] = []
        self.rejected = Rejections()
        self.reused = 0
        """Documents whose vectors were there already."""

    @property
    def late(self) -> LateEncoder | None:
        """What passages get token vectors by, if they do."""
        return self._maker.late

    def prepare(self, group: Sequence[Entry]) -> str:
        """Convert and cut one partition, unless that is done already. Returns its key."""
        key, name = self._maker.key(group), f"part-{len(self._partitions) + 1}"
        finished = self._ledger.find(key)
        if finished is None:
            finished, prepared = self._maker.prepare(key, group, self._meter.check)
            self._ledger.write(finished, prepared)
            self._meter.advance(finished.items, len(finished.rejected), name)
        else:
            self._meter.skip(finished.items, len(finished.rejected), name)
        self.rejected.extend(finished.rejected)
        self._take(finished)
        return key

    def take_up(self, key: str) -> bool:
        """Go on with a partition prepared earlier, by its key; False when it is not there any more."""
        finished = self._ledger.find(key)
        if finished is not None:
            self._take(finished)
        return finished is not None

    def settle(
        self, threshold: float = 0.0, report: Path | None = None, left_out: NDArray[np.bool_] | None = None
    ) -> Settled:
        """Decide which documents go on: of an id the last, of near-duplicates the first, none ``left_out``.

        ``threshold`` 0 looks for no near-duplicates; else ``report`` is written: a JSON object a line, ``dropped``,
        ``kept``, ``similarity``.
        """
        index = np.concatenate(self._index) if self._index else np.empty(0, ENTRY)
        gone = left_out.copy() if left_out is not None else np.zeros(len(index), np.bool_)
        again = _superseded(index["id"], gone)
        self._name_superseded(again)
        gone |= again
        near = 0
        if threshold:
            found = find_duplicates(
                self._signature_rows, self._signatures_of(), index["group"].copy(), threshold, gone,
                lambda band: self._meter.check(),
            )  # fmt: skip
            near = int(found.dropped.sum())
            if report is not None:
                write_dropped(report, found, lambda place, rows: self._ledger.ids(self._partitions[place].key, rows),
                              self._begins())  # fmt: skip
            gone |= found.dropped
        kept = ~gone
        return Settled(kept, int(kept.sum()), int(index["passages"][kept].sum(dtype=np.int64)), near)

    def embed(self, settled: Settled) -> None:
        """Encode the passages of what is kept, partition by partition, where that is not done already; for late
        interaction too, where the maker has a model for it."""
        self._embed(settled)
        if self._maker.late is not None:
            self._embed_tokens(settled, self._maker.late)

    def _embed(self, settled: Settled) -> None:
        self._meter.stage("embedding", settled.passages)
        for number, (finished, index, kept) in enumerate(self._each(settled), 1):
            step, passages = self._maker.step(kept), int(index["passages"][kept].sum())
            if self._ledger.has_vectors(finished.key, step):
                self.reused += int(kept.sum())
                self._meter.skip(passages, 0, f"part-{number}")
            elif passages:
                tell = partial(self._meter.partly, passages)
                self._ledger.write_vectors(
                    finished.key, step, self._maker.vectors(self._ledger.read(finished.key), kept, tell)
                )
                self._meter.advance(passages, 0, f"part-{number}")

    def _embed_tokens(self, settled: Settled, late: LateEncoder) -> None:
        self._meter.stage("embedding", settled.passages)
        for number, (finished, index, kept) in enumerate(self._each(settled), 1):
            step, passages = self._maker.late_step(kept), int(index["passages"][kept].sum())
            if self._ledger.has_vectors(finished.key, step):
                self._meter.skip(passages, 0, f"part-{number}")
            elif passages:
                tell = partial(self._meter.partly, passages)
                prepared = self._ledger.read(finished.key)
                self._ledger.write_tokens(finished.key, step, self._maker.tokens(late, prepared, kept, tell))
                self._meter.advance(passages, 0, f"part-{number}")

    def parts(self, settled: Settled) -> Iterator[Part]:
        """What is kept, a partition at a time."""
        for finished, index, kept in self._each(settled):
            if not index["passages"][kept].any():
                continue
            try:
                prepared = self._ledger.read(finished.key)
                vectors = self._ledger.vectors(finished.key, self._maker.step(kept))
                tokens = self._tokens(finished.key, kept)
            except FileNotFoundError as error:
                raise Conflict(
                    "a finished part of this build has been removed from its work folder; start the build again"
                ) from error
            yield Part(
                [document for document, keep in zip(prepared.documents, kept, strict=True) if keep],
                [chunks for chunks, keep in zip(prepared.chunks, kept, strict=True) if keep],
                vectors,
                tokens,
            )

    def _tokens(self, key: str, kept: NDArray[np.bool_]) -> TokenCodes | None:
        late = self._maker.late
        return None if late is None else self._ledger.tokens(key, self._maker.late_step(kept), late.spec)

    def key(self, settled: Settled, *told: object) -> str:
        """The name of the publishing: of every step before it, and of what else is ``told``."""
        digest = hashlib.sha256(json.dumps(told, default=str).encode())
        for finished, _, kept in self._each(settled):
            steps = [self._maker.step(kept)] + ([] if self._maker.late is None else [self._maker.late_step(kept)])
            digest.update(f"{finished.key} {' '.join(steps)}\n".encode())
        return digest.hexdigest()[:32]

    def _take(self, finished: Finished) -> None:
        self._partitions.append(finished)
        self._index.append(self._ledger.index(finished.key))

    def _begins(self) -> NDArray[np.int64]:
        """Where each partition's documents begin among all, and at the end how many there are."""
        return np.cumsum([0, *(each.documents for each in self._partitions)])

    def _each(self, settled: Settled) -> Iterator[tuple[Finished, NDArray[Any], NDArray[np.bool_]]]:
        begin = 0
        for finished, index in zip(self._partitions, self._index, strict=True):
            yield finished, index, settled.kept[begin : begin + finished.documents]
            begin += finished.documents

    def _name_superseded(self, again: NDArray[np.bool_]) -> None:
        begin = 0
        for finished in self._partitions:
            rows = np.flatnonzero(again[begin : begin + finished.documents])
            begin += finished.documents
            if len(rows) and len(self.rejected.named) < MAX_REJECTED:
                ids = self._ledger.ids(finished.key, rows)
                self.rejected.extend(Rejected(f"document {one}", _AGAIN) for one in ids)
            else:
                self.rejected.count += len(rows)

    def _signature_rows(self, first: int, last: int) -> Iterator[Signatures]:
        return (self._ledger.signatures(each.key)[first:last] for each in self._partitions)

    def _signatures_of(self) -> Callable[[NDArray[np.int64]], Signatures]:
        begins = self._begins()
        mapped = lru_cache(maxsize=256)(self._ledger.signatures)

        def of(documents: NDArray[np.int64]) -> Signatures:
            places = np.searchsorted(begins, documents, "right") - 1
            columns = np.empty((self._ledger.signatures(self._partitions[0].key).shape[0], len(documents)), np.uint32)
            for place in np.unique(places):
                chosen = np.flatnonzero(places == place)
                columns[:, chosen] = mapped(self._partitions[place].key)[:, documents[chosen] - begins[place]]
            return columns

        return of


def _superseded(ids: NDArray[np.uint64], gone: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The documents, none of them ``gone``, of which a later one has the id."""
    again = np.zeros(len(ids), np.bool_)
    there = np.flatnonzero(~gone)
    # Stable, so that of equal ids the last comes last.
    order = there[np.lexsort((ids[there, 1], ids[there, 0]))]
    again[order[:-1]] = (ids[order[1:]] == ids[order[:-1]]).all(axis=1)
    return again
