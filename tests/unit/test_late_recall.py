"""Late interaction in recall: which candidates are scored, by what, and what happens when the model cannot be had."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from retrieval._native.late import LateQuery
from retrieval.batch import write_generation
from retrieval.changes import Upsert
from retrieval.errors import Unavailable
from retrieval.maintenance import Nothing
from retrieval.manifest import CollectionSettings
from retrieval.recall import recall
from retrieval.snapshot import Snapshot
from retrieval.store import CollectionStore
from retrieval.token_codec import LateSpec
from retrieval.types import Clock, Recalled, StageScore
from tests.fake_late import FakeLate, with_tokens
from tests.fake_models import FakeEncoder
from tests.parts import numbered, part

ENCODER, LATE = FakeEncoder(), FakeLate()
QUERY = "walden number3 torkim"


class English(FakeLate):
    languages = ("en",)


class Failing(FakeLate):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error = error

    def query(self, text: str) -> LateQuery:
        raise self._error


class Another(FakeLate):
    """The same vectors under another fingerprint."""

    @property
    def spec(self) -> LateSpec:
        return replace(super().spec, fingerprint="another")


class Held(FakeLate):
    """Encodes no query before it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()

    def query(self, text: str) -> LateQuery:
        self.go.wait(60)
        return super().query(text)


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    """Twenty documents of some passages with token vectors, and two without."""
    store = CollectionStore(tmp_path_factory.mktemp("late"), Nothing())
    told = with_tokens(part(numbered(range(20))), LATE)
    settings = CollectionSettings(late=LATE.spec)
    write_generation(store, "docs", [told], encoder=ENCODER.spec, settings=settings)
    changes = [(each, part([each])) for each in numbered([20, 21])]
    store.open("docs").write([Upsert(each, own.chunks[0], own.vectors) for each, own in changes])
    return store.snapshot("docs")


def late_stages(found: Recalled) -> dict[str, StageScore]:
    return {each.passage.passage_id: each.stages["late"] for each in found.candidates if "late" in each.stages}


def test_every_candidate_whose_tokens_are_known_has_the_score_of_direct_max_sim(snapshot: Snapshot) -> None:
    found = recall(snapshot, ENCODER, QUERY, late=LATE)
    stages = late_stages(found)
    without = {each.passage.document_id for each in found.candidates if "late" not in each.stages}
    assert without == {"d20", "d21"}
    assert len(stages) > 20
    texts = {each.passage.passage_id: each.passage.full_text for each in found.candidates}
    direct = LATE.encode([texts[name] for name in stages]).scores(LATE.query(QUERY))
    assert [each.score for each in stages.values()] == direct.tolist()
    order = sorted(stages.values(), key=lambda each: each.rank)
    assert [each.rank for each in order] == list(range(1, len(order) + 1))
    assert [each.score for each in order] == sorted(direct.tolist(), reverse=True)


def test_the_fused_order_and_all_else_stay_as_they_are(snapshot: Snapshot) -> None:
    plain, found = recall(snapshot, ENCODER, QUERY), recall(snapshot, ENCODER, QUERY, late=LATE)
    bare = [
        replace(each, stages={name: stage for name, stage in each.stages.items() if name != "late"})
        for each in found.candidates
    ]
    assert bare == list(plain.candidates)
    assert (found.order, found.degraded) == (plain.order, ())
    assert set(found.timings_ms) == {*plain.timings_ms, "late"}


def test_what_is_handed_back_of_all_keeps_its_place_among_all(snapshot: Snapshot) -> None:
    whole, first = (recall(snapshot, ENCODER, QUERY, late=LATE, fetch=fetch) for fetch in (None, 5))
    assert first.candidates == whole.candidates[:5]
    assert first.more == len(whole.candidates) - 5


@pytest.mark.parametrize("late", [Failing(Unavailable("gone")), Another()])
def test_a_model_that_fails_or_is_not_the_index_s_leaves_the_stage_out_and_says_so(
    snapshot: Snapshot, late: FakeLate
) -> None:
    found, plain = recall(snapshot, ENCODER, QUERY, late=late), recall(snapshot, ENCODER, QUERY)
    assert found.candidates == plain.candidates
    assert found.degraded == ("late",)


def test_a_fault_in_the_model_s_code_is_not_hidden(snapshot: Snapshot) -> None:
    with pytest.raises(ZeroDivisionError):
        recall(snapshot, ENCODER, QUERY, late=Failing(ZeroDivisionError()))


def test_a_query_in_another_language_has_no_late_scores_and_lacks_nothing(snapshot: Snapshot) -> None:
    found = recall(snapshot, ENCODER, "数据库", late=English())
    assert found.candidates
    assert late_stages(found) == {}
    assert found.degraded == ()


def test_what_is_not_done_in_time_is_left_out(snapshot: Snapshot) -> None:
    late = Held()
    found = recall(snapshot, ENCODER, QUERY, late=late, ends=time.monotonic() + 0.05)
    assert found.candidates == recall(snapshot, ENCODER, QUERY).candidates
    assert found.degraded == ("late",)
    late.go.set()
    over = recall(snapshot, ENCODER, QUERY, late=late, ends=time.monotonic())
    assert over.degraded == ("late",)
    assert recall(snapshot, ENCODER, QUERY, late=late, ends=time.monotonic() + 60).degraded == ()


def test_a_collection_without_token_vectors_lacks_nothing(tmp_path: Path) -> None:
    store = CollectionStore(tmp_path, Nothing())
    write_generation(store, "docs", [part(numbered(range(3)))], encoder=ENCODER.spec)
    clock = Clock()
    found = recall(store.snapshot("docs"), ENCODER, QUERY, late=LATE, clock=clock)
    assert (late_stages(found), found.degraded) == ({}, ())
    assert "late" not in clock.ms


def test_where_nothing_is_found_nothing_is_compared(tmp_path: Path) -> None:
    store = CollectionStore(tmp_path, Nothing())
    store.create("docs", CollectionSettings(late=LATE.spec), ENCODER.spec)
    found = recall(store.snapshot("docs"), ENCODER, QUERY, late=Failing(Unavailable("gone")))
    assert (found.candidates, found.degraded) == ((), ())


def test_products_with_centroids_are_the_same_however_they_are_cut() -> None:
    numbers = np.random.default_rng(3)
    vectors = numbers.standard_normal((40, LATE.spec.dimension)).astype(np.float32)
    centroids = numbers.standard_normal((3000, LATE.spec.dimension)).astype(np.float32)
    made = LateQuery.of(vectors, centroids, LATE.codec.steps, LATE.codec.weights)
    assert np.allclose(made.by_centroid, centroids @ vectors.T, atol=1e-4)
