"""Seals frozen blocks into segments and merges segments in tiers, in a process beside the searches."""

from __future__ import annotations

import contextlib
import logging
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from retrieval.bitmap import Bitmap
from retrieval.collection import Collection
from retrieval.durable import exclusive, sync_tree
from retrieval.errors import Conflict
from retrieval.filters import EVERYTHING
from retrieval.generations import Placed, publish
from retrieval.sealing import write_segment
from retrieval.segment import Part, Segment
from retrieval.snapshot import Snapshot
from retrieval.views import BlockView, SegmentView, View

log = logging.getLogger("riddle.maintenance")

STAGED = "maintenance-"
FAN = 6
"""So many segments of one tier are merged into one of the next; a tier's sizes span a factor of FAN."""
FLOOR = 4096
"""Segments below this many passages count as of one size."""
DEAD = 0.3
"""A segment of which more is deleted is written anew, so that its space comes back."""
_AT_ONCE = 512


class Inline:
    """Does the work in the caller's thread: for tests, scripts and notebooks."""

    def wake(self, collection: Collection) -> None:
        with contextlib.suppress(Conflict):
            maintain(collection)


class Nothing:
    """Leaves the work to others."""

    def wake(self, collection: Collection) -> None:
        """Nothing is done."""


class Background:
    """Starts a process of low priority, one at a time for each collection, which ends when nothing is left to do
    and nothing has come for ``linger_s``: a new one takes a second to load."""

    def __init__(self, linger_s: float = 15.0) -> None:
        self._linger_s = linger_s
        self._running: dict[Path, subprocess.Popen[bytes]] = {}
        self._guard = threading.Lock()

    def wake(self, collection: Collection) -> None:
        folder = collection.layout.folder
        with self._guard:
            running = self._running.get(folder)
            if running is not None and running.poll() is None:
                return
            command = [sys.executable, "-m", "retrieval.maintenance_process", str(folder.parent), folder.name]
            command.append(str(self._linger_s))
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True
            )
            self._running[folder] = process
        # It outlives nobody: a thread collects it, so that no dead process stays behind.
        threading.Thread(target=process.wait, name=f"maintain-{folder.name}", daemon=True).start()

    def wait(self) -> None:
        """Until the processes that were started have ended."""
        for process in list(self._running.values()):
            process.wait()


BACKGROUND = Background()


@dataclass(frozen=True, slots=True)
class Work:
    """Views whose documents become one segment."""

    views: Sequence[View]
    kind: str


def maintain(collection: Collection) -> int:
    """Do all that there is to do now; returns how many segments were written. Raises Conflict when another does it."""
    done = 0
    while True:
        with _alone(collection):
            for path in collection.layout.staging.glob(f"{STAGED}*"):
                shutil.rmtree(path, ignore_errors=True)
            while (work := due(collection.snapshot())) is not None:
                if not carry_out(collection, work):
                    break
                done += 1
        # Between the last look and letting go of the lock someone may have found it taken and gone away.
        if due(collection.snapshot()) is None:
            return done


def compact(collection: Collection) -> bool:
    """Everything into one segment, without what is deleted. Returns whether there was anything to do."""
    with _alone(collection):
        with collection.appending():
            collection.freeze()
            snapshot = collection.taken_up()
        whole = len(snapshot.views) == 1 and not snapshot.blocks and not snapshot.segments[0].dead
        if not snapshot.views or whole:
            return False
        return carry_out(collection, Work(snapshot.views, "compact"))


def due(snapshot: Snapshot) -> Work | None:
    """What to do next: seal frozen blocks first, then merge the smallest tier that is full, then reclaim space."""
    frozen = list(snapshot.blocks[:-1])
    if frozen:
        return Work(frozen, "seal")
    tiers: dict[int, list[SegmentView]] = {}
    for view in snapshot.segments:
        tiers.setdefault(_tier(view.passages - view.dead_passages), []).append(view)
    for _, views in sorted(tiers.items()):
        if len(views) >= FAN:
            return Work(views, "merge")
    for view in snapshot.segments:
        if view.dead > DEAD * view.documents:
            return Work([view], "reclaim")
    return None


def _tier(passages: int) -> int:
    tier, size = 0, FLOOR * 2
    while passages > size:
        tier, size = tier + 1, size * FAN
    return tier


def carry_out(collection: Collection, work: Work) -> bool:
    """Write one segment of these views and publish it in their place; False when they are no longer all there."""
    snapshot = collection.snapshot()
    log.info("%s %d parts of %s", work.kind, len(work.views), collection.name)
    if any(view.documents > view.dead for view in work.views):
        settings = snapshot.manifest.settings
        segment = write_segment(collection, _parts(work.views), settings, snapshot, prefix=STAGED, threads=1)
        sync_tree(segment.folder)  # here, and not while everybody waits for the lock
    else:
        segment = None
    collection.snapshot()  # reads what was written meanwhile, so that under the lock little is left to read
    with collection.appending():
        now = collection.taken_up()  # what another process merged since is still being opened beside the searches
        placed = _placed(now, work, segment)
        if placed is None:
            if segment is not None:
                shutil.rmtree(segment.folder.parent, ignore_errors=True)
            return False
        sealed = [view.block.last for view in work.views if isinstance(view, BlockView)]
        draft = replace(
            now.manifest,
            log_seq=max([now.manifest.log_seq, *sealed]),
            level=now.seq,
            tombstones=collection.tombstones(),
        )
        publish(collection.layout, draft, placed, content=False)
    if segment is not None:
        shutil.rmtree(segment.folder.parent, ignore_errors=True)
    collection.taken_up()
    return True


def _parts(views: Sequence[View]) -> Iterator[Part]:
    for view in views:
        rows = view.admitted_documents(EVERYTHING).rows().tolist()
        for start in range(0, len(rows), _AT_ONCE):
            yield view.part(rows[start : start + _AT_ONCE])


def _placed(now: Snapshot, work: Work, segment: Segment | None) -> list[Placed] | None:
    """The segments of the next generation: those there, the new one in place of what it was written from.

    What was deleted or replaced since it was written is deleted in it too.
    """
    segments = {view.segment.id: view for view in now.segments}
    blocks = {view.block.first: view for view in now.blocks}
    gone: set[str] = set()
    late: list[str] = []
    for view in work.views:
        if isinstance(view, SegmentView):
            current: View | None = segments.get(view.segment.id)
            gone.add(view.segment.id)
        else:
            current = blocks.get(view.block.first)
        if current is None:
            return None
        since = current.deleted.resized(view.documents).minus(view.deleted.resized(view.documents))
        late += [_identity(current, row) for row in since.rows().tolist()]
    placed = [Placed(view.segment, view.deleted) for view in now.segments if view.segment.id not in gone]
    if segment is not None:
        rows = [row for row in segment.rows_of(late) if row >= 0]
        deleted = Bitmap.of_rows(np.array(rows, np.int64), segment.documents)
        placed.append(Placed(segment, deleted, staged=True))
    return placed


def _identity(view: View, row: int) -> str:
    if isinstance(view, BlockView):
        return view.block.document(row).document_id
    return view.segment.columns.document_ids([row])[0]


@contextlib.contextmanager
def _alone(collection: Collection) -> Iterator[None]:
    with exclusive(
        collection.layout.maintaining, f"the collection {collection.name} is being maintained by another process"
    ):
        yield
