"""Recall of one query: both channels, what each said of a passage, and what happens when one cannot run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from retrieval.batch import write_generation
from retrieval.errors import Unavailable
from retrieval.recall import RecallSettings, recall
from retrieval.snapshot import Snapshot
from retrieval.store import CollectionStore
from retrieval.types import Clock, Document, EncoderSpec
from tests.fake_models import FakeEncoder
from tests.parts import part

ENCODER = FakeEncoder()
DOCUMENTS = [
    Document("apples", "Red apples are sweet.", "Fruit"),
    Document("pears", "Green pears are sweet too.", "Fruit"),
    Document("cars", "A car has wheels and an engine.", "Transport"),
    Document("zh", "苹果是红色的。", "水果"),
]


class OtherEncoder(FakeEncoder):
    """The same vectors under another fingerprint."""

    @property
    def spec(self) -> EncoderSpec:
        return replace(super().spec, fingerprint="another")


@pytest.fixture(scope="module")
def generation(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    store = CollectionStore(tmp_path_factory.mktemp("recall"))
    write_generation(store, "docs", [part(DOCUMENTS, ENCODER)], encoder=ENCODER.spec)
    return store.snapshot("docs")


def test_candidates_hold_rank_and_score_of_every_stage_that_saw_them(generation: Snapshot) -> None:
    found = recall(generation, ENCODER, "sweet red apples")
    first = found.candidates[0]
    assert first.passage.document_id == "apples"
    assert set(first.stages) == {"lexical", "dense", "fused"}
    assert {stage.rank for stage in first.stages.values()} == {1}
    assert first.score == first.stages["fused"].score == pytest.approx(2 / 61)
    assert first.scored_by == "fused"
    assert [candidate.stages["fused"].rank for candidate in found.candidates] == [1, 2, 3, 4]
    cars = next(candidate for candidate in found.candidates if candidate.passage.document_id == "cars")
    assert "lexical" not in cars.stages, "it shares no term with the query"
    assert (found.degraded, found.info) == ((), generation.info)


def test_the_first_of_what_was_found_are_fetched_and_the_order_of_all_is_told(generation: Snapshot) -> None:
    whole = recall(generation, ENCODER, "sweet red apples")
    first = recall(generation, ENCODER, "sweet red apples", fetch=2)
    assert first.candidates == whole.candidates[:2]
    assert (first.more, whole.more) == (len(whole.candidates) - 2, 0)
    assert first.order == whole.order != recall(generation, ENCODER, "engine").order


def test_every_stage_is_timed_on_the_clock_given(generation: Snapshot) -> None:
    clock = Clock()
    found = recall(generation, ENCODER, "apples", clock=clock)
    assert set(found.timings_ms) == {"embed", "lexical", "dense", "fuse", "fetch"}
    assert found.timings_ms == clock.ms


def test_each_channel_returns_no_more_than_the_depth(generation: Snapshot) -> None:
    found = recall(generation, ENCODER, "sweet", depth=1)
    assert sum("lexical" in candidate.stages for candidate in found.candidates) == 1
    assert sum("dense" in candidate.stages for candidate in found.candidates) == 1


def test_an_encoder_that_fails_leaves_the_lexical_channel_and_says_so(generation: Snapshot) -> None:
    found = recall(generation, FakeEncoder(fail_with=Unavailable("gone")), "apples")
    assert [candidate.passage.document_id for candidate in found.candidates] == ["apples"]
    assert found.degraded == ("dense",)


def test_an_encoder_that_is_not_the_index_s_is_not_used(generation: Snapshot) -> None:
    assert recall(generation, OtherEncoder(), "apples").degraded == ("dense",)


def test_a_fault_in_the_encoder_s_code_is_not_hidden(generation: Snapshot) -> None:
    with pytest.raises(ZeroDivisionError):
        recall(generation, FakeEncoder(fail_with=ZeroDivisionError()), "apples")


def test_a_language_that_the_encoder_does_not_know_is_searched_by_terms_alone(generation: Snapshot) -> None:
    found = recall(generation, ENCODER, "红色的苹果")
    assert [candidate.passage.document_id for candidate in found.candidates] == ["zh"]
    assert set(found.candidates[0].stages) == {"lexical", "fused"}
    assert found.degraded == ()


def test_without_an_encoder_the_lexical_channel_answers(generation: Snapshot) -> None:
    found = recall(generation, None, "apples")
    assert set(found.timings_ms) == {"lexical", "fuse", "fetch"}
    assert found.degraded == ()


def test_weights_decide_between_channels(generation: Snapshot) -> None:
    only = recall(generation, ENCODER, "apples", weights={"lexical": 1.0, "dense": 0.0})
    assert [candidate.passage.document_id for candidate in only.candidates] == ["apples"]
    assert RecallSettings(dense_weight=0).weights == {"lexical": 1.0, "dense": 0}


@pytest.mark.parametrize("setting", [{"depth": 0}, {"rrf_k": -1}, {"dense_weight": -0.1}])
def test_settings_that_make_no_sense_are_refused(setting: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be at least 1"):
        RecallSettings(**setting)


def test_nothing_asked_of_nothing_gives_nothing(tmp_path: Path) -> None:
    store = CollectionStore(tmp_path)
    write_generation(store, "empty", [], encoder=ENCODER.spec)
    found = recall(store.snapshot("empty"), ENCODER, "?")
    assert (found.candidates, found.degraded) == ((), ())
