"""Between order and page: copies make room, the improbable goes, and pages fit together all the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retrieval.errors import InvalidRequest, Unavailable
from retrieval.types import Document
from services.cache import MemoryCache
from services.gateway.ordering import Ordering
from services.gateway.search import Found, Search
from services.ports import Rights
from services.telemetry import Telemetry
from services.wire import SearchRequest
from services.wire_ranking import Mmr, RankingOptions, Rerank
from tests.fakes import FakeRank, FakeRecall
from tests.service.conftest import LIMITS

WORDS = ("red", "green", "blue", "apple", "pear", "plum", "pie")
QUERY = " ".join(WORDS)
COPIES = {f"copy{at}" for at in range(6)}


def library() -> list[Document]:
    """Six copies that hold all of the query's words, and forty others of fewer and fewer, no two alike."""
    copies = [Document(name, f"{QUERY} and what else there is in it", metadata={"kind": "copy"}) for name in COPIES]
    others = [
        Document(
            f"d{at}",
            " ".join((*WORDS[at % 7 :], *(f"own{at}x{word}" for word in range(4 + at)))),
            metadata={"kind": "other"},
        )
        for at in range(40)
    ]
    return sorted(copies, key=lambda each: each.document_id) + others


class Desk:
    """A gateway's search over the library; with a home all stages decide, without one the reranker."""

    def __init__(self, home: Path | None = None, diversity: float = 0.0) -> None:
        self.recall, self.rank = FakeRecall({"docs": library()}), FakeRank()
        ordering = None if home is None else Ordering(home)
        limits = replace(LIMITS, diversity=diversity, calibrated=home is not None)
        self.search = Search(self.recall, self.rank, MemoryCache(3600, 100), limits, Telemetry(), ordering)

    async def ask(
        self,
        diversity: float | Mmr | None = None,
        least: float | None = None,
        *,
        k: int = 46,
        depth: int = 5,
        cursor: str | None = None,
        size: int | None = None,
        facets: list[str] | None = None,
    ) -> Found:
        ranking = RankingOptions(rerank=Rerank(depth=depth), diversity=diversity, min_probability=least)
        request = SearchRequest(
            query=QUERY,
            k=k,
            ranking=ranking,
            cursor=cursor,
            group_by=None if size is None else "document",
            group_size=size,
            facets=facets or [],
        )
        return await self.search(request, Rights())

    async def pages(self, k: int, diversity: float | None, least: float | None, size: int | None = None) -> list[str]:
        found, cursor = [], None
        while True:
            page = await self.ask(diversity, least, k=k, cursor=cursor, size=size)
            found += names(page)
            cursor = page.page.next_cursor
            if cursor is None:
                return found


def names(found: Found) -> list[str]:
    return [each.passage.document_id for each in found.page.candidates]


@pytest.fixture(params=["reranker", "blend"])
def desk(request: pytest.FixtureRequest, tmp_path: Path) -> Desk:
    return Desk(tmp_path if request.param == "blend" else None)


async def test_copies_leave_the_first_ten_and_nothing_else_changes(desk: Desk) -> None:
    plain, varied = await desk.ask(), await desk.ask(0.5)
    assert len(COPIES & set(names(plain)[:10])) >= 4
    assert len(COPIES & set(names(varied)[:10])) == 1
    assert names(varied)[0] == names(plain)[0]
    before = {each.passage.document_id: each for each in plain.page.candidates}
    for rank, each in enumerate(varied.page.candidates, start=1):
        was = before[each.passage.document_id]
        assert (each.score, each.scored_by) == (was.score, was.scored_by)
        assert each.stages["diversity"].rank == rank
        assert {name for name in each.stages if name != "diversity"} == set(was.stages)
    assert "diversity" in varied.timings_ms
    assert "diversity" not in plain.timings_ms


async def test_diversity_and_lambda_are_two_words_for_one_thing_and_nought_is_none(desk: Desk) -> None:
    assert names(await desk.ask(0.25)) == names(await desk.ask(Mmr(mmr_lambda=0.75)))
    plain = names(await desk.ask())
    assert names(await desk.ask(0.0)) == names(await desk.ask(Mmr(mmr_lambda=1.0))) == plain
    assert names(await desk.ask(0.25)) != plain


async def test_the_server_says_what_holds_when_a_request_does_not(tmp_path: Path) -> None:
    quiet, varied = Desk(), Desk(diversity=0.5)
    assert names(await varied.ask()) == names(await quiet.ask(0.5))
    assert names(await varied.ask(0.0)) == names(await quiet.ask())


async def test_pages_of_any_size_make_up_the_whole(desk: Desk) -> None:
    whole = names(await desk.ask(0.4))
    for k in (1, 7, 45):
        assert await desk.pages(k, 0.4, None) == whole
    grouped = names(await desk.ask(0.4, size=1))
    assert await desk.pages(9, 0.4, None, size=1) == grouped


async def test_each_diversity_is_a_search_of_its_own(desk: Desk) -> None:
    for diversity in (None, 0.3, 0.6):
        assert (await desk.ask(diversity)).cache == "miss"
        assert (await desk.ask(diversity)).cache == "hit"
    cursor = (await desk.ask(0.3, k=5)).page.next_cursor
    for other in (None, 0.6):
        with pytest.raises(InvalidRequest, match="another request"):
            await desk.ask(other, k=5, cursor=cursor)


async def test_a_small_page_is_chosen_among_as_many_as_a_large_one(tmp_path: Path) -> None:
    desk = Desk()
    assert names(await desk.ask(0.5, k=3)) == names(await desk.ask(0.5))[:3]
    assert desk.recall.asked[0].fetch == 100
    await desk.ask(k=3)
    assert desk.recall.asked[-1].fetch == 5


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(least=st.floats(0, 1), k=st.integers(5, 50), diversity=st.sampled_from([None, 0.3]))
async def test_a_threshold_keeps_what_reaches_it_on_every_page(
    tmp_path: Path, least: float, k: int, diversity: float | None
) -> None:
    desk = Desk(tmp_path)
    whole = await desk.ask()
    wanted = {each.passage.document_id for each in whole.page.candidates if each.score >= least}
    found = await desk.pages(k, diversity, least)
    assert len(found) == len(wanted)
    assert set(found) == wanted
    if diversity is None:
        assert found == [name for name in names(whole) if name in wanted]


async def test_a_threshold_counts_facets_as_without_it_and_may_leave_nothing(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    whole, none = await desk.ask(facets=["kind"]), await desk.ask(least=1.0, facets=["kind"])
    assert (none.page.candidates, none.page.next_cursor) == ((), None)
    assert none.page.facets == whole.page.facets == {"kind": (("other", 40), ("copy", 6))}
    assert (await desk.ask(least=1.0, facets=["kind"])).cache == "hit"


async def test_a_threshold_means_the_same_with_the_reranker_gone(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.rank.fail_with = Unavailable("gone")
    whole = await desk.ask()
    middle = sorted(each.score for each in whole.page.candidates)[23]
    found = await desk.ask(least=middle)
    assert found.degraded == ("rerank",)
    assert names(found) == [each.passage.document_id for each in whole.page.candidates if each.score >= middle]
    cursor = (await desk.ask(least=middle, k=4)).page.next_cursor
    assert names(await desk.ask(least=middle, k=50, cursor=cursor)) == names(found)[4:]


async def test_a_threshold_on_scores_that_are_no_probabilities_is_refused() -> None:
    with pytest.raises(InvalidRequest, match=r"ranking\.min_probability: .*`rank\.order=blend`"):
        await Desk().ask(least=0.5)
