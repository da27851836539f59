"""Builds and syncs killed with SIGKILL at random points: half an index never shows, and little is done twice."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from indexing.build import build
from indexing.connectors.files import folder_connector
from indexing.sources import Source
from indexing.sync import sync
from retrieval.store import CollectionStore
from tests.build_child import PARTITION, SETTINGS
from tests.fake_models import FakeEncoder

ROOT = Path(__file__).parents[2]

STEPS = {"build": 114, "sync": 24}
"""Points at which the child can be killed, near enough; the last of them lie about the publishing."""


def write_rows(folder: Path, rows: dict[str, str]) -> None:
    folder.mkdir(exist_ok=True)
    for number, ids in enumerate([list(rows)[0::2], list(rows)[1::2]]):
        lines = (json.dumps({"_id": one, "text": rows[one]}) + "\n" for one in ids)
        (folder / f"{number}.jsonl").write_text("".join(lines))


def run(home: Path, source: Path, what: str, number: int, delay_s: float = 0.0) -> int:
    command = [sys.executable, "-m", "tests.build_child", str(home), str(source), what, str(number), str(delay_s)]
    return subprocess.run(command, cwd=ROOT, check=False, stdin=subprocess.DEVNULL, timeout=240).returncode


def held(home: Path) -> dict[str, str]:
    """Texts by id, read by a store that knows nothing yet; what is found is what is listed."""
    snapshot = CollectionStore(home / "collections").snapshot("docs")
    texts = {one: snapshot.document(one).text for listed in snapshot.listed() for one, _ in listed}
    found = snapshot.passages(snapshot.lexical("row", 1000).rows)
    assert {passage.document_id: passage.text for passage in found} == texts
    assert len(snapshot.dense(FakeEncoder().encode(["row"], "query")[0], 1000)) == len(texts)
    return texts


@pytest.mark.slow
@pytest.mark.parametrize("what", ["build", "sync"])
@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_killed_anywhere_it_shows_all_or_nothing_and_goes_on(tmp_path: Path, what: str, seed: int) -> None:
    rng = random.Random(f"{what} {seed}")
    home, source = tmp_path / "home", tmp_path / "source"
    before = {f"d{number}": f"Old row {number}." for number in range(25)}
    write_rows(source, before)
    store, work = CollectionStore(home / "collections"), home / "builds"
    if what == "build":
        build([source], "docs", store=store, encoder=FakeEncoder(), work=work, settings=SETTINGS)
    else:
        connector = folder_connector(Source(source))
        sync(connector, "docs", store=store, encoder=FakeEncoder(), work=work, settings=SETTINGS)
    changed = {f"d{number}": f"New row {number}." for number in range(10, 70)}
    write_rows(source, changed)
    after = before | changed if what == "build" else changed
    kills, shown_and_killed = 0, 0
    for _ in range(5):
        number = rng.choice([rng.randrange(1, STEPS[what]), STEPS[what] - rng.randrange(4)])
        code = run(home, source, what, number, rng.choice([0, 0, 0.001, 0.005, 0.02, 0.05]))
        now = held(home)
        assert now in ((after,) if code == 0 or shown_and_killed else (before, after))
        if code == 0:
            break
        assert code == -9
        kills += 1
        shown_and_killed += now == after
    else:
        assert run(home, source, what, 0) == 0
    assert held(home) == after
    encoded = sum(map(int, (home / "encoded").read_text().split()))
    # A build killed after it had tidied up was told, by the same command, to build all of it once more.
    again = shown_and_killed * len(changed) if what == "build" else 0
    assert encoded <= len(changed) + again + kills * PARTITION
    assert not list((home / "builds" / "docs").glob("*"))
