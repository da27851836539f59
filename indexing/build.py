"""Builds sources into a collection, step by step, so that a build killed anywhere continues."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from indexing.chunking import ChunkSettings
from indexing.formats.ocr import Recognise, tesseract
from indexing.items import count_items, read_items
from indexing.ledger import Ledger, OpenFile, open_file
from indexing.partitions import Entry, Maker, partitions
from indexing.progress import Meter, Progress
from indexing.publishing import check_encoder, publish, working
from indexing.settings import BuildSettings
from indexing.sources import Plan, Rejected, Source, SourceFile, plan
from indexing.steps import Rejections, Settled, Steps
from retrieval.errors import InvalidRequest
from retrieval.late_encoder import LateEncoder
from retrieval.manifest import CollectionSettings
from retrieval.store import CollectionStore
from retrieval.types import Encoder

__all__ = ["BuildSettings", "BuildSummary", "Progress", "Rejected", "Source", "build"]


@dataclass(frozen=True, slots=True)
class BuildSummary:
    """What a build published. ``documents`` and ``passages`` count what this build read, not what was there before."""

    documents: int
    passages: int
    rejected: list[Rejected] = field(repr=False)
    """The first ten thousand files and rows that were set aside; ``rejected_count`` counts all."""
    seconds: float
    generation: str
    reused: int = 0
    """Documents taken over from a build that was killed or cancelled."""
    rejected_count: int = 0
    near_duplicates: int = 0
    """Documents left out because another says nearly the same; ``report`` names them."""
    report: Path | None = None


def build(
    sources: Sequence[Source | Path],
    collection: str,
    *,
    store: CollectionStore,
    encoder: Encoder,
    work: Path,
    chunk: ChunkSettings | None = None,
    settings: BuildSettings | None = None,
    index: CollectionSettings | None = None,
    replace: bool = False,
    progress: Callable[[Progress], None] = lambda progress: None,
    cancel: threading.Event | None = None,
    recognise: Recognise | None = None,
    late: LateEncoder | None = None,
    opener: OpenFile = open_file,
) -> BuildSummary:
    """Build ``sources`` into ``collection`` and make the result its current generation.

    What the collection holds already stays, a document of an id that is built again excepted;
    ``replace`` starts afresh. Finished steps lie under ``work`` until the result is published:
    the same call after a kill, a cancel or a full disk takes them up. ``recognise`` reads scans; by
    default tesseract does, where it is installed. ``index`` of None keeps the collection's own settings. With ``late``
    passages get token vectors for late interaction; without, those of this build have none.

    Raises InvalidRequest for sources that are not there or hold nothing readable, Conflict while another
    build of this collection runs or when it was built with another encoder, Cancelled, DiskFull, GateFailed
    when the vector index misses ``settings.recall_gate``, and what the encoder raises; the collection then
    stays as it was.
    """
    began, settings = time.monotonic(), settings or BuildSettings()
    check_encoder(store, collection, encoder, replace=replace)
    planned = plan(sources)
    with working(work, collection):
        ledger = Ledger(work / collection, opener)
        compare = settings.near_duplicates > 0
        maker = Maker(encoder, chunk or ChunkSettings(), settings.batch_tokens, recognise or tesseract(), compare, late)
        meter = Meter(progress, cancel or threading.Event())
        steps = Steps(maker, ledger, meter)
        report = work / f"{collection}.near-duplicates.jsonl" if compare else None
        meter.stage("reading", None)
        meter.stage("reading", sum(meter.checked(_count(entry)) for entry in planned))
        for group in partitions(_entries(planned), settings):
            steps.prepare(group)
        settled = steps.settle(settings.near_duplicates, report)
        if not settled.documents:
            ledger.clear()
            raise InvalidRequest(_nothing(steps.rejected))
        steps.embed(settled)
        info = publish(store, collection, steps, settled, encoder.spec, meter, settings, index=index, replace=replace)
        ledger.clear()
    return _summary(steps, settled, time.monotonic() - began, info.generation, report)


def _summary(steps: Steps, settled: Settled, seconds: float, generation: str, report: Path | None) -> BuildSummary:
    return BuildSummary(
        documents=settled.documents,
        passages=settled.passages,
        rejected=steps.rejected.named,
        seconds=round(seconds, 3),
        generation=generation,
        reused=steps.reused,
        rejected_count=steps.rejected.count,
        near_duplicates=settled.near_duplicates,
        report=report,
    )


def _entries(planned: Plan) -> Iterator[Entry]:
    for entry in planned:
        if isinstance(entry, Rejected):
            yield entry
        else:
            yield from read_items(entry)


def _count(entry: SourceFile | Rejected) -> int:
    return 1 if isinstance(entry, Rejected) else count_items(entry)


def _nothing(rejected: Rejections) -> str:
    """Why a build has no document at all."""
    if not rejected.count:
        return "nothing to build: the sources hold no files"
    reasons = Counter(each.reason for each in rejected.named).most_common(3)
    told = "; ".join(f"{reason}" + (f" ({count} times)" if count > 1 else "") for reason, count in reasons)
    first = rejected.named[0].source
    example = f", such as {first}" if rejected.count > 1 else f" ({first})"
    return f"nothing to build: all {rejected.count} files or rows were set aside{example}: {told}"
