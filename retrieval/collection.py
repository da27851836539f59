"""One collection: the state that searches read, level with its files, and changes, durable and visible at once."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from retrieval.analysis import Analysis, AnalysisSettings
from retrieval.applying import carried_out, carried_over, decided, without_changed
from retrieval.changes import Change, Delete, Outcome, Upsert, check, decode, encode
from retrieval.errors import CollectionNotFound, IndexUnreadable, Overloaded, RiddleError
from retrieval.filters import check_metadata
from retrieval.generations import Layout, log_lock, read_deleted
from retrieval.live import CAPACITY, LiveBlock
from retrieval.log import LogReader, LogWriter
from retrieval.manifest import CollectionSettings, Manifest, check_analysis
from retrieval.segment import Segment
from retrieval.snapshot import Snapshot
from retrieval.types import CollectionInfo, EncoderSpec
from retrieval.views import BlockView, SegmentView

log = logging.getLogger("riddle.collection")

MAX_FROZEN = 32
"""Blocks that may wait to be sealed; with more, writers are asked to come back later."""
LOG_BYTES = 256 * 2**20
"""A log file is ended at this size even when its block has room."""
TOMBSTONES = 10_000


class Maintenance(Protocol):
    """Seals and merges what writers leave. ``wake`` returns at once or when the work is done, as the kind has it."""

    def wake(self, collection: Collection) -> None: ...


class Collection:
    """A collection on disk, open for reading and writing. Thread-safe, and safe among processes.

    Every process follows the same log: before each search two stats tell whether there is news.
    """

    def __init__(self, folder: Path, maintenance: Maintenance) -> None:
        """Raises CollectionNotFound, IndexUnreadable."""
        self.layout = Layout(folder)
        self.name = folder.name
        self._maintenance = maintenance
        self._guard = threading.RLock()
        self._reopening: threading.Thread | None = None
        self._writing = False
        self._held: dict[str, Segment] = {}
        self._current: Snapshot
        self._open_afresh()

    @property
    def encoder(self) -> EncoderSpec:
        return self._current.manifest.encoder

    @property
    def settings(self) -> CollectionSettings:
        return self._current.manifest.settings

    @property
    def capacity(self) -> int:
        """Passages of a live block."""
        return CAPACITY

    def info(self) -> CollectionInfo:
        """What can be found now; costs two stats while nothing changes."""
        return self.snapshot().info

    def snapshot(self) -> Snapshot:
        """What a search that begins now reads: it holds every change that was acknowledged before."""
        # A writer of this process shows its change when it is acknowledged, so what it is at needs no waiting for.
        if self._level() or self._writing:
            return self._current
        with self._guard:
            self._follow()
            return self._current

    def write(self, changes: Sequence[Change]) -> list[Outcome]:
        """Carry out changes in order, as one batch that is durable when this returns, whole or not at all.

        A change that its version forbids, or that finds nothing to delete, is told in its outcome and the others
        go on. Raises InvalidRequest (nothing is written then), Overloaded, DiskFull, Conflict when another process
        holds the lock too long.
        """
        for change in changes:
            check(change, self.encoder.dimension)
            if isinstance(change, Upsert):
                check_metadata(change.document.metadata, self.settings.fields)
        with self.appending():
            outcomes, accepted = decided(self._current, self._tombstones, changes)
            if accepted:
                self._append(accepted)
            frozen = len(self._current.blocks) > 1
        if frozen:
            self._maintenance.wake(self)
        return outcomes

    @contextlib.contextmanager
    def appending(self) -> Iterator[None]:
        """Be the only one who changes this collection, level with everything that others did. Raises Conflict."""
        with log_lock(self.layout.locks, self.name), self._guard:
            self._follow()
            self._writing = True
            try:
                yield
            finally:
                self._writing = False

    def freeze(self) -> None:
        """End the live block, so that it can be sealed. The caller is ``appending``."""
        if self._current.blocks and self._current.blocks[-1].documents:
            self._writer.rotate()

    def frozen(self) -> Snapshot:
        """End the live block; what is there then. The caller holds the ``log_lock``."""
        with self._guard:
            self._follow()
            self.taken_up()
            self.freeze()
            return self._current

    def taken_up(self) -> Snapshot:
        """What the pointer names now, at once and not beside the searches: for whoever has published it."""
        with self._guard:
            manifest = self.layout.current()
            if manifest.epoch == self._current.manifest.epoch:
                self._exchange(manifest, self._views(manifest, self._current), {})
            else:
                self._open_afresh()
            return self._current

    def tombstones(self) -> Mapping[str, int]:
        return dict(list(self._tombstones.items())[-TOMBSTONES:])

    def close(self) -> None:
        """Wait for what goes on beside the searches."""
        thread = self._reopening
        if thread is not None:
            thread.join()

    def _level(self) -> bool:
        return self.layout.pointer_seen() == self._seen and not self._log.news()

    def _follow(self) -> None:
        """Read what others wrote since. The caller holds the guard."""
        seen = self.layout.pointer_seen()
        if seen is None:
            raise CollectionNotFound(f"no collection is called {self.name!r}")
        sealed = 0
        if seen != self._seen:
            try:
                manifest = self.layout.current()
            except (FileNotFoundError, IndexUnreadable):  # replaced once more meanwhile, or really damaged
                self._open_afresh()
                return
            if manifest.epoch != self._current.manifest.epoch:
                self._open_afresh()
                return
            self._reopen_beside(manifest)
            sealed = manifest.log_seq
        self._read_log()
        if self._log.seq < sealed:  # changes that were sealed, and left the log, before they were read here
            self._open_afresh()

    def _read_log(self) -> None:
        for record in self._log.read():
            self._apply(record.seq, decode(record.payload, self.encoder.dimension))

    def _append(self, accepted: Sequence[Change]) -> None:
        passages = sum(len(change.chunks) for change in accepted if isinstance(change, Upsert))
        blocks = self._current.blocks
        if len(blocks) > MAX_FROZEN:
            raise Overloaded(
                f"{len(blocks)} blocks of changes wait to be sealed: send changes more slowly",
                stage="maintenance",
                retry_after_ms=1000,
            )
        if blocks and (not blocks[-1].block.has_room(passages) or self._log.offset > LOG_BYTES):
            self._writer.rotate()
        record = self._writer.append(encode(accepted))
        self._apply(record.seq, accepted)

    def _apply(self, seq: int, changes: Sequence[Change]) -> None:
        """Show the changes of one record."""
        current = self._current
        first = self._log.file_first
        blocks = list(current.blocks)
        if not blocks or blocks[-1].block.first != first:
            passages = sum(len(change.chunks) for change in changes if isinstance(change, Upsert))
            block = LiveBlock(
                first, self.encoder.dimension, self._analysis, self.settings.fields, max(self.capacity, passages)
            )
            blocks.append(BlockView.empty(block))
        gone = carried_out(current, blocks[-1].block, changes)
        for change in changes:
            if isinstance(change, Delete):
                self._tombstones.pop(change.document_id, None)
                self._tombstones[change.document_id] = change.version
        blocks[-1].block.mark(seq)
        segments = [view.without(gone.get(id(view), ())) for view in current.segments]
        earlier = [view.without(gone.get(id(view), ())) for view in blocks[:-1]]
        newest = blocks[-1].grown().without([*gone.get(id(blocks[-1]), ()), *gone.get(0, ())])
        self._current = Snapshot(current.manifest, self._analysis, segments, [*earlier, newest], seq)

    def _open_afresh(self) -> None:
        """The current generation with the log behind it. Goes on when it is replaced meanwhile."""
        while True:
            seen = self.layout.pointer_seen()
            if seen is None:
                raise CollectionNotFound(f"no collection is called {self.name!r}")
            try:
                manifest = self.layout.current()
                views = self._views(manifest)
                reader = LogReader(self.layout.log, manifest.log_seq)
            except (IndexUnreadable, FileNotFoundError) as error:
                if self.layout.pointer_seen() != seen:
                    continue
                if isinstance(error, IndexUnreadable):
                    raise
                raise IndexUnreadable(
                    f"{error.filename} is missing: build the collection {self.name} again, or restore a snapshot"
                ) from error
            self._seen, self._log, self._writer = seen, reader, LogWriter(reader)
            self._tombstones = dict(manifest.tombstones)
            self._current = Snapshot(manifest, self._analysis, views, (), manifest.log_seq)
            try:
                self._read_log()
            except IndexUnreadable:
                if self.layout.pointer_seen() != seen:
                    continue
                raise
            return

    def _views(self, manifest: Manifest, current: Snapshot | None = None) -> list[SegmentView]:
        """The segments of a generation, those that are open already as they are.

        ``current`` is of the same epoch, if given: what is deleted in it stays so.
        """
        seen = {} if current is None else {view.segment.id: view for view in current.segments}
        self._analysis = Analysis(AnalysisSettings(manifest.settings.synonyms, manifest.settings.words))
        check_analysis(manifest, self._analysis.version)
        views = []
        for entry in manifest.segments:
            folder, fields = self.layout.segment(entry.id), manifest.settings.fields
            segment = self._held.get(entry.id) or Segment(
                folder, self._analysis, fields, check_contents=current is None
            )
            deleted, view = read_deleted(self.layout, manifest.number, entry), seen.get(entry.id)
            views.append(SegmentView.of(segment, deleted) if view is None else view.joined(deleted))
        self._held = {view.segment.id: view.segment for view in views}
        return views

    def _reopen_beside(self, manifest: Manifest) -> None:
        """Take up a generation of the same content without keeping searches waiting: its segments open in a thread."""
        if self._reopening is not None and self._reopening.is_alive():
            return

        def reopen() -> None:
            try:
                current, blocks = self._current, self._behind(manifest)
                known = {view.block.first: view.block.changed_by(manifest.level) for view in blocks}
                views, known = without_changed(self._views(manifest, current), current, blocks, known)
            except (RiddleError, OSError) as error:  # replaced once more: the next look at the pointer will tell
                log.info("generation %d of %s is gone already: %s", manifest.number, self.name, error)
                return
            with self._guard:
                self._exchange(manifest, views, known)

        self._reopening = threading.Thread(target=reopen, name=f"reopen-{self.name}", daemon=True)
        self._reopening.start()

    def _behind(self, manifest: Manifest) -> list[BlockView]:
        """The live blocks that a generation has not sealed."""
        return [view for view in self._current.blocks if view.block.first > manifest.log_seq]

    def _exchange(self, manifest: Manifest, views: list[SegmentView], known: Mapping[int, int]) -> None:
        """Put a generation of the same content in the current one's place. The caller holds the guard.

        ``views`` lack what is ``known`` of changes in the live blocks.
        """
        current = self._current
        if manifest.number <= current.manifest.number or manifest.epoch != current.manifest.epoch:
            return
        kept = self._behind(manifest)
        sealed = [view for view in current.blocks if view.block.first <= manifest.log_seq]
        unread = current.seq < manifest.log_seq  # of the log behind it
        if unread or any(view.block.last > manifest.log_seq for view in sealed):
            self._open_afresh()
            return
        views = carried_over(views, current, kept, known)
        self._current = Snapshot(manifest, current.analysis, views, kept, current.seq)
        self._seen = self.layout.seen_of(manifest.number) or self._seen
