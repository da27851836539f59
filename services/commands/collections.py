"""`riddle collections`: what there is to search, how to be rid of it, and the commands that look after it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from services.commands.common import Config, Debug, Home, Json, print_json, say
from services.commands.search import ApiKey, Url, asker
from services.upkeep_commands import add_commands

if TYPE_CHECKING:
    from services.asking import Asker
    from services.wire_collections import WireCollection

T = TypeVar("T")

Name = Annotated[str, typer.Argument(help="Name of the collection.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="List, show, delete and look after collections.")
    group.callback()(_root)
    group.command("list")(list_)
    group.command()(show)
    group.command()(delete)
    add_commands(group)
    app.add_typer(group, name="collections")


def _root() -> None:
    """List, show, delete and look after collections.

    Example: riddle collections list
    """


def list_(
    key: ApiKey = "",
    url: Url = "",
    home: Home = None,
    config: Config = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """List the collections and what each holds.

    Example: riddle collections list --home .riddle
    """
    found = _run(url, key, home, config, lambda service: service.collections())
    if json:
        say(found.model_dump_json())
        return
    for each in found.collections:
        mark = "  (default)" if each.name == found.default else ""
        say(f"{each.name:<24} {each.documents:>9,} documents {each.passages:>11,} passages  {each.encoder}{mark}")
    if not found.collections:
        say("no collections yet: riddle build SOURCE --collection NAME")


def show(
    name: Name,
    key: ApiKey = "",
    url: Url = "",
    home: Home = None,
    config: Config = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Show what one collection holds, and since when.

    Example: riddle collections show docs
    """
    found = _run(url, key, home, config, lambda service: service.collection(name))
    if json:
        say(found.model_dump_json())
    else:
        _print(found)


def delete(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    key: ApiKey = "",
    url: Url = "",
    home: Home = None,
    config: Config = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Remove a collection and its files; there is no way back.

    Example: riddle collections delete docs --yes
    """
    found = _run(url, key, home, config, lambda service: service.collection(name))
    if not yes:
        typer.confirm(f"Remove {name} with its {found.documents:,} documents?", abort=True, err=True)
    _run(url, key, home, config, lambda service: service.delete(name))
    if json:
        print_json({"deleted": name})
    else:
        say(f"removed {name}")


def _run(url: str, key: str, home: Path | None, config: Path | None, ask: Callable[[Asker], Awaitable[T]]) -> T:
    async def run() -> T:
        async with asker(url, home, config, None, load=False, key=key) as service:
            return await ask(service)

    return asyncio.run(run())


def _print(found: WireCollection) -> None:
    rows = {
        "generation": found.generation,
        "documents": f"{found.documents:,}",
        "passages": f"{found.passages:,}",
        "encoder": f"{found.encoder or 'none'}, {found.dimension} dimensions",
        "vectors": found.vectors,
        "late": found.late or "no token vectors",
        "fields": ", ".join(f"{name} ({kind})" for name, kind in found.fields.items()) or "none declared",
        "aliases": ", ".join(found.aliases) or "none",
        "size": "not shown to this key" if found.bytes is None else f"{found.bytes / 1e6:,.1f} MB",
        "built": found.created,
    }
    for label, value in rows.items():
        say(f"{label:<12}{value}")
