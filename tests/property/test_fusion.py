"""What every way to fuse rankings keeps, whatever the rankings."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.errors import InvalidRequest
from retrieval.fusion import LEAST, FusionMethod, dbsf, fuse, rrf, weighted
from retrieval.types import Hits

Fuse = Callable[[dict[str, Hits]], Hits]

_WAYS: dict[str, Fuse] = {
    "rrf": rrf,
    "min-max": weighted,
    "z": lambda rankings: weighted(rankings, normalisation="z"),
    "dbsf": dbsf,
}


def ranking(rows: list[int], scores: list[float] | None = None) -> Hits:
    return Hits(np.array(rows, np.int64), np.array(scores or np.linspace(1, 0, len(rows)), np.float32))


@st.composite
def _hits(draw: st.DrawFn) -> Hits:
    """A channel as a channel gives it: distinct rows, scores that fall, ties and far outliers among them."""
    rows = draw(st.lists(st.integers(0, 60), unique=True, max_size=30))
    score = st.floats(-1000, 1000, width=32) | st.sampled_from([0.0, 1.0])
    scores = sorted(draw(st.lists(score, min_size=len(rows), max_size=len(rows))), reverse=True)
    return Hits(np.array(rows, np.int64), np.array(scores, np.float32))


_RANKINGS = st.dictionaries(st.sampled_from(["lexical", "dense", "third", "fourth"]), _hits(), max_size=4)
_FUSE = st.sampled_from(sorted(_WAYS)).map(_WAYS.__getitem__)


@given(_RANKINGS, _FUSE)
def test_the_order_of_channels_does_not_matter(rankings: dict[str, Hits], fused_by: Fuse) -> None:
    backwards = dict(reversed(rankings.items()))
    one, other = fused_by(rankings), fused_by(backwards)
    assert one.rows.tolist() == other.rows.tolist()
    assert one.scores.tobytes() == other.scores.tobytes()


@given(_RANKINGS, _FUSE)
def test_every_row_of_every_channel_comes_out_once_and_is_never_zeroed(
    rankings: dict[str, Hits], fused_by: Fuse
) -> None:
    fused = fused_by(rankings)
    assert sorted(fused.rows.tolist()) == sorted({row for hits in rankings.values() for row in hits.rows.tolist()})
    assert (fused.scores > 0).all()
    assert np.isfinite(fused.scores).all()


@given(_RANKINGS, _FUSE)
def test_scores_fall_and_ties_are_ordered_by_row(rankings: dict[str, Hits], fused_by: Fuse) -> None:
    fused = fused_by(rankings)
    pairs = list(zip((-fused.scores).tolist(), fused.rows.tolist(), strict=True))
    assert pairs == sorted(pairs)


@given(_hits(), _FUSE)
def test_a_lone_channel_keeps_its_order(hits: Hits, fused_by: Fuse) -> None:
    fused = fused_by({"lexical": hits})
    placed = dict(zip(fused.rows.tolist(), fused.scores.tolist(), strict=True))
    gains = [placed[row] for row in hits.rows.tolist()]
    assert gains == sorted(gains, reverse=True)


@given(_RANKINGS, st.integers(0, 60), _FUSE)
def test_a_channel_with_a_single_hit_lifts_it(rankings: dict[str, Hits], row: int, fused_by: Fuse) -> None:
    without = fused_by(rankings)
    fused = fused_by({**rankings, "single": ranking([row], [0.25])})
    before = dict(zip(without.rows.tolist(), without.scores.tolist(), strict=True)).get(row, 0.0)
    assert dict(zip(fused.rows.tolist(), fused.scores.tolist(), strict=True))[row] > before


@given(_RANKINGS, st.sampled_from(["rrf", "min-max"]).map(_WAYS.__getitem__))
def test_only_top_hits_and_rows_of_several_channels_stand_before_a_top_hit(
    rankings: dict[str, Hits], fused_by: Fuse
) -> None:
    """Also those that tie with another channel's top hit in its own scores are its top hits."""
    fused = fused_by(rankings).rows.tolist()
    for hits in rankings.values():
        if len(hits):
            top = int(hits.rows[0])
            ahead = fused[: fused.index(top)]
            tops = {int(row) for other in rankings.values() if len(other) for row in _like_the_best(other)}
            counts = {row: sum(row in other.rows for other in rankings.values()) for row in ahead}
            assert all(row in tops or counts[row] > 1 for row in ahead)


@given(_RANKINGS)
def test_by_distribution_nothing_that_one_channel_found_below_its_mean_stands_before_a_top_hit(
    rankings: dict[str, Hits],
) -> None:
    fused = dbsf(rankings)
    scores = dict(zip(fused.rows.tolist(), fused.scores.tolist(), strict=True))
    kept = [hits for hits in rankings.values() if len(hits)]
    for hits in kept:
        assert scores[int(hits.rows[0])] >= 0.5 - 1e-6
    found = [row for hits in kept for row in hits.rows.tolist()]
    for hits in kept:
        below = hits.rows[hits.scores < hits.scores.mean(dtype=np.float64)].tolist()
        assert all(scores[row] <= 0.5 + 1e-6 for row in below if found.count(row) == 1)


def _like_the_best(hits: Hits) -> list[int]:
    """Rows that float32 cannot tell from the best once they are on one scale."""
    near = hits.scores[0] - hits.scores <= np.float32(1e-6) * np.ptp(hits.scores)
    return [int(row) for row in hits.rows[near]]


@given(_RANKINGS)
def test_rank_fusion_has_the_scores_of_its_formula(rankings: dict[str, Hits]) -> None:
    expected: dict[int, float] = {}
    for hits in rankings.values():
        for rank, row in enumerate(hits.rows.tolist(), start=1):
            expected[row] = expected.get(row, 0) + 1 / (60 + rank)
    fused = rrf(rankings)
    assert dict(zip(fused.rows.tolist(), fused.scores.tolist(), strict=True)) == pytest.approx(expected)


def test_distribution_fusion_by_hand() -> None:
    fused = dbsf({"lexical": ranking([1, 2, 3], [3, 2, 1]), "dense": ranking([3], [0.4])})
    # mean 2, sample deviation 1, so the scale runs from -1 to 5; a single hit counts a half
    assert dict(zip(fused.rows.tolist(), fused.scores.tolist(), strict=True)) == pytest.approx(
        {1: 4 / 6, 2: 3 / 6, 3: 2 / 6 + 0.5}
    )


def test_weighted_fusion_by_hand() -> None:
    rankings = {"lexical": ranking([1, 2, 3], [3, 2, 1]), "dense": ranking([3], [0.4])}
    by_rows = weighted(rankings, {"dense": 0.5})
    # what was not found lies two thirds below 1, so the scale is (s - 1/3) / (8/3)
    assert dict(zip(by_rows.rows.tolist(), by_rows.scores.tolist(), strict=True)) == pytest.approx(
        {1: 1, 2: 5 / 8, 3: 2 / 8 + 0.5}
    )
    by_deviations = weighted(rankings, {"dense": 0.5}, "z")
    spread = (2 / 3) ** 0.5
    assert dict(zip(by_deviations.rows.tolist(), by_deviations.scores.tolist(), strict=True)) == pytest.approx(
        {1: 8 / 3 / spread, 2: 5 / 3 / spread, 3: 2 / 3 / spread + 0.5}
    )


def test_a_hit_far_below_its_channel_is_not_lost() -> None:
    scores = [1.0] * 40 + [-100.0]
    fused = dbsf({"dense": ranking(list(range(41)), scores)})
    assert fused.scores[-1] == pytest.approx(LEAST)


def test_equal_scores_are_a_tie_and_not_nothing() -> None:
    for name, fused_by in _WAYS.items():
        if name != "rrf":
            fused = fused_by({"dense": ranking([5, 3], [0.5, 0.5])})
            assert fused.rows.tolist() == [3, 5]
            assert fused.scores[0] == fused.scores[1] > 0


def test_a_weight_of_nothing_leaves_a_channel_out() -> None:
    for method in ("rrf", "weighted", "dbsf"):
        named: FusionMethod = method
        fused = fuse({"lexical": ranking([1, 2]), "dense": ranking([3])}, named, weights={"dense": 0})
        assert fused.rows.tolist() == [1, 2]


def test_a_heavier_channel_decides() -> None:
    rankings = {"lexical": ranking([1, 2]), "dense": ranking([2, 1])}
    for method in ("rrf", "weighted", "dbsf"):
        named: FusionMethod = method
        assert fuse(rankings, named, weights={"dense": 2}).rows.tolist() == [2, 1]
        assert fuse(rankings, named, weights={"lexical": 2}).rows.tolist() == [1, 2]


@pytest.mark.parametrize(("k", "weights"), [(-1, {}), (60, {"dense": -0.5}), (60, {"dense": float("nan")})])
def test_a_negative_k_or_weight_is_refused(k: int, weights: dict[str, float]) -> None:
    with pytest.raises(InvalidRequest, match="rank fusion needs"):
        rrf({"lexical": ranking([1])}, k, weights)


def test_an_unknown_method_or_scale_is_refused() -> None:
    unknown: list[str] = ["mean"]
    with pytest.raises(InvalidRequest, match=r"fusion\.method"):
        fuse({}, unknown[0])  # type: ignore[arg-type]
    with pytest.raises(InvalidRequest, match=r"fusion\.normalisation"):
        weighted({}, None, unknown[0])  # type: ignore[arg-type]
