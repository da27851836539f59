"""The documentation that `riddle demo` serves: Django's, from its source distribution, fetched and checked once."""

from __future__ import annotations

import fnmatch
import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from retrieval.errors import SourceUnreadable, Unavailable

COLLECTION = "django"

QUESTIONS = (
    "How do I avoid one query per row when I loop over related objects?",
    "How can I run a piece of code only after the database transaction has committed?",
    "How do I serve static files in production?",
)
"""Worth asking, for the pages answer them in other words."""


@dataclass(frozen=True, slots=True)
class Distribution:
    """A source distribution, pinned by version and by the sha256 of its file."""

    name: str
    version: str
    sha256: str
    docs: str
    """The folder inside it that holds the pages."""
    skip: tuple[str, ...] = ()
    """Patterns, relative to it, of files that are left out."""

    @property
    def requirement(self) -> str:
        return f"{self.name}=={self.version} --hash=sha256:{self.sha256}"

    @property
    def folder(self) -> str:
        """A name that changes with the version, the file, and what is taken of it."""
        digest = hashlib.sha256(repr((self.sha256, self.docs, self.skip)).encode()).hexdigest()
        return f"{self.name.lower()}-{self.version}-{digest[:12]}"


DJANGO = Distribution(
    name="Django",
    version="5.2.19",
    sha256="ad03d8abc51dbff95ebf34b27123cf0c26a3b62db7ba0cd520783686362533d1",
    docs="docs",
    # The notes of releases up to 1.9, of 2015 and before, are a fifth of the pages and answer nobody today.
    skip=("requirements.txt", "_theme/*", "releases/0.*", "releases/1.[0-9].*", "releases/1.[0-9]-*"),
)
"""The newest patch of the release with long-term support; licence BSD-3-Clause."""


def fetch_pages(source: Distribution, folder: Path, say: Callable[[str], None]) -> Path:
    """The folder of a distribution's pages, under ``folder``; fetched with pip unless it is there already.

    The folder appears only when it is complete. Raises Unavailable when pip cannot fetch it and
    SourceUnreadable when what came is not what was pinned.
    """
    pages = folder / source.folder
    if pages.is_dir():
        return pages
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-") as name:
        aside = Path(name)
        say(f"fetching the source distribution of {source.name} {source.version}")
        archive = _download(source, aside)
        digest = hashlib.sha256(archive.read_bytes()).hexdigest()
        if digest != source.sha256:
            raise SourceUnreadable(f"{archive.name} has sha256 {digest}, not {source.sha256} as pinned")
        extract_pages(archive, source, aside / "pages")
        shutil.move(aside / "pages", pages)
    return pages


def extract_pages(archive: Path, source: Distribution, into: Path) -> int:
    """Unpack the ``.txt`` files below the documentation folder, and nothing else; returns how many.

    Only regular files whose path stays inside are taken, with tarfile's data filter. Raises
    SourceUnreadable for a damaged archive and for one without pages.
    """
    count = 0
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                page = _page(member.name, source)
                if page is not None and member.isfile():
                    tar.extract(member.replace(name=page, deep=False), into, filter="data")
                    count += 1
    except (tarfile.TarError, EOFError, OSError) as error:
        raise SourceUnreadable(f"{archive.name} cannot be unpacked: {error}") from error
    if not count:
        raise SourceUnreadable(f"{archive.name} holds no pages under {source.docs}/")
    return count


def _page(name: str, source: Distribution) -> str | None:
    """Where a member of the archive stands below the documentation folder; None when it is no page."""
    path = PurePosixPath(*PurePosixPath(name).parts[1:])
    if path.suffix != ".txt" or not path.is_relative_to(source.docs):
        return None
    page = path.relative_to(source.docs).as_posix()
    return None if any(fnmatch.fnmatchcase(page, pattern) for pattern in source.skip) else page


def _download(source: Distribution, into: Path) -> Path:
    """Fetch the distribution with pip, which checks the pinned hash before it runs anything of it."""
    requirements = into / "requirements.txt"
    requirements.write_text(source.requirement + "\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"]
    command += ["--no-deps", "--no-binary", ":all:", "--require-hashes", "-r", str(requirements), "-d", str(into)]
    # pip asks a source distribution for its metadata; with the setuptools at hand that takes half as
    # long, and where that one is missing or too old pip brings its own.
    for way in (["--no-build-isolation"], []):
        finished = subprocess.run(command + way, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
        if finished.returncode == 0:
            break
    archives = sorted(into.glob("*.tar.gz"))
    if finished.returncode != 0 or not archives:
        lines = [line for line in finished.stderr.splitlines() if "ERROR" in line] or ["pip said nothing"]
        raise Unavailable(
            f"pip could not fetch {source.name} {source.version} from the package index ({lines[-1].strip()}); "
            "check the network and pip's configuration, and try again",
            stage="demo",
        )
    return archives[0]
