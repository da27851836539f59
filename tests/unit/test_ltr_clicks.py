"""Learning from clicks: an order that biased clicks would get wrong comes out right when they are weighed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from eval.click_lists import click_lists
from eval.clicks import Impression, Seen
from eval.ltr_lists import JudgedList
from eval.ltr_trial import grow_on, model_file, trial
from ranking.features import FeatureSet, packed
from ranking.ltr import LtrModel
from tests.learned import SMALL

FEATURES = FeatureSet()
COLUMNS = ("dense.score", "lexical.score")
CHANCES = 1 / np.arange(1.0, 7)


def pages(searches: int, seed: int, shuffled: float) -> list[Impression]:
    """People want what ``dense.score`` says; pages are ordered by ``lexical.score``, some of them shuffled."""
    draw = np.random.default_rng(seed)
    found = []
    for number in range(searches):
        dense, lexical = draw.random((2, 6))
        order = np.argsort(-lexical) if draw.random() >= shuffled else draw.permutation(6)
        vectors = np.full((6, len(FEATURES.names)), np.nan, np.float32)
        vectors[:, FEATURES.names.index("dense.score")] = dense[order]
        vectors[:, FEATURES.names.index("lexical.score")] = lexical[order]
        vectors[:, FEATURES.names.index("fused.rank")] = np.argsort(np.argsort(-lexical))[order] + 1
        clicked = tuple(bool(each) for each in draw.random(6) < CHANCES * dense[order] ** 2)
        # A few queries asked over and over, whose results stand elsewhere on each shuffled page.
        names = tuple(f"p{number % 25}-{at}#0" for at in order.tolist())
        found.append(
            Impression(f"q{number % 25}" if shuffled else f"q{number}", "docs", names, clicked, 0,
                       tuple(map(packed, vectors)), FEATURES.version)
        )  # fmt: skip
    return found


def leaning(lists: Sequence[JudgedList], *, weighed: bool) -> float:
    """How much the model's order follows the production order rather than what people want, on pairs."""
    judged = [each if weighed else replace(each, weight=1.0) for each in lists]
    model = LtrModel(model_file(grow_on(judged, FEATURES, COLUMNS, SMALL), FEATURES, COLUMNS))
    draw = np.random.default_rng(99)
    vectors = np.full((2_000, len(FEATURES.names)), np.nan, np.float32)
    wanted, shown = draw.random((2, 2_000))
    vectors[:, FEATURES.names.index("dense.score")] = wanted
    vectors[:, FEATURES.names.index("lexical.score")] = shown
    scores = model.scores(vectors)
    return float(np.corrcoef(scores, shown)[0, 1])


def test_weighed_clicks_do_not_teach_the_order_that_they_fell_in() -> None:
    found = click_lists(Seen(tuple(pages(4_000, 1, 0.15)), 0, 0, 0), FEATURES, SMALL)
    assert abs(leaning(found.lists, weighed=True)) < 0.5 * leaning(found.lists, weighed=False)


def test_a_gain_found_in_clicks_is_adopted() -> None:
    found = click_lists(Seen(tuple(pages(1_200, 2, 0.0)), 0, 0, 0), FEATURES, SMALL)
    told = trial(found.lists, FEATURES, COLUMNS, settings=SMALL)
    assert told.adopted, told.reason
    assert told.gain > 0.05
