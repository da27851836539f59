"""Spec strings: what is understood, what is refused, and what `auto` chooses and why."""

from __future__ import annotations

import pytest

from retrieval.errors import InvalidRequest
from retrieval.vector_spec import FLAT_BELOW, GRAPH_BELOW, lists_for, own_bytes, parse_spec, resolve, smallest


@pytest.mark.parametrize(
    "text",
    [
        "Flat",
        "Flat,Refine(SQ8)",
        "HNSW32",
        "HNSW32,SQ8",
        "HNSW16,SQ8,Refine(SQfp16)",
        "Graph32,SQ8",
        "Graph24,SQ8,Refine(SQfp16)",
        "IVF4096,PQ96x4fs",
        "IVF4096,PQ96x4fsr,Refine(SQ8)",
        "IVF16384,RaBitQ",
        "IVF16384,RaBitQfs,Refine(SQfp16)",
    ],
)
def test_a_spec_reads_and_writes_the_same(text: str) -> None:
    assert str(parse_spec(text)) == text
    assert resolve(text, 10_000_000, 384).spec == text


@pytest.mark.parametrize(
    "text",
    ["", "flat", "HNSW", "HNSW1", "IVF16,PQ4", "HNSW16 ", "IVF0,RaBitQ", "Flat,SQ8", "HNSW16,Refine(PQ8)", "auto,SQ8"],
)
def test_an_unknown_spec_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidRequest, match="unknown vector index"):
        resolve(text, 10, 384)


def test_parts_must_divide_the_dimension() -> None:
    with pytest.raises(InvalidRequest, match="100 parts do not divide 384"):
        resolve("IVF16,PQ100x4fs", 10_000, 384)


def test_auto_scans_few_builds_a_graph_for_many_and_lists_for_very_many() -> None:
    few, many, most = (resolve("auto", count, 384) for count in (FLAT_BELOW - 1, FLAT_BELOW, GRAPH_BELOW))
    assert few.spec == "Flat"
    assert many.spec == "Graph32,SQ8,Refine(SQfp16)"
    assert most.spec == "IVF8192,PQ96x4fsr,Refine(SQ8)"
    assert "19,999 passages" in few.why
    assert "too many" in most.why


def test_auto_keeps_within_the_memory_it_is_given() -> None:
    graph = parse_spec(resolve("auto", 1_000_000, 384).spec)
    needed = own_bytes(graph, 1_000_000, 384)
    lean = resolve("auto", 1_000_000, 384, memory_bytes=needed - 1)
    assert lean.spec == "IVF4096,PQ96x4fsr,Refine(SQ8)"
    assert "MiB" in lean.why
    assert own_bytes(parse_spec(lean.spec), 1_000_000, 384) < needed / 4
    assert resolve("auto", 1_000_000, 384, memory_bytes=needed).spec == str(graph)
    assert resolve("auto", 5_000_000, 384, recall=0.99).spec.endswith("Refine(SQfp16)")


def test_lists_that_cannot_be_filled_give_way_to_what_suits_the_size() -> None:
    choice = resolve("IVF16384,PQ96x4fsr,Refine(SQ8)", 9_000, 384)
    assert choice.spec == "Flat,Refine(SQ8)", "what is kept as bytes stays so"
    assert "9,000 passages are too few for IVF16384" in choice.why
    assert resolve("HNSW32", 10, 384).spec == "Flat"
    assert resolve("IVF16384,RaBitQfs,Refine(SQfp16)", 90_000, 384).spec == "Graph32,SQ8,Refine(SQfp16)"


@pytest.mark.parametrize("spec", ["auto", "Flat", "HNSW32", "HNSW32,SQ8", "IVF64,PQ96x4fs", "IVF64,RaBitQ,Refine(SQ8)"])
@pytest.mark.parametrize("passages", [0, 1, 300, 3_000, 30_000, 30_000_000])
def test_whatever_the_size_vectors_are_kept_to_the_precision_that_the_spec_says(spec: str, passages: int) -> None:
    chosen = parse_spec(resolve(spec, passages, 384).spec)
    assert smallest(chosen) <= passages
    assert spec == "auto" or chosen.keeps == parse_spec(spec).keeps


def test_auto_finds_parts_for_any_dimension() -> None:
    for dimension in (3, 10, 384, 1024):
        assert resolve(resolve("auto", 10_000_000, dimension).spec, 10_000_000, dimension)


def test_lists_grow_with_the_square_root() -> None:
    assert [lists_for(count) for count in (1_000, 100_000, 1_000_000, 10_000_000)] == [128, 1024, 4096, 16384]
