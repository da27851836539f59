"""Folders and git working trees as sources: which files there are, and whether they changed."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from indexing.access import FolderAccess
from indexing.connectors.base import Fetched, Listed
from indexing.crossrefs import CrossReferences
from indexing.items import read_items
from indexing.sources import Rejected, Source, pages, printable, reading, source_file, walked
from retrieval.errors import InvalidRequest, Unavailable

Files = Callable[[Path], Iterator[tuple[str, str]]]
"""Paths below a folder, each with a fingerprint."""


class FilesConnector:
    """The files below one folder; who may see them is told by rules and `.riddle-acl` files."""

    parallel = 1

    def __init__(self, kind: str, source: Source, files: Files) -> None:
        """Raises InvalidRequest when there is no such folder."""
        if not source.path.is_dir():
            raise InvalidRequest(f"{source.path}: no such folder")
        self.name = f"{kind}:{source.path.resolve()}"
        self._source, self._corpus = reading(source)
        self._files = files
        self._references = CrossReferences(pages(source))
        self._written: dict[str, str] = {}
        """Names on disk, where they are no UTF-8."""

    def listed(self) -> Iterator[Listed]:
        access = FolderAccess(self._source.path, self._source.access)
        for name, fingerprint in self._files(self._source.path):
            if self._corpus is None or name == self._corpus:
                shown = printable(name)
                if shown != name:
                    self._written[shown] = name
                yield Listed(shown, fingerprint, access.of(name))

    def fetch(self, listed: Listed, mark: str) -> Fetched | None:
        name = self._written.get(listed.item, listed.item)
        references = self._references if self._corpus is None else None
        file = source_file(self._source, name, listed.acl, references)
        return Fetched([file] if isinstance(file, Rejected) else read_items(file))


def folder_connector(source: Source) -> FilesConnector:
    """Every file that a build of the folder would read; one has changed when its size or its time has."""
    return FilesConnector("folder", source, _walked)


def git_connector(source: Source) -> FilesConnector:
    """The files that git tracks, as they are in the working tree.

    One has changed when git's hash of it has, so that a fresh clone changes nothing. Symbolic links and
    submodules are passed over. Raises InvalidRequest when the folder is in no working tree.
    """
    connector = FilesConnector("git", source, _tracked)
    _git(source.path, "rev-parse", "--show-toplevel")
    return connector


def _walked(folder: Path) -> Iterator[tuple[str, str]]:
    for name in walked(folder):
        fingerprint = _stat(folder / name)
        if fingerprint:
            yield name, fingerprint


def _tracked(folder: Path) -> Iterator[tuple[str, str]]:
    changed = set(_names(_git(folder, "diff-files", "--name-only", "-z", "--relative")))
    for entry in _names(_git(folder, "ls-files", "--stage", "-z")):
        about, _, name = entry.partition("\t")
        mode, digest, _ = about.split(" ")
        if not mode.startswith("100") or any(part.startswith(".") for part in name.split("/")):
            continue
        fingerprint = _stat(folder / name) if name in changed else digest
        if fingerprint:
            yield name, fingerprint


def _stat(path: Path) -> str:
    """Size and time of a file; empty when it has gone."""
    try:
        stat = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return ""
    return f"{stat.st_size}:{stat.st_mtime_ns}"


def _names(output: bytes) -> list[str]:
    return [name.decode("utf-8", "surrogateescape") for name in output.split(b"\0") if name]


def _git(folder: Path, *arguments: str) -> bytes:
    # A repository's own configuration may name programs to run; these two are what git would run here.
    safe = ["-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null"]
    try:
        done = subprocess.run(
            ["git", *safe, "-C", str(folder), *arguments], capture_output=True, stdin=subprocess.DEVNULL, check=False
        )
    except FileNotFoundError as error:
        raise Unavailable("git is not installed: install it, or sync the folder as it is with --kind folder") from error
    if done.returncode:
        said = " ".join(done.stderr.decode("utf-8", "replace").split())
        raise InvalidRequest(f"git cannot list what it tracks in {folder} ({said})")
    return done.stdout
