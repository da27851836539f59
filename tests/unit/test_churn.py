"""The churn bench: what its batches change, what a search must then see, and one short run over a real collection."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from eval.bench.churn import DELETES, DISTANCE, Batches, Churn, Found, News, Queries, Searcher, run_churn
from eval.bench.corpus import FIELDS, Clustered, Corpus
from eval.bench.process import Peak, descendants, disk_by_part, drop_from_page_cache, memory_of_tree
from eval.bench.targets import OpenCollection, supplied
from eval.bench.texts import Texts
from retrieval.batch import write_generation
from retrieval.changes import Change, Delete, Upsert
from retrieval.manifest import CollectionSettings
from retrieval.store import CollectionStore
from retrieval.types import Vectors
from tests.unit.test_bench_corpus import PIECES

SIZE = 20
VECTORS = Clustered(16, 1).block(0, 500)


def test_what_is_told_of_a_batch_still_holds_some_batches_later() -> None:
    batches, state = Batches(VECTORS, SIZE), dict[str, int]()
    told: list[list[News]] = []
    for number in range(4 * DISTANCE):
        changes, news = batches(number)
        told.append(news)
        for change in changes:
            if isinstance(change, Delete):
                del state[change.document_id]
            else:
                state[change.document_id] = number
        assert len(changes) == SIZE + (DELETES if number >= 2 * DISTANCE else 0)
        for each in told[max(0, number - DISTANCE // 2)]:
            if each.deleted:
                assert each.document_id not in state
            else:
                assert state[each.document_id] == each.batch


def test_a_document_is_told_with_its_own_word_and_vector() -> None:
    for number in (0, DISTANCE, 3 * DISTANCE):
        changes, news = Batches(VECTORS, SIZE)(number)
        puts = {change.document_id: change for change in changes if isinstance(change, Upsert)}
        for each in news:
            if not each.deleted:
                assert each.marker in puts[each.document_id].document.text
                assert np.array_equal(puts[each.document_id].vectors[0], each.vector)


class Stale:
    """A target that never sees what was written."""

    channels = frozenset({"lexical"})

    def search(self, text: str, vector: Vectors) -> Sequence[Found]:
        return [Found("d1", -1, self.channels)]

    def write(self, changes: Sequence[Change]) -> None:
        """Acknowledged, and forgotten."""


class Once:
    """News that come at once, before the first search."""

    def __init__(self, news: list[News]) -> None:
        self._news: list[News] | None = news

    def poll(self) -> bool:
        return self._news is not None

    def recv(self) -> list[News]:
        news, self._news = self._news, None
        assert news is not None
        return news


def test_a_search_that_misses_an_acknowledged_change_is_told_as_stale() -> None:
    _, news = Batches(VECTORS, SIZE)(0)
    searcher = Searcher(Stale(), ["plain"], VECTORS[:1], Once(news))
    for number in range(10):
        searcher(number)
    assert searcher.probes == 1
    assert len(searcher.stale) == 1


@pytest.mark.slow
def test_searches_beside_writes_see_every_change_and_none_fails(tmp_path: Path) -> None:
    corpus = Corpus(Texts(PIECES, 3), Clustered(16, 3), 400)
    settings = CollectionSettings(fields=FIELDS)
    write_generation(CollectionStore(tmp_path), "docs", corpus.parts(), encoder=supplied(16), settings=settings)
    queries = Queries(corpus.texts.queries(1, 50), corpus.queries(50))
    plan = Churn(upserts=200, batch=SIZE, searches=20, seconds=6, idle_s=1)
    report = run_churn(OpenCollection(tmp_path, "docs"), queries, VECTORS, plan, progress=lambda text: None)
    assert (report.idle.failures, report.busy.failures, report.writes.failures) == ((), (), ())
    assert len(report.busy.samples) == 120
    assert len(report.writes.samples) == 60
    assert report.probes > 10
    assert report.stale == ()


def test_memory_of_this_process_and_its_peak_are_seen() -> None:
    assert memory_of_tree(os.getpid()).anonymous > 10_000_000
    assert os.getpid() in descendants(os.getpid())
    with Peak(0.01).watching() as peak:
        held = np.ones(5_000_000)
    assert peak.highest.anonymous > held.nbytes / 2


def test_disk_is_told_by_part(tmp_path: Path) -> None:
    for name, size in (("segments/a/vectors/codes", 10), ("segments/b/vectors/codes", 5), ("CURRENT", 3), ("log/1", 2)):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * size)
    drop_from_page_cache(tmp_path)
    assert disk_by_part(tmp_path) == {"vectors": 15, "CURRENT": 3, "log": 2}
