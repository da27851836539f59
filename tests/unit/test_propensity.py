"""Clicks corrected for where they fell: chances by place that come out as they were, and lists weighed by them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from eval.click_lists import MOST_WEIGHT, click_lists
from eval.clicks import Impression, Seen, impressions
from eval.ltr_lists import as_lists
from eval.propensity import LEAST, Fit, Propensities, harvested, regression_em, rows_of
from eval.usage_rows import FeedbackRow, QueryRow, ServedPassage
from ranking.features import FeatureSet, packed
from retrieval.errors import InvalidRequest
from tests.learned import SMALL, looked_at

CHANCES = (1.0, 0.6, 0.4, 0.25, 0.15)


def test_interventions_tell_how_likely_each_place_is_looked_at() -> None:
    found = harvested(looked_at(CHANCES, 20_000, swaps=0.5))
    assert found is not None
    assert found.method == "harvest"
    assert found.by_place == pytest.approx(CHANCES, abs=0.06)


def test_shares_of_clicks_alone_would_be_wrong_and_interventions_are_not() -> None:
    """The production order puts what is wanted first, so that clicks fall off faster than looks do."""
    pages = looked_at(CHANCES, 30_000, swaps=0.2, good=True)
    clicked = np.array([each.clicked for each in pages], np.float64).mean(axis=0)
    assert clicked[4] / clicked[0] < 0.08
    found = harvested(pages)
    assert found is not None
    assert found.by_place == pytest.approx(CHANCES, abs=0.06)


def test_without_results_that_moved_there_is_nothing_to_harvest() -> None:
    assert harvested(looked_at(CHANCES, 3_000)) is None
    assert harvested([]) is None


def same_for_alike(pages: Sequence[Impression]) -> Fit:
    """A fit that knows each result of each query apart, as a perfect regression would."""
    names = [(each.query, name) for each in pages for name in each.passages]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    codes = np.array([numbers[name] for name in names])

    def fit(
        shares: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    ) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        means = np.bincount(codes, shares) / np.bincount(codes)
        learned: np.ndarray[tuple[int, ...], np.dtype[np.float64]] = means[codes]
        return learned

    return fit


def test_em_finds_the_places_from_features_alone() -> None:
    pages = looked_at(CHANCES, 6_000, swaps=0.6)
    found = regression_em(pages, same_for_alike(pages), rounds=120)
    assert found.method == "em"
    assert found.by_place == pytest.approx(CHANCES, abs=0.08)
    with pytest.raises(InvalidRequest, match="opened"):
        regression_em([replace(each, clicked=(False,) * 5) for each in pages[:5]], same_for_alike(pages[:5]))


def test_places_behind_the_last_count_as_the_last_and_none_for_nothing() -> None:
    found = Propensities((1.0, 0.5, LEAST), "em", 9)
    assert [found.of(place) for place in (1, 2, 3, 40)] == [1.0, 0.5, LEAST, LEAST]


def test_later_pages_count_from_their_offset() -> None:
    place, clicked = rows_of([Impression("q", "docs", ("a#0", "b#0"), (False, True), offset=8)])
    assert (place.tolist(), clicked.tolist()) == ([8, 9], [False, True])
    assert rows_of([Impression("q", "docs", ("a#0",), (True,), offset=10)])[0].tolist() == []


FEATURES = FeatureSet()


def pages_with_vectors(searches: int, seed: int = 3) -> list[Impression]:
    """The served order follows ``fused.rank``; what is wanted follows ``dense.score``, which it ignores."""
    draw = np.random.default_rng(seed)
    score, fused = (FEATURES.names.index(name) for name in ("dense.score", "fused.rank"))
    found = []
    for number in range(searches):
        vectors = np.full((5, len(FEATURES.names)), np.nan, np.float32)
        vectors[:, score] = draw.random(5)
        vectors[:, fused] = np.arange(1, 6)
        clicked = tuple(bool(each) for each in draw.random(5) < np.array(CHANCES) * vectors[:, score] ** 2)
        names = tuple(f"p{number}-{at}#0" for at in range(5))
        found.append(Impression(f"q{number}", "docs", names, clicked, 0, tuple(map(packed, vectors)), FEATURES.version))
    return found


def test_a_click_becomes_a_list_against_what_was_not_opened_weighed_by_its_place() -> None:
    pages = pages_with_vectors(400)
    found = click_lists(Seen(tuple(pages), 0, 0, 0), FEATURES, SMALL)
    assert len(found.lists) == sum(sum(each.clicked) for each in pages if not all(each.clicked))
    assert found.propensities.method == "em"
    assert all(sum(each.judged.values()) == each.grades.sum() == 1 for each in found.lists)
    assert all(1 <= each.weight <= MOST_WEIGHT for each in found.lists)
    last = [each.weight for each in found.lists if each.names[-1] in each.judged and each.names[-1].endswith("-4#0")]
    top = [each.weight for each in found.lists if each.names[0] in each.judged and each.names[0].endswith("-0#0")]
    assert min(last) > 2 * max(top)
    table = as_lists(found.lists, np.arange(3))
    assert table.weights.tolist() == [each.weight for each in found.lists]


def test_em_with_trees_comes_near_the_true_chances() -> None:
    """Better than what clicks show uncorrected only where like results stood at several places, as they do here."""
    found = click_lists(Seen(tuple(pages_with_vectors(2_500)), 0, 0, 0), FEATURES, SMALL)
    assert found.propensities.by_place == pytest.approx(CHANCES, abs=0.15)


def test_pages_without_vectors_of_these_features_are_left_out_and_counted() -> None:
    pages = pages_with_vectors(60)
    other = [replace(each, features="0123456789ab") for each in pages[:20]]
    none = [replace(each, vectors=(), features="") for each in pages[20:30]]
    found = click_lists(Seen((*other, *none, *pages[30:]), 0, 0, 0), FEATURES, SMALL)
    assert (found.impressions, found.without) == (30, 30)
    with pytest.raises(InvalidRequest, match=r"log\.vectors"):
        click_lists(Seen((*other, *none), 0, 0, 0), FEATURES, SMALL)


def row(request_id: str, **changes: object) -> QueryRow:
    served = tuple(ServedPassage(f"{name}#0", name, 0.5, {}, f"V{name}", "m1") for name in ("a", "b"))
    asked = QueryRow(
        "2026-03-01T10:00:00.000+00:00", request_id, "s1", "search", "k", "docs", "docs@1", "rank-1", "How  To",
        filtered=False, k=10, results=served, vectors="f1", ltr="m1",
    )  # fmt: skip
    return replace(asked, **changes)  # type: ignore[arg-type]


def click(request_id: str, passage_id: str, **changes: object) -> FeedbackRow:
    told = FeedbackRow(
        "2026-03-01T10:01:00.000+00:00", request_id, "s1", "click", "how to", "docs", "docs@1", "rank-1",
        passage_id, passage_id[:-2], 1, None, {}, (), key="k",
    )  # fmt: skip
    return replace(told, **changes)  # type: ignore[arg-type]


def test_clicks_are_put_to_the_searches_that_they_fell_on() -> None:
    rows = [
        row("r1"),
        row("r2", session=""),
        row("r3", session="", key=""),
        row("r4", session="eval-run"),
        row("r5", collection="wiki"),
        row("r6", results=()),
        row("r7", kind="answer"),
        row("r8", error="unavailable"),
    ]
    told = [
        click("r1", "b#0"),
        click("r1", "b#0"),
        click("r2", "a#0"),
        click("r9", "a#0"),
        click("r1", "a#0", key="another"),
        click("r1", "a#0", kind="rating", value=1.0),
        click("r5", "a#0", collection="wiki"),
    ]
    seen = impressions(rows, told, "docs")
    assert [each.clicked for each in seen.impressions] == [(False, True), (True, False)]
    assert (seen.machines, seen.silent, seen.strays, seen.clicks) == (1, 1, 2, 2)
    first = seen.impressions[0]
    assert (first.query, first.vectors, first.features, first.teams) == ("how to", ("Va", "Vb"), "f1", ("m1", "m1"))
