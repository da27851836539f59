"""The query log beside requests: nothing waits for it, nothing is lost in silence, and what is old goes."""

from __future__ import annotations

import json
import multiprocessing
import stat
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from eval.usage_rows import QueryRow, ServedPassage, feedback_rows, query_rows
from retrieval.errors import RequestNotFound, Unavailable
from services.day_files import PARTS, DayFiles
from services.gateway.feedback import Click, feedback_row
from services.query_log import RECENT, LogSettings, QueryLog
from services.telemetry import Telemetry

SHOWN = (
    ServedPassage("a#1", "a", 0.9, {"lexical": (2, 11.5), "rerank": (1, 0.9)}),
    ServedPassage("b#4", "b", 0.4, {"dense": (1, 0.8)}),
)


def row(request_id: str, **fields: object) -> QueryRow:
    asked = QueryRow(
        "2026-03-01T10:00:00.000+00:00", request_id, "s1", "search", "", "docs", "docs@1", "rank-1", "how to",
        filtered=False, k=10, results=SHOWN,
    )  # fmt: skip
    return replace(asked, **fields)  # type: ignore[arg-type]


def day(number: int) -> datetime:
    return datetime(2026, 3, number, 12, tzinfo=UTC)


async def test_a_line_says_what_was_served_and_reads_back_as_it_was(tmp_path: Path) -> None:
    log = QueryLog(tmp_path, LogSettings(), Telemetry())
    log.add(row("r_1", query="数据库 🚀"))
    await log.aclose()
    assert list(query_rows(tmp_path)) == [row("r_1", query="数据库 🚀")]
    (file,) = (tmp_path / "log").glob("*.jsonl")
    assert json.loads(file.read_text())["results"][0]["features"] == {"lexical": [2, 11.5], "rerank": [1, 0.9]}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


async def test_what_comes_while_the_disk_is_behind_is_dropped_and_counted(tmp_path: Path) -> None:
    telemetry = Telemetry()
    log = QueryLog(tmp_path, LogSettings(), telemetry, waiting=3)
    for number in range(5):  # the writer has had no turn yet
        log.add(row(f"r_{number}"))
    await log.aclose()
    assert [each.request_id for each in query_rows(tmp_path)] == ["r_0", "r_1", "r_2"]
    assert (await log.find("r_4", "")).request_id == "r_4"
    told = telemetry.render().decode()
    assert 'riddle_query_log_lines_total{result="written"} 3.0' in told
    assert 'riddle_query_log_lines_total{result="dropped"} 2.0' in told


async def test_a_folder_that_cannot_be_written_costs_lines_and_no_request(tmp_path: Path) -> None:
    telemetry = Telemetry()
    (tmp_path / "log").write_text("a file is in the way")
    log = QueryLog(tmp_path, LogSettings(queries="digest"), telemetry)
    log.add(row("r_1"))
    plain = QueryLog(tmp_path, LogSettings(), telemetry)
    plain.add(row("r_1"))
    await plain.aclose()
    assert (await plain.find("r_1", "")).query == "how to"
    assert 'riddle_query_log_lines_total{result="dropped"} 2.0' in telemetry.render().decode()


async def test_a_request_is_found_in_memory_and_after_a_restart_on_disk(tmp_path: Path) -> None:
    log = QueryLog(tmp_path, LogSettings(), Telemetry())
    log.add(row("r_1", key="k1"))
    log.add(row("r_1", key="k1", query="the later one of that id"))
    assert (await log.find("r_1", "k1")).query == "the later one of that id"
    await log.aclose()
    later = QueryLog(tmp_path, LogSettings(), Telemetry())
    assert (await later.find("r_1", "k1")).query == "the later one of that id"
    for request_id, key in (("r_1", ""), ("r_1", "k2"), ("r_", "k1"), ("r_2", "k1")):
        with pytest.raises(RequestNotFound, match="of this key"):
            await later.find(request_id, key)


async def test_memory_holds_the_last_requests_only_and_long_lists_count_for_more(tmp_path: Path) -> None:
    log = QueryLog(tmp_path, LogSettings(), Telemetry())
    log.add(row("r_old"))
    log.add(row("r_large", results=SHOWN * (RECENT // 2)))
    await log.flushed()
    for path in (tmp_path / "log").glob("*.jsonl"):
        path.unlink()
    assert (await log.find("r_large", "")).request_id == "r_large"
    with pytest.raises(RequestNotFound):
        await log.find("r_old", "")


async def test_digests_tell_equal_queries_and_nothing_else(tmp_path: Path) -> None:
    log = QueryLog(tmp_path, LogSettings(queries="digest"), Telemetry())
    for number, query in enumerate(("my illness", "My  illness", "my salary")):
        log.add(row(f"r_{number}", query=query))
    await log.aclose()
    first, same, other = [each.query for each in query_rows(tmp_path)]
    assert first == same != other
    assert first.startswith("hmac:")
    assert "illness" not in "".join(path.read_text() for path in (tmp_path / "log").glob("*.jsonl"))
    elsewhere = QueryLog(tmp_path / "other", LogSettings(queries="digest"), Telemetry())
    elsewhere.add(row("r_1", query="my illness"))
    assert (await elsewhere.find("r_1", "")).query != first


async def test_feedback_is_on_disk_when_it_is_taken(tmp_path: Path) -> None:
    log = QueryLog(tmp_path, LogSettings(), Telemetry())
    told = feedback_row(Click(kind="click", request_id="r_1", passage_id="b#4"), row("r_1"))
    await log.tell(told)
    assert list(feedback_rows(tmp_path)) == [told]
    assert (told.rank, told.features, told.served) == (2, {"dense": (1, 0.8)}, ("a#1", "b#4"))
    await log.aclose()


async def test_feedback_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "feedback" / ".lock").mkdir(parents=True)
    log = QueryLog(tmp_path, LogSettings(), Telemetry())
    with pytest.raises(Unavailable, match="feedback cannot be written"):
        await log.tell(feedback_row(Click(kind="click", request_id="r_1", document_id="b"), row("r_1")))
    await log.aclose()


def test_a_line_that_a_crash_cut_short_stands_alone_and_is_told_of(tmp_path: Path) -> None:
    files = DayFiles(tmp_path / "log", days=0, max_bytes=0, now=lambda: day(1))
    files.append([b'{"time":"2026'])
    (path,) = (tmp_path / "log").glob("*.jsonl")
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    files.append([b"{}"])
    assert path.read_bytes() == b'{"time":"2026\n{}\n'
    told: list[str] = []
    assert list(query_rows(tmp_path, told.append)) == []
    assert told == [f"{path} line 1", f"{path} line 2"]


def test_files_go_when_their_days_are_over(tmp_path: Path) -> None:
    for number in (1, 2, 9):
        DayFiles(tmp_path, days=0, max_bytes=0, now=lambda at=number: day(at)).append([b"x"])  # type: ignore[misc]
    (tmp_path / "notes.txt").write_text("not ours")
    DayFiles(tmp_path, days=7, max_bytes=0, now=lambda: day(9)).tidy()
    names = sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith("."))
    assert names == ["2026-03-02-0001.jsonl", "2026-03-09-0001.jsonl", "notes.txt"]
    DayFiles(tmp_path, days=7, max_bytes=0, now=lambda: day(9) + timedelta(days=90)).append([b"y"])
    assert [path.name for path in tmp_path.glob("*.jsonl")] == ["2026-06-07-0001.jsonl"]


def test_files_are_cut_by_size_and_the_oldest_go_for_want_of_room(tmp_path: Path) -> None:
    room = PARTS * 100
    files = DayFiles(tmp_path, days=0, max_bytes=room, now=lambda: day(1))
    for number in range(60):
        files.append([b"%049d" % number])
    kept = sorted(tmp_path.glob("*.jsonl"))
    assert all(path.stat().st_size <= 100 for path in kept)
    assert sum(path.stat().st_size for path in kept) <= room
    assert kept[0].name > "2026-03-01-0001.jsonl"
    assert [int(line) for line in files.holding(b"0")] == list(range(59, 59 - 2 * len(kept), -1))


def _append(folder: Path, words: Sequence[bytes]) -> None:
    files = DayFiles(folder, days=0, max_bytes=PARTS * 2000, now=lambda: day(1))
    for word in words:
        files.append([word * 20, word * 30])


def test_processes_that_share_a_folder_do_not_cut_each_other_s_lines(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    others = [spawn.Process(target=_append, args=(tmp_path, [word] * 20)) for word in (b"a", b"b")]
    for each in others:
        each.start()
    for each in others:
        each.join()
    lines = [line for path in sorted(tmp_path.glob("*.jsonl")) for line in path.read_bytes().splitlines()]
    assert sorted(lines) == sorted([b"a" * 20, b"a" * 30, b"b" * 20, b"b" * 30] * 20)
