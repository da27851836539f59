"""The vectors that learned ranking saw, on their way into the query log: whole, sampled, and only of one model."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from eval.usage_rows import QUERY_ROW, QueryRow, query_rows
from ranking.features import FeatureSet, Stamp, stamped
from retrieval.types import Candidate
from services.gateway.recording import Record
from services.gateway.search import Found, Page
from services.ports import RankPort
from services.query_log import LogSettings, QueryLog
from services.telemetry import Telemetry
from tests.learned import candidate, random_vectors

VECTORS = random_vectors(3, seed=4)
STAMP = Stamp("f1", "m1")


def page(*stamps: Stamp | None) -> tuple[Candidate, ...]:
    return tuple(
        replace(candidate(f"d{at}#0", stages={"ltr": (at + 1, 0.25)}), team="m1", vector=stamped(stamp, VECTORS[at]))
        if stamp
        else candidate(f"d{at}#0")
        for at, stamp in enumerate(stamps)
    )


async def written(
    tmp_path: Path, candidates: tuple[Candidate, ...], settings: LogSettings, requests: int = 1
) -> list[QueryRow]:
    log = QueryLog(tmp_path, settings, Telemetry())
    rank = cast(RankPort, SimpleNamespace(version="rank-1"))
    for number in range(requests):
        empty = QueryRow("", f"r_{number}", "s1", "search", "", "docs", "", "", "how to", filtered=False, k=10)
        Record(empty, log, rank).searched(Found(Page(candidates, None), "docs@1", "miss", (), {}))
        assert (await log.find(f"r_{number}", "")).vectors == ""  # memory holds none
    await log.aclose()
    return list(query_rows(tmp_path))


async def test_the_vector_that_was_served_is_logged_with_its_features_and_its_model(tmp_path: Path) -> None:
    (row,) = await written(tmp_path, page(STAMP, STAMP), LogSettings())
    assert (row.vectors, row.ltr) == ("f1", "m1")
    for at, each in enumerate(row.results):
        assert base64.b64decode(each.vector) == VECTORS[at].astype("<f4").tobytes()
        assert (each.team, each.features["ltr"]) == ("m1", (at + 1, 0.25))
    assert len(QUERY_ROW.dump_json(row)) < 2 * 4 * (4 * len(FeatureSet().names)) / 3 + 700


@pytest.mark.parametrize("stamps", [(STAMP, None), (STAMP, Stamp("f1", "m2")), (None, None)])
async def test_a_page_that_is_not_all_of_one_model_keeps_no_vectors(
    stamps: tuple[Stamp | None, ...], tmp_path: Path
) -> None:
    (row,) = await written(tmp_path, page(*stamps), LogSettings())
    assert (row.vectors, row.ltr) == ("", "")
    assert [each.vector for each in row.results] == ["", ""]


async def test_a_share_of_requests_keeps_vectors_and_always_the_same_ones(tmp_path: Path) -> None:
    settings = LogSettings(vectors=0.25)
    rows = await written(tmp_path, page(STAMP), settings, requests=400)
    kept = [row for row in rows if row.vectors]
    assert len(rows) == 400
    assert 70 < len(kept) < 130
    assert [row.request_id for row in kept] == [
        row.request_id for row in rows if settings.keeps_vectors(row.request_id)
    ]
    assert {row.results[0].vector for row in rows if not row.vectors} == {""}


async def test_none_or_all_can_be_kept(tmp_path: Path) -> None:
    assert not any(LogSettings(vectors=0.0).keeps_vectors(f"r_{at}") for at in range(1_000))
    assert all(LogSettings(vectors=1.0).keeps_vectors(f"r_{at}") for at in range(1_000))
    with pytest.raises(ValueError, match=r"log\.vectors"):
        LogSettings(vectors=1.5)
