"""The final order: what is reranked, what stays behind it, and what happens when time or the reranker fails."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from ranking.budget import Budget, CostModel
from ranking.pipeline import RankPipeline, RankSettings
from retrieval.errors import Unavailable
from retrieval.types import Candidate, Passage, StageScore
from tests.fake_models import FakeReranker

TEXTS = ["nothing here", "red apple", "red", "apple red pie", "green"]


def candidates(texts: list[str] = TEXTS) -> list[Candidate]:
    return [
        Candidate(
            Passage(f"d{i}#0", f"d{i}", text, (0, len(text))),
            1 / (60 + i),
            "fused",
            {"fused": StageScore(i, 1 / (60 + i)), "lexical": StageScore(i, 9.0 - i)},
        )
        for i, text in enumerate(texts, start=1)
    ]


def order(ranked: tuple[Candidate, ...]) -> list[str]:
    return [candidate.passage.document_id for candidate in ranked]


def test_reranked_candidates_lead_by_falling_score_and_ties_keep_the_fused_order() -> None:
    ranked = RankPipeline(FakeReranker()).rank("red apple", candidates(), depth=5)
    assert order(ranked.candidates) == ["d2", "d4", "d3", "d1", "d5"]
    assert ranked.degraded == ()
    assert set(ranked.timings_ms) == {"rerank"}


def test_scores_are_the_sigmoid_of_the_logit() -> None:
    ranked = RankPipeline(FakeReranker()).rank("red apple", candidates(), depth=5)
    assert ranked.candidates[0].score == pytest.approx(1 / (1 + math.exp(-4)))
    assert ranked.candidates[2].score == pytest.approx(0.5)
    assert {candidate.scored_by for candidate in ranked.candidates} == {"rerank"}


def test_what_lies_below_the_depth_follows_in_fused_order_with_its_own_score() -> None:
    before = candidates()
    ranked = RankPipeline(FakeReranker()).rank("red apple", before, depth=2)
    assert order(ranked.candidates) == ["d2", "d1", "d3", "d4", "d5"]
    assert ranked.candidates[2:] == tuple(before[2:])
    assert [candidate.scored_by for candidate in ranked.candidates] == ["rerank"] * 2 + ["fused"] * 3


def test_every_stage_that_saw_a_candidate_is_kept_for_explain() -> None:
    ranked = RankPipeline(FakeReranker()).rank("red apple", candidates(), depth=5)
    first = ranked.candidates[0]
    assert set(first.stages) == {"lexical", "fused", "rerank"}
    assert first.stages["rerank"] == StageScore(1, first.score)
    assert [candidate.stages["rerank"].rank for candidate in ranked.candidates] == [1, 2, 3, 4, 5]


def test_without_a_request_the_depth_of_the_settings_holds() -> None:
    ranked = RankPipeline(FakeReranker(), RankSettings(depth=1)).rank("red apple", candidates())
    assert sum(candidate.scored_by == "rerank" for candidate in ranked.candidates) == 1


def test_no_time_leaves_the_fused_order_and_says_so() -> None:
    before = candidates()
    ranked = RankPipeline(FakeReranker()).rank("red apple", before, depth=5, deadline_ms=0)
    assert ranked.candidates == tuple(before)
    assert ranked.degraded == ("rerank",)


def test_candidates_scored_only_in_part_are_not_reordered() -> None:
    ticks = iter([0.0, math.inf])  # the deadline passes after the first batch of four
    before = candidates()
    pipeline = RankPipeline(FakeReranker(clock=lambda: next(ticks)))
    ranked = pipeline.rank("red apple", before, depth=5, deadline_ms=1000)
    assert ranked.candidates == tuple(before)
    assert ranked.degraded == ("rerank",)


def test_a_reranker_that_fails_leaves_the_fused_order_and_says_so() -> None:
    before = candidates()
    ranked = RankPipeline(FakeReranker(fail_with=Unavailable("gone"))).rank("red apple", before, depth=5)
    assert ranked.candidates == tuple(before)
    assert ranked.degraded == ("rerank",)


def test_a_query_in_another_language_is_not_reranked_and_nothing_is_amiss() -> None:
    before = candidates()
    ranked = RankPipeline(FakeReranker(languages=("en",))).rank("红苹果", before, depth=5)
    assert ranked.candidates == tuple(before)
    assert ranked.degraded == ()
    assert (
        RankPipeline(FakeReranker(languages=("*",))).rank("红苹果", before, depth=5).candidates[0].scored_by == "rerank"
    )


@pytest.mark.parametrize("depth", [0, 5])
def test_nothing_to_rank_is_no_failure(depth: int) -> None:
    assert RankPipeline(FakeReranker()).rank("red", [], depth=depth).degraded == ()
    before = candidates()
    assert RankPipeline(None).rank("red", before, depth=depth).candidates == tuple(before)
    assert RankPipeline(FakeReranker()).rank("red", before, depth=0).candidates == tuple(before)


def test_the_version_names_the_model() -> None:
    assert RankPipeline(FakeReranker(name="a")).version != RankPipeline(FakeReranker(name="b")).version
    assert RankPipeline(None).version == RankPipeline(None).version


def test_reading_scores_candidates_where_they_stand() -> None:
    before = candidates()
    found = RankPipeline(FakeReranker()).read("red apple", before, depth=3)
    assert order(found.candidates) == order(tuple(before))
    assert found.candidates[3:] == tuple(before[3:])
    assert [each.stages["rerank"].rank for each in found.candidates[:3]] == [3, 1, 2]
    assert found.candidates[1].stages["rerank"].score == pytest.approx(1 / (1 + math.exp(-4)))
    assert [each.score for each in found.candidates] == [each.score for each in before]
    assert (found.degraded, set(found.timings_ms)) == ((), {"rerank"})


def test_reading_that_time_ends_keeps_what_was_read() -> None:
    ticks = iter([0.0, math.inf])
    pipeline = RankPipeline(FakeReranker(batch=2, clock=lambda: next(ticks)))
    found = pipeline.read("red apple", candidates(), depth=5, deadline_ms=1000)
    assert ["rerank" in each.stages for each in found.candidates] == [True, True, False, False, False]
    assert found.degraded == ("rerank",)


def test_reading_goes_as_deep_as_the_plan_allows_and_whole_reading_beyond_it() -> None:
    slow = Budget(CostModel(0.0, 100.0, 0.0))
    pipeline = RankPipeline(FakeReranker(), budget=slow)
    found = pipeline.read("red apple", candidates(), depth=5, deadline_ms=350)
    assert ["rerank" in each.stages for each in found.candidates] == [True, True, True, False, False]
    assert found.degraded == ("rerank",)
    whole = pipeline.read("red apple", candidates(), depth=5, whole=True, deadline_ms=350)
    assert all("rerank" in each.stages for each in whole.candidates)
    assert whole.degraded == ()


def test_reading_ends_without_a_word_where_the_rest_cannot_matter() -> None:
    texts = ["red apple"] * 10 + ["red"] * 10 + ["nothing here"] * 180
    before = [replace(each, score=float(-at)) for at, each in enumerate(candidates(texts))]
    found = RankPipeline(FakeReranker(), RankSettings(early_stop=5)).read("red apple", before, depth=200)
    assert 16 <= sum("rerank" in each.stages for each in found.candidates) < 200
    assert found.degraded == ()
    everything = RankPipeline(FakeReranker(), RankSettings(early_stop=0)).read("red apple", before, depth=200)
    assert all("rerank" in each.stages for each in everything.candidates)


def test_reading_by_a_reranker_that_fails_leaves_all_unread() -> None:
    before = candidates()
    found = RankPipeline(FakeReranker(fail_with=Unavailable("gone"))).read("red apple", before, depth=5)
    assert (found.candidates, found.degraded) == (tuple(before), ("rerank",))


def test_what_cannot_be_read_in_its_language_is_not_read_and_nothing_is_amiss() -> None:
    found = RankPipeline(FakeReranker(languages=("en",))).read("红苹果", candidates(), depth=5)
    assert (found.candidates, found.degraded) == (tuple(candidates()), ())
