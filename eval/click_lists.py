"""Clicks as lists to learn ranking from: one list a click, weighed by how unlikely it was to be seen at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eval.clicks import Impression, Seen
from eval.ltr_lists import JudgedList
from eval.propensity import Fit, Propensities, harvested, regression_em, rows_of
from ranking.features import FeatureSet, Vectors, unpacked
from ranking.train.trees import TreeSettings, wanted_share
from retrieval.errors import InvalidRequest

USUAL = TreeSettings()

MOST_WEIGHT = 10.0
"""No click counts for more than so many: what one lucky click says is worth its bias (Joachims et al., WSDM 2017)."""


@dataclass(frozen=True, slots=True)
class ClickLists:
    """Lists of clicks, and how they came about."""

    lists: tuple[JudgedList, ...]
    propensities: Propensities
    impressions: int
    """Pages with vectors of these features."""
    without: int
    """Pages that the log kept without vectors, or with those of other features."""


def click_lists(seen: Seen, features: FeatureSet, settings: TreeSettings = USUAL) -> ClickLists:
    """One list for each click: the opened result against those of its page that were not opened.

    The other opened results are left out of it, so that the sum over lists is that of Joachims, Swaminathan and
    Schnabel (WSDM 2017): each click by itself, weighed by 1 / p(its place), at most ``MOST_WEIGHT``. Propensities
    come from interventions where the log holds enough, else from regression-based EM. Raises InvalidRequest
    when no page has both vectors of ``features`` and a click.
    """
    told = [each for each in seen.impressions if each.features == features.version and all(each.vectors)]
    without = len(seen.impressions) - len(told)
    if not any(any(each.clicked) for each in told):
        raise InvalidRequest(
            f"{len(told)} pages of results were logged with vectors of the features {features.version}, and nothing on "
            f"them was opened; {without} others have none: see log.vectors, and send clicks to /v1/feedback"
        )
    vectors = [unpacked(each.vectors, len(features.names)) for each in told]
    chances = harvested(told) or regression_em(told, _fit(told, vectors, features, settings))
    lists = tuple(
        each for impression, page in zip(told, vectors, strict=True) for each in _lists(impression, page, chances)
    )
    if not lists:
        raise InvalidRequest("every page that was clicked in was opened from top to bottom: that tells no order")
    return ClickLists(lists, chances, len(told), without)


def _lists(seen: Impression, vectors: Vectors, chances: Propensities) -> list[JudgedList]:
    others = [at for at, hit in enumerate(seen.clicked) if not hit]
    found = []
    for at in (at for at, hit in enumerate(seen.clicked) if hit and others):
        rows = sorted([at, *others])
        found.append(
            JudgedList(
                seen.query,
                tuple(seen.passages[row] for row in rows),
                vectors[rows],
                {seen.passages[at]: 1},
                min(MOST_WEIGHT, 1 / chances.of(seen.offset + at + 1)),
            )
        )
    return found


def _fit(told: Sequence[Impression], pages: Sequence[Vectors], features: FeatureSet, settings: TreeSettings) -> Fit:
    """Trees on what tells a result's worth. Its ranks are no part of that: they are where it stood, or nearly."""
    kept = [number for number, name in enumerate(features.names) if not name.endswith(".rank")]
    flat = np.concatenate([page[: _places(each)] for each, page in zip(told, pages, strict=True)])[:, kept]
    return lambda shares: wanted_share(flat, shares, settings)


def _places(each: Impression) -> int:
    return len(rows_of([each])[0])
