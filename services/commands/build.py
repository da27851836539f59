"""`riddle build`: turn files and folders into a collection, with progress, and say what could not be read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.commands.common import Config, Debug, Home, Json, load_settings, note, print_json, say

if TYPE_CHECKING:
    from indexing.build import BuildSummary, Progress, Rejected

SHOWN = 20
"""Most reasons that are printed; ``--json`` has all."""


def register(app: typer.Typer) -> None:
    app.command()(build)


def build(
    sources: Annotated[list[Path], typer.Argument(metavar="SOURCE…", help="Files, folders, or a BEIR folder.")],
    collection: Annotated[
        str, typer.Option(help="The collection to build into; by default the settings' default_collection.")
    ] = "",
    format: Annotated[
        str, typer.Option("--format", help="Read .txt files and texts in rows as: plain, markdown, rst, html.")
    ] = "",
    map_: Annotated[
        str, typer.Option("--map", help="Fields of JSONL, CSV and Parquet rows: text=body,title=name,id=key.")
    ] = "",
    replace: Annotated[bool, typer.Option("--replace", help="Start afresh instead of adding.")] = False,
    home: Home = None,
    config: Config = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Build files and folders into a collection.

    Reads Markdown, reStructuredText, HTML, plain text, PDF, Word, JSONL, CSV and Parquet. What is
    there already stays, documents of the same id are replaced. Stopped or killed, the same command
    continues where it was.

    Example: riddle build docs manual.pdf --collection docs
    """
    from indexing.build import Source
    from indexing.build import build as run_build
    from indexing.converters import forced_format
    from indexing.records import parse_field_map
    from indexing.sources import require
    from retrieval.errors import CollectionNotFound, IndexUnreadable
    from retrieval.store import CollectionStore
    from services.bootstrap import builds_folder, collections_folder, encoder_of
    from services.encoders import encoder_named

    settings = load_settings(home, config)
    forced, fields = forced_format(format), parse_field_map(map_)
    name = collection or settings.default_collection
    store = CollectionStore(collections_folder(settings.home))
    require(sources)
    with suppress(CollectionNotFound, IndexUnreadable):  # a bad name is found before the encoder is loaded
        store.info(name)
    encoder = settings.models.encoder if replace else encoder_of(store, name, settings)
    with _progress_bar(quiet=json) as show:
        summary = run_build(
            [Source(path, forced, fields) for path in sources],
            name,
            store=store,
            encoder=encoder_named(encoder, settings),
            work=builds_folder(settings.home),
            chunk=settings.chunk,
            settings=settings.build,
            replace=replace,
            progress=show,
        )
    if json:
        print_json(_as_json(summary))
    else:
        _print(summary)


def _as_json(summary: BuildSummary) -> dict[str, object]:
    return {
        "documents": summary.documents,
        "passages": summary.passages,
        "rejected": len(summary.rejected),
        "seconds": summary.seconds,
        "generation": summary.generation,
        "reused": summary.reused,
        "rejects": [{"source": each.source, "reason": each.reason} for each in summary.rejected],
    }


def _print(summary: BuildSummary) -> None:
    say(
        f"{summary.documents:,} documents, {summary.passages:,} passages, {len(summary.rejected):,} rejected, "
        f"{summary.seconds:.1f} s, generation {summary.generation}"
    )
    if summary.reused:
        say(f"{summary.reused:,} of the documents were taken over from a build that had been stopped")
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


@contextmanager
def _progress_bar(*, quiet: bool) -> Iterator[Callable[[Progress], None]]:
    """A bar on stderr with rate and time left; without a terminal a line per stage; nothing when ``quiet``."""
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        stages: set[str] = set()

        def tell(progress: Progress) -> None:
            if not quiet and progress.stage not in stages:
                stages.add(progress.stage)
                note(f"{progress.stage} …" if progress.total is None else f"{progress.stage} {progress.total:,} …")

        yield tell
        return
    columns = (
        TextColumn("{task.description:>10}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f} / {task.fields[of]}"),
        TextColumn("{task.fields[pace]}"),
    )
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task("opening", total=None, of="?", pace="")

        def show(progress: Progress) -> None:
            of = "?" if progress.total is None else f"{progress.total:,}"
            bar.update(
                task,
                description=progress.stage,
                completed=progress.done,
                total=progress.total,
                of=of,
                pace=_pace(progress),
            )

        yield show


def _pace(progress: Progress) -> str:
    rate = "" if progress.rate_per_s is None else f"{progress.rate_per_s:,.1f}/s"
    left = ""
    if progress.eta_s is not None:
        minutes, seconds = divmod(round(progress.eta_s), 60)
        hours, minutes = divmod(minutes, 60)
        left = f"{hours}:{minutes:02}:{seconds:02} left" if hours else f"{minutes}:{seconds:02} left"
    failed = f"{progress.failed:,} set aside" if progress.failed else ""
    return "  ".join(part for part in (rate, left, failed) if part)
