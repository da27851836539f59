"""Writes documents of a collection that are there already into a segment: live blocks, and what is merged."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterable
from dataclasses import replace

from retrieval.bitmap import Bitmap
from retrieval.collection import Collection
from retrieval.durable import sync_file
from retrieval.filters import EVERYTHING
from retrieval.generations import Placed, new_segment_id, publish
from retrieval.manifest import CollectionSettings
from retrieval.segment import Part, Segment, SegmentWriter, finish_segment
from retrieval.snapshot import Snapshot

_SEALED = "sealed-"


def sealed(collection: Collection) -> Snapshot:
    """The collection with all that is in memory alone sealed into a segment, as a generation of the same content.

    So what is published next ends with an empty log, and a rollback of it loses no change. The caller holds the
    ``log_lock``.
    """
    snapshot = collection.frozen()
    if snapshot.seq == snapshot.manifest.log_seq:
        return snapshot
    for path in collection.layout.staging.glob(f"{_SEALED}*"):  # of a process that was killed here
        shutil.rmtree(path, ignore_errors=True)
    placed = [Placed(view.segment, view.deleted) for view in snapshot.segments]
    rows = [(view, view.admitted_documents(EVERYTHING).rows().tolist()) for view in snapshot.blocks]
    parts = [view.part(own) for view, own in rows if own]
    live: Segment | None = None
    if parts:
        live = write_segment(collection, parts, snapshot.manifest.settings, snapshot, prefix=_SEALED)
        placed.append(Placed(live, Bitmap.empty(live.documents), staged=True))
    draft = replace(snapshot.manifest, log_seq=snapshot.seq, tombstones=collection.tombstones())
    publish(collection.layout, draft, placed, content=False)
    if live is not None:
        shutil.rmtree(live.folder.parent, ignore_errors=True)
    return collection.taken_up()


def write_segment(
    collection: Collection,
    parts: Iterable[Part],
    settings: CollectionSettings,
    snapshot: Snapshot,
    *,
    prefix: str = "",
    threads: int = 1,
) -> Segment:
    """A segment of ``parts`` in a folder of its own below ``staging``."""
    folder = collection.layout.staging / f"{prefix}{uuid.uuid4().hex}" / new_segment_id()
    dimension = snapshot.info.dimension
    with SegmentWriter(folder, dimension, settings, snapshot.analysis) as writer:
        for part in parts:
            writer.add(part)
    finish_segment(folder, writer.documents, writer.passages, dimension, settings, snapshot.analysis, threads=threads)
    sync_file(folder.parent)
    return Segment(folder, snapshot.analysis, settings.fields)
