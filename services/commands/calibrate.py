"""`riddle calibrate`: what the reranker costs on this machine, so that deadlines are planned by it."""

from __future__ import annotations

from typing import Annotated

import typer

from services.commands.common import Config, Debug, Home, Json, fail, load_settings, note, print_json, say


def register(app: typer.Typer) -> None:
    app.command()(calibrate)


def calibrate(
    rounds: Annotated[int, typer.Option("--rounds", min=1, max=100, help="How often each shape is timed.")] = 5,
    home: Home = None,
    config: Config = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Time the reranker on this machine and keep what it costs in the home folder.

    With it, a search that has a budget reads as many candidates as it has time for. Servers go on learning from
    the requests they answer; run it again after a change of machine, model or threads.

    Example: riddle calibrate
    """
    from ranking.budget import Budget
    from ranking.cross_encoder import open_reranker
    from retrieval.models import find_model
    from services.calibration import FILE, calibrated, calibration_key, store

    settings = load_settings(home, config)
    if not settings.models.reranker:
        fail("no reranker is set, so there is nothing to calibrate: set models.reranker")
    files = find_model(settings.models.reranker, settings.home)
    reranker = open_reranker(files, runtime=settings.models.runtime, threads=settings.models.threads)
    note(f"timing {files.name}, {rounds} rounds")
    model = calibrated(reranker, rounds=rounds)
    store(settings.home, calibration_key(files.name, files.fingerprint, settings.models.threads), model)
    depths = {left: Budget(model).plan(float(left), [64] * 200).count for left in (50, 100, 300)}
    if json:
        print_json(
            {
                "model": files.name,
                "fixed_ms": model.fixed_ms,
                "pair_ms": model.pair_ms,
                "token_ms": model.token_ms,
                "p99_over_expected": model.ratio(0.99),
                "pairs_of_64_tokens": depths,
            }
        )
        return
    say(f"{files.name}: {model.fixed_ms:.1f} ms a call, {model.pair_ms:.2f} a pair, {model.token_ms:.3f} a token")
    say(f"one call of a hundred takes {model.ratio(0.99):.1f} times as long")
    for left, count in depths.items():
        say(f"in {left} ms: {count} pairs of 64 tokens")
    say(f"kept in {settings.home / FILE}")
