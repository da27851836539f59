"""Late interaction in a whole search: asked for where all stages decide, and what the real model says of passages."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from indexing.build import build
from ranking.features import FeatureSet
from retrieval.store import CollectionStore
from services.bootstrap import collections_folder
from services.cache import NoCache
from services.encoders import encoder_named
from services.gateway.ordering import Ordering
from services.gateway.search import Search
from services.late import late_for, late_of_build
from services.learning import from_dataset
from services.local import local_asker
from services.ports import Rights
from services.settings import Settings
from services.telemetry import Telemetry
from services.tuning import gather, questions_of
from services.wire import SearchRequest, SearchResponse
from tests.fakes import FakeRank, FakeRecall
from tests.requires import need
from tests.service.conftest import LIMITS

LATE, ENCODER = "answerai-colbert-small-v1", "bge-small-en-v1.5"
TEXTS = {
    "plants": "Photosynthesis turns light into chemical energy in plants.",
    "france": "The capital of France is Paris, on the river Seine.",
    "code": "A compiler translates source code into machine code.",
    "spain": "Madrid has been the capital of Spain since the sixteenth century.",
    "zh": "法国的首都是巴黎，位于塞纳河畔。",
}
QUESTION = "Which city is the capital of France?"


@pytest.mark.parametrize("blends", [True, False])
async def test_token_vectors_are_compared_where_all_stages_decide_and_nowhere_else(
    tmp_path: Path, blends: bool
) -> None:
    recall = FakeRecall()
    ordering = Ordering(tmp_path) if blends else None
    search = Search(recall, FakeRank(), NoCache(), LIMITS, Telemetry(), ordering)
    await search(SearchRequest(query="start the server"), Rights())
    assert recall.asked[-1].late is blends


def home_with(folder: Path, models: Sequence[str]) -> Path:
    """A home of its own that has these of the models that tests keep."""
    (folder / "models").mkdir(parents=True)
    kept = need.home(LATE, ENCODER) / "models"
    for name in models:
        (folder / "models" / name).symlink_to(kept / name)
    return folder


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """All stages decide, with no cross-encoder among them, over a small collection with token vectors."""
    folder = tmp_path_factory.mktemp("late")
    home = home_with(folder / "home", [LATE, ENCODER])
    plain = Settings(home=home)
    found = replace(
        plain,
        models=replace(plain.models, encoder=ENCODER, reranker=""),
        build=replace(plain.build, late=LATE),
        rank=replace(plain.rank, order="blend"),
    )
    source = folder / "corpus.jsonl"
    rows = [json.dumps({"_id": name, "text": text}, ensure_ascii=False) for name, text in TEXTS.items()]
    source.write_text("\n".join(rows), encoding="utf-8")
    store = CollectionStore(collections_folder(home))
    build(
        [source],
        "docs",
        store=store,
        encoder=encoder_named(ENCODER, found),
        work=folder / "work",
        late=late_of_build(store, "docs", found, replace=False),
    )
    return found


async def asked(settings: Settings, query: str) -> SearchResponse:
    async with local_asker(settings, collection="docs") as asker:
        return await asker.search(SearchRequest(query=query, collection="docs", k=10, explain=True))


@pytest.mark.slow
async def test_a_blended_search_shows_what_the_real_model_says(settings: Settings) -> None:
    found = await asked(settings, QUESTION)
    assert found.degraded == []
    assert {each.scored_by for each in found.results} == {"late"}
    assert found.results[0].document_id == "france"
    said = {each.document_id: (each.explain or {})["late"] for each in found.results}
    assert said["france"].rank == 1
    snapshot = CollectionStore(collections_folder(settings.home)).snapshot("docs")
    assert snapshot.late_spec is not None
    model = late_for(snapshot.late_spec, settings)
    direct = model.encode([TEXTS[name] for name in said]).scores(model.query(QUESTION))
    assert np.allclose([each.score for each in said.values()], direct, atol=2e-3)


@pytest.mark.slow
def test_what_is_learned_from_searches_sees_late_interaction_whatever_the_order_is(
    settings: Settings, tmp_path: Path
) -> None:
    plain = replace(settings, rank=replace(settings.rank, order="reranker"))
    judged = tmp_path / "questions.jsonl"
    judged.write_text(json.dumps({"id": "q", "question": QUESTION, "relevant": ["france"]}), encoding="utf-8")
    questions = questions_of(plain, "docs", str(judged), None, 10)
    said = gather(plain, "docs", questions, "judgements", 1, 10, lambda *told: None)
    assert np.isfinite(said.asked[0].table.of("late")).all()
    assert questions is not None
    material = from_dataset(plain, "docs", questions, FeatureSet(), lambda *told: None)
    column = material.features.names.index("late.score")
    assert np.isfinite(material.lists[0].vectors[:, column]).all()


@pytest.mark.slow
async def test_a_chinese_query_has_no_late_scores_and_is_not_degraded(settings: Settings) -> None:
    found = await asked(settings, "法国的首都是哪里")
    assert [each.document_id for each in found.results] == ["zh"]
    assert "late" not in (found.results[0].explain or {})
    assert found.degraded == []


@pytest.mark.slow
async def test_without_the_model_all_results_come_and_its_stage_is_named(settings: Settings, tmp_path: Path) -> None:
    home = home_with(tmp_path / "home", [ENCODER])
    (home / "collections").symlink_to(collections_folder(settings.home))
    found, whole = await asked(replace(settings, home=home), QUESTION), await asked(settings, QUESTION)
    assert found.degraded == ["late"]
    assert {each.document_id for each in found.results} == {each.document_id for each in whole.results}
    assert all("late" not in (each.explain or {}) for each in found.results)
