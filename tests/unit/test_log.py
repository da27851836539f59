"""The write-ahead log: what was acknowledged is read back, what was not is passed over, and damage is told apart."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from retrieval.errors import IndexUnreadable
from retrieval.log import LogReader, LogWriter, log_files, remove_read


def written(folder: Path, *payloads: bytes) -> LogWriter:
    reader = LogReader(folder, 0)
    writer = LogWriter(reader)
    for payload in payloads:
        writer.append(payload)
    return writer


def read(folder: Path, after: int = 0) -> list[tuple[int, bytes]]:
    return [(record.seq, record.payload) for record in LogReader(folder, after).read()]


def test_records_are_read_back_in_order_from_any_number_on(tmp_path: Path) -> None:
    written(tmp_path, b"one", b"two", b"three")
    assert read(tmp_path) == [(1, b"one"), (2, b"two"), (3, b"three")]
    assert read(tmp_path, 2) == [(3, b"three")]
    assert read(tmp_path, 3) == []


def test_a_reader_follows_a_writer_over_files(tmp_path: Path) -> None:
    writer, reader = written(tmp_path, b"one"), LogReader(tmp_path, 0)
    assert [record.seq for record in reader.read()] == [1]
    assert not reader.news()
    writer.rotate()
    writer.append(b"two")
    assert reader.news()
    assert [record.payload for record in reader.read()] == [b"two"]
    assert reader.file_first == 2
    writer.append(b"three")
    assert reader.news()
    assert [record.payload for record in reader.read()] == [b"three"]
    assert [first for first, _ in log_files(tmp_path)] == [1, 2]


def test_rotating_twice_makes_one_new_file(tmp_path: Path) -> None:
    writer = written(tmp_path, b"one")
    writer.rotate()
    writer.rotate()
    writer.append(b"two")
    assert read(tmp_path) == [(1, b"one"), (2, b"two")]
    assert read(tmp_path, 1) == [(2, b"two")]


def test_every_cut_leaves_whole_records_and_room_to_go_on(tmp_path: Path) -> None:
    written(tmp_path, b"first record", b"second record")
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    second = whole.index(b"second record")
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        held = [payload for _, payload in read(tmp_path)]
        assert held == [b"first record", b"second record"][: len(held)]
        assert len(held) == (length >= 24 + len(b"first record")) + (length >= second + len(b"second record"))
        reader = LogReader(tmp_path, 0)
        before = list(reader.read())
        LogWriter(reader).append(b"after the crash")
        assert [payload for _, payload in read(tmp_path)] == [*(one.payload for one in before), b"after the crash"]


def test_a_tail_of_zeros_is_what_a_crash_leaves(tmp_path: Path) -> None:
    written(tmp_path, b"first record")
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes() + bytes(100))
    assert read(tmp_path) == [(1, b"first record")]


def test_a_damaged_record_in_the_middle_is_named(tmp_path: Path) -> None:
    written(tmp_path, b"first record", b"second record", b"third record")
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    chance = random.Random(1)
    start = whole.index(b"first record")
    for _ in range(20):
        at = chance.randrange(start, whole.index(b"second record") - 16)
        path.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << chance.randrange(8))]) + whole[at + 1 :])
        with pytest.raises(IndexUnreadable, match="damaged at byte"):
            read(tmp_path)


def test_files_that_were_read_go_and_missing_ones_are_noticed(tmp_path: Path) -> None:
    writer = written(tmp_path, b"one", b"two")
    writer.rotate()
    writer.append(b"three")
    remove_read(tmp_path, 1)
    assert len(log_files(tmp_path)) == 2
    remove_read(tmp_path, 2)
    assert [first for first, _ in log_files(tmp_path)] == [3]
    assert read(tmp_path, 2) == [(3, b"three")]
    with pytest.raises(IndexUnreadable, match="lacks the changes from number 1 on"):
        LogReader(tmp_path, 0)


def test_a_file_of_something_else_is_no_log(tmp_path: Path) -> None:
    (tmp_path / "000000000001.log").write_bytes(b"something else entirely")
    with pytest.raises(IndexUnreadable, match="no log of this version"):
        read(tmp_path)
