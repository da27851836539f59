"""`riddle ltr replay` and `riddle ltr contest`: what the query log says of learned rankers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.commands.common import Config, Debug, Home, Json, load_settings, note, print_json, say
from services.commands.ltr import Level, ltr_of

if TYPE_CHECKING:
    from eval.interleaving import Contest


def register(app: typer.Typer) -> None:
    group = ltr_of(app)
    group.command()(replay)
    group.command()(contest)


def replay(
    model: Annotated[
        list[Path] | None,
        typer.Option(help="A model's file beside those of the home folder; may be repeated.", show_default=False),
    ] = None,
    home: Home = None,
    config: Config = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Compute the score of every logged result again from the vector that was served, and compare bit for bit.

    Exit code 1 when a score differs, or a model that scored some is not there any more.

    Example: riddle ltr replay
    """
    from eval.ltr_replay import replay as again
    from eval.usage_rows import query_rows
    from ranking.ltr import LtrModel, LtrShelf, read_file

    settings = load_settings(home, config)
    shelf = LtrShelf(settings.home)
    given = {file.hash: file for file in map(read_file, model or [])}
    found = again(
        query_rows(settings.home, note),
        lambda named: LtrModel(given[named]) if named in given else shelf.model(named),
    )
    if json:
        print_json(
            {
                "rows": found.rows,
                "same": found.same,
                "different": found.different,
                "lost": dict(found.lost),
                "examples": list(found.examples),
            }
        )
    else:
        say(f"{found.rows:,} logged scores: {found.same:,} came out the same, {found.different:,} did not")
        for named, rows in found.lost.items():
            say(f"{rows:,} of the model {named} could not be computed: {found.reasons[named]}")
        for line in found.examples:
            say(f"  {line}")
    raise typer.Exit(0 if found.exact else 1)


def contest(
    collection: Annotated[str, typer.Option("--collection", "-c", help="Only searches of this collection.")] = "",
    level: Level = 0.05,
    home: Home = None,
    config: Config = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Say which of two rankers won, from clicks in lists where both took turns.

    Example: riddle ltr contest --collection docs
    """
    from dataclasses import asdict

    from eval.clicks import impressions
    from eval.interleaving import contests
    from eval.usage_rows import feedback_rows, query_rows

    settings = load_settings(home, config)
    seen = impressions(query_rows(settings.home, note), feedback_rows(settings.home, note), collection)
    found = contests(seen.impressions, level)
    if json:
        print_json([{**asdict(each), "winner": each.winner} for each in found])
        return
    if not found:
        say("the query log holds no list in which two rankers took turns")
    for each in found:
        for line in _contest_lines(each):
            say(line)


def _contest_lines(found: Contest) -> Iterator[str]:
    yield (
        f"{found.a} against {found.b}: {found.searches:,} searches; {found.wins_a:,} won by {found.a}, "
        f"{found.wins_b:,} by {found.b}, {found.ties:,} even"
    )
    yield f"p = {found.p:.4f} by searches, {found.p_by_query:.4f} by queries"
    if found.winner:
        yield f"{found.winner} is better"
    elif found.needed is not None:
        yield f"no winner yet: with a share like this, about {found.needed:,} searches that one of them wins are needed"
    else:
        yield "no winner: they are even"
