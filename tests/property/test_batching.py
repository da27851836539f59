"""Batches by length leave nothing out and hold to their budget."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from retrieval.batching import padded, token_batches

LENGTHS = st.lists(st.integers(0, 300), max_size=80)


@given(LENGTHS, st.integers(1, 2000), st.integers(1, 40))
def test_every_position_is_in_one_batch_that_keeps_its_budget(lengths: list[int], budget: int, most: int) -> None:
    batches = token_batches(lengths, budget, most)
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    for batch in batches:
        assert 1 <= len(batch) <= most
        assert len(batch) == 1 or max(lengths[row] for row in batch) * len(batch) <= budget


@given(LENGTHS, st.integers(1, 2000))
def test_batches_come_by_their_foremost_position(lengths: list[int], budget: int) -> None:
    heads = [min(batch) for batch in token_batches(lengths, budget)]
    assert heads == sorted(heads)


@given(st.lists(st.lists(st.integers(1, 9), max_size=6), max_size=6))
def test_padding_adds_only_zeros_on_the_right(rows: list[list[int]]) -> None:
    matrix = padded(rows)
    assert [[value for value in row if value] for row in matrix.tolist()] == rows
