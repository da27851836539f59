"""What reading pairs costs on this machine: measured by `riddle calibrate`, kept in the home folder by model."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path

from ranking.budget import Budget, CostModel, Sample, estimated_tokens, fit
from ranking.cross_encoder import PAIR_TOKENS
from ranking.reading import RoundReranker
from retrieval.durable import replace_json
from retrieval.errors import InvalidRequest

FILE = "calibration.json"

QUERY = "which settings decide how long a search may take"
SENTENCE = "A deadline is given with every request, and each stage keeps within what is left of it when it begins. "

SHAPES = ((1, 1), (1, 8), (4, 1), (4, 4), (8, 2), (16, 1), (16, 3), (24, 6), (32, 2))
"""Pairs and sentences of each that are timed; a sentence is some 24 tokens."""


def measured(
    reranker: RoundReranker, *, rounds: int = 5, clock: Callable[[], float] = time.perf_counter, warm: int = 1
) -> list[Sample]:
    """Time every shape ``rounds`` times, in turns, so that load from elsewhere falls on all alike.

    Tokens are those of ``estimated_tokens``, which plans are made with. ``warm`` rounds before do not count.
    """
    samples = []
    for number in range(warm + rounds):
        for pairs, sentences in SHAPES:
            texts = [f"{number}.{row} " + SENTENCE * sentences for row in range(pairs)]
            began = clock()
            reranker.score_round(QUERY, texts)
            spent = (clock() - began) * 1000
            if number >= warm:
                samples.append(Sample(pairs, sum(estimated_tokens(QUERY, texts, PAIR_TOKENS)), spent))
    return samples


def calibrated(reranker: RoundReranker, *, rounds: int = 5) -> CostModel:
    """The cost model of this machine; a few seconds of work."""
    return fit(measured(reranker, rounds=rounds))


def opened_budget(home: Path, key: str, reranker: RoundReranker) -> Budget:
    """The budget of a reranker on this machine, from what is stored, else from a short measurement, which is stored.

    A home folder that cannot be written costs a measurement at every start, nothing else.
    """
    model = stored(home, key)
    if model is None:
        model = calibrated(reranker, rounds=2)
        with contextlib.suppress(OSError):
            store(home, key, model)
    return Budget(model)


def stored(home: Path, key: str) -> CostModel | None:
    """What was measured for a model, None when nothing was or the file cannot be read any more."""
    path = home / FILE
    if not path.is_file():
        return None
    try:
        return CostModel.from_json(json.dumps(json.loads(path.read_text(encoding="utf-8"))[key]))
    except (OSError, ValueError, KeyError, TypeError, InvalidRequest):
        # A file of another version or cut short costs a new measurement, nothing else.
        return None


def store(home: Path, key: str, model: CostModel) -> None:
    """Keep it beside those of other models."""
    path = home / FILE
    try:
        held = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except ValueError:
        held = {}
    home.mkdir(parents=True, exist_ok=True)
    replace_json(path, {**(held if isinstance(held, dict) else {}), key: json.loads(model.to_json())})


def calibration_key(name: str, fingerprint: str, threads: int) -> str:
    """Names a model on so many threads; another model, other weights or other threads cost otherwise."""
    return f"{name}:{fingerprint}:{threads}"
