"""The collections below one folder: by name or alias, each opened once in a process."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

from retrieval.analysis import Analysis, AnalysisSettings
from retrieval.collection import Collection, Maintenance
from retrieval.durable import disk_full_said_plainly, exclusive, replace_json, sync_file
from retrieval.errors import CollectionNotFound, Conflict, IndexUnreadable, InvalidRequest
from retrieval.generations import POINTER, Layout, log_lock, publish
from retrieval.maintenance import BACKGROUND
from retrieval.manifest import CollectionSettings, Manifest
from retrieval.snapshot import Snapshot
from retrieval.types import CollectionInfo, EncoderSpec
from retrieval.vector_spec import resolve

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_STATE, _ALIASES = ".state", "aliases.json"


class CollectionStore:
    """``<root>/<name>/`` for each collection, ``<root>/aliases.json`` for other names of them.

    Thread-safe, and safe among processes. An alias that has the name of a collection hides it.
    """

    def __init__(self, root: Path, maintenance: Maintenance = BACKGROUND) -> None:
        self.root = root
        self._maintenance = maintenance
        self._guard = threading.Lock()
        self._open: dict[str, Collection] = {}
        self._aliases: tuple[tuple[int, int] | None, Mapping[str, str]] = (None, {})

    def names(self) -> list[str]:
        """Names of all collections, sorted, aliases apart."""
        return sorted(path.parent.name for path in self.root.glob(f"*/{POINTER}") if _NAME.fullmatch(path.parent.name))

    def info(self, name: str) -> CollectionInfo:
        """What can be found now. Raises CollectionNotFound, IndexUnreadable."""
        return self.snapshot(name).info

    def open(self, name: str) -> Collection:
        """The collection of that name or alias, opened once and shared. Raises CollectionNotFound, IndexUnreadable."""
        check_name(name)
        target = self.aliases().get(name, name)
        held = self._open.get(target)
        if held is not None and held.layout.pointer_seen() is not None:
            return held
        with self._guard:
            held = self._open.get(target)
            if held is None or held.layout.pointer_seen() is None:
                self._open.pop(target, None)
                if not (self.root / target / POINTER).exists():
                    self._say_what_is_there(name, target)
                held = self._open[target] = Collection(self.root / target, self._maintenance)
            return held

    def snapshot(self, name: str) -> Snapshot:
        """What a search in that collection or alias reads; also while it is renamed or led elsewhere."""
        for _ in range(3):
            try:
                return self.open(name).snapshot()
            except CollectionNotFound:
                continue
        return self.open(name).snapshot()

    def create(self, name: str, settings: CollectionSettings, encoder: EncoderSpec) -> Collection:
        """A new, empty collection. Raises Conflict when the name is taken, InvalidRequest for bad settings."""
        check_name(name)
        with self.exclusive(name):
            if name in self.aliases() or (self.root / name / POINTER).exists():
                raise Conflict(f"there is a collection or an alias {name!r} already")
            self.begin(name, settings, encoder)
        return self.open(name)

    def begin(self, name: str, settings: CollectionSettings, encoder: EncoderSpec) -> None:
        """Write the first, empty generation. The caller is ``exclusive``; whatever lies there is begun anew."""
        resolve(settings.vectors, 0, encoder.dimension, memory_bytes=settings.memory_bytes, recall=settings.recall)
        layout = Layout(self.root / name)
        layout.folder.mkdir(parents=True, exist_ok=True)
        analysis = Analysis(AnalysisSettings(settings.synonyms, settings.words))
        draft = Manifest(name, 0, 0, "", encoder, settings, analysis.version)
        publish(layout, draft, (), content=True)
        sync_file(self.root)

    def drop(self, name: str) -> None:
        """Remove a collection and its files. Raises CollectionNotFound; Conflict while it is built, or has an alias."""
        check_name(name)
        if name in self.aliases():
            raise Conflict(f"{name} is an alias of {self.aliases()[name]}: remove the alias first")
        pointing = [alias for alias, target in self.aliases().items() if target == name]
        if pointing:
            raise Conflict(f"the alias {pointing[0]} leads to {name}: remove the alias, or lead it elsewhere, first")
        with self.exclusive(name):
            folder = self.root / name
            if not (folder / POINTER).exists():
                raise _not_found(name)
            shutil.rmtree(self.staging(name), ignore_errors=True)
            gone = self.root / _STATE / f"{name}.dropped"
            shutil.rmtree(gone, ignore_errors=True)
            folder.rename(gone)
            sync_file(self.root)
            with self._guard:
                self._open.pop(name, None)
            shutil.rmtree(gone, ignore_errors=True)

    def aliases(self) -> Mapping[str, str]:
        """Alias to the name of its collection; one stat while nothing changes."""
        path = self.root / _ALIASES
        try:
            stat = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return {}
        seen = (stat.st_mtime_ns, stat.st_ino)
        if self._aliases[0] != seen:
            try:
                self._aliases = (seen, json.loads(path.read_text(encoding="utf-8")))
            except ValueError as error:
                raise IndexUnreadable(f"{path} is damaged ({error}): write it anew, or remove it") from error
        return self._aliases[1]

    def set_alias(self, alias: str, name: str) -> None:
        """Lead ``alias`` to the collection ``name``, in one step. Raises CollectionNotFound, InvalidRequest."""
        check_name(alias)
        check_name(name)
        with self._aliases_exclusive():
            if not (self.root / name / POINTER).exists():
                raise _not_found(name)
            if alias == name:
                raise InvalidRequest(f"{alias}: an alias cannot lead to itself")
            replace_json(self.root / _ALIASES, {**self.aliases(), alias: name})

    def remove_alias(self, alias: str) -> None:
        """Raises CollectionNotFound when there is no such alias."""
        with self._aliases_exclusive():
            if alias not in self.aliases():
                raise CollectionNotFound(f"no alias is called {alias!r}")
            replace_json(self.root / _ALIASES, {each: to for each, to in self.aliases().items() if each != alias})

    @contextlib.contextmanager
    def exclusive(self, name: str) -> Iterator[None]:
        """Be the only one who builds this collection. Raises InvalidRequest for a bad name, Conflict."""
        check_name(name)
        with (
            disk_full_said_plainly(f"the collection {name}", self.root),
            exclusive(self.root / _STATE / f"{name}.lock", f"the collection {name} is being written by someone else"),
        ):
            yield

    def layout(self, name: str) -> Layout:
        """Where the files of a collection lie; an alias's are those of its collection."""
        return Layout(self.root / self.aliases().get(name, name))

    def staging(self, name: str) -> Path:
        """Where builds of a collection lie until they are published."""
        return self.root / _STATE / "staging" / self.layout(name).folder.name

    def appending(self, name: str) -> contextlib.AbstractContextManager[None]:
        """Be the only one who changes or publishes this collection. Raises Conflict."""
        return log_lock(self.root / _STATE, self.layout(name).folder.name)

    def close(self) -> None:
        """Wait for what goes on beside the searches."""
        for collection in list(self._open.values()):
            collection.close()

    @contextlib.contextmanager
    def _aliases_exclusive(self) -> Iterator[None]:
        with (
            disk_full_said_plainly("the aliases", self.root),
            exclusive(self.root / _STATE / "aliases.lock", "the aliases are being changed; try again", wait_s=10),
        ):
            yield

    def _say_what_is_there(self, name: str, target: str) -> None:
        if name != target:
            raise CollectionNotFound(f"the alias {name!r} leads to {target!r}, and there is no such collection")
        raise _not_found(name)


def check_name(name: str) -> None:
    """Raises InvalidRequest."""
    if not _NAME.fullmatch(name):
        raise InvalidRequest(
            f"{name!r} is no name for a collection: use 1 to 64 of a-z, 0-9, _ and -, beginning with a letter or digit"
        )


def _not_found(name: str) -> CollectionNotFound:
    return CollectionNotFound(f"no collection is called {name!r}")
