"""`riddle doctor` tells what is wrong, says how to mend it, and fails only for what is needed."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from retrieval._native.transformer import available
from services.cli import run
from services.commands.doctor import Check, examine
from services.settings import CacheSettings, GenerationSettings, ServerSettings, ServiceUrls, Settings


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that something else than Riddle holds."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


@pytest.fixture
def free() -> int:
    """A port where nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, server=ServerSettings(port=0))


def found(settings: Settings) -> dict[str, Check]:
    return {check.name: check for check in examine(settings)}


def test_a_missing_encoder_fails_and_the_rest_is_done_without(settings: Settings) -> None:
    checks = found(settings)
    assert [checks[name].state for name in ("encoder", "reranker", "generator")] == ["fail", "warn", "warn"]
    assert checks["encoder"].mend.startswith("riddle models pull bge-small-en-v1.5")
    assert checks["collections"].state == "warn"


def test_models_that_are_not_wanted_are_not_missed(settings: Settings) -> None:
    bare = replace(settings, models=replace(settings.models, encoder="", reranker="", generator=""))
    assert {check.state for name, check in found(bare).items() if name in ("encoder", "reranker", "generator")} == {
        "ok"
    }


def test_a_model_of_late_interaction_is_looked_for_where_the_settings_name_one(settings: Settings) -> None:
    assert "late" not in found(settings)
    named = replace(settings, build=replace(settings.build, late="answerai-colbert-small-v1"))
    check = found(named)["late"]
    assert (check.state, check.mend.split(" --home")[0]) == ("warn", "riddle models pull answerai-colbert-small-v1")


def test_a_runtime_that_is_named_is_tried_on_this_processor(settings: Settings) -> None:
    assert "runtime" not in found(settings)
    named = found(replace(settings, models=replace(settings.models, runtime="native")))["runtime"]
    assert named.state == ("ok" if available() else "fail")
    assert ("models.runtime to auto" in named.mend) == (not available())


def test_a_port_that_is_taken_fails_and_one_that_is_free_does_not(settings: Settings, taken: int) -> None:
    assert found(settings)["port"].state == "ok"
    check = found(replace(settings, server=ServerSettings(port=taken)))["port"]
    assert check.state == "fail"
    assert "RIDDLE_PORT" in check.mend


def test_redis_and_generation_server_that_are_gone_are_warned_of(settings: Settings, free: int) -> None:
    gone = replace(
        settings,
        cache=CacheSettings(redis_url=f"redis://127.0.0.1:{free}/0"),
        generation=GenerationSettings(url=f"http://127.0.0.1:{free}/v1"),
    )
    checks = found(gone)
    assert checks["redis"].state == checks["generation"].state == "warn"
    assert "RIDDLE_REDIS_URL" in checks["redis"].mend
    assert "does not answer" in checks["generation"].detail


def test_a_recall_service_that_is_gone_fails_and_a_rank_service_does_not(settings: Settings, free: int) -> None:
    url = f"http://127.0.0.1:{free}"
    checks = found(replace(settings, services=ServiceUrls(recall_url=url, rank_url=url)))
    assert checks["recall service"].state == "fail"
    assert checks["rank service"].state == "warn"
    assert checks["reranker"].state == "ok"


def test_an_embedding_server_that_is_gone_fails(settings: Settings, free: int) -> None:
    remote = replace(settings, models=replace(settings.models, encoder=f"tei:http://127.0.0.1:{free}"))
    assert found(remote)["encoder"].state == "fail"


def test_a_home_below_a_file_cannot_be_made(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    check = found(replace(settings, home=tmp_path / "file" / "home"))["home"]
    assert check.state == "fail"
    assert "--home" in check.mend


def test_the_command_exits_1_when_something_needed_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor", "--home", str(tmp_path), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] is False
    assert {check["name"] for check in told["checks"]} >= {"python", "home", "disk", "encoder", "port", "redis"}
    assert run(["doctor", "--home", str(tmp_path)]) == 1
    assert "-> riddle models pull" in capsys.readouterr().out
