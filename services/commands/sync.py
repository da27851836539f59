"""`riddle sync`: bring a collection level with a folder, a git working tree, a sitemap or a list of pages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.commands.build import reasons
from services.commands.common import (
    Access,
    Config,
    Debug,
    Format,
    Home,
    Json,
    Mapped,
    load_settings,
    note,
    print_json,
    say,
)
from services.progress import shown

if TYPE_CHECKING:
    from indexing.connectors.base import Connector
    from indexing.sources import Source
    from indexing.sync import SyncSummary

KINDS = ("folder", "git", "sitemap", "urls")


def register(app: typer.Typer) -> None:
    app.command()(sync)


def sync(
    source: Annotated[
        str,
        typer.Argument(help="A folder, a git working tree, the address of a sitemap, or a file of addresses."),
    ],
    collection: Annotated[
        str, typer.Option(help="The collection to bring level; by default the settings' default_collection.")
    ] = "",
    kind: Annotated[
        str, typer.Option(help="What SOURCE is: folder, git, sitemap, urls. Told by itself when left out.")
    ] = "",
    format: Format = "",
    map_: Mapped = "",
    acl: Access = None,
    allow_empty: Annotated[
        bool, typer.Option("--allow-empty", help="Delete everything when the source lists nothing any more.")
    ] = False,
    home: Home = None,
    config: Config = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Bring a collection level with its source: what changed is built again, what is gone stops answering.

    A folder with .git in it is taken as a working tree, of which the tracked files count. Files .riddle-acl say who
    may see what, as for build. In a list of pages principals may follow an address, after a blank. What cannot be
    had at the moment keeps its documents.

    Example: riddle sync ~/handbook --collection docs
    """
    from indexing.access import parse_rule
    from indexing.converters import forced_format
    from indexing.records import parse_field_map
    from indexing.sources import Source
    from indexing.sync import sync as run_sync
    from retrieval.store import CollectionStore
    from services.bootstrap import builds_folder, collections_folder, encoder_of
    from services.encoders import encoder_named
    from services.late import late_of_build

    settings = load_settings(home, config)
    rules = tuple(map(parse_rule, acl or ()))
    described = Source(Path(source), forced_format(format), parse_field_map(map_), rules)
    name = collection or settings.default_collection
    store = CollectionStore(collections_folder(settings.home))
    with _connector(source, kind or kind_of(source), described) as connector, shown(quiet=json) as show:
        summary = run_sync(
            connector,
            name,
            store=store,
            encoder=encoder_named(encoder_of(store, name, settings), settings),
            work=builds_folder(settings.home),
            chunk=settings.chunk,
            settings=settings.build,
            late=late_of_build(store, name, settings, replace=False),
            allow_empty=allow_empty,
            progress=show,
        )
    _told(summary, json)


def _told(summary: SyncSummary, json: bool) -> None:
    if json:
        print_json(_as_json(summary))
    else:
        _print(summary)


def kind_of(source: str) -> str:
    """What a source is, by the look of it."""
    if source.startswith(("http://", "https://")):
        return "sitemap"
    path = Path(source)
    if path.is_dir():
        return "git" if (path / ".git").exists() else "folder"
    return "urls"


@contextmanager
def _connector(source: str, kind: str, described: Source) -> Iterator[Connector]:
    """The connector of a kind. Raises InvalidRequest for an unknown one, and for a source that is not there."""
    from indexing.connectors.files import folder_connector, git_connector
    from indexing.connectors.web import SitemapConnector, UrlListConnector
    from retrieval.errors import InvalidRequest

    if kind in ("folder", "git"):
        yield (folder_connector if kind == "folder" else git_connector)(described)
        return
    if kind not in KINDS:
        raise InvalidRequest(f"no kind of source is called {kind!r}; there are {', '.join(KINDS)}")
    from services.pages import HttpWeb

    web = HttpWeb()
    try:
        if kind == "sitemap":
            yield SitemapConnector(source, web, described.access)
        else:
            yield UrlListConnector(described.path, web, described.access)
    finally:
        web.close()


def _as_json(summary: SyncSummary) -> dict[str, object]:
    return {
        "added": summary.added,
        "changed": summary.changed,
        "deleted": summary.deleted,
        "unchanged": summary.unchanged,
        "rejected": summary.rejected_count,
        "failed": summary.failed_count,
        "seconds": summary.seconds,
        "generation": summary.generation,
        "rejects": [{"source": each.source, "reason": each.reason} for each in summary.rejected],
        "failures": [{"source": each.source, "reason": each.reason} for each in summary.failed],
    }


def _print(summary: SyncSummary) -> None:
    say(
        f"{summary.added:,} added, {summary.changed:,} changed, {summary.deleted:,} deleted, "
        f"{summary.unchanged:,} unchanged, {summary.rejected_count:,} rejected, {summary.failed_count:,} failed, "
        f"{summary.seconds:.1f} s, generation {summary.generation}"
    )
    for line in reasons(summary.rejected):
        note(line)
    for line in reasons(summary.failed):
        note(line.replace("set aside", "left as it was", 1))
