"""The filter planner and the lists it reads: every way of searching, on filters that lie near, far and anywhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from retrieval._native import lists as kernels
from retrieval._native import quantise_int8
from retrieval._native.lists import Members, scan_lists_f16, scan_lists_int8
from retrieval.bitmap import Bitmap
from retrieval.vector_filters import PerBitmap
from retrieval.vector_lists import Lists, build_lists
from retrieval.vector_planner import Planner
from retrieval.vector_steps import Steps
from retrieval.vector_store import Codes, Halves, store_of
from tests.vectors import clustered

VECTORS, QUERIES = clustered(4000), clustered(20, seed=1)
ROWS = np.arange(len(VECTORS))


@pytest.fixture(scope="module", params=["bytes", "halves"])
def store(request: pytest.FixtureRequest) -> Codes | Halves:
    return store_of(VECTORS) if request.param == "bytes" else Halves(VECTORS.astype(np.float16))


@pytest.fixture(scope="module")
def lists(store: Codes | Halves, tmp_path_factory: pytest.TempPathFactory) -> Lists:
    folder = tmp_path_factory.mktemp("lists")
    build_lists(folder, store, 64, 1, Steps(folder, {}, lambda done: None))
    return Lists(folder, len(VECTORS), VECTORS.shape[1])


def recall(planner: Planner, flags_of: NDArray[np.bool_]) -> float:
    """Mean share of the ten best allowed rows; ``flags_of`` is ``[queries, rows]``."""
    found = []
    for query, flags in zip(QUERIES, flags_of, strict=True):
        hits = planner.search(query, 10, Bitmap.of_flags(flags))
        assert hits is not None
        assert flags[hits.rows].all()
        truth = ROWS[flags][np.argsort(-(VECTORS[flags] @ query), kind="stable")][:10]
        found.append(len(np.intersect1d(hits.rows, truth)) / max(1, len(truth)))
    return float(np.mean(found))


def by_lists(lists: Lists, chosen: slice) -> NDArray[np.bool_]:
    """For each query the rows of its nearest lists, or its farthest: those at ``chosen`` in that order."""
    flags = np.zeros((len(QUERIES), len(VECTORS)), bool)
    for at, query in enumerate(QUERIES):
        for number in lists.nearest(query, lists.count)[0][chosen].tolist():
            flags[at, lists.members.rows[lists.members.offsets[number] : lists.members.offsets[number + 1]]] = True
    return flags


@pytest.mark.parametrize("share", [0.001, 0.01, 0.05, 0.2, 0.45])
def test_lists_under_a_scattered_filter_find_nearly_all(store: Codes | Halves, lists: Lists, share: float) -> None:
    planner = Planner(store, lists, 16, scored_below=0)
    flags = np.random.default_rng(2).random((len(QUERIES), len(VECTORS))) < share
    assert recall(planner, flags) >= 0.95


def test_a_filter_near_the_query_reads_no_more_lists_than_without(store: Codes | Halves, lists: Lists) -> None:
    assert recall(Planner(store, lists, 16, scored_below=0), by_lists(lists, slice(0, 24))) >= 0.95


def test_a_filter_far_from_the_query_is_answered_in_full(store: Codes | Halves, lists: Lists) -> None:
    assert recall(Planner(store, lists, 16, scored_below=0), by_lists(lists, slice(-12, None))) >= 0.97


def test_whole_lists_that_lie_anywhere_count_by_themselves(store: Codes | Halves, lists: Lists) -> None:
    some = np.random.default_rng(4).permutation(lists.count)[:20]
    flags = np.zeros(len(VECTORS), bool)
    for number in some.tolist():
        flags[lists.members.rows[lists.members.offsets[number] : lists.members.offsets[number + 1]]] = True
    assert recall(Planner(store, lists, 10, scored_below=0), np.broadcast_to(flags, (len(QUERIES), len(flags)))) >= 0.95


def test_much_is_left_to_the_index_and_little_is_scored(store: Codes | Halves, lists: Lists) -> None:
    planner = Planner(store, lists, 8, scored_below=100)
    assert planner.search(QUERIES[0], 10, Bitmap.of_flags(ROWS % 4 > 0)) is None
    assert planner.share(Bitmap.of_flags(ROWS % 4 > 0)) == 0.75
    few = Bitmap.of_rows([5, 900, 3999], len(VECTORS))
    hits = planner.search(QUERIES[0], 10, few)
    assert hits is not None
    assert sorted(hits.rows.tolist()) == [5, 900, 3999]
    nothing = planner.search(QUERIES[0], 10, Bitmap.empty(len(VECTORS)))
    assert nothing is not None
    assert len(nothing) == 0


def test_every_row_is_in_one_list(lists: Lists) -> None:
    assert sorted(lists.members.rows.tolist()) == ROWS.tolist()
    assert lists.members.offsets[0] == 0
    assert lists.members.offsets[-1] == len(VECTORS)
    assert 40 <= lists.count <= 90


@given(st.integers(0, 200), st.integers(1, 12), st.integers(1, 40), st.floats(0, 8), st.integers(0, 10**6))
def test_the_kernels_do_what_their_twin_does(count: int, number: int, depth: int, goal: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = clustered(count, 16, seed)
    store, halves = store_of(vectors), vectors.astype(np.float16)
    cuts = np.sort(rng.integers(0, count + 1, number - 1))
    members = Members(np.concatenate([[0], cuts, [count]]).astype(np.int64), rng.permutation(count).astype(np.int32))
    order = rng.permutation(number).astype(np.int64)
    bits = Bitmap.of_flags(rng.random(count) < rng.random()).bits if seed % 3 else None
    query = clustered(1, 16, seed + 1)[0]
    codes, scale = quantise_int8(query[None, :])
    for found, score in (
        (
            scan_lists_int8(store.codes, store.scales, query, members, order, bits, depth, goal),
            lambda rows: (store.codes[rows] @ codes[0].astype(np.float32)) * (store.scales[rows] * scale[0]),
        ),
        (
            scan_lists_f16(halves, query, members, order, bits, depth, goal),
            lambda rows: halves[rows].astype(np.float32) @ query,
        ),
    ):
        twin = kernels._twin(score, members, order, bits, depth, goal)
        assert found.scores == pytest.approx(twin.scores, abs=1e-5)
        assert (found.scored, found.read, found.reached) == (twin.scored, twin.read, twin.reached)


def test_a_bitmap_is_looked_at_once_and_old_ones_are_forgotten() -> None:
    seen: list[int] = []

    def count(bitmap: Bitmap) -> int:
        seen.append(bitmap.length)
        return bitmap.count()

    remembered = PerBitmap(count)
    first = Bitmap.full(3)
    assert [remembered(first), remembered(first), len(seen)] == [3, 3, 1]
    for length in range(100):
        remembered(Bitmap.full(length))
    remembered(first)
    assert len(seen) == 102


def test_a_build_of_lists_that_was_killed_goes_on(tmp_path: Path) -> None:
    store, done = store_of(VECTORS), list[int]()
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
    build_lists(whole, store, 32, 1, Steps(whole, {}, lambda rows: None))

    def interrupt(rows: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_lists(killed, store, 32, 1, Steps(killed, {}, interrupt))
    build_lists(killed, store, 32, 2, Steps(killed, {}, done.append))
    assert done == [len(VECTORS)]
    for path in whole.iterdir():
        assert path.read_bytes() == (killed / path.name).read_bytes()
