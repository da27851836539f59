"""`riddle demo`: real documentation, built into a collection and served, in one command."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.commands.build import build
from services.commands.common import Config, Debug, Home, load_settings, note, say
from services.commands.models import pull_models
from services.commands.up import Port

if TYPE_CHECKING:
    from services.settings import Settings


def register(app: typer.Typer) -> None:
    app.command()(demo)


def demo(
    home: Home = None,
    port: Port = None,
    build_only: Annotated[bool, typer.Option("--build-only", help="Make the collection and do not serve it.")] = False,
    config: Config = None,
    debug: Debug = False,
) -> None:
    """Fetch Django's documentation, build it, and serve it with a page to search and ask in.

    The first time takes minutes: models, pages and the collection are fetched and made below the
    home folder. The next time uses what is there.

    Example: riddle demo --home .riddle --port 8080
    """
    from services.demo import COLLECTION, DJANGO, fetch_pages
    from services.server import listen

    everything_here = {"services.recall_url": "", "services.rank_url": "", "services.embed_url": ""}
    flags = {"server.port": port, "default_collection": COLLECTION, **everything_here}
    settings = load_settings(home, config, flags)
    if not build_only:  # a port that is taken is told now and not after minutes of work
        listen(settings.server.host, settings.server.port).close()

    pull_models(home=home, config=config)
    pages = fetch_pages(DJANGO, settings.home / "demo", note)
    recipe = _recipe(settings, pages)
    if _built(settings.home, COLLECTION) != recipe:
        note(f"building {pages}")
        build([pages], COLLECTION, format="rst", replace=True, home=home, config=config)
        _remember(settings.home, COLLECTION, recipe)
    if not build_only:
        _serve(settings)


def _recipe(settings: Settings, pages: Path) -> dict[str, object]:
    """All that decides what the collection holds; a collection of another recipe is built anew."""
    return {"pages": pages.name, "encoder": settings.models.encoder, "chunk": dataclasses.asdict(settings.chunk)}


def _built(home: Path, collection: str) -> dict[str, object] | None:
    """The recipe of the collection that is there, None when there is none that the demo built."""
    from retrieval.store import CollectionStore
    from services.bootstrap import collections_folder

    try:
        recipe: dict[str, object] = json.loads((home / "demo" / f"{collection}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return recipe if collection in CollectionStore(collections_folder(home)).names() else None


def _remember(home: Path, collection: str, recipe: dict[str, object]) -> None:
    """Note how the collection was made, and make it what other commands search in a home of nothing else."""
    from retrieval.store import CollectionStore
    from services.bootstrap import collections_folder
    from services.settings import FILE_NAME

    (home / "demo" / f"{collection}.json").write_text(json.dumps(recipe, indent=1) + "\n", encoding="utf-8")
    file = home / FILE_NAME
    if not file.exists() and CollectionStore(collections_folder(home)).names() == [collection]:
        file.write_text(f'# Made by `riddle demo`.\ndefault_collection = "{collection}"\n', encoding="utf-8")


def _serve(settings: Settings) -> None:
    import logging

    from services.auth import check_exposure
    from services.bootstrap import gateway_app
    from services.demo import QUESTIONS
    from services.keys import key_ring
    from services.server import address_of, listen, log_to_stderr, run

    check_exposure(settings.server.host, key_ring(settings.home))
    listening = listen(settings.server.host, settings.server.port)
    address = address_of(listening)
    log_to_stderr(logging.WARNING)

    def told(line: str) -> None:
        if line != "ready":
            note(f"riddle: {line}")
            return
        say(f"\nRiddle is ready: {address}\n\nWorth asking there:")
        for question in QUESTIONS:
            say(f"  - {question}")
        say("\nCtrl-C ends it.")

    run(gateway_app(settings, told), listening, settings.server.drain_s)
    say("riddle has stopped")
