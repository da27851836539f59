"""What comes of a batch of changes: which are accepted, what they replace, and their place in the live block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from retrieval.changes import Change, Delete, Outcome, Upsert, outcome, with_version
from retrieval.document_hashes import hashes_of
from retrieval.live import LiveBlock
from retrieval.snapshot import Snapshot
from retrieval.views import BlockView, SegmentView


def decided(
    current: Snapshot, tombstones: Mapping[str, int], changes: Sequence[Change]
) -> tuple[list[Outcome], list[Change]]:
    """What comes of each change, in order, and those to carry out, with their versions.

    ``tombstones`` are the versions of documents deleted lately.
    """
    places = current.find([change.document_id for change in changes])
    stored: dict[str, int | None] = {
        change.document_id: None if place is None else current.views[place[0]].version(place[1])
        for change, place in zip(changes, places, strict=True)
    }
    buried: dict[str, int] = {}
    outcomes: list[Outcome] = []
    accepted: list[Change] = []
    for change in changes:
        name = change.document_id
        told = outcome(change, stored[name], buried.get(name, tombstones.get(name, 0)))
        outcomes.append(told)
        if told.accepted:
            accepted.append(with_version(change, told.version))
            if isinstance(change, Delete):
                stored[name], buried[name] = None, told.version
            else:
                stored[name] = told.version
    return outcomes, accepted


def without_changed(
    views: Sequence[SegmentView], current: Snapshot, blocks: Sequence[BlockView], known: Mapping[int, int]
) -> tuple[list[SegmentView], dict[int, int]]:
    """Segments without what changes in ``blocks`` replaced or removed, those left out that are ``known`` already.

    Only segments that are new to ``current`` are looked at: the others were told of every change when it came.
    Returns how many changed documents of each block, by its first number, are known then.
    """
    held = {view.segment.id for view in current.segments}
    now = {view.block.first: len(view.block.changed) for view in blocks}
    late = [
        name for view in blocks for name in view.block.changed[known.get(view.block.first, 0) : now[view.block.first]]
    ]
    changed = list(dict.fromkeys(late))
    hashes = hashes_of(changed)
    return [view if view.segment.id in held else view.without(_alive(view, changed, hashes)) for view in views], now


def carried_over(
    views: Sequence[SegmentView], current: Snapshot, blocks: Sequence[BlockView], known: Mapping[int, int]
) -> list[SegmentView]:
    """The segments of a generation of the same content as ``current``, with every delete that ``current`` has."""
    held = {view.segment.id: view for view in current.segments}
    level, _ = without_changed(views, current, blocks, known)
    return [held[view.segment.id].joined(view.deleted) if view.segment.id in held else view for view in level]


def _alive(view: SegmentView, document_ids: Sequence[str], hashes: NDArray[np.uint64]) -> list[int]:
    """Rows of those documents that the segment holds and that are not deleted there."""
    rows = np.array(view.segment.rows_of(document_ids, hashes), np.int64)
    held = rows[rows >= 0]
    found: list[int] = held[~view.deleted.has(held)].tolist()
    return found


def carried_out(current: Snapshot, block: LiveBlock, changes: Sequence[Change]) -> dict[int, list[int]]:
    """Append what is new to ``block``. Returns rows that are gone by the ``id`` of their view; 0 for new rows of the
    block that a later change of the same batch replaced."""
    names = list(dict.fromkeys(change.document_id for change in changes))
    places = dict(zip(names, current.find(names), strict=True))
    fresh: dict[str, int] = {}
    gone: dict[int, list[int]] = {}
    block.take_vectors([change for change in changes if isinstance(change, Upsert)])
    for change in changes:
        name = change.document_id
        place = places.pop(name, None)
        if name in fresh:
            gone.setdefault(0, []).append(fresh.pop(name))
        elif place is not None:
            gone.setdefault(id(current.views[place[0]]), []).append(place[1])
        if isinstance(change, Upsert):
            fresh[name] = block.append(change)
        block.changed.append(name)
    return gone
