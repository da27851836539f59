"""A search whose order all stages decide: probabilities on one scale, pages that fit together, caches that follow."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ranking.blend import Blend
from ranking.tuned import defaults, tuned_file, write_tuned
from retrieval.errors import Conflict, SettingsError, Unavailable
from retrieval.types import Document
from services.cache import MemoryCache
from services.gateway.ordering import Ordering
from services.gateway.search import Found, Search
from services.ports import Rights
from services.telemetry import Telemetry
from services.wire import SearchRequest
from services.wire_ranking import RankingOptions, Rerank
from tests.fakes import FakeRank, FakeRecall
from tests.service.conftest import LIMITS

WORDS = ("red", "green", "blue", "apple", "pear", "plum", "pie")
QUERY = " ".join(WORDS)


class Kitchen:
    """A gateway's search over thirty documents, the first ones with most of the query's words."""

    def __init__(self, home: Path) -> None:
        texts = [" ".join(WORDS[: 1 + (29 - at) % 7]) + f" number{at}" for at in range(30)]
        documents = [Document(f"d{at}", text) for at, text in enumerate(texts)]
        self.home, self.rank = home, FakeRank()
        self.search = Search(
            FakeRecall({"docs": documents}),
            self.rank,
            MemoryCache(3600, 100),
            LIMITS,
            Telemetry(),
            Ordering(home),
        )

    async def ask(self, k: int = 30, depth: int = 10, cursor: str | None = None, budget_ms: int | None = None) -> Found:
        ranking = RankingOptions(rerank=Rerank(depth=depth))
        request = SearchRequest(query=QUERY, k=k, ranking=ranking, cursor=cursor, budget_ms=budget_ms)
        return await self.search(request, Rights())

    def trust(self, **weights: float) -> None:
        write_tuned(self.home, "docs", replace(defaults(), blend=Blend(weights)))


def names(found: Found) -> list[str]:
    return [each.passage.document_id for each in found.page.candidates]


async def test_all_candidates_get_a_probability_by_the_best_rung_that_ran(tmp_path: Path) -> None:
    found = await Kitchen(tmp_path).ask()
    scores = [each.score for each in found.page.candidates]
    assert len(scores) == 30
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)
    assert {each.scored_by for each in found.page.candidates} == {"rerank"}
    assert sum("rerank" in each.stages for each in found.page.candidates) == 10
    assert "blend" in found.timings_ms


async def test_the_reranker_is_one_voice_among_several(tmp_path: Path) -> None:
    kitchen = Kitchen(tmp_path)
    kitchen.trust(rerank=1.0)
    alone = names(await kitchen.ask(depth=30))
    kitchen.trust(fused=1.0)
    without = names(await kitchen.ask(depth=30))
    # The fake reranker turns the fused order around.
    assert alone == without[::-1]


async def test_without_the_reranker_the_scale_stays(tmp_path: Path) -> None:
    kitchen = Kitchen(tmp_path)
    kitchen.rank.fail_with = Unavailable("gone")
    found = await kitchen.ask()
    assert found.degraded == ("rerank",)
    assert {each.scored_by for each in found.page.candidates} == {"fused"}
    assert all(0 <= each.score <= 1 for each in found.page.candidates)
    assert names(found) == names(await kitchen.ask())


async def test_pages_make_up_the_whole(tmp_path: Path) -> None:
    kitchen = Kitchen(tmp_path)
    whole, pages, cursor = names(await kitchen.ask()), [], None
    while True:
        found = await kitchen.ask(k=7, cursor=cursor)
        pages += names(found)
        cursor = found.page.next_cursor
        if cursor is None:
            break
    assert pages == whole


async def test_pages_of_what_time_cut_short_are_made_of_what_the_first_was(tmp_path: Path) -> None:
    kitchen = Kitchen(tmp_path)
    kitchen.rank.most = 4
    found = await kitchen.ask(k=7)
    kitchen.rank.most = 8
    pages = [*found.page.candidates]
    while found.page.next_cursor is not None:
        assert found.degraded == ("rerank",)
        found = await kitchen.ask(k=7, cursor=found.page.next_cursor)
        pages += found.page.candidates
    assert len({each.passage.document_id for each in pages}) == 30
    assert sum("rerank" in each.stages for each in pages) == 4
    assert (await kitchen.ask(k=7)).cache == "miss"


async def test_a_page_that_cannot_be_read_as_deep_as_the_first_is_a_conflict(tmp_path: Path) -> None:
    kitchen = Kitchen(tmp_path)
    kitchen.trust(rerank=1.0)
    kitchen.rank.most = 8
    first = await kitchen.ask(k=7)
    kitchen.rank.most = 4
    with pytest.raises(Conflict, match="without the cursor"):
        await kitchen.ask(k=7, cursor=first.page.next_cursor)


async def test_what_was_learned_of_a_collection_is_followed_at_once_and_no_stale_page_is_served(tmp_path: Path) -> None:
    kitchen = Kitchen(tmp_path)
    first = await kitchen.ask()
    assert (await kitchen.ask()).cache == "hit"
    kitchen.trust(rerank=1.0)
    second = await kitchen.ask()
    assert second.cache == "miss"
    assert names(second) != names(first)


async def test_settings_that_cannot_be_read_are_an_error_and_no_other_order(tmp_path: Path) -> None:
    kitchen = Kitchen(tmp_path)
    kitchen.trust(rerank=1.0)
    tuned_file(tmp_path, "docs").write_text("{", encoding="utf-8")
    with pytest.raises(SettingsError, match="riddle tune"):
        await kitchen.ask()


async def test_every_candidate_carries_the_features_it_was_ranked_by(tmp_path: Path) -> None:
    found = await Kitchen(tmp_path).ask()
    assert all(each.vector for each in found.page.candidates)
    assert "ltr" in found.timings_ms


async def test_a_request_with_a_budget_computes_no_features_that_no_model_asks_for(tmp_path: Path) -> None:
    found = await Kitchen(tmp_path).ask(budget_ms=60_000)
    assert not any(each.vector for each in found.page.candidates)
    assert found.degraded == ()


async def test_trees_that_cannot_be_read_are_left_out_and_named(tmp_path: Path) -> None:
    kitchen = Kitchen(tmp_path)
    (tmp_path / "ltr").mkdir()
    (tmp_path / "ltr" / "adopted.json").write_text('{"docs": "0123456789ab"}', encoding="utf-8")
    found = await kitchen.ask()
    assert found.degraded == ("ltr",)
    assert (await kitchen.ask()).cache == "miss"
    assert {each.scored_by for each in found.page.candidates} == {"rerank"}
