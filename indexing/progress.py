"""How far a build is: counts, rate and time left, said often enough and not too often; and whether to stop."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from retrieval.errors import Conflict

EVERY_S = 0.2
"""Shortest time between two reports of one stage."""


class Cancelled(Conflict):
    """The build was told to stop; what it has finished is kept for the next one."""

    title = "Cancelled"


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a build stands. ``done`` of ``total`` count files and rows; from the stage ``embedding`` on
    passages. Stages: ``reading``, ``embedding``, ``indexing``, ``publishing``; of a sync first ``listing``.

    ``total`` is None while it is not known, rate and time left are None until there is something to
    tell them by. ``checkpoint`` names the last partition that a later build need not do again.
    """

    stage: str
    done: int
    total: int | None
    failed: int
    rate_per_s: float | None = None
    eta_s: float | None = None
    checkpoint: str | None = None


class Meter:
    """Counts, and tells ``report``; every method raises Cancelled once ``cancel`` is set."""

    def __init__(self, report: Callable[[Progress], None], cancel: threading.Event) -> None:
        self._report = report
        self._cancel = cancel
        self._stage = ""
        self._index_stage = "write"
        self._total: int | None = None
        self._done = 0
        self._partly = 0.0
        self._skipped = 0
        self._failed = 0
        self._checkpoint: str | None = None
        self._began = time.monotonic()
        self._told = 0.0

    def check(self) -> None:
        if self._cancel.is_set():
            raise Cancelled("cancelled; the same build again goes on from here")

    def checked(self, value: int) -> int:
        """``value``, unless the build is to stop."""
        self.check()
        return value

    def stage(self, name: str, total: int | None) -> None:
        """A new stage begins, of ``total`` steps."""
        self._stage, self._total = name, total
        self._done, self._partly, self._skipped = 0, 0.0, 0
        self._began = time.monotonic()
        self._tell(always=True)

    def seen(self, done: int) -> None:
        """So many steps of a stage are done whose end is not known."""
        self._done = done
        self._tell()

    def partly(self, steps: int, share: float) -> None:
        """Of the current partition's steps this share is done."""
        self._partly = steps * share
        self._tell()

    def advance(self, steps: int, failed: int, checkpoint: str) -> None:
        """A partition is finished and safe."""
        self._done += steps
        self._partly = 0.0
        self._failed += failed
        self._checkpoint = checkpoint
        self._tell(always=True)

    def skip(self, steps: int, failed: int, checkpoint: str) -> None:
        """A partition was there already; it says nothing of the rate."""
        self._skipped += steps
        self.advance(steps, failed, checkpoint)

    def index(self, stage: str, done: int) -> None:
        """For ``write_generation``, which counts passages anew in each of its stages."""
        if stage != self._index_stage:
            self._index_stage = stage
            self.stage("publishing" if stage == "flush" else "indexing", self._total)
        self._done = done
        self._tell()

    def _tell(self, *, always: bool = False) -> None:
        self.check()
        now = time.monotonic()
        if not always and now - self._told < EVERY_S:
            return
        self._told = now
        done = self._done + self._partly
        fresh = done - self._skipped
        elapsed = now - self._began
        rate = fresh / elapsed if fresh >= 1 and elapsed > 0.05 else None
        total = None if self._total is None else max(self._total, round(done))
        eta = (total - done) / rate if rate and total is not None else None
        self._report(
            Progress(
                stage=self._stage,
                done=int(done),
                total=total,
                failed=self._failed,
                rate_per_s=None if rate is None else round(rate, 2),
                eta_s=None if eta is None else round(eta, 1),
                checkpoint=self._checkpoint,
            )
        )
