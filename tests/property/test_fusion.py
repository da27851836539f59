"""What reciprocal rank fusion keeps, whatever the rankings."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.errors import InvalidRequest
from retrieval.fusion import rrf
from retrieval.types import Hits


def ranking(rows: list[int]) -> Hits:
    return Hits(np.array(rows, np.int64), np.linspace(1, 0, len(rows)).astype(np.float32))


_RANKINGS = st.dictionaries(
    st.sampled_from(["lexical", "dense", "third", "fourth"]),
    st.lists(st.integers(0, 60), unique=True, max_size=30).map(ranking),
    max_size=4,
)


@given(_RANKINGS, st.integers(0, 100))
def test_the_order_of_channels_does_not_matter(rankings: dict[str, Hits], k: int) -> None:
    backwards = dict(reversed(rankings.items()))
    one, other = rrf(rankings, k), rrf(backwards, k)
    assert one.rows.tolist() == other.rows.tolist()
    assert one.scores.tobytes() == other.scores.tobytes()


@given(_RANKINGS, st.integers(0, 100))
def test_every_row_of_every_channel_comes_out_once_with_a_score(rankings: dict[str, Hits], k: int) -> None:
    fused = rrf(rankings, k)
    assert sorted(fused.rows.tolist()) == sorted({row for hits in rankings.values() for row in hits.rows.tolist()})
    assert (fused.scores > 0).all()


@given(_RANKINGS, st.integers(0, 100))
def test_scores_fall_and_ties_are_ordered_by_row(rankings: dict[str, Hits], k: int) -> None:
    fused = rrf(rankings, k)
    pairs = list(zip((-fused.scores).tolist(), fused.rows.tolist(), strict=True))
    assert pairs == sorted(pairs)


@given(_RANKINGS)
def test_scores_are_those_of_the_formula(rankings: dict[str, Hits]) -> None:
    expected: dict[int, float] = {}
    for hits in rankings.values():
        for rank, row in enumerate(hits.rows.tolist(), start=1):
            expected[row] = expected.get(row, 0) + 1 / (60 + rank)
    fused = rrf(rankings)
    assert dict(zip(fused.rows.tolist(), fused.scores.tolist(), strict=True)) == pytest.approx(expected)


@given(_RANKINGS)
def test_only_other_top_hits_and_rows_of_several_channels_stand_before_a_top_hit(rankings: dict[str, Hits]) -> None:
    fused = rrf(rankings).rows.tolist()
    for hits in rankings.values():
        if len(hits):
            top = int(hits.rows[0])
            ahead = fused[: fused.index(top)]
            tops = {int(other.rows[0]) for other in rankings.values() if len(other)}
            counts = {row: sum(row in other.rows for other in rankings.values()) for row in ahead}
            assert all(row in tops or counts[row] > 1 for row in ahead)


def test_a_weight_of_nothing_leaves_a_channel_out() -> None:
    fused = rrf({"lexical": ranking([1, 2]), "dense": ranking([3])}, weights={"dense": 0})
    assert fused.rows.tolist() == [1, 2]


def test_a_heavier_channel_decides() -> None:
    rankings = {"lexical": ranking([1, 2]), "dense": ranking([2, 1])}
    assert rrf(rankings, weights={"dense": 2}).rows.tolist() == [2, 1]
    assert rrf(rankings, weights={"lexical": 2}).rows.tolist() == [1, 2]


@pytest.mark.parametrize(("k", "weights"), [(-1, {}), (60, {"dense": -0.5}), (60, {"dense": float("nan")})])
def test_a_negative_k_or_weight_is_refused(k: int, weights: dict[str, float]) -> None:
    with pytest.raises(InvalidRequest, match="rank fusion needs"):
        rrf({"lexical": ranking([1])}, k, weights)
