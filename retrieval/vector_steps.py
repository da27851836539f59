"""Which steps of a build were finished, so that one that was killed goes on behind them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from retrieval.durable import replace_json, sync_file

_STATE = "building.json"

Progress = Callable[[int], None]


class Steps:
    """Runs named steps once each in a folder; what was done stands in a file, and counts only for the same work."""

    def __init__(self, folder: Path, work: dict[str, Any], progress: Progress) -> None:
        self.progress, self._folder, self._work = progress, folder, work
        state = read_state(folder)
        same = {name: state.get(name) for name in work} == work
        self._done: list[str] = state.get("done", []) if same else []

    def __call__(self, name: str, step: Callable[[], None]) -> None:
        """Do ``step``, which leaves its files whole before it returns, unless it was done before."""
        if name in self._done:
            return
        step()
        for path in self._folder.iterdir():
            sync_file(path)
        self._done.append(name)
        replace_json(self._folder / _STATE, {**self._work, "done": self._done})


def read_state(folder: Path) -> dict[str, Any]:
    """What a build in ``folder`` was at; empty when none was."""
    path = folder / _STATE
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}


def forget(folder: Path) -> None:
    """Nothing in ``folder`` counts as done any longer."""
    (folder / _STATE).unlink(missing_ok=True)
