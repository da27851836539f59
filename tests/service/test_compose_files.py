"""What compose.yaml and the Dockerfiles say: who may do what, how much, from which files."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from services.deploy.requirements import TORCH, name_of, needed
from services.settings import load
from tests.processes import ROOT
from tests.service.composition import parse

SERVICES: dict[str, dict[str, Any]] = parse({})["services"]
ONE_SHOT = {"models", "build"}
LASTING = sorted(SERVICES.keys() - ONE_SHOT)
DOCKERFILES = sorted((ROOT / "services" / "deploy").glob("Dockerfile.*"))


def instructions(dockerfile: Path) -> list[tuple[str, str]]:
    """Each instruction and its arguments; continued lines joined, comments left out."""
    text = re.sub(r"\\\n", " ", dockerfile.read_text(encoding="utf-8"))
    lines = [line.strip() for line in text.splitlines()]
    return [(line.split()[0], line.partition(" ")[2].strip()) for line in lines if line and not line.startswith("#")]


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_service_runs_unprivileged_and_within_limits(name: str) -> None:
    service = SERVICES[name]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", service["user"])
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    limits = service["deploy"]["resources"]["limits"]
    assert set(limits) == {"cpus", "memory", "pids"}
    assert service["restart"] == ("no" if name == "build" else "on-failure:3" if name == "models" else "unless-stopped")


@pytest.mark.parametrize("name", LASTING)
def test_every_service_that_stays_has_a_health_check(name: str) -> None:
    check = SERVICES[name]["healthcheck"]
    assert check["test"][0] == "CMD"
    assert {"interval", "timeout", "retries", "start_period"} <= set(check)


def test_what_one_service_waits_for_can_come_true() -> None:
    for name, service in SERVICES.items():
        for other, how in service.get("depends_on", {}).items():
            if how["condition"] == "service_completed_successfully":
                assert other in ONE_SHOT, f"{name} waits for the end of {other}"
            else:
                assert other in LASTING, f"{name} waits for {other}"


def test_only_the_gateway_is_published_and_only_on_this_machine() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {"gateway": ["127.0.0.1:8080:8080"]}
    assert parse({"RIDDLE_PORT": "9000"})["services"]["gateway"]["ports"] == ["127.0.0.1:9000:8080"]


def test_the_file_says_how_a_key_is_made_where_the_gateway_keeps_them() -> None:
    text = (ROOT / "compose.yaml").read_text(encoding="utf-8")
    assert "docker compose run --rm --no-deps gateway riddle keys create --write" in text
    assert SERVICES["gateway"]["environment"]["RIDDLE_HOME"] == "/data"
    assert "library:/data" in SERVICES["gateway"]["volumes"]


def test_the_gateway_may_write_down_what_it_is_asked_where_it_stays() -> None:
    """The query log and feedback lie in the home folder, which a read-only container needs a volume for."""
    gateway = SERVICES["gateway"]
    home = gateway["environment"]["RIDDLE_HOME"]
    mounts = [each.split(":") for each in gateway["volumes"]]
    assert [mode for _, target, *mode in mounts if target == home] == [[]]
    assert load(None, gateway["environment"]).settings.log.enabled


def test_services_talk_on_a_network_without_a_way_out() -> None:
    composed = parse({})
    assert composed["networks"]["inside"] == {"internal": True}
    outside = {name for name, service in SERVICES.items() if "outside" in service["networks"]}
    assert outside == {"gateway", "models"}


@pytest.mark.parametrize("name", [name for name, service in SERVICES.items() if "environment" in service])
def test_variables_are_settings_that_riddle_knows(name: str) -> None:
    environment = SERVICES[name]["environment"]
    assert all(key.startswith("RIDDLE_") for key in environment)
    load(None, environment)


def test_addresses_name_services_and_the_ports_they_listen_on() -> None:
    composed = str(SERVICES)
    for host, port in re.findall(r"(?:http|redis)://(\w+):(\d+)", composed):
        listens = [*SERVICES[host]["healthcheck"]["test"], *SERVICES[host]["command"]]
        assert any(port in word for word in listens), f"nothing says that {host} listens on {port}"


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_an_image_is_built_of_pinned_bases_and_files_that_are_there(dockerfile: Path) -> None:
    stages: set[str] = set()
    for instruction, words in instructions(dockerfile):
        if instruction == "FROM":
            base, _, stage = words.partition(" AS ")
            assert base in stages or re.fullmatch(r"\w+:\d+\.\d+\.\d+[\w.-]*", base), f"{base} is not pinned"
            stages.add(stage)
        elif instruction == "COPY" and not words.startswith("--from"):
            for source in words.split()[:-1]:
                assert (ROOT / source).exists(), f"{source} is not there to copy"
                assert f"!{source.split('/')[0]}" in (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
        elif instruction == "COPY":
            assert words.split()[0].removeprefix("--from=") in stages


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_no_image_runs_as_root(dockerfile: Path) -> None:
    users = [words for instruction, words in instructions(dockerfile) if instruction == "USER"]
    assert users == ["10001:10001"]
    assert [instruction for instruction, _ in instructions(dockerfile)][-1] == "CMD"


def test_every_image_that_compose_builds_has_a_dockerfile_and_its_target() -> None:
    for service in SERVICES.values():
        if "build" in service:
            dockerfile = ROOT / service["build"]["dockerfile"]
            stages = [words.partition(" AS ")[2] for word, words in instructions(dockerfile) if word == "FROM"]
            assert service["build"].get("target", stages[-1]) in stages
        else:
            assert re.fullmatch(r"[\w/]+:\d+\.\d+\.\d+[\w.-]*", service["image"])


def test_the_services_image_leaves_out_torch_and_what_rests_on_it() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    every = project["dependencies"]
    assert needed("models", every) == every
    assert {name_of(each) for each in every} - {name_of(each) for each in needed("serve", every)} == TORCH
