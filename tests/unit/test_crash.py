"""Writing a generation, killed at any step or out of space: the old one stays, and no rest is left for ever."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import pytest

from retrieval.store import CollectionStore
from retrieval.upkeep import verify
from tests.unit.crash_driver import ENCODER, NEW, OLD, write

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


def drive(what: str, folder: Path, numbers: Iterable[int]) -> dict[int, int]:
    """Exit status of each try."""
    command = [sys.executable, "-m", "tests.unit.crash_driver", what, str(folder), *map(str, numbers)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=200)
    assert done.stderr == ""
    return {int(number): int(status) for number, status in map(str.split, done.stdout.splitlines())}


def holds(root: Path) -> int:
    """How many documents the collection holds, all of its files checked."""
    collection = CollectionStore(root).open("docs")
    snapshot = collection.snapshot()
    assert verify(collection).problems == ()
    assert len(snapshot.lexical("number1", 5)) == 1
    assert len(snapshot.dense(ENCODER.encode(["number1"], "query")[0], 1)) == 1
    return snapshot.info.documents


def rest(root: Path) -> list[str]:
    """Everything in the collection's folders but what its kept generations name."""
    folder = root / "docs"
    kept = {path.name for path in folder.glob("generations/*.json")} | {"CURRENT", "generations", "segments", "log"}
    for path in folder.glob("generations/*.json"):
        kept |= {entry["id"] for entry in json.loads(path.read_text())["segments"]}
    staged = (root / ".state" / "staging" / "docs").glob("*")
    found = [*folder.glob("*"), *folder.glob("generations/*"), *folder.glob("segments/*"), *staged]
    return sorted(path.name for path in found if path.name not in kept)


def check_kills(folder: Path, steps: Iterable[int]) -> set[int]:
    """Kill a write before each of these steps, look at what is left, and write again. Returns the statuses seen."""
    statuses = drive("kill", folder, steps)
    for step in statuses:
        root = folder / str(step)
        assert holds(root) in (OLD, NEW), f"killed before step {step}"
    for step in list(statuses)[::2]:
        root = folder / str(step)
        write(root, OLD + 1)
        assert holds(root) == OLD + 1
        assert rest(root) == [], f"killed before step {step}"
        assert len(list((root / "docs" / "generations").glob("*.json"))) == 2
    return set(statuses.values())


def test_a_writer_killed_at_some_steps_leaves_a_readable_collection(tmp_path: Path) -> None:
    assert check_kills(tmp_path, (6, 12, 31, 52, 53, 57)) == {-9}


@pytest.mark.slow
def test_a_writer_killed_at_any_step_leaves_a_readable_collection(tmp_path: Path) -> None:
    statuses = check_kills(tmp_path, (*range(0, 130, 5), 1000))
    assert statuses == {-9, 0}, "and one that nothing stops comes to its end"


def test_a_full_disk_is_said_plainly_and_leaves_what_was_there(tmp_path: Path) -> None:
    limits = (200, 2000, 4000, 9000)  # every one too small for one or another of the files
    assert drive("full", tmp_path, limits) == dict.fromkeys(limits, 28)
    for limit in limits:
        root = tmp_path / str(limit)
        assert holds(root) == OLD
        assert rest(root) == []


def test_who_may_only_read_can_search_and_is_told_so_when_writing() -> None:
    with tempfile.TemporaryDirectory() as folder:  # pytest's own folders are closed to other users
        Path(folder).chmod(0o755)
        assert drive("deny", Path(folder), [0]) == {0: 13}
        for path in Path(folder).rglob("*"):
            path.chmod(0o755)
