"""`riddle build`: turn files and folders into a collection, with progress, and say what could not be read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

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
    from indexing.build import BuildSummary, Rejected

SHOWN = 20
"""Most reasons that are printed; ``--json`` has all."""


def register(app: typer.Typer) -> None:
    app.command()(build)


def build(
    sources: Annotated[list[Path], typer.Argument(metavar="SOURCE…", help="Files, folders, or a BEIR folder.")],
    collection: Annotated[
        str, typer.Option(help="The collection to build into; by default the settings' default_collection.")
    ] = "",
    format: Format = "",
    map_: Mapped = "",
    acl: Access = None,
    near_duplicates: Annotated[
        float | None,
        typer.Option(help="Leave out documents at least this similar to another, such as 0.85.", show_default=False),
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Start afresh instead of adding.")] = False,
    home: Home = None,
    config: Config = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Build files and folders into a collection.

    Reads Markdown, reStructuredText, HTML, plain text, PDF, Word, JSONL, CSV and Parquet. What is
    there already stays, documents of the same id are replaced. Stopped or killed, the same command
    continues where it was. A file .riddle-acl in a folder names, one a line, the principals that may see what is in it
    and below, the nearest one deciding; everybody may see the rest.

    Example: riddle build docs manual.pdf --collection docs
    """
    from indexing.access import parse_rule
    from indexing.build import Source
    from indexing.build import build as run_build
    from indexing.converters import forced_format
    from indexing.records import parse_field_map
    from indexing.sources import require
    from retrieval.errors import CollectionNotFound, IndexUnreadable
    from retrieval.store import CollectionStore
    from services.bootstrap import builds_folder, collections_folder, encoder_of
    from services.encoders import encoder_named
    from services.late import late_of_build

    settings = load_settings(home, config, {"build.near_duplicates": near_duplicates})
    forced, fields, rules = forced_format(format), parse_field_map(map_), tuple(map(parse_rule, acl or ()))
    name = collection or settings.default_collection
    store = CollectionStore(collections_folder(settings.home))
    require(sources)
    with suppress(CollectionNotFound, IndexUnreadable):  # a bad name is found before the encoder is loaded
        store.info(name)
    encoder = settings.models.encoder if replace else encoder_of(store, name, settings)
    with shown(quiet=json) as show:
        summary = run_build(
            [Source(path, forced, fields, rules) for path in sources],
            name,
            store=store,
            encoder=encoder_named(encoder, settings),
            work=builds_folder(settings.home),
            chunk=settings.chunk,
            settings=settings.build,
            late=late_of_build(store, name, settings, replace=replace),
            replace=replace,
            progress=show,
        )
    print_json(_as_json(summary)) if json else _print(summary)


def _as_json(summary: BuildSummary) -> dict[str, object]:
    return {
        "documents": summary.documents,
        "passages": summary.passages,
        "rejected": summary.rejected_count,
        "seconds": summary.seconds,
        "generation": summary.generation,
        "reused": summary.reused,
        "near_duplicates": summary.near_duplicates,
        "report": None if summary.report is None else str(summary.report),
        "rejects": [{"source": each.source, "reason": each.reason} for each in summary.rejected],
    }


def _print(summary: BuildSummary) -> None:
    say(
        f"{summary.documents:,} documents, {summary.passages:,} passages, {summary.rejected_count:,} rejected, "
        f"{summary.seconds:.1f} s, generation {summary.generation}"
    )
    if summary.reused:
        say(f"{summary.reused:,} of the documents were taken over from a build that had been stopped")
    if summary.near_duplicates:
        say(f"{summary.near_duplicates:,} near-duplicates were left out; {summary.report} names them")
    for line in reasons(summary.rejected):
        note(line)


def reasons(rejected: Sequence[Rejected]) -> Iterator[str]:
    """Lines that name what was set aside and why, those of one reason together, the rarest first."""
    by_reason: dict[str, list[str]] = {}
    for each in rejected:
        by_reason.setdefault(each.reason, []).append(each.source)
    ordered = sorted(by_reason.items(), key=lambda pair: len(pair[1]))
    for reason, sources in ordered[:SHOWN]:
        more = f" and {len(sources) - 1:,} more" if len(sources) > 1 else ""
        yield f"  set aside: {sources[0]}{more}: {reason}"
    if len(ordered) > SHOWN:
        left = sum(len(sources) for _, sources in ordered[SHOWN:])
        yield f"  and {left:,} more for other reasons; --json lists them all"
