"""The bench of one large collection at a small size: parts apart, kept, not done twice, and never of another plan."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest

from eval.bench.corpus import Clustered, Corpus
from eval.bench.served import Running
from eval.bench.targets import supplied
from eval.bench.ten_million import Plan, Stages, TenMillion, estimate
from retrieval.errors import InvalidRequest
from retrieval.store import CollectionStore
from tests.unit.test_bench_corpus import PIECES, corpus

PARTS = ("generate", "build", "size", "exact", "filters", "library")


def no_gateway() -> contextlib.AbstractContextManager[Running]:
    raise AssertionError("these parts need no gateway")


def bench(folder: Path, plan: Plan) -> TenMillion:
    (folder / "results").mkdir(exist_ok=True)
    PIECES.save(folder / "results" / "pieces.json")
    store = CollectionStore(folder / "collections")
    return TenMillion(folder / "results", plan, store, Clustered(16, 3), supplied(16), folder)


@pytest.mark.slow
def test_parts_are_kept_and_not_done_again(tmp_path: Path) -> None:
    plan, said = Plan(2000, queries=5, threads=1), list[str]()
    results = bench(tmp_path, plan).run(PARTS, no_gateway, said.append)
    assert results.keys() == set(PARTS)
    assert results["build"]["passages"] == Corpus.documents_for(2000) * 4
    assert all(case["recall@10"] > 0.95 and case["excluded"] == 0 for case in results["filters"]["cases"])
    assert results["size"]["disk_total_mb"] > 0
    said.clear()
    again = bench(tmp_path, plan).run(PARTS, no_gateway, said.append)
    assert again == results
    assert said == [f"{part}: done before" for part in PARTS]
    with pytest.raises(InvalidRequest, match="another folder"):
        bench(tmp_path, Plan(3000))


def test_a_build_is_listened_to() -> None:
    stages = Stages(lambda text: None)
    assert len(list(stages.taking(corpus(40).parts()))) == 1
    for stage in ("write", "write", "graph"):
        stages(stage, 10)
    assert list(stages.seconds()) == ["write", "graph"]


def test_what_a_larger_build_takes_is_estimated() -> None:
    results: dict[str, dict[str, Any]] = {
        "build": {"stages_s": {"write": 20.0, "graph": 40.0}},
        "size": {"disk_total_mb": 100.0},
    }
    assert estimate(results, 1000, 10_000) == {"passages": 10_000, "build_minutes": 10.0, "disk_gb": 1.0}
