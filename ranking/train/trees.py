"""Grows LambdaMART's trees from judged lists, and trees that guess how often a passage is wanted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ranking.features import Vectors
from retrieval.errors import InvalidRequest

if TYPE_CHECKING:
    import lightgbm

Floats = NDArray[np.float64]

HIGHEST_GRADE = 30
"""LightGBM's gains are 2^grade - 1 up to here."""


@dataclass(frozen=True, slots=True)
class Lists:
    """Candidates of several queries with how relevant each is, list after list."""

    vectors: Vectors
    """``[rows, columns]``."""
    grades: NDArray[np.int64]
    """From 0, higher is more relevant."""
    sizes: NDArray[np.int64]
    """Rows of each list."""
    weights: Floats
    """How much each list counts: 1, or the inverse of how likely its click was to be made at all."""

    def __post_init__(self) -> None:
        if not len(self.vectors) == len(self.grades) == self.sizes.sum() or len(self.sizes) != len(self.weights):
            raise ValueError(
                f"{len(self.vectors)} rows, {len(self.grades)} grades, lists of {self.sizes.sum()} rows in all and "
                f"{len(self.weights)} weights for {len(self.sizes)} lists do not fit together"
            )

    def __len__(self) -> int:
        return len(self.sizes)

    def chosen(self, lists: Sequence[int] | NDArray[np.int64]) -> Lists:
        """Those lists alone, in the order named."""
        ends = np.cumsum(self.sizes)
        rows = [np.arange(ends[each] - self.sizes[each], ends[each]) for each in lists]
        flat = np.concatenate(rows) if rows else np.empty(0, np.int64)
        return Lists(self.vectors[flat], self.grades[flat], self.sizes[lists], self.weights[lists])


@dataclass(frozen=True, slots=True)
class TreeSettings:
    """How trees are grown. The defaults are for some hundred to some ten thousand lists."""

    rounds: int = 400
    """Most trees."""
    patience: int = 40
    """Trees that may bring nothing on the lists held out before growing stops."""
    rate: float = 0.06
    leaves: int = 15
    least_in_leaf: int = 30
    smoothing: float = 5.0
    """L2 on the leaves' values."""
    columns_share: float = 0.7
    """Of the columns that a tree may look at."""
    top: int = 10
    """The k of nDCG@k that the lists held out are measured by."""
    seed: int = 20_261_130
    threads: int = 1
    """One grows a hundred thousand rows in seconds, and on a busy machine several wait for each other."""


@dataclass(frozen=True, slots=True)
class Grown:
    """Trees, and how it went."""

    trees: str
    rounds: int
    """Trees that were kept."""
    held_out: float
    """nDCG@top of the lists held out, over candidates alone: what no candidate brings is not counted."""


def grow(lists: Lists, folds: NDArray[np.int64], settings: TreeSettings = TreeSettings()) -> Grown:
    """LambdaMART (Burges, MSR-TR-2010-82). The same input gives the same trees.

    ``folds`` puts each list into one of some parts. How many trees there should be is read off the mean over parts,
    each measured under trees of the others, since one part alone is too small to tell; then so many are grown on
    all lists. Raises InvalidRequest when a part, or the rest without it, has no list that tells candidates apart.
    """
    import lightgbm

    parts = [np.flatnonzero(folds == each) for each in np.unique(folds)]
    if len(parts) < 2 or not all(_telling(lists.chosen(part)) for part in parts):
        raise InvalidRequest(
            f"{len(lists)} lists are too few that have both relevant and other candidates: more judgements are needed"
        )
    owner = np.repeat(folds, lists.sizes)
    wanted = {
        "objective": "lambdarank",
        "metric": "ndcg",
        "eval_at": [settings.top],
        "lambdarank_truncation_level": settings.top + 5,
        "label_gain": [2**grade - 1 for grade in range(HIGHEST_GRADE + 1)],
        **_common(settings),
    }
    measured = lightgbm.cv(
        wanted,
        _table(lists),
        num_boost_round=settings.rounds,
        folds=[(np.flatnonzero(owner != each), np.flatnonzero(owner == each)) for each in np.unique(folds)],
        callbacks=[lightgbm.early_stopping(settings.patience, verbose=False)],
    )
    means: Floats = np.asarray(measured[f"valid ndcg@{settings.top}-mean"], np.float64)
    rounds = int(np.argmax(means)) + 1
    booster = lightgbm.train(wanted, _table(lists), num_boost_round=rounds)
    return Grown(booster.model_to_string(importance_type="gain"), rounds, float(means[rounds - 1]))


def importance(trees: str, columns: Sequence[str]) -> dict[str, float]:
    """What share of the trees' gain each column brought, the most first; columns that brought none are left out."""
    import lightgbm

    gains = lightgbm.Booster(model_str=trees).feature_importance("gain")
    total = float(gains.sum()) or 1.0
    shares = {name: round(float(gain) / total, 4) for name, gain in zip(columns, gains, strict=True) if gain > 0}
    return dict(sorted(shares.items(), key=lambda each: -each[1]))


def wanted_share(vectors: Vectors, shares: Floats, settings: TreeSettings = TreeSettings(), rounds: int = 60) -> Floats:
    """How likely each row is wanted, learned from soft targets in 0 to 1 by trees on their cross-entropy.

    Few trees, so that rows of like features share what is known of them. For ``eval.propensity``.
    """
    import lightgbm

    table = lightgbm.Dataset(vectors, np.clip(shares, 0, 1), free_raw_data=False, params={"verbosity": -1})
    booster = lightgbm.train({"objective": "cross_entropy", **_common(settings)}, table, num_boost_round=rounds)
    return np.asarray(booster.predict(vectors, num_threads=settings.threads), np.float64)


def _common(settings: TreeSettings) -> dict[str, object]:
    return {
        "learning_rate": settings.rate,
        "num_leaves": settings.leaves,
        "min_data_in_leaf": settings.least_in_leaf,
        "lambda_l2": settings.smoothing,
        "feature_fraction": settings.columns_share,
        "seed": settings.seed,
        "num_threads": settings.threads,
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
    }


def _table(lists: Lists) -> lightgbm.Dataset:
    import lightgbm

    return lightgbm.Dataset(
        lists.vectors,
        np.minimum(lists.grades, HIGHEST_GRADE),
        group=lists.sizes,
        # LightGBM weighs rows; those of one list weigh the same, so that its pairs are weighed as the list is.
        weight=np.repeat(lists.weights, lists.sizes),
        params={"verbosity": -1},
    )


def _telling(lists: Lists) -> bool:
    ends = np.cumsum(lists.sizes)
    parts = np.split(lists.grades, ends[:-1]) if len(ends) else []
    return any(len(each) and each.min() < each.max() for each in parts)
