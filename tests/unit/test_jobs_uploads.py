"""Uploads: safe names, limits, and what stays on disk when something goes wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.errors import BadSyntax, DiskFull, InvalidRequest, TooLarge
from services.jobs.uploads import JobLimits, Received, open_new, receive, safe_name

BOUNDARY = "----riddle"
CONTENT_TYPE = f"multipart/form-data; boundary={BOUNDARY}"
ROOMY = JobLimits()


def multipart(files: list[tuple[str, bytes]], fields: dict[str, str] | None = None) -> bytes:
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in (fields or {}).items()
    ]
    for name, content in files:
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n'
        parts.append(head.encode() + b"Content-Type: application/octet-stream\r\n\r\n" + content + b"\r\n")
    return b"".join([*parts, f"--{BOUNDARY}--\r\n".encode()])


async def in_blocks(body: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


def take(body: bytes, folder: Path, limits: JobLimits = ROOMY, block: int = 1 << 16) -> Received:
    folder.mkdir(exist_ok=True)
    return asyncio.run(receive(in_blocks(body, block), CONTENT_TYPE, folder, limits))


@pytest.mark.parametrize(
    ("raw", "safe"),
    [
        ("guide.md", "guide.md"),
        ("docs/guide.md", "docs/guide.md"),
        ("../../etc/passwd", "etc/passwd"),
        ("/etc/passwd", "etc/passwd"),
        ("docs\\sub\\a.txt", "docs/sub/a.txt"),
        ("a/./b/../c.txt", "a/b/c.txt"),
        ("使用手册/第一章.md", "使用手册/第一章.md"),
        ("new\nline\x00.txt", "newline.txt"),
    ],
)
def test_a_name_is_kept_with_its_folders_and_without_its_tricks(raw: str, safe: str) -> None:
    assert safe_name(raw) == safe


@pytest.mark.parametrize("raw", ["", "..", "/", "./..", "\x00"])
def test_a_name_of_which_nothing_is_left_is_refused(raw: str) -> None:
    with pytest.raises(InvalidRequest, match="usable name"):
        safe_name(raw)


def test_a_long_name_is_shortened_to_what_a_file_system_holds_and_keeps_its_suffix() -> None:
    name = safe_name("长" * 300 + ".pdf")
    assert len(name.encode()) <= 255
    assert name.endswith(".pdf")


@given(st.text(min_size=1, max_size=300))
def test_no_name_leads_out_of_its_folder(raw: str) -> None:
    try:
        name = safe_name(raw)
    except InvalidRequest:
        return
    base = Path("/base/folder")
    assert (base / name).is_relative_to(base)
    assert ".." not in Path(name).parts
    assert all(len(part.encode()) <= 255 for part in Path(name).parts)


@given(
    content=st.binary(max_size=400),
    block=st.integers(min_value=1, max_value=200),
)
def test_files_arrive_byte_for_byte_however_the_body_is_cut(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, block: int
) -> None:
    folder = tmp_path_factory.mktemp("up")
    received = take(multipart([("sub/a.bin", content), ("b.txt", b"two")], {"collection": "docs"}), folder, block=block)
    assert (folder / "sub/a.bin").read_bytes() == content
    assert (folder / "b.txt").read_bytes() == b"two"
    assert received.fields == {"collection": "docs"}
    assert received.files == ["sub/a.bin", "b.txt"]
    assert received.bytes == len(content) + 3


def test_equal_names_are_numbered_and_nothing_is_overwritten(tmp_path: Path) -> None:
    received = take(multipart([("a.txt", b"1"), ("a.txt", b"2"), ("a.txt/b.txt", b"3"), ("a", b"4")]), tmp_path)
    assert received.files == ["a.txt", "a (2).txt", "b.txt", "a"]
    assert [(tmp_path / name).read_bytes() for name in received.files] == [b"1", b"2", b"3", b"4"]


def test_a_file_named_like_a_folder_of_the_same_upload_is_numbered(tmp_path: Path) -> None:
    assert take(multipart([("x/b.txt", b"1"), ("x", b"2")]), tmp_path).files == ["x/b.txt", "x (2)"]


def test_names_in_utf8_survive(tmp_path: Path) -> None:
    assert take(multipart([("手册.md", b"#")]), tmp_path).files == ["手册.md"]


def test_a_form_whose_file_field_was_left_empty_holds_no_file(tmp_path: Path) -> None:
    assert take(multipart([("", b"")], {"collection": "docs"}), tmp_path).files == []


def test_too_many_files_are_refused(tmp_path: Path) -> None:
    body = multipart([(f"{number}.txt", b"x") for number in range(4)])
    with pytest.raises(TooLarge, match="More than 3 files"):
        take(body, tmp_path, JobLimits(max_files=3))


def test_too_many_bytes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TooLarge, match="limit of 1 MiB"):
        take(multipart([("a.txt", b"x" * (2 << 20))]), tmp_path, JobLimits(max_bytes=1 << 20))


def test_a_field_that_never_ends_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TooLarge, match="collection"):
        take(multipart([("a.txt", b"x")], {"collection": "c" * 10_000}), tmp_path)


def test_a_body_that_ends_in_the_middle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadSyntax, match="ended in the middle"):
        take(multipart([("a.txt", b"x" * 100)])[:-30], tmp_path)


def test_a_body_that_is_no_multipart_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadSyntax):
        take(b"hello, this is no multipart body", tmp_path)


def test_a_body_without_a_boundary_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadSyntax, match="boundary"):
        asyncio.run(receive(in_blocks(b"x", 1), "multipart/form-data", tmp_path, ROOMY))


def test_a_full_disk_is_named_as_such(tmp_path: Path) -> None:
    def open_full(path: Path) -> BinaryIO:
        open_new(path).close()
        return Path("/dev/full").open("wb")

    body = multipart([("a.txt", b"x" * 100_000)])
    with pytest.raises(DiskFull, match="No space left"):
        asyncio.run(receive(in_blocks(body, 1 << 16), CONTENT_TYPE, tmp_path, ROOMY, open_full))
