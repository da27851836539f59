"""What a sweep needs of the services: its grid read and checked, a child process a point, the files it ends in."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval.frontier import Frontier
from eval.plots import frontier as frontier_chart
from eval.plots import svg
from eval.sweep import Point
from retrieval.durable import replace_json
from retrieval.errors import Conflict, RiddleError, SettingsError
from services.evaluation import assigned
from services.settings import environment, known, load
from services.settings_load import nearest

LOGS, ASKED, FRONTIER, PLOT, RECOMMENDED = "logs", "sweep.json", "frontier.json", "frontier.svg", "recommended.toml"
K = "server.default_k"
"""How many results a service gives; a run asks for as many where a sweep sets it."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is the same for all points. ``dataset`` as `eval run` takes it."""

    dataset: str
    split: str | None = None
    limit: int | None = None
    collection: str = ""
    answers: bool = False
    home: Path | None = None
    config: Path | None = None

    def arguments(self) -> list[str]:
        """For `riddle eval run`."""
        given: Mapping[str, object] = {
            "--dataset": self.dataset,
            "--split": self.split,
            "--limit": self.limit,
            "--collection": self.collection or None,
            "--home": self.home,
            "--config": self.config,
        }
        pairs = [part for name, value in given.items() if value is not None for part in (name, str(value))]
        return pairs + (["--answers"] if self.answers else [])


class ChildRunner:
    """Carries out each point by `riddle eval run` in a process of its own, which writes into a log of its own."""

    def __init__(self, asked: Asked, out: Path) -> None:
        self._asked, self._out = asked, out
        self._lock = threading.Lock()
        self._children: set[subprocess.Popen[bytes]] = set()
        self._stopped = False

    def command(self, point: Point) -> list[str]:
        """The argument list of one point."""
        command = [sys.executable, "-m", "services.cli", "eval", "run", "--out", str(self._out / point.name)]
        command += self._asked.arguments()
        for key, value in point.settings:
            command += ["--set", f"{key}={value}"]
            if key == K:
                command += ["-k", value]
        return command

    def log(self, point: Point) -> Path:
        return self._out / LOGS / f"{point.name}.log"

    def __call__(self, point: Point) -> None:
        log = self.log(point)
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as written:
            child = self._begin(self.command(point), written)
            try:
                code = child.wait()
            finally:
                with self._lock:
                    self._children.discard(child)
        if code:
            raise RiddleError(f"{_why(code, log)} (all of it in {log})")

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            children = list(self._children)
        for child in children:
            child.terminate()
        for child in children:
            try:
                child.wait(30)
            except subprocess.TimeoutExpired:
                child.kill()

    def _begin(self, command: Sequence[str], log: Any) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._stopped:
                raise RiddleError("the sweep was broken off")
            child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=environment()
            )
            self._children.add(child)
        return child


def _why(code: int, log: Path) -> str:
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    said = next((line for line in reversed(lines) if line.startswith("riddle: ")), "".join(lines[-1:]))
    return said.removeprefix("riddle: ") or f"ended with code {code}"


@contextlib.contextmanager
def interrupted_by_sigterm() -> Iterator[None]:
    """SIGTERM breaks off like Ctrl-C, so that children are ended too."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def read_grid(path: Path) -> dict[str, list[str]]:
    """Axes from a TOML file: dotted keys or sections, each a value or a list of values to try. Raises SettingsError."""
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"cannot read the grid {path}: {error}") from error
    axes: dict[str, list[str]] = {}

    def walk(table: Mapping[str, Any], prefix: str) -> None:
        for name, value in table.items():
            key = prefix + name
            if key in known():
                axes[key] = [_text(each) for each in (value if isinstance(value, list) else [value])]
            elif isinstance(value, dict):
                walk(value, key + ".")
            else:
                raise SettingsError(
                    f"unknown setting {key} in {path}; the nearest known one is {nearest(key, known())}"
                )

    walk(tree, "")
    return axes


def _text(value: Any) -> str:
    """A TOML value as ``--set`` takes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ",".join(map(str, value))
    if isinstance(value, dict):
        return ",".join(f"{name}={each}" for name, each in value.items())
    return str(value)


def check(points: Sequence[Point], asked: Asked) -> None:
    """Raises SettingsError for the first point whose settings cannot be loaded: before anything is run."""
    for point in points:
        load(asked.config, environment(), {"home": asked.home, **_values(point)})


def keep_asked(out: Path, asked: Asked) -> None:
    """Note what the folder's points are of. Raises Conflict when it holds a sweep of something else."""
    told = {"arguments": asked.arguments()}
    path = out / ASKED
    if path.is_file() and json.loads(path.read_text(encoding="utf-8")) != told:
        raise Conflict(f"{out} holds a sweep with other arguments ({path}); name another folder, or remove it")
    replace_json(path, told)


def write_outcome(out: Path, found: Frontier, asked: Asked, failed: Mapping[str, str], jobs: int) -> list[str]:
    """Write frontier, plot and recommended settings. Returns what a reader must know of them, a line each."""
    notes = []
    if jobs > 1:
        notes.append(f"times are of {jobs} points side by side on one machine; --jobs 1 measures them undisturbed")
    try:
        drawn = svg(frontier_chart(found.choices(), found.metric, "p95 (ms)", "cost"))
        # On its own a drawing needs the name of its language, which a page does without.
        named = drawn.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1)
        (out / PLOT).write_text(named if "xmlns=" not in drawn else drawn, encoding="utf-8")
    except RiddleError as error:
        notes.append(f"no plot: {error.detail}")
    replace_json(out / FRONTIER, {**found.as_json(), "arguments": asked.arguments(), "failed": failed, "notes": notes})
    (out / RECOMMENDED).write_text(recommended_toml(found, asked, notes), encoding="utf-8")
    return notes


def recommended_toml(found: Frontier, asked: Asked, notes: Sequence[str] = ()) -> str:
    """A settings file with the recommended point's settings, and why it is that one."""
    row, best = found.row(found.recommended), found.row(found.best)
    why = [
        f"Chosen by `riddle eval sweep` among {len(found.rows)} settings over {found.queries} questions of "
        f"{asked.dataset}:",
        f"{found.metric} {row.quality:.4f}, p50 {row.p50_ms:.1f} ms, p95 {row.p95_ms:.1f} ms, cost {row.cost:.4g}.",
    ]
    if row.name == best.name:
        why.append("No cheaper one is as good: each is significantly worse.")
    else:
        why += [
            f"The best was {best.quality:.4f} at cost {best.cost:.4g} ({best.name}).",
            f"This one is the cheapest that is not significantly below it (p {row.p:.3f}, level {found.level:g});",
            f"these questions would not show a difference below {found.least:.3f}.",
        ]
    lines = [f"# {line}" for line in [*why, *(f"Note: {note}" for note in notes)]]
    sections: dict[str, list[str]] = {}
    for key, value in _values(Point(tuple(row.settings.items()))).items():
        section, _, name = key.rpartition(".")
        sections.setdefault(section, []).append(f"{name} = {_toml(value)}")
    for section in sorted(sections):  # keys of no section come first, as TOML wants them
        lines += ["", *([f"[{section}]"] if section else []), *sections[section]]
    return "\n".join(lines) + "\n"


def _values(point: Point) -> dict[str, object]:
    return assigned(f"{key}={value}" for key, value in point.settings)


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(name)} = {_toml(each)}" for name, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(str(value), ensure_ascii=False)  # TOML's basic strings escape as JSON's do
