"""What comes before and after the steps of a build: one at a time, with the right encoder; and the new generation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

from indexing.progress import Meter
from indexing.settings import BuildSettings
from indexing.steps import Settled, Steps
from retrieval.batch import Gate, write_generation
from retrieval.durable import disk_full_said_plainly, exclusive
from retrieval.errors import CollectionNotFound, Conflict, IndexUnreadable
from retrieval.late_encoder import LateEncoder
from retrieval.manifest import CollectionSettings
from retrieval.store import CollectionStore
from retrieval.types import CollectionInfo, Encoder, EncoderSpec


@contextmanager
def working(work: Path, collection: str) -> Iterator[None]:
    """Be the only one who builds or syncs this collection. Raises Conflict, and DiskFull for what fills the disk."""
    busy = f"another build of the collection {collection} is running; wait for it, or stop it first"
    with (
        disk_full_said_plainly(f"the collection {collection}", work),
        exclusive(work / f"{collection}.lock", busy),
    ):
        yield


def check_encoder(store: CollectionStore, collection: str, encoder: Encoder, *, replace: bool) -> bool:
    """Whether there is a collection to add to. Raises InvalidRequest for a bad name; Conflict for another encoder."""
    try:
        held = store.open(collection).encoder
    except CollectionNotFound:
        return False
    except IndexUnreadable:
        if replace:
            return False
        raise
    spec = encoder.spec
    if not replace and (held.fingerprint, held.dimension) != (spec.fingerprint, spec.dimension):
        raise Conflict(
            f"the collection {collection} was built with the encoder {held.name}, not with {spec.name} as it is now; "
            "add to it with that one, or build all of it again with --replace"
        )
    return not replace


def _indexed_as(
    store: CollectionStore, collection: str, index: CollectionSettings | None, late: LateEncoder | None
) -> CollectionSettings | None:
    """The settings of the next generation: ``index``, by default the collection's own (None), and with ``late`` its
    token vectors."""
    if late is None:
        return index
    if index is None:
        try:
            index = store.open(collection).settings
        except (CollectionNotFound, IndexUnreadable):
            index = CollectionSettings()
    return replace(index, late=late.spec)


def publish(
    store: CollectionStore,
    collection: str,
    steps: Steps,
    settled: Settled,
    encoder: EncoderSpec,
    meter: Meter,
    settings: BuildSettings,
    *,
    index: CollectionSettings | None = None,
    replace: bool = False,
    delete: Sequence[str] = (),
) -> CollectionInfo:
    """Write what is kept beside what the collection holds, without the documents in ``delete``, and show it at once.

    Killed before that, the same call goes on with what was written. Raises GateFailed and what
    ``write_generation`` raises; the generation before then stays.
    """
    index = _indexed_as(store, collection, index, steps.late)
    meter.stage("indexing", settled.passages)
    return write_generation(
        store,
        collection,
        steps.parts(settled),
        encoder=encoder,
        settings=index,
        replace=replace,
        delete=delete,
        progress=meter.index,
        key=steps.key(settled, collection, replace, None if index is None else asdict(index), sorted(delete)),
        gate=Gate(settings.recall_gate) if settings.recall_gate else None,
        threads=settings.threads,
    )
