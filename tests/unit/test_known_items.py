"""Questions that a collection answers about itself: drawn from passages, and not found by their own words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from eval.known_items import ask_items, draw_items
from ranking.pipeline import RankPipeline
from retrieval.batch import write_generation
from retrieval.manifest import CollectionSettings
from retrieval.snapshot import Snapshot
from retrieval.store import CollectionStore
from retrieval.types import Document
from tests.fake_late import FakeLate, with_tokens
from tests.fake_models import FakeEncoder
from tests.parts import part

ENCODER = FakeEncoder()
SENTENCES = (
    "The {0} engine starts when the {0} key is turned twice.",
    "Its {0} oil should be changed after every long journey.",
    "Drivers of the {0} model report few problems in winter.",
)
NAMES = ("amber", "birch", "cedar", "dahlia", "elder", "fennel", "ginger", "hazel")


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    store = CollectionStore(tmp_path_factory.mktemp("known"))
    documents = [Document(name, " ".join(each.format(name) for each in SENTENCES), name) for name in NAMES]
    documents.append(Document("short", "Too little to ask about.", "Short"))
    write_generation(store, "docs", [part(documents, ENCODER, words=60)], encoder=ENCODER.spec)
    return store.snapshot("docs")


def test_a_question_is_a_sentence_that_its_passage_no_longer_holds(snapshot: Snapshot) -> None:
    items = draw_items(snapshot, 5, seed=1)
    assert len(items) == 5
    assert len({item.row for item in items}) == 5
    for item in items:
        assert item.passage.document_id in NAMES
        assert item.query in {each.format(item.passage.document_id) for each in SENTENCES}
        assert item.query not in item.passage.text
        assert item.query in snapshot.passages([item.row])[0].text


def test_the_same_seed_draws_the_same_questions(snapshot: Snapshot) -> None:
    assert draw_items(snapshot, 4, seed=2) == draw_items(snapshot, 4, seed=2)


def test_passages_of_one_sentence_give_no_question(snapshot: Snapshot) -> None:
    assert {item.passage.document_id for item in draw_items(snapshot, 100)} == set(NAMES)


def test_the_right_passage_is_marked_and_scored_without_its_sentence(snapshot: Snapshot) -> None:
    items = draw_items(snapshot, 8)
    told: list[tuple[int, int]] = []
    judged = list(ask_items(items, snapshot, ENCODER, RankPipeline(None), say=lambda *at: told.append(at)))
    assert told[-1] == (8, 8)
    for item, each in zip(items, judged, strict=True):
        assert each.gains.sum() == 1
        right = int(np.argmax(each.gains))
        whole = snapshot.lexical(item.query, 1)
        assert whole.rows[0] == item.row
        assert each.table.of("lexical")[right] < whole.scores[0]
        vectors = ENCODER.encode([item.query], "query"), ENCODER.encode([item.passage.full_text], "passage")
        assert each.table.of("dense")[right] == pytest.approx(float(vectors[0][0] @ vectors[1][0]), abs=1e-3)


def test_token_vectors_are_compared_with_the_rest_too(tmp_path: Path) -> None:
    late, store = FakeLate(), CollectionStore(tmp_path)
    documents = [Document(name, " ".join(each.format(name) for each in SENTENCES), name) for name in NAMES]
    told = with_tokens(part(documents, ENCODER, words=60), late)
    write_generation(store, "docs", [told], encoder=ENCODER.spec, settings=CollectionSettings(late=late.spec))
    snapshot = store.snapshot("docs")
    item = draw_items(snapshot, 1)[0]
    judged = next(ask_items([item], snapshot, ENCODER, RankPipeline(None), late=late))
    right, query = int(np.argmax(judged.gains)), late.query(item.query)
    assert judged.table.of("late")[right] == late.encode([item.passage.full_text]).scores(query)[0]
    assert judged.table.of("late")[right] < snapshot.late(np.array([item.row]), query)[0]
    assert np.isfinite(judged.table.of("late")).all()


def test_words_alone_serve_where_there_is_no_encoder(snapshot: Snapshot) -> None:
    each = next(ask_items(draw_items(snapshot, 1), snapshot, None, RankPipeline(None)))
    assert each.table.names == ("lexical", "fused")


def test_an_empty_collection_has_no_questions(tmp_path: Path) -> None:
    store = CollectionStore(tmp_path)
    write_generation(store, "empty", [], encoder=ENCODER.spec)
    assert draw_items(store.snapshot("empty"), 3) == []
