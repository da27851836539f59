"""What is known of how to rank one collection: its blend and calibrations, in a file beside it, or the defaults."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ranking.blend import Blend
from ranking.calibration import Calibration
from ranking.query_signs import query_signs
from ranking.stage_table import BLENDED, Floats, Scale, StageTable
from retrieval.durable import replace_json
from retrieval.errors import InvalidRequest, SettingsError

FORMAT = 1

FOLDER = "ranking"
"""Of the home folder; holds ``COLLECTION.json``."""

_DEFAULTS = Path(__file__).with_name("tuned.json")

_LADDER: Mapping[str, Sequence[str]] = {
    "rerank": BLENDED,
    "late": ("lexical", "dense", "fused", "late", "ltr"),
    "ltr": ("lexical", "dense", "fused", "ltr"),
    "fused": ("lexical", "dense", "fused"),
}
"""Stages that a rung may rest on, best rung first. A student's scores are ``rerank`` of another model."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """One query's candidates judged: by whom, in which order, and how probably each is relevant."""

    rung: str
    order: tuple[int, ...]
    """Places in the table, best first."""
    probabilities: Floats
    """By place in the table; they fall along ``order``."""


@dataclass(frozen=True, slots=True)
class Tuned:
    """How a collection is ranked."""

    blend: Blend
    calibrations: tuple[Calibration, ...]
    usual: Mapping[str, Scale] = field(default_factory=dict)
    """Of candidates' scores, by ``STAGE MODEL``: for lists too short to show what is usual."""
    evidence: Mapping[str, Any] = field(default_factory=dict)
    """Where it comes from, for people: kind of evidence, queries, gain with interval, when. No order depends on it."""

    @property
    def version(self) -> str:
        """Eight hex digits that differ whenever an order or a score would: part of every cache key."""
        told = [self.blend.as_json(), [each.as_json() for each in self.calibrations], _usual_json(self.usual)]
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:8]

    def judge(self, table: StageTable, models: Mapping[str, str] | None = None) -> Judgement:
        """Order the candidates by the best rung that ran. ``models`` names what gave ``dense`` and ``rerank``."""
        rung, named = rung_of(table), models or {}
        model = named.get("rerank", "")
        scores = self.blend.scores(table, self.usual_of(named))
        calibration = self.calibration(rung, model)
        probabilities = calibration.probabilities(scores, query_signs(table) if calibration.signs else None)
        return Judgement(rung, tuple(np.argsort(-scores, kind="stable").tolist()), probabilities)

    def usual_of(self, models: Mapping[str, str]) -> Mapping[str, Scale]:
        """The usual scale of each stage whose model has one."""
        keys = {stage: f"{stage} {model}" for stage, model in models.items()}
        return {stage: self.usual[key] for stage, key in keys.items() if key in self.usual}

    def reading_order(self, table: StageTable, models: Mapping[str, str] | None = None) -> tuple[list[int], Floats]:
        """Places in the order in which a cross-encoder should read them when it cannot read all; and scores by place.

        Which is the blend of what is known before: on no set worse than the fused order by more than
        chance, and a little better on two of four.
        """
        before = table.only([stage for stage in BLENDED if stage != "rerank"])
        scores = self.blend.scores(before, self.usual_of(models or {}))
        return np.argsort(-scores, kind="stable").tolist(), scores

    def calibration(self, rung: str, model: str = "") -> Calibration:
        """That of the rung and model; else of the rung and any model; else of the rung below."""
        rungs = list(_LADDER)
        for below in rungs[rungs.index(rung) :]:
            for wanted in (model, ""):
                for each in self.calibrations:
                    if (each.rung, each.model) == (below, wanted):
                        return each
        raise SettingsError(f"no calibration serves the rung {rung}: the settings of this collection are not whole")

    def as_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "blend": self.blend.as_json(),
            "calibrations": [each.as_json() for each in self.calibrations],
            "usual": _usual_json(self.usual),
            "evidence": dict(self.evidence),
        }

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Tuned:
        """Raises InvalidRequest for what is none, or of another format."""
        if not isinstance(told, Mapping) or told.get("format") != FORMAT:
            raise InvalidRequest(f"these are no ranking settings of format {FORMAT}")
        try:
            calibrations = tuple(Calibration.from_json(each) for each in told["calibrations"])
            usual = {str(key): Scale(float(mean), float(spread)) for key, (mean, spread) in told["usual"].items()}
            return cls(Blend.from_json(told["blend"]), calibrations, usual, dict(told["evidence"]))
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise InvalidRequest(f"these are no ranking settings: {error!r}") from error


def _usual_json(usual: Mapping[str, Scale]) -> dict[str, list[float]]:
    return {key: [scale.mean, scale.spread] for key, scale in usual.items()}


def rung_of(table: StageTable) -> str:
    """The best rung that saw any of the candidates."""
    return next((rung for rung in ("rerank", "late", "ltr") if rung in table.names), "fused")


def as_rung(table: StageTable, rung: str) -> StageTable:
    """The table as it would be had the search ended at ``rung``."""
    return table.only(_LADDER[rung])


@cache
def defaults() -> Tuned:
    """What serves a collection of which nothing is known: learned over judged train parts of many kinds."""
    return Tuned.from_json(json.loads(_DEFAULTS.read_text(encoding="utf-8")))


def tuned_file(home: Path, collection: str) -> Path:
    """Where the settings of a collection lie; by its own name, never an alias."""
    return home / FOLDER / f"{collection}.json"


def write_tuned(home: Path, collection: str, tuned: Tuned) -> Path:
    """Put them in force, in one step: a search sees the old ones or the new ones."""
    path = tuned_file(home, collection)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_json(path, tuned.as_json())
    return path


class TunedShelf:
    """The settings of every collection of a home folder; read anew when a file has changed. Thread-safe."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._guard = threading.Lock()
        self._held: dict[str, tuple[tuple[int, int, int], Tuned]] = {}

    def of(self, collection: str) -> Tuned:
        """The collection's own, or ``defaults()``; one ``stat`` while nothing changes.

        Raises SettingsError for a file that cannot be read: to rank otherwise than was decided, and
        not say so, would be worse.
        """
        path = tuned_file(self._home, collection)
        try:
            stat = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return defaults()
        seen = (stat.st_mtime_ns, stat.st_ino, stat.st_size)
        with self._guard:
            held = self._held.get(collection)
            if held is None or held[0] != seen:
                held = self._held[collection] = (seen, _read(path))
            return held[1]


def _read(path: Path) -> Tuned:
    try:
        return Tuned.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, InvalidRequest) as error:
        told = error.detail if isinstance(error, InvalidRequest) else str(error)
        raise SettingsError(
            f"{path} cannot be used ({told}): run `riddle tune` again, or remove it for the defaults"
        ) from error
