"""Sets of rows as bits, against Python's own sets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.bitmap import Bitmap

LENGTHS = st.integers(0, 300)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[int, set[int], set[int]]:
    length = draw(LENGTHS)
    rows = st.sets(st.integers(0, max(length - 1, 0)), max_size=length)
    return length, draw(rows) if length else set(), draw(rows) if length else set()


@given(pairs())
def test_bits_do_what_sets_do(case: tuple[int, set[int], set[int]]) -> None:
    length, one, other = case
    a, b = Bitmap.of_rows(sorted(one), length), Bitmap.of_rows(list(other), length)
    everything = set(range(length))
    for bitmap, rows in (
        (a, one),
        (a & b, one & other),
        (a | b, one | other),
        (a.minus(b), one - other),
        (a.inverted(), everything - one),
        (a.with_rows(sorted(other)), one | other),
        (Bitmap.full(length), everything),
        (Bitmap.empty(length), set()),
        (Bitmap.of_flags(a.flags()), one),
        (a.resized(length + 70), one),
        (a.resized(length // 2), {row for row in one if row < length // 2}),
    ):
        assert bitmap.rows().tolist() == sorted(rows)
        assert bitmap.count() == len(rows)
        assert len(bitmap.bits) % 8 == 0
    assert a.has(range(length)).tolist() == [row in one for row in range(length)]
    assert all((row in a) == (row in one) for row in range(length))


def test_many_rows_are_set_as_few_are() -> None:
    rows = np.flatnonzero(np.random.default_rng(1).random(5000) < 0.5)
    assert Bitmap.of_rows(rows, 5000).rows().tolist() == rows.tolist()


def test_sets_of_different_lengths_do_not_go_together() -> None:
    with pytest.raises(ValueError, match="do not go together"):
        _ = Bitmap.empty(3) & Bitmap.empty(4)
