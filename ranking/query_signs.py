"""What one query's candidates show, before anybody judges them, of how far each stage can be trusted here."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ranking.stage_table import FEW, Floats, Scale, StageTable, sigmoid
from retrieval.analysis import analyse

SIGNS = ("agreement", "rerank_agreement", "rerank_sure", "lexical_peak", "dense_peak", "length")
"""In the order of a vector of signs."""

_HEAD = 10
"""Channels are compared by their first so many hits: what lies deeper does not decide what is read."""


def query_signs(table: StageTable) -> Floats:
    """The signs of one query, ``[len(SIGNS)]``; NaN for what stages that did not run would show.

    ``agreement``: the share of the first ten that both channels have. ``rerank_agreement``: the rank
    correlation between cross-encoder and fused order. ``rerank_sure``: the cross-encoder's highest
    probability; low far from what it was trained on. Peaks: how many deviations the best hit stands above
    the channel's mean (a query performance predictor: Shtok et al., TOIS 2012, NQC, turned to the
    head). ``length``: log2 of one more than the query's terms. What compares candidates with each other
    is NaN for fewer than ``FEW``: it would say how many there are.
    """
    rerank, fused = table.of("rerank"), table.of("fused")
    many = len(table) >= FEW
    return np.array([
        _overlap(table.of("lexical"), table.of("dense")) if many else np.nan,
        _correlation(rerank, fused) if many else np.nan,
        float(sigmoid(np.nanmax(rerank, keepdims=True))[0]) if np.isfinite(rerank).any() else np.nan,
        _peak(table.of("lexical")) if many else np.nan,
        _peak(table.of("dense")) if many else np.nan,
        float(np.log2(1 + len(analyse(table.query)))),
    ])  # fmt: skip


def scaled(signs: Floats, scales: Mapping[str, Scale]) -> Floats:
    """Deviations from the usual, at most 2 either way; 0 for what is not known, which changes nothing."""
    usual = np.array([scales[name].mean for name in SIGNS])
    spread = np.array([scales[name].spread for name in SIGNS])
    found: Floats = np.nan_to_num(np.clip((signs - usual) / spread, -2, 2), nan=0.0)
    return found


def _overlap(one: Floats, other: Floats) -> float:
    heads = [set(_head(column)) for column in (one, other)]
    if not all(heads):
        return float("nan")
    return len(heads[0] & heads[1]) / max(1, min(_HEAD, *map(len, heads)))


def _head(column: Floats) -> list[int]:
    seen = np.flatnonzero(np.isfinite(column))
    places: list[int] = seen[np.argsort(-column[seen], kind="stable")[:_HEAD]].tolist()
    return places


def _correlation(one: Floats, other: Floats) -> float:
    """Spearman's, over what both saw; NaN for fewer than three."""
    both = np.isfinite(one) & np.isfinite(other)
    if both.sum() < 3:
        return float("nan")
    ranks = [np.argsort(np.argsort(column[both], kind="stable"), kind="stable") for column in (one, other)]
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _peak(column: Floats) -> float:
    seen = column[np.isfinite(column)]
    if len(seen) < 3 or not (spread := float(seen.std())) > 0:
        return float("nan")
    return float(seen.max() - seen.mean()) / spread
