"""The demo's pages come from exactly the distribution that was pinned, and from nowhere else in it."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from retrieval.errors import SourceUnreadable
from services.demo import DJANGO, QUESTIONS, Distribution, extract_pages, fetch_pages

SOURCE = Distribution("Thing", "1.0", "0" * 64, "docs", ("requirements.txt", "_theme/*", "releases/1.[0-9].*"))


def archive_of(folder: Path, files: dict[str, str], links: dict[str, str] | None = None) -> Path:
    path = folder / "thing-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            tar.addfile(member, io.BytesIO(text.encode()))
        for name, target in (links or {}).items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            tar.addfile(member)
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_only_the_pages_below_the_documentation_folder_are_taken(tmp_path: Path) -> None:
    files = ["docs/index.txt", "docs/ref/models.txt", "docs/conf.py", "docs/requirements.txt", "docs/_theme/x.txt"]
    files += ["docs/releases/1.4.txt", "docs/releases/1.10.txt"]
    others = ["setup.py", "src/docs/inner.txt", "tests/data.txt", "docs.txt"]
    archive = archive_of(tmp_path, {f"thing-1.0/{name}": name for name in files + others})
    assert extract_pages(archive, SOURCE, tmp_path / "out") == 3
    assert names(tmp_path / "out") == ["index.txt", "ref/models.txt", "releases/1.10.txt"]


def test_members_that_would_leave_the_folder_are_refused(tmp_path: Path) -> None:
    archive = archive_of(tmp_path, {"thing-1.0/docs/../../../evil.txt": "x", "thing-1.0/docs/a.txt": "a"})
    with pytest.raises(SourceUnreadable, match="cannot be unpacked"):
        extract_pages(archive, SOURCE, tmp_path / "deep" / "out")
    assert not list(tmp_path.rglob("evil.txt"))


def test_links_are_not_followed(tmp_path: Path) -> None:
    archive = archive_of(tmp_path, {"thing-1.0/docs/a.txt": "a"}, {"thing-1.0/docs/b.txt": "/etc/hostname"})
    assert extract_pages(archive, SOURCE, tmp_path / "out") == 1


def test_an_archive_without_pages_or_cut_short_says_so(tmp_path: Path) -> None:
    with pytest.raises(SourceUnreadable, match="holds no pages under docs/"):
        extract_pages(archive_of(tmp_path, {"thing-1.0/setup.py": "x"}), SOURCE, tmp_path / "out")
    whole = archive_of(tmp_path, {"thing-1.0/docs/a.txt": "word " * 5000}).read_bytes()
    cut = tmp_path / "cut.tar.gz"
    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SourceUnreadable, match=r"cut\.tar\.gz cannot be unpacked"):
        extract_pages(cut, SOURCE, tmp_path / "out")


def test_pages_that_are_there_are_not_fetched_again(tmp_path: Path) -> None:
    there = tmp_path / SOURCE.folder
    there.mkdir()
    said: list[str] = []
    assert fetch_pages(SOURCE, tmp_path, said.append) == there
    assert said == []


def test_the_demo_pins_a_checksum_and_asks_three_questions() -> None:
    assert len(DJANGO.sha256) == 64
    assert len(QUESTIONS) == 3
