"""Two rankers in one list: a fair draft, equal ones that win no more often than chance, a better one that is found."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from eval.clicks import Impression
from eval.interleaving import Credit, contest, contests, searches_needed, sign_test
from ranking.interleaving import interleaved, team_draft
from tests.learned import candidate


def test_every_item_comes_once_and_from_the_team_that_had_it_next() -> None:
    for seed in range(50):
        drafted = team_draft(["x", "y", "z"], ["y", "w", "x"], 4, random.Random(seed))
        assert sorted(drafted.items) == ["w", "x", "y", "z"]
        assert drafted.items[0] in ("x", "y")
        for first in (0, 2):  # each team picks once a round
            assert sorted(drafted.teams[first : first + 2]) == ["a", "b"]


def test_the_better_half_of_both_rankings_comes_first() -> None:
    a, b = list(range(100)), list(range(50, 150))
    drafted = team_draft(a, b, 20, random.Random(1))
    assert set(drafted.items) == set(range(10)) | set(range(50, 60))


def test_a_ranking_that_is_used_up_leaves_the_rest_to_the_other() -> None:
    assert team_draft(["x"], ["x", "y", "z"], 9, random.Random(3)).items[1:] == ("y", "z")
    assert team_draft([], [], 9, random.Random(3)).items == ()


def test_equal_rankings_are_shown_as_they_are_and_both_teams_stand_first_as_often() -> None:
    first = 0
    for seed in range(1_000):
        drafted = team_draft(list("abcdef"), list("abcdef"), 6, random.Random(seed))
        assert drafted.items == tuple("abcdef")
        first += drafted.teams[0] == "a"
    assert 440 < first < 560


def test_a_page_and_its_repetition_are_drawn_alike() -> None:
    a = [candidate(f"d{at}#0") for at in range(8)]
    mixed = interleaved(a, a[::-1], ("trees", "fused"), 6, "session query")
    assert mixed == interleaved(a, a[::-1], ("trees", "fused"), 6, "session query")
    assert {each.team for each in mixed} == {"trees", "fused"}
    drawn = [interleaved(a, a[::-1], ("trees", "fused"), 6, f"{at}") for at in range(20)]
    assert len({tuple(each.team for each in page) for page in drawn}) > 5
    with pytest.raises(ValueError, match="told apart"):
        interleaved(a, a, ("fused", "fused"), 6, "")


def simulated(
    rankings: tuple[Sequence[int], Sequence[int]], relevant: Sequence[int], searches: int, seed: int
) -> list[Credit]:
    """People look further down with falling patience and open what is relevant, and now and then what is not."""
    draw = random.Random(seed)
    credits = []
    for number in range(searches):
        drafted = team_draft(rankings[0], rankings[1], 10, draw)
        clicks = {"a": 0, "b": 0}
        for place, (item, team) in enumerate(zip(drafted.items, drafted.teams, strict=True)):
            wanted = 0.7 if item in relevant else 0.05
            clicks[team] += draw.random() < 1 / (1 + place) and draw.random() < wanted
        credits.append(Credit(f"q{number}", clicks["a"], clicks["b"]))
    return credits


def test_equal_rankers_are_told_apart_no_more_often_than_the_level_says() -> None:
    """Rankers of like quality and other order; 300 contests at 0.05, of which 25 would be far too many."""
    a, b = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9], [1, 0, 3, 2, 5, 4, 7, 6, 9, 8]
    wins = sum(bool(contest(simulated((a, b), (0, 1), 80, seed)).winner) for seed in range(300))
    assert wins <= 24


def test_a_better_ranker_is_found() -> None:
    better, worse = list(range(12)), [*range(3, 12), 0, 1, 2]
    found = [contest(simulated((worse, better), (0, 1, 2), 150, seed), "old", "new").winner for seed in range(20)]
    assert found.count("new") >= 18
    assert "old" not in found


def test_the_sign_test_is_the_binomial_one() -> None:
    assert sign_test(0, 0) == 1
    assert sign_test(5, 5) == 1
    assert sign_test(0, 5) == pytest.approx(2 / 32)
    assert sign_test(9, 1) == pytest.approx(2 * 11 / 1024)
    assert sign_test(60_000, 60_001) == pytest.approx(1, abs=0.01)
    assert sign_test(60_000, 61_500) < 0.001


def test_a_share_nearer_to_a_half_needs_more_searches() -> None:
    needed = [searches_needed(share) for share in (0.9, 0.7, 0.6, 0.55, 0.51)]
    assert needed == sorted(needed, key=lambda each: each or 0)
    assert 190 < (needed[2] or 0) < 200  # as the tables of sample sizes have it, 194
    assert searches_needed(0.5) is None


def test_one_query_asked_a_hundred_times_is_not_a_hundred_queries() -> None:
    found = contest([Credit("the same", 0, 1)] * 100)
    assert found.p < 0.001
    assert found.winner == ""


def test_contests_are_read_off_the_log_by_their_teams() -> None:
    page = Impression("q", "docs", ("x#0", "y#0", "z#0"), (True, False, True), teams=("fused", "m1", "m1"))
    plain = Impression("q", "docs", ("x#0",), (True,), teams=("",))
    (found,) = contests([page, page, plain])
    assert (found.a, found.b, found.searches, found.ties, found.wins_a) == ("fused", "m1", 2, 2, 0)
