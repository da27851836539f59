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
from retrieval._native.lists import Cells, Reach, search_lists_f16, search_lists_int8
from retrieval.bitmap import Bitmap
from retrieval.vector_filters import PerBitmap
from retrieval.vector_index import Meta
from retrieval.vector_listed import open_listed, write_listed
from retrieval.vector_lists import Lists, build_lists
from retrieval.vector_planner import ListScan, Planner
from retrieval.vector_steps import Steps
from retrieval.vector_store import Halves, store_of
from tests.vectors import clustered

VECTORS, QUERIES = clustered(4000), clustered(20, seed=1)
ROWS = np.arange(len(VECTORS))


@pytest.fixture(scope="module", params=["bytes", "halves", "bytes in order", "halves in order"])
def scan(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ListScan:
    """Lists over vectors by row, or in the order of the lists."""
    folder = tmp_path_factory.mktemp("lists")
    store = store_of(VECTORS) if request.param.startswith("bytes") else Halves(VECTORS.astype(np.float16))
    steps = Steps(folder, {}, lambda done: None)
    build_lists(folder, store, 64, 1, steps)
    if not request.param.endswith("in order"):
        return ListScan("lists", Lists(folder, len(VECTORS), VECTORS.shape[1]), store, store, MARGIN)
    write_listed(folder, store, steps)
    lists, listed = open_listed(folder, Meta("lists", len(VECTORS), VECTORS.shape[1], {}), store.kind)
    assert listed.vectors(ROWS[5:9]) == pytest.approx(VECTORS[5:9], abs=5e-3)
    return ListScan("lists", lists, listed.base, listed, MARGIN)


MARGIN = 400
"""Wide: in 32 dimensions the rows of a list lie far apart."""


def recall(scan: ListScan, flags_of: NDArray[np.bool_]) -> float:
    """Mean share of the ten best allowed rows; ``flags_of`` is ``[queries, rows]``."""
    planner, stored, found = Planner(scan, scored_below=0, lists_below=1), scan.vectors(slice(None)), []
    for query, flags in zip(QUERIES, flags_of, strict=True):
        hits = planner.search(query, 10, Bitmap.of_flags(flags))
        assert hits is not None
        assert flags[hits.rows].all()
        truth = ROWS[flags][np.argsort(-(stored[flags] @ query), kind="stable")][:10]
        found.append(len(np.intersect1d(hits.rows, truth)) / max(1, len(truth)))
    return float(np.mean(found))


def by_nearness(first: float, last: float) -> NDArray[np.bool_]:
    """For each query the rows between two shares of all rows, the nearest first."""
    order = np.argsort(-(QUERIES @ VECTORS.T), axis=1)
    flags = np.zeros(order.shape, bool)
    chosen = order[:, int(first * len(VECTORS)) : int(last * len(VECTORS))]
    np.put_along_axis(flags, chosen, True, axis=1)
    return flags


@pytest.mark.parametrize("share", [0.001, 0.01, 0.05, 0.2, 0.45])
def test_lists_under_a_scattered_filter_find_nearly_all(scan: ListScan, share: float) -> None:
    flags = np.random.default_rng(2).random((len(QUERIES), len(VECTORS))) < share
    assert recall(scan, flags) >= 0.95


@pytest.mark.parametrize("between", [(0, 0.1), (0.2, 0.3), (0.5, 0.9), (0.9, 1), (0.99, 1)])
def test_a_filter_near_the_query_or_far_from_it_finds_nearly_all(scan: ListScan, between: tuple[float, float]) -> None:
    assert recall(scan, by_nearness(*between)) >= 0.95


def test_a_filter_of_whole_lists_finds_nearly_all(scan: ListScan) -> None:
    anchors = VECTORS[::200] @ VECTORS.T
    regions = anchors.argmax(axis=0)
    for chosen in range(0, 20, 5):
        flags = np.broadcast_to(regions == chosen, (len(QUERIES), len(VECTORS)))
        assert recall(scan, flags) >= 0.95


def test_much_is_left_to_the_index_and_little_is_scored(scan: ListScan) -> None:
    planner = Planner(scan, scored_below=100)
    assert planner.search(QUERIES[0], 10, Bitmap.of_flags(ROWS % 4 > 0)) is None
    assert planner.share(Bitmap.of_flags(ROWS % 4 > 0)) == 0.75
    few = Bitmap.of_rows([5, 900, 3999], len(VECTORS))
    hits = planner.search(QUERIES[0], 10, few)
    assert hits is not None
    assert sorted(hits.rows.tolist()) == [5, 900, 3999]
    nothing = planner.search(QUERIES[0], 10, Bitmap.empty(len(VECTORS)))
    assert nothing is not None
    assert len(nothing) == 0


def test_every_row_is_in_one_list(tmp_path: Path) -> None:
    build_lists(tmp_path, store_of(VECTORS), 64, 1, Steps(tmp_path, {}, lambda done: None))
    lists = Lists(tmp_path, len(VECTORS), VECTORS.shape[1])
    assert sorted(lists.cells.members.tolist()) == ROWS.tolist()
    assert lists.cells.members[lists.places()].tolist() == ROWS.tolist()
    assert (lists.cells.offsets[0], lists.cells.offsets[-1]) == (0, len(VECTORS))
    assert 40 <= lists.count <= 90


@given(
    st.integers(0, 200), st.integers(1, 12), st.integers(1, 40), st.integers(1, 12), st.floats(0, 1), st.booleans(),
    st.integers(0, 10**6),
)  # fmt: skip
def test_the_kernels_do_what_their_twin_does(
    count: int, number: int, keep: int, k: int, margin: float, packed: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    vectors = clustered(count, 16, seed)
    store, halves, centres = store_of(vectors), vectors.astype(np.float16), store_of(clustered(number, 16, seed + 2))
    offsets = np.concatenate([[0], np.sort(rng.integers(0, count + 1, number - 1)), [count]]).astype(np.int64)
    cells = Cells(centres.codes, centres.scales, offsets, rng.permutation(count).astype(np.int32), packed)
    bits = Bitmap.of_flags(rng.random(count) < rng.random()).bits if seed % 3 else None
    reach = Reach(keep, k, margin, margin + 0.2)
    query = clustered(1, 16, seed + 1)[0]
    codes, scale = quantise_int8(query[None, :])
    rounded = codes[0].astype(np.float32) * scale[0]
    by_bytes = search_lists_int8(store.codes, store.scales, query, cells, bits, reach)
    by_halves = search_lists_f16(halves, query, cells, bits, reach)
    for found, twin in (
        (
            by_bytes,
            kernels._twin(lambda at: (store.codes[at] @ rounded) * store.scales[at], rounded, cells, bits, reach),
        ),
        (by_halves, kernels._twin(lambda at: halves[at].astype(np.float32) @ query, rounded, cells, bits, reach)),
    ):
        assert found.scores == pytest.approx(twin.scores, abs=1e-5)
        assert (found.scored, found.read) == (twin.scored, twin.read)


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
