"""compose.yaml on a machine without containers: its commands, environment and health checks as processes.

What changes on the way, and nothing else does:

- ``SERVICE:PORT``, ``127.0.0.1:PORT`` and a bare ``PORT`` become the free port that stands for it here,
  and ``0.0.0.0`` becomes 127.0.0.1;
- a path below a volume's mount point becomes one below the folder of that service, where each named
  volume is a link to one folder that services share, as the volume is;
- ``${NAME:-default}`` is filled in from the given variables, as compose does.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from services.settings import environment
from tests.live import free_port
from tests.processes import ROOT, Program

COMPOSE = ROOT / "compose.yaml"

Service = Mapping[str, Any]

WITHOUT_TORCH = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0].replace("_", "-") in {names}:
            raise ModuleNotFoundError(f"{{name}} is not in this image", name=name)

sys.meta_path.insert(0, Absent())
"""
"""A sitecustomize.py for the services whose image has no torch, for here they share an environment that has it."""


def parse(variables: Mapping[str, str]) -> dict[str, Any]:
    """compose.yaml as compose reads it, merged and filled in."""

    def filled(found: re.Match[str]) -> str:
        return variables.get(found.group(1)) or found.group(2)

    text = re.sub(r"\$\{(\w+):-([^}]*)\}", filled, COMPOSE.read_text(encoding="utf-8"))
    parsed: dict[str, Any] = yaml.safe_load(text)
    return parsed


class Composition:
    """The services of compose.yaml below ``folder``, started one by one or all that `up` starts."""

    def __init__(self, folder: Path, variables: Mapping[str, str], absent: frozenset[str]) -> None:
        self.services: Mapping[str, Service] = parse(variables)["services"]
        self.ports = {
            port: free_port() for port in sorted({port for each in self.services.values() for port in _ports(each)})
        }
        self.programs: dict[str, Program] = {}
        self.token = ""
        """The key that callers of the gateway show."""
        self._used: set[str] = set()
        self._folder = folder
        (folder / "absent").mkdir()
        source = WITHOUT_TORCH.format(names=sorted(absent))
        (folder / "absent" / "sitecustomize.py").write_text(source, encoding="utf-8")
        for name, service in self.services.items():
            self._mount(name, service)

    def volume(self, name: str) -> Path:
        """The folder that stands for a named volume."""
        return self._folder / "volumes" / name

    def port(self, name: str) -> int:
        """Where a service listens here."""
        return self.ports[_ports(self.services[name])[0]]

    def command(self, name: str) -> list[str]:
        return [self.here(name, word) for word in self.services[name]["command"]]

    def key(self) -> str:
        """A key that may write, made by the command that compose.yaml names."""
        named = re.search(
            r"docker compose run --rm --no-deps (\w+) (riddle keys create --write)\n", COMPOSE.read_text()
        )
        assert named, "compose.yaml says how to make a key"
        done = subprocess.run(
            named[2].split(),
            cwd=ROOT,
            env=self.environ(named[1]),
            capture_output=True,
            check=True,
            text=True,
            timeout=120,
        )
        return done.stdout.strip()

    def environ(self, name: str) -> dict[str, str]:
        """What the service finds in its environment: what compose.yaml says, and what starts a program at all."""
        service = self.services[name]
        ours = {key: value for key, value in environment().items() if not key.startswith("RIDDLE_")}
        ours["PATH"] = f"{Path(sys.executable).parent}:{ours['PATH']}"
        if service.get("build", {}).get("target") == "serve":
            ours["PYTHONPATH"] = str(self._folder / "absent")
        return ours | {key: self.here(name, value) for key, value in service.get("environment", {}).items()}

    def here(self, name: str, word: str) -> str:
        """One word of a command or value of a variable, as this machine needs it."""
        if not word:
            return word
        if word in self.ports:
            return str(self.ports[word])
        if word == "0.0.0.0":
            return "127.0.0.1"
        for _, target, _ in _mounts(self.services[name]):
            if word == target or word.startswith(f"{target}/") or target.startswith(f"{word}/"):
                return f"{self._folder}/roots/{name}{word}"
        hosts = "|".join(map(re.escape, [*self.services, "127.0.0.1"]))

        def moved(found: re.Match[str]) -> str:
            return f"127.0.0.1:{self.ports[found.group(1)]}"

        return re.sub(rf"\b(?:{hosts}):({'|'.join(self.ports)})\b", moved, word)

    def start(self, name: str) -> Program:
        """Start one service; what it depends on is the caller's business."""
        log = self._folder / f"{name}.log"
        self.programs[name] = Program(name, self.command(name), self.environ(name), log)
        return self.programs[name]

    def healthy(self, name: str) -> bool:
        """Whether the health check that compose.yaml names passes now."""
        check = self.services[name]["healthcheck"]["test"]
        assert check[0] == "CMD"
        words = [self.here(name, word) for word in check[1:]]
        done = subprocess.run(words, cwd=ROOT, env=self.environ(name), capture_output=True, check=False, timeout=120)
        return done.returncode == 0

    def use(self, name: str, port: int) -> None:
        """Let a server that runs already be this service; it is neither started nor ended here."""
        self.ports[_ports(self.services[name])[0]] = port
        self._used.add(name)

    def up(self) -> None:
        """Start every service without a profile, each when what it depends on is as it wants it."""
        waiting = {name for name, service in self.services.items() if "profiles" not in service} - self._used
        while waiting:
            name = next(each for each in sorted(waiting) if not waiting & set(self.depends_on(each)))
            for other, condition in self.depends_on(name).items():
                if other not in self._used:
                    self._await(other, condition)
            self.start(name)
            waiting.remove(name)

    def depends_on(self, name: str) -> dict[str, str]:
        """The services that this one waits for, and until they are what."""
        wanted = self.services[name].get("depends_on", {})
        return {other: how["condition"] for other, how in wanted.items()}

    def run(self, name: str) -> None:
        """Run a service that does its work and ends. Fails with what it said when it ends badly."""
        program = self.start(name)
        assert program.wait() == 0, program.said()

    def await_healthy(self, name: str) -> None:
        self.programs[name].wait_until(lambda: self.healthy(name), 300)

    def down(self) -> None:
        """End all that was started, last first, each with its chance to tidy up."""
        for program in reversed(list(self.programs.values())):
            program.stop()

    def _await(self, name: str, condition: str) -> None:
        if condition == "service_healthy":
            self.await_healthy(name)
        elif condition == "service_completed_successfully":
            assert self.programs[name].wait() == 0, self.programs[name].said()

    def _mount(self, name: str, service: Service) -> None:
        for source, target, _ in _mounts(service):
            inside = Path(f"{self._folder}/roots/{name}{target}")
            inside.parent.mkdir(parents=True, exist_ok=True)
            folder = Path(source) if "/" in source else self.volume(source)
            folder.mkdir(parents=True, exist_ok=True)
            inside.symlink_to(folder)


def _mounts(service: Service) -> list[tuple[str, str, bool]]:
    """Source, target, and whether it is read-only, of each volume."""
    mounts = []
    for each in service.get("volumes", []):
        source, target, *mode = each.split(":")
        mounts.append((source, target, mode == ["ro"]))
    return mounts


def _ports(service: Service) -> list[str]:
    """The port that a service listens on inside, as its health check and its command name it."""
    words = [*service["healthcheck"].get("test", []), *service["command"]]
    return re.findall(r"(?:^|127\.0\.0\.1:)(\d{4})\b", "\n".join(words), re.MULTILINE)[:1]
