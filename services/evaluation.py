"""What an evaluation run needs of the services: an index over the set's own documents, a target, and the manifest."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval.datasets import Dataset
from eval.evaluate import RunSettings
from eval.runs import Manifest
from indexing.build import build
from retrieval.errors import CollectionNotFound, InvalidRequest, SettingsError
from retrieval.store import CollectionStore
from retrieval.types import Document
from services.bootstrap import builds_folder, collections_folder
from services.encoders import encoder_named
from services.late import late_of_build
from services.settings import Loaded, Settings, known
from services.settings_load import nearest, parsed

if TYPE_CHECKING:
    from indexing.progress import Progress

_TELLING = ("models", "chunk", "build", "recall", "rank", "answer", "generation")
"""Sections of the settings that a result may depend on."""


@dataclass(frozen=True, slots=True)
class Indexed:
    """A collection that holds a set's documents."""

    collection: str
    documents: int
    built: bool
    """False when it was there already."""
    seconds: float = 0.0


def indexed(dataset: Dataset, settings: Settings, progress: Callable[[Progress], None]) -> Indexed:
    """Index the documents of a set in the home folder, unless that was done before with the same index settings.

    The collection's name comes from the documents and the settings that decide its content, so that runs which
    differ in other settings share it, and a killed build is taken up by the next run. Raises InvalidRequest for a
    set without documents, and what a build raises.
    """
    began, store = time.monotonic(), CollectionStore(collections_folder(settings.home))
    with _documents_file(dataset, settings.home) as (source, digest, count):
        if not count:
            raise InvalidRequest(
                f"{dataset.source} brings no documents of its own: name the collection to search with --collection"
            )
        name = _collection_name(dataset.name, digest, settings)
        with contextlib.suppress(CollectionNotFound):
            return Indexed(name, store.info(name).documents, built=False)
        build(
            [source],
            name,
            store=store,
            encoder=encoder_named(settings.models.encoder, settings),
            work=builds_folder(settings.home),
            chunk=settings.chunk,
            settings=settings.build,
            late=late_of_build(store, name, settings, replace=False),
            progress=progress,
        )
    return Indexed(name, store.info(name).documents, built=True, seconds=round(time.monotonic() - began, 3))


def assigned(assignments: Iterable[str]) -> dict[str, object]:
    """``KEY=VALUE`` as flags for ``load``, each value of its setting's type. Raises SettingsError."""
    flags: dict[str, object] = {}
    for each in assignments:
        key, equals, value = (part.strip() for part in each.partition("="))
        if not equals:
            raise SettingsError(f"{each!r}: wants KEY=VALUE, such as rank.depth=50")
        if key not in known():
            raise SettingsError(f"unknown setting {key}; the nearest known one is {nearest(key, known())}")
        flags[key] = parsed(key, value, known()[key].type, "command line")
    return flags


def local_about(settings: Settings, loaded: Loaded, collection: str) -> dict[str, Any]:
    """What a manifest says of a Riddle in this process."""
    info = CollectionStore(collections_folder(settings.home)).info(collection)
    told = {key: value for key, value in loaded.shown().items() if key.split(".")[0] in _TELLING}
    return {
        "kind": "riddle in process",
        "collection": info.name,
        "generation": info.generation,
        "encoder": info.encoder,
        "reranker": settings.models.reranker,
        "generator": settings.generation.model or settings.generation.url or settings.models.generator,
        "documents": info.documents,
        "passages": info.passages,
        "settings": told,
    }


def new_manifest(
    out: Path, dataset: Dataset, fingerprint: str, target: Mapping[str, Any], run: RunSettings, asked: Mapping[str, Any]
) -> Manifest:
    """The manifest of a run that begins now."""
    from services.commands.bench import machine

    return Manifest(
        id=out.name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        target=target,
        dataset={
            "name": dataset.name,
            "split": dataset.split,
            "source": dataset.source,
            "queries": len(dataset.questions),
            "fingerprint": fingerprint,
        },
        settings={"k": run.k, "metrics": list(run.metrics), "jobs": run.jobs, **asked},
        machine=machine(),
        commit=commit_of(Path(__file__).parent),
        version=version("riddle-search"),
    )


def commit_of(folder: Path) -> str:
    """The commit of the repository that holds ``folder``, ``-dirty`` behind it; empty where there is none."""
    try:
        told = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
            cwd=folder, capture_output=True, text=True, check=True, timeout=30,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return ""
    return told.stdout.strip()


@contextlib.contextmanager
def _documents_file(dataset: Dataset, home: Path) -> Iterator[tuple[Path, str, int]]:
    """The set's documents as one JSONL file, the digest of them, and how many; removed behind."""
    home.mkdir(parents=True, exist_ok=True)
    digest, count = hashlib.sha256(), 0
    with tempfile.TemporaryDirectory(prefix=".eval-", dir=home) as folder:
        path = Path(folder) / "corpus.jsonl"
        with path.open("w", encoding="utf-8") as file:
            for document in dataset.documents():
                line = json.dumps(_row(document), ensure_ascii=False) + "\n"
                file.write(line)
                digest.update(line.encode())
                count += 1
        yield path, digest.hexdigest(), count


def _row(document: Document) -> dict[str, Any]:
    row: dict[str, Any] = {"_id": document.document_id, "title": document.title, "text": document.text}
    if document.metadata:
        row["metadata"] = dict(document.metadata)
    return row


def _collection_name(name: str, digest: str, settings: Settings) -> str:
    deciding = [digest, settings.models.encoder, settings.build.near_duplicates, repr(settings.chunk)]
    if settings.build.late:  # names of before there was late interaction stay as they are
        deciding += [settings.build.late, settings.build.late_bits]
    key = hashlib.sha256(json.dumps(deciding).encode()).hexdigest()[:10]
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40]
    return f"eval-{slug}-{key}" if slug else f"eval-{key}"
