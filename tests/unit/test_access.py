"""Who may see the files of a folder: the nearest `.riddle-acl`, rules before it, and nothing opened by mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from indexing.access import ACL_FILE, AccessRule, FolderAccess, parse_rule
from indexing.sources import Source, SourceFile, plan
from retrieval.errors import InvalidRequest


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_the_nearest_file_decides_alone_for_its_folder_and_below(tmp_path: Path) -> None:
    write(tmp_path / ACL_FILE, "# the company\ngroup:all\n")
    write(tmp_path / "eng" / ACL_FILE, "group:ops\ngroup:eng\n\n")
    write(tmp_path / "eng" / "open" / ACL_FILE, "public\n")
    access = FolderAccess(tmp_path)
    assert access.of("a.md") == access.of("hr/a.md") == ("group:all",)
    assert access.of("eng/a.md") == access.of("eng/deep/down/a.md") == ("group:eng", "group:ops")
    assert access.of("eng/open/a.md") == ("public",)


def test_without_any_file_or_rule_everybody_may_see_it(tmp_path: Path) -> None:
    assert FolderAccess(tmp_path).of("a/b.md") == ()


def test_a_folder_is_closed_by_the_file_of_a_folder_above_it_too(tmp_path: Path) -> None:
    write(tmp_path / ACL_FILE, "group:all\n")
    page = write(tmp_path / "eng" / "deep" / "a.md", "Words.")
    for source in (tmp_path / "eng", tmp_path / "eng" / "deep", page):
        [file] = plan([source]).files
        assert file.acl == ("group:all",)


def test_the_first_rule_that_matches_goes_before_the_files(tmp_path: Path) -> None:
    write(tmp_path / ACL_FILE, "group:all\n")
    access = FolderAccess(tmp_path, [parse_rule("eng/*=group:eng,user:ada"), parse_rule("eng/x.md=group:no")])
    assert access.of("eng/deep/x.md") == access.of("eng/x.md") == ("group:eng", "user:ada")
    assert access.of("x.md") == ("group:all",)
    assert parse_rule("a=b=c") == AccessRule("a=b", ("c",))


@pytest.mark.parametrize("text", ["", "# nobody yet\n", "two words\n", "x" * 300])
def test_a_file_that_names_no_principal_stops_the_build(tmp_path: Path, text: str) -> None:
    write(tmp_path / ACL_FILE, text)
    write(tmp_path / "a.md", "Words.")
    with pytest.raises(InvalidRequest, match=r"\.riddle-acl.*principal"):
        list(plan([tmp_path]))


def test_a_file_in_another_encoding_stops_the_build(tmp_path: Path) -> None:
    (tmp_path / ACL_FILE).write_bytes("group:caf\u00e9\n".encode("latin-1"))
    with pytest.raises(InvalidRequest, match="not UTF-8"):
        FolderAccess(tmp_path).of("a.md")


@pytest.mark.parametrize("text", ["group:eng", "=group:eng", "a/*=", "a/*= , "])
def test_a_rule_that_cannot_be_read_is_an_error(text: str) -> None:
    with pytest.raises(InvalidRequest):
        parse_rule(text)


def test_every_file_of_a_plan_carries_its_principals(tmp_path: Path) -> None:
    write(tmp_path / "one" / "a.md", "Words.")
    write(tmp_path / "two" / "a.md", "Words.")
    write(tmp_path / "two" / ACL_FILE, "group:two\n")
    planned = plan([Source(tmp_path / "one", access=(parse_rule("*=group:one"),)), tmp_path / "two"])
    found = {entry.name: entry.acl for entry in planned if isinstance(entry, SourceFile)}
    assert found == {"one/a.md": ("group:one",), "two/a.md": ("group:two",)}
