"""The commands of `riddle collections` that look after one: they work on a home's files, beside a server that runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.commands.common import Config, Debug, Home, Json, fail, load_settings, note, print_json, say

if TYPE_CHECKING:
    from retrieval.store import CollectionStore
    from retrieval.types import CollectionInfo
    from services.settings import Settings

SAY_EVERY_S = 5.0

Name = Annotated[str, typer.Argument(help="Name of the collection, or an alias of it.")]


def add_commands(group: typer.Typer) -> None:
    for command in (rollback, compact, verify, stats, snapshot, restore, reencode, alias):
        group.command()(command)


def rollback(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    home: Home = None,
    config: Config = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Go back to the state before the last build; changes of single documents since then are lost too.

    Example: riddle collections rollback docs
    """
    store = _store(home, config)[1]
    collection = store.open(name)
    if not yes:
        typer.confirm(f"Take {name} back to before its last build?", abort=True, err=True)
    from retrieval.upkeep import rollback as carried_out

    _tell(carried_out(collection), "went back to what it was", json)


def compact(name: Name, home: Home = None, config: Config = None, json: Json = False, debug: Debug = False) -> None:
    """Write everything into one segment, without what was deleted; searches go on meanwhile.

    Example: riddle collections compact docs
    """
    from retrieval.maintenance import compact as carried_out

    collection = _store(home, config)[1].open(name)
    done = carried_out(collection)
    _tell(collection.info(), "is one segment now" if done else "was one segment already", json)


def verify(name: Name, home: Home = None, config: Config = None, json: Json = False, debug: Debug = False) -> None:
    """Read every byte against its checksum, and say what is wrong; exit code 1 when anything is.

    Example: riddle collections verify docs
    """
    from dataclasses import asdict

    from retrieval.upkeep import verify as carried_out

    found = carried_out(_store(home, config)[1].open(name), _progress())
    if json:
        print_json({"name": name, **asdict(found)})
    else:
        say(
            f"{name}: {found.documents:,} documents, {found.passages:,} passages in {found.segments} segments of "
            f"{found.bytes / 1e6:,.1f} MB, and {found.changes:,} changes in the log"
        )
        for problem in found.problems:
            say(f"  {problem}")
    if found.problems:
        fail(f"{len(found.problems)} things are wrong with {name}: restore a snapshot, or build it again")
    if not json:
        say("nothing is wrong with it")


def stats(name: Name, home: Home = None, config: Config = None, json: Json = False, debug: Debug = False) -> None:
    """Sizes by part: segments, their vector indexes and why these, live changes, log, memory, disk.

    Example: riddle collections stats docs --json
    """
    from retrieval.upkeep import stats as found_out

    found = found_out(_store(home, config)[1].open(name))
    if json:
        print_json(found)
        return
    for key, value in found.items():
        if not isinstance(value, list):
            say(f"{key:<16}{value:,}" if isinstance(value, int) else f"{key:<16}{value}")
            continue
        for each in value:
            say(f"{key.removesuffix('s'):<16}" + ", ".join(f"{part} {_told(about)}" for part, about in each.items()))


def snapshot(
    name: Name,
    folder: Annotated[Path, typer.Argument(help="A folder that does not exist yet.", metavar="FOLDER")],
    home: Home = None,
    config: Config = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Copy a collection as it is now into a folder, with checksums; searches and writes go on.

    Segments never change, so that on the same file system the copy shares them and takes no room of its own.

    Example: riddle collections snapshot docs backup/docs-monday
    """
    from retrieval.upkeep import snapshot_to

    written = snapshot_to(_store(home, config)[1].open(name), folder, _progress())
    if json:
        print_json({"snapshot": str(written)})
    else:
        say(f"wrote {written}; `riddle collections restore {written} NAME` makes a collection of it")


def restore(
    folder: Annotated[Path, typer.Argument(help="What `riddle collections snapshot` wrote.", metavar="FOLDER")],
    name: Annotated[str, typer.Argument(help="Name of the collection to be; there is none of that name yet.")],
    home: Home = None,
    config: Config = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Make a collection of a snapshot, each file checked.

    Example: riddle collections restore backup/docs-monday docs
    """
    from retrieval.upkeep import restore as carried_out

    _tell(carried_out(_store(home, config)[1], folder, name, _progress()), "was restored", json)


def reencode(
    name: Name,
    encoder: Annotated[str, typer.Option("--encoder", help="The model that new vectors are to come from.")] = "",
    late: Annotated[str, typer.Option("--late", help="The same for token vectors; `none` for none.")] = "",
    vectors: Annotated[str, typer.Option("--vectors", help="Another spec of the vector index.")] = "",
    home: Home = None,
    config: Config = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Build a collection anew from its stored text with other models, and let its name stand for the new one.

    The old one answers until then and stays under a name of its own, for `riddle collections delete`. Vectors that no
    model is named for are kept.

    Example: riddle collections reencode docs --encoder multilingual-e5-small
    """
    from retrieval.reencode import reencode as carried_out
    from services.encoders import encoder_named
    from services.late import late_anew

    if not (encoder or late or vectors):
        fail("name what is to be other: --encoder, --late or --vectors")
    settings, store = _store(home, config)
    spec = store.open(name).settings.late
    models = encoder_named(encoder, settings) if encoder else None, late_anew(spec, late, settings)
    found = carried_out(store, name, models[0], vectors=vectors or None, late=models[1], say=_progress())
    _tell(found, f"is what {name} stands for now", json)


def alias(
    alias: Annotated[str, typer.Argument(help="The other name.")],
    name: Annotated[str, typer.Argument(help="The collection that it is to stand for.", show_default=False)] = "",
    remove: Annotated[bool, typer.Option("--remove", help="Take the alias away; its collection stays.")] = False,
    home: Home = None,
    config: Config = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Let a name stand for a collection, from the next search on; the way to swap a rebuilt one in.

    Example: riddle collections alias docs docs-2026
    """
    from services.aliases import lead

    store = _store(home, config)[1]
    if remove == bool(name):
        fail("name the collection that the alias is to stand for, or say --remove")
    if remove:
        store.remove_alias(alias)
    else:
        lead(store, alias, name)
    if json:
        print_json({"aliases": dict(store.aliases())})
    else:
        say(f"{alias} is no alias any more" if remove else f"{alias} stands for {store.aliases()[alias]}")


def _store(home: Path | None, config: Path | None) -> tuple[Settings, CollectionStore]:
    from retrieval.store import CollectionStore
    from services.bootstrap import collections_folder

    settings = load_settings(home, config)
    return settings, CollectionStore(collections_folder(settings.home))


def _progress() -> Callable[[str, int, int], None]:
    """Says on stderr how far it is, now and then."""
    said = time.monotonic()

    def progress(what: str, done: int, total: int) -> None:
        nonlocal said
        if time.monotonic() - said >= SAY_EVERY_S:
            said = time.monotonic()
            note(f"{what}: {done:,}" + (f" of {total:,}" if total else ""))

    return progress


def _tell(info: CollectionInfo, what: str, json: bool) -> None:
    if json:
        from dataclasses import asdict

        print_json(asdict(info))
    else:
        say(f"{info.name} {what}: {info.documents:,} documents, {info.passages:,} passages, state {info.generation}")


def _told(about: object) -> str:
    if isinstance(about, dict):
        return "(" + ", ".join(f"{key} {_told(value)}" for key, value in about.items()) + ")"
    return f"{about:,}" if isinstance(about, int) else str(about)
